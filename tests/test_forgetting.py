"""forgetting_tradeoff: sweeps whose truth is known, one rule at a time; and the laws of forgetting by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import ArmState, question

import experiments
from analysis import questions
from analysis.claims.question import Answer, tables_of
from analysis.questions.forgetting_tradeoff import laws, mix
from analysis.questions.forgetting_tradeoff.methods import FULL, LORA, METHODS, RANK_16
from analysis.questions.forgetting_tradeoff.tradeoff import LEFT, Compared, Tradeoff
from analysis.reports.question import report
from analysis.stats import Decision
from analysis.stats.scaling import seed_draws
from core.lab.skills import FOLDS
from sweeps import plan

NAME = "forgetting_tradeoff"
EXPERIMENT, QUESTION = experiments.load(NAME), questions.load(NAME)
BEST = {"lora": 2e-3, "full": 6e-4}  # the learning rates


@dataclass(frozen=True)
class Truth:
    """What is true of a sweep. Along its rates a method's quality has one shape; its forgetting is `lora` or 1 at its best rate
    and rises with the rate by `slope` (log-log), with the epochs by `exponent`."""

    lora: float = 0.4
    slope: float = 0.8
    exponent: float = 0.15
    straight: bool = True  # in the loss
    absent: float = 2.0  # how much more a domain forgets that the mix lacks
    lost_inside: float = 0.02  # raw skills
    lost_outside: float = 0.06
    left: float = 0.2  # of the rise, after relearning
    held_out: float = 0.8  # by how much LoRA's logit on held-out tasks is higher


def states(truth: Truth) -> dict[str, ArmState]:
    found = {}
    for arm in plan.arms(EXPERIMENT):
        trial = plan.overridden(EXPERIMENT.base, arm.overrides)
        method, epochs = trial.adapter.method, trial.train.epochs
        offset = np.log10(trial.train.learning_rate / BEST[method])
        forgetting = (truth.lora if method == "lora" else 1.0) * 10 ** (truth.slope * offset) * (epochs / 3) ** truth.exponent
        loss = 5 - 2 * forgetting if truth.straight else 3 * np.exp(-6 * forgetting) + 0.01
        fields = {
            "adapter.method": method, "adapter.rank": getattr(trial.adapter, "rank", None), "train.epochs": epochs,
            "train.learning_rate": trial.train.learning_rate, "train/steps": 63 * epochs, "train/loss_last_tenth": loss,
        }  # fmt: skip
        ability, more = 2.0 - 2.0 * offset**2, truth.held_out if method == "lora" else 0.0
        found[arm.label] = ArmState(fields, ability, held_out=ability - 1.0 + more, forgetting=forgetting)
    return found


def laboratory(truth: Truth, seeds: int = 8, seed_sd: float = 0.03) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames with folds, the six domains and the raw skills of the laboratory."""
    trials, items = question(states(truth), seeds=seeds, seed_sd=seed_sd, tuned=False)
    trials["data.held_out_fold"] = trials["seed"] % 4
    trials["forgetting_measures"] = ", ".join(f"nll/{name}" for name in mix.DOMAINS)
    fold = items["fingerprint"].map(trials.set_index("fingerprint")["data.held_out_fold"])
    asked = items["item"].str.extract(r"(\d+)$")[0].astype(int) % 4 != fold  # each fold asks other questions
    parts, one = [items[(items["axis"] != "forgetting") & asked]], items[items["measure"] == "nll/prose"]
    for name in mix.DOMAINS:
        absent = fold[one.index].map({i: not mix.share_of_mix(name, i) for i in range(4)})
        scale = np.where(absent, truth.absent, 1.0)
        parts.append(one.assign(measure=f"nll/{name}", group=name, after=one["before"] + scale * (one["after"] - one["before"])))
    rises = pd.concat(parts[1:])
    left = rises["before"] + truth.left * (rises["after"] - rises["before"])
    parts.append(rises.assign(measure=LEFT, axis="other", after=left))
    made = pd.concat(parts, ignore_index=True)
    return trials, with_skills(made, trials, truth)


