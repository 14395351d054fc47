"""The question `mitigations` on trials that are made up: what is saved at equal quality, and what KL on the task tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import ArmState, of_frames, question

from analysis.claims.told import cloud
from analysis.questions.mitigations.ways import kind
from analysis.reports.told import section
from analysis.stats import Estimate, Over
from analysis.stats.explained import Origin, explained, quadratic, r_squared


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "plain"),
        ({"train.kl_to_base": 0.0, "data.replay_share": 0.0, "train.l2_to_base": float("nan")}, "plain"),
        ({"data.replay_share": 0.05}, "replay"),
        ({"data.replay_share": 0.05, "train.kl_to_base": 1.0, "train.kl_on": "replayed"}, "KL on replayed text"),
        ({"train.kl_to_base": 0.1}, "KL on responses"),
        ({"train.kl_to_base": 0.1, "train.kl_on": "prompts"}, "KL on prompts"),
        ({"train.l2_to_base": 3.0, "train.epochs": 3.0}, "decay to the base"),
        ({"train.epochs": 1.0}, "fewer epochs"),
    ],
)
def test_a_way_is_told_by_its_settings(fields: dict, expected: str) -> None:
    assert kind(fields, 3.0) == expected
    assert kind(fields | {"train.epochs": 1.0}, 1.0) == expected.replace("fewer epochs", "plain")  # a sweep of short ones


def test_a_quadratic_explains_what_it_makes() -> None:
    x = np.linspace(0, 20, 40)
    y = 0.3 * x - 0.01 * x**2
    assert quadratic(x, y, np.array([7.0])) == pytest.approx([0.3 * 7 - 0.49])
    assert r_squared(x, y) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=40) * y.std()
    assert r_squared(x, y + noise) == pytest.approx(0.5, abs=0.15)
    assert np.isnan(r_squared(x, np.ones(40)))


def test_the_interval_is_over_arms() -> None:
    """Ten arms of which each is shifted by an error of its own: fifty runs say little more than ten."""
    rng = np.random.default_rng(1)
    arms = np.repeat(np.arange(10), 5)
    x = rng.uniform(0, 1, 10)[arms] + 0.01 * rng.normal(size=50)
    y = x + 0.4 * rng.normal(size=10)[arms]
    seeds, bases = np.arange(50) % 5, np.arange(50) % 2

    def found(names: np.ndarray, own: np.ndarray = bases) -> Estimate:
        return explained(x, y, Origin(names, seeds, own), np.random.default_rng(0))

    of_arms, of_runs = found(arms), found(np.arange(50))
    assert of_arms.value == of_runs.value
    assert of_arms.low < of_arms.value < of_arms.high
    assert of_arms.high - of_arms.low > 1.3 * (of_runs.high - of_runs.low)
    assert (of_arms.n_seeds, of_arms.n_items, of_arms.over) == (5, 50, Over.THESE_BASES)
    few = explained(x[:20], y[:20], Origin(arms[:20], seeds[:20], bases[:20]), rng)
    assert not few.known
    assert few.why == "needs 10 arms"
    alike = explained(x, np.ones(50), Origin(arms, seeds, bases), rng)
    assert (alike.known, alike.why) == (False, "no spread between seeds or items")


def test_the_share_of_a_variance_that_nothing_explains_begins_at_nothing() -> None:
    rng, arms = np.random.default_rng(3), np.repeat(np.arange(10), 8)
    found = explained(rng.uniform(0, 1, 80), rng.normal(size=80), Origin(arms, np.arange(80) % 8, np.arange(80) % 8), rng)
    assert found.low >= 0
    assert found.high <= 1


def test_runs_on_one_base_are_alike_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten arms on four bases, each shifted by an error of its own."""
    monkeypatch.setattr("analysis.stats.explained.DRAWS", 300)
    rng = np.random.default_rng(2)
    arms, bases = np.repeat(np.arange(10), 8), np.tile(np.arange(4), 20)
    x = rng.uniform(0, 1, 80)
    y = x + 0.5 * rng.normal(size=4)[bases]
    over_bases = explained(x, y, Origin(arms, np.tile(np.arange(8), 10), bases), np.random.default_rng(0))
    on_these = explained(x, y, Origin(arms, np.tile(np.arange(8), 10), bases % 2), np.random.default_rng(0))
    assert over_bases.over is Over.NEW_BASES
    assert over_bases.high - over_bases.low > 1.3 * (on_these.high - on_these.low)


RATES = {"lora": (2.5e-4, 6.3e-4, 1.6e-3, 4e-3)}
SHARES = (0.2, 0.4, 0.6, 0.8)


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plain LoRA along its rates; with replay it forgets half as much at the same quality, and scaled back a quarter."""
    arms = {}
    for rate, ability in zip(RATES["lora"], (-1.5, 0.0, 1.5, 2.5), strict=True):
        cost = float(np.exp(ability))
        fields = {"train.learning_rate": rate}
        scaled = {"evaluation.scales": "0.2+0.4+0.6+0.8"} if rate == RATES["lora"][-1] else {}
        arms[f"plain {rate}"] = ArmState(fields | scaled, ability=ability, held_out=ability - 1, forgetting=cost)
        replayed = fields | {"data.replay_share": 0.05}
        arms[f"replay {rate}"] = ArmState(replayed, ability=ability, held_out=ability - 1, forgetting=cost / 2)
    trials, items = question(arms, seeds=4, n_items=800, tuned=False)
    whole = trials.loc[trials["evaluation.scales"].notna(), "fingerprint"]
    back = {f"s{share}": ArmState({}, ability=a, held_out=a - 1, forgetting=float(np.exp(a)) / 4)
            for share, a in zip(SHARES, (-2.5, -1.0, 0.5, 1.8), strict=True)}  # fmt: skip
    theirs, at = question(back, seeds=4, n_items=800, tuned=False)
    to = dict(zip(theirs.sort_values(["arm", "seed"])["fingerprint"], [*whole] * len(SHARES), strict=True))
    share_of = {f: a.removeprefix("s") for f, a in zip(theirs["fingerprint"], theirs["arm"], strict=True)}
    names = [f"scaled:{share_of[f]}:{m}" for f, m in zip(at["fingerprint"], at["measure"], strict=True)]
    further = at.assign(measure=names, axis="other", fingerprint=at["fingerprint"].map(to))
    kl = 2 * trials["forgetting"] * np.random.default_rng(0).normal(1, 0.05, len(trials))
    return trials.assign(**{"after/kl/responses": kl}), pd.concat([items, further], ignore_index=True)


def test_a_training_that_several_arms_share_counts_once() -> None:
    trials = frames()[0]
    again = trials.assign(arm="asked in another way")
    once, twice = cloud([trials]), cloud([trials, again])
    assert once is not None
    assert twice is not None
    assert len(twice.kl_N) == len(once.kl_N) == len(trials)
    assert twice.r_squared.value == once.r_squared.value
    assert cloud([trials.iloc[:0], trials.drop(columns="after/kl/responses")]) is None


def test_what_a_way_saves_at_equal_quality() -> None:
    tables, found = of_frames("mitigations", *frames())
    assert [way.name for way in tables.own.ways] == ["LoRA", "LoRA, scaled back", "LoRA, replay"]
    assert tables.own.ways[1].places_K.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    for quality in ("quality", "exact_match/held_out"):
        replay, scaled = (tables.own.saved[name, quality] for name in ("LoRA, replay", "LoRA, scaled back"))
        assert replay.first.value / replay.second.value == pytest.approx(0.5, abs=0.1)
        assert scaled.first.value / scaled.second.value < 0.6  # its last step, to the whole way, is a long one
    assert found["replay_forgets_less_at_equal_quality"].verdict == "supported"
    assert found["scaling_back_forgets_less_than_a_lower_rate"].verdict == "supported"
    assert found["kl_on_the_task_tells_forgetting"].verdict == "not tested"  # eight arms say too little
    assert tables.own.told is not None
    assert tables.own.told.value == pytest.approx(1, abs=0.05)
    assert found["l2_forgets_less_at_equal_quality"].verdict == "not tested"


def test_the_page_over_all_asks_whether_kl_tells_forgetting(tmp_path: Path) -> None:
    trials, _ = frames()
    without = trials.drop(columns="after/kl/responses")
    alike = trials.assign(forgetting=1.001 * trials["forgetting"])
    other = trials.assign(forgetting_measures="nll/base_text", forgetting=1 / (1 + trials["forgetting"]))
    text = section({"mitigations": trials, "epochs": alike, "replay": without, "rank_vs_quality": other}, tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| rise")]
    assert [row[:4] for row in rows] == [
        ["rise of NLL on base text", "all", "32", "8"],
        ["rise of NLL on base text", "rank_vs_quality", "32", "8"],
        ["rise of NLL, mean of 2 domains", "all", "64", "16"],  # arms of two questions are others
        ["rise of NLL, mean of 2 domains", "mitigations", "32", "8"],
        ["rise of NLL, mean of 2 domains", "epochs", "32", "8"],
    ]
    assert rows[2][4].startswith(("1.0", "0.9"))
    assert (tmp_path / "forgetting_by_kl.png").stat().st_size > 10_000
    assert section({"replay": without}, tmp_path) == ""