def with_skills(items: pd.DataFrame, trials: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    rng, names = np.random.default_rng(5), [s for s, cluster in mix.CLUSTER_OF.items() if cluster != "facts"]
    parts = [items[items["measure"] != "raw_accuracy/skills"]]
    for row in trials.itertuples():
        own = pd.DataFrame({"group": np.repeat(names, 20)})
        outside = own["group"].map(mix.CLUSTER_OF).isin(FOLDS[int(trials.loc[row.Index, "data.held_out_fold"])])
        lost = rng.random(len(own)) < np.where(outside, truth.lost_outside, truth.lost_inside)
        own = own.assign(fingerprint=row.fingerprint, measure="raw_accuracy/skills", axis="other", weight=1.0, before=1.0)
        parts.append(own.assign(item=[f"{g}{i}" for i, g in enumerate(own["group"])], after=1.0 - lost))
    return pd.concat(parts, ignore_index=True)


def analysed(truth: Truth) -> Answer[Tradeoff]:
    return questions.answer(NAME, *laboratory(truth))


def decisions(found: Answer[Tradeoff]) -> dict[str, Decision]:
    return {one.id: one.verdict for one in found.verdicts}


@pytest.fixture(scope="module")
def as_published() -> Answer[Tradeoff]:
    return analysed(Truth(lost_inside=0.06, lost_outside=0.12))


@pytest.fixture(scope="module")
def reversed_() -> Answer[Tradeoff]:
    return analysed(Truth(4.0, -0.8, 0.9, False, 0.5, lost_inside=0.04, lost_outside=0.01, left=0.8, held_out=-0.8))


CLAIMS = (
    "absent_domains_forget_more",
    "raw_skills_lose_over_5_points",
    "half_of_the_rise_is_mode",
    "lora_forgets_less_at_equal_quality",
    "lora_forgets_less_at_equal_held_out_quality",
    "lora_loses_less_at_equal_quality",
    "lora_better_held_out",
    "forgetting_linear_in_loss",
)  # and lora_keeps_skills_at_equal_quality, on which nothing was put in


def test_what_is_true_is_supported(as_published: Answer[Tradeoff]) -> None:
    found = decisions(as_published)
    assert found.pop("lora_keeps_skills_at_equal_quality") is not Decision.CONTRADICTED
    assert found == dict.fromkeys(CLAIMS, Decision.SUPPORTED)


def test_the_opposite_is_contradicted(reversed_: Answer[Tradeoff]) -> None:
    found = decisions(reversed_)
    assert found.pop("lora_keeps_skills_at_equal_quality") is not Decision.CONTRADICTED
    assert found == dict.fromkeys(CLAIMS, Decision.CONTRADICTED)


def test_effects_are_those_put_in(as_published: Answer[Tradeoff]) -> None:
    found = {one.id: one for one in as_published.verdicts}
    steps = as_published.tables.own.against_steps[RANK_16].exponent
    assert steps is not None
    assert steps.value == pytest.approx(0.15, abs=0.02)
    equal = as_published.tables.own.at_equal_quality[Compared()]
    assert equal.second.value / equal.first.value == pytest.approx(1 / 0.4, rel=0.15)
    less = found["lora_forgets_less_at_equal_quality"]
    assert less.low is not None
    assert less.high is not None
    assert less.low < equal.second.value - equal.first.value < less.high


def test_accuracy_and_nll_may_disagree_and_the_report_shows_both() -> None:
    """LoRA has the higher loss on pretraining text and keeps more raw skills."""
    trials, items = laboratory(Truth(lora=4.0, lost_inside=0.01, lost_outside=0.01))
    full = set(trials.loc[trials["adapter.method"] == "full", "fingerprint"])
    skills = (items["measure"] == "raw_accuracy/skills") & items["fingerprint"].isin(full)
    items.loc[skills & (np.random.default_rng(0).random(len(items)) < 0.1), "after"] = 0.0
    answer = questions.answer(NAME, trials, items)
    found = decisions(answer)
    assert found["lora_forgets_less_at_equal_quality"] is Decision.CONTRADICTED
    assert found["lora_keeps_skills_at_equal_quality"] is Decision.SUPPORTED
    text = "\n".join(QUESTION.sections(answer.tables))
    assert ", LoRA more" in text
    assert ", LoRA less" in text


def test_the_report_has_every_part(tmp_path: Path) -> None:
    made = report(QUESTION, EXPERIMENT, laboratory(Truth(), seeds=4), tmp_path)
    page = (tmp_path / "report.md").read_text()
    for part in ("## The front", "## At equal quality", "## By domain", "## Laws of forgetting"):
        assert part in page
    for line in ("| LoRA r=4 |", "| LoRA r=64 |", "| prose | 0% |", "| LoRA r=16, 4 lengths | steps |"):
        assert line in page
    assert "nll/code" not in (tmp_path / "table.md").read_text()
    assert "nll/code" in pd.read_csv(tmp_path / "arms.csv").columns
    assert {"figure.png", "figure.pdf"} <= {file.name for file in made.files}


@pytest.mark.parametrize("kept", [["lora r=16 learning_rate=0.0016"], ["full"], ["epochs=1"], ["r=4", "full"]])
def test_part_of_the_arms_has_a_report(kept: list[str], tmp_path: Path) -> None:
    trials, items = laboratory(Truth(), seeds=2)
    trials = trials[[any(part in arm for part in kept) for arm in trials["arm"]]]
    made = report(QUESTION, EXPERIMENT, (trials, items[items["fingerprint"].isin(trials["fingerprint"])]), tmp_path)
    assert len(made.arm_rows) == trials["arm"].nunique()
    assert (tmp_path / "figure.pdf").is_file()


def test_shares_of_the_mix_follow_the_held_out_fold() -> None:
    for fold in range(4):
        assert sum(mix.share_of_mix(name, fold) for name in mix.DOMAINS) == pytest.approx(1)
        assert mix.share_of_mix("code", fold) == mix.share_of_mix("prose", fold) == 0
    with_facts = [fold for fold in range(4) if mix.share_of_mix("facts", fold)]
    assert with_facts == [fold for fold in range(4) if "facts" not in FOLDS[fold]]


def test_the_front_is_that_of_the_frontier_below(as_published: Answer[Tradeoff]) -> None:
    probability, volumes = as_published.tables.own.front, as_published.tables.own.volumes
    assert probability["full learning_rate=0.004"] < 0.05  # past the top: less quality for more forgetting
    assert max(p for arm, p in probability.items() if arm.startswith("lora r=16")) > 0.5
    assert volumes[RANK_16].low > volumes[FULL].high  # 0.4 of the forgetting


@pytest.mark.parametrize("law", laws.SHAPES)
def test_the_law_that_made_the_points_misses_least(law: str) -> None:
    rng, x = np.random.default_rng(3), np.geomspace(0.02, 3, 14)
    made = {
        "line": 4 - 1.2 * x, "quadratic": 4 - 3 * x + 0.6 * x**2, "logarithm": 1.3 - np.log(x), "power": 0.8 * x**-0.5,
    }[law]  # fmt: skip
    found = laws.shapes(x, made + rng.normal(0, 0.02, len(x)))
    assert found[0].law == law or (law == "line" and found[0].law == "quadratic")  # a line is a quadratic, too
    aicc = {one.law: one.aicc for one in found}
    assert law == "power" or aicc[law] == min(value for value in aicc.values() if np.isfinite(value))


def test_intervals_of_the_exponent_and_of_r_squared_cover_them() -> None:
    rng, steps, x = np.random.default_rng(4), np.array([19.0, 63, 189, 567]), np.linspace(0.1, 3, 12)
    covered, straight = [], []
    for _ in range(400):
        slopes = 0.15 + rng.normal(0, 0.04, (8, 1))
        y_SK = np.exp(rng.normal(0, 0.3, (8, 1))) * steps**slopes * np.exp(rng.normal(0, 0.05, (8, 4)))
        e = laws.exponent(steps, y_SK, 240)
        assert e is not None
        covered.append(e.low <= 0.15 <= e.high)
        lines = laws.straightness(np.tile(x, (8, 1)), 4 - x + rng.normal(0, 0.3, (8, 12)), 240)
        straight.append(lines.low <= 0.916 <= lines.high)  # the mean R² of such noise over 60,000 draws
    assert 0.92 <= np.mean(covered) <= 0.98
    assert 0.90 <= np.mean(straight) <= 0.98
    assert laws.exponent(steps, np.array([[0.1, 0.2, -0.1, 0.4], [0.1, 0.2, 0.3, 0.4]]), 240) is None


def test_a_band_holds_the_law_it_is_of() -> None:
    rng, x, at = np.random.default_rng(6), np.linspace(0.1, 3, 8), np.array([0.5, 2.0])
    hits = []
    for _ in range(200):
        y_SK = 4 - x + rng.normal(0, 0.3, (8, 1)) + rng.normal(0, 0.2, (8, 8))
        low, high = laws.band("line", x, seed_draws(y_SK, rng), at)
        hits.append((low <= 4 - at) & (4 - at <= high))
    assert 0.92 <= np.mean(hits) <= 0.99


def test_arms_past_the_best_rate_are_no_part_of_the_law_in_the_loss() -> None:
    t = tables_of(QUESTION, *laboratory(Truth(), seeds=2), EXPERIMENT)
    points = t.own.against_loss[LORA].points
    assert {arm.rate for arm in points.arms} == {2.5e-4, 6.3e-4, 1.6e-3}
    assert points.y_SK.shape == (2, len(points.arms))


def test_exponents_between_neighbours_show_where_a_power_law_bends() -> None:
    steps = np.array([10.0, 100.0, 1_000.0])
    assert laws.local_exponents(steps, np.sqrt(steps)) == (
        "between neighbours 0.50 from 10 to 100 steps, 0.50 from 100 to 1,000 steps"
    )
    assert "−0.30 from 100 to 1,000 steps" in laws.local_exponents(steps, np.array([1.0, 2.0, 1.0]))


def test_what_is_drawn_is_prepared(as_published: Answer[Tradeoff]) -> None:
    own = as_published.tables.own
    assert set(own.curves) == set(METHODS)
    assert {method: list(found) for method, found in own.shorter.items() if found} == {RANK_16: [1.0], FULL: [1.0]}
    assert own.lengths == [9.0, 3.0, 1.0, 0.3]
    loss = own.against_loss[LORA]
    assert list(loss.lines) == list(dict.fromkeys(("line", loss.shapes[0].law)))
    for line in (*loss.lines.values(), *(steps.power for steps in own.against_steps.values())):
        assert line is not None
        assert ((line.low <= line.y) & (line.y <= line.high)).mean() > 0.95
    assert own.against_loss[(FULL,)].lines == {}
    assert [one.name for one in own.domains][-2:] == ["code", "prose"]


def test_a_method_is_named_by_its_adapter_and_rank() -> None:
    assert [method.name for method in METHODS] == ["LoRA r=4", "LoRA r=16", "LoRA r=64", "full"]
    assert [method.label for method in (RANK_16, FULL)] == ["LoRA r = 16", "full"]
