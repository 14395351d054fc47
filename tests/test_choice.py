"""What a report ends with: which arm to use and what that costs, and whether it is good enough."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from simulated import ArmState, FakeTracking, answered, changed, question, truths

import experiments
from analysis import questions
from analysis import report as door
from analysis.arms import Panel
from analysis.claims import accept
from analysis.claims.accept import Condition, Outcome
from analysis.claims.choice import ALPHA, Choice, Measured, _rival, choose, within
from analysis.claims.question import tables_of
from analysis.claims.tables import Tables
from analysis.figures.panels import draw
from analysis.reports import question as question_report
from analysis.reports import recipe, use
from analysis.stats.best import pairwise
from core.errors import BadInput

NAMES = experiments.names()
Frames = tuple[Any, Any]


def tables(arms: dict[str, ArmState], **settings: Any) -> Tables[Any]:
    return answered("label_noise", arms, tuned=False, seeds=6, **settings)[0]


def noises(**levels: dict[str, float]) -> dict[str, ArmState]:
    return changed(truths("label_noise"), **levels)


@pytest.fixture(scope="module")
def clear() -> Tables[Any]:
    """Half of the answers wrong costs quality; all others are alike, but one forgets more and one is quicker."""
    arms = noises(**{"share=0.5": {"ability": -1.0}, "share=0.25": {"forgetting": 3.0}})
    trials, items = question(arms, tuned=False, seeds=8)
    trials.loc[trials["arm"] == "noise_share=0.1", "seconds"] = 2.0
    return questions.answer("label_noise", trials, items).tables


def test_the_cheapest_of_the_arms_that_cannot_be_told_from_the_best_is_chosen(clear: Tables[Any]) -> None:
    found = choose(clear)
    assert (found.chosen, found.base) == ("noise_share=0.1", False)
    assert set(found.told) == {"noise_share=0", "noise_share=0.1"}
    assert found.worse == {
        "noise_share=0.5": "quality", "noise_share=0.25": "forgetting", "untuned base": "quality and exact match, held out",
    }  # fmt: skip
    assert all(0 <= e.low <= e.value <= e.high < 0.5 for e in found.losses.values())
    assert found.rival in ("noise_share=0", "noise_share=0.25")
    assert found.seen_twice < found.seen_now


def test_what_the_chosen_arm_costs_in_forgetting_is_said_beside_the_arm_that_spares_it() -> None:
    levels = {"share=0.5": (0.0, 0.1), "share=0.25": (0.5, 0.1), "share=0.1": (0.7, 0.5)}
    found = tables(noises(**{name: {"ability": a, "forgetting": f} for name, (a, f) in levels.items()}))
    choice = choose(found)
    assert choice.chosen == "noise_share=0"
    assert choice.gentler is not None
    assert choice.gentler.label == "noise_share=0.25"  # 0.1 forgets as much, 0.5 has less quality still
    assert 0 < choice.gentler.forgetting.low < choice.gentler.forgetting.value
    assert 0 < choice.gentler.quality.value < 0.3
    assert "Its price: noise_share=0.25 forgets 0." in " ".join(use.sentences(choice, found))


def test_no_more_than_all_of_an_accuracy_is_lost_or_told_apart() -> None:
    found, _ = answered("label_noise", truths("label_noise"), tuned=False, seeds=2, seed_sd=0.5)
    choice = choose(found)
    assert choice.seen_now > 1
    assert "a difference of more than 1 accuracy is found" in " ".join(use.sentences(choice, found))
    assert all(e.high <= 1 for name, e in choice.losses.items() if name != "forgetting")


def drawn(rng: np.random.Generator, truth_K: np.ndarray, n_seeds: int) -> Measured:
    """Right and wrong answers of arms, some of whose seeds differ much, to 200 questions that they share."""
    shape, names = (len(truth_K), n_seeds), tuple("abcdefg"[: len(truth_K)])
    level_KS = truth_K[:, None] + 0.1 * rng.choice([0.3, 1.0, 1.7], size=(shape[0], 1)) * rng.normal(size=shape)
    hard_KSI = 0.5 * rng.uniform(size=(1, 1, 200)) + 0.5 * rng.uniform(size=(*shape, 200))
    scores_KSI = (hard_KSI < level_KS[:, :, None]).astype(float)
    strata_I = np.zeros(200, dtype=int)
    panel = Panel(scores_KSI[:, 0], strata_I, {}, 200, crossed=True)
    return Measured("quality", names, scores_KSI, panel, pairwise(scores_KSI, strata_I, 200))


@pytest.mark.parametrize("n_seeds", [3, 6])
def test_an_arm_that_is_much_worse_is_rarely_used_and_the_expected_loss_is_kept(n_seeds: int) -> None:
    """The cheapest of the set may be much worse; what is expected to lose little loses little."""
    rng, careless, careful, expected = np.random.default_rng(0), [], [], []
    for _ in range(150):
        truth_K = np.clip(0.6 + 0.1 * rng.normal(size=5), 0.05, 0.95)
        one = drawn(rng, truth_K, n_seeds)
        told = one.set_of(one.labels, ALPHA / 3)
        left, risky = within([one], told)
        assert set(left) | set(risky) == set(told)
        lost = {label: float(truth_K.max() - truth_K[i]) for i, label in enumerate(one.labels)}
        careless.append(lost[told[0]])  # arms come in the order of their cost
        careful.append(lost[left[0]])
        expected.append(one.expected_losses(told)[left[0]])
    assert np.mean(np.array(careful) > 0.1) <= 0.06
    assert np.mean(np.array(careless) > 0.1) >= 0.25
    assert np.mean(careful) <= np.mean(expected) + 0.005


def test_a_cheap_arm_that_may_lose_much_is_named_with_what_more_seeds_would_say() -> None:
    """One arm is quicker and a little worse, and its seeds differ too much for a verdict."""
    trials, items = question(noises(**{"share=0.5": {"ability": -0.35}}), tuned=False, seeds=3, n_items=400)
    trials.loc[trials["arm"] == "noise_share=0.5", "seconds"] = 1.0
    t = questions.answer("label_noise", trials, items).tables
    found = choose(t)
    assert found.chosen != "noise_share=0.5"
    if "noise_share=0.5" in found.told:
        assert "noise_share=0.5" in found.risky
        assert found.rival == "noise_share=0.5"
        assert "Expected to lose too much of" in "\n".join(use.sentences(found, t))


def test_more_seeds_are_for_the_measure_on_which_the_cheaper_arm_loses_too_much(clear: Tables[Any]) -> None:
    """Losses in other units are compared in shares of what may be lost: .025 of .02 in accuracy is more than .06 of .15 nats."""
    cheap, dear = clear.arms[0].label, clear.arms[1].label
    t = SimpleNamespace(arm_rows=clear.arm_rows.assign(seconds=[1.0 if arm == cheap else 9.0 for arm in clear.arm_rows["arm"]]))
    quality, forgetting = (
        SimpleNamespace(name=name, expected_losses=lambda both, lost=lost: {cheap: lost}, tolerance=lambda both, most=most: most)
        for name, lost, most in (("quality", 0.025, 0.02), ("forgetting", 0.06, 0.15))
    )
    choice = Choice(chosen=dear, risky={cheap: "quality"})
    assert _rival(t, choice, [quality, forgetting], [dear, cheap])[1] is quality  # type: ignore[arg-type]


def test_arms_that_take_about_as_long_are_chosen_by_their_parameters() -> None:
    trials, items = question(noises(), tuned=False, seeds=8, seed_sd=0.01)
    trials["seconds"] = trials["arm"].map(lambda arm: 5.0 if arm == "noise_share=0" else 5.2)
    trials["trainable_parameters"] = trials["arm"].map(lambda arm: 1e4 if arm == "noise_share=0.25" else 1e5)
    assert choose(questions.answer("label_noise", trials, items).tables).chosen == "noise_share=0.25"


@pytest.mark.parametrize(("before", "better"), [(0.9, False), (0.0, True)])
def test_a_base_that_no_arm_beats_is_kept(before: float, better: bool) -> None:
    trials, items = question(noises(), tuned=False)
    at_random = (items["item"].str.extract(r"(\d+)$")[0].astype(int) % 10 < 10 * before).astype(float)
    items["before"] = at_random.where(items["measure"].str.startswith("exact_match"), items["before"])
    t = questions.answer("label_noise", trials, items).tables
    found = choose(t)
    assert found.base != better
    if found.base:
        assert found.chosen == "untuned base"
        assert found.instead == ""  # every arm is worse
        assert use.headline(found) == "Use this: keep the base; no arm is better"
    assert t.base_levels("quality") == pytest.approx({"untuned base": before})
    (row,) = (row for row in question_report.table(t)[1] if row[0] == "untuned base")
    assert row[2].startswith(f"{before:.1f}")


def test_where_nothing_can_be_decided_the_report_says_why() -> None:
    few = choose(answered("label_noise", noises(), tuned=False, seeds=1)[0])
    assert (few.chosen, few.why) == ("", "it needs 2 final seeds that finished in every arm, and there is 1")
    items = choose(answered("label_noise", noises(), tuned=False, n_items=8)[0])
    assert items.why == "only 8 evaluation items"
    assert use.headline(items) == "Use this: nothing can be decided, only 8 evaluation items"


def test_arms_with_another_quality_or_few_seeds_are_named_and_not_compared() -> None:
    trials, items = question(noises(), tuned=False)
    trials.loc[trials["arm"] == "noise_share=0.5", "quality_measure"] = "recall/taught"
    lost = (trials["arm"] == "noise_share=0.25") & (trials["seed"] > 0)
    trials.loc[lost, "state"] = "diverged"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    found = choose(questions.answer("label_noise", trials, items).tables)
    assert found.left_out == {
        "noise_share=0.5": "its quality is recall, taught, not exact match, seen",
        "noise_share=0.25": "1 of 4 final seeds finished",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["rank_vs_quality", "best_recipe", "chat_template", "data_quantity"])
def test_designs_of_all_kinds_get_a_choice_that_can_be_copied(name: str) -> None:
    experiment = experiments.load(name)
    frames = question(truths(name), tuned=bool(experiment.tune), n_items=200)
    t = tables_of(dataclasses.replace(questions.load(name), fitted=False, prepare=lambda t: None), *frames, experiment)
    found = choose(t)
    assert found.chosen in {arm.label for arm in t.arms}
    text = "\n".join(use.section(found, t, experiment))
    assert f"Use this: {found.chosen}" in text
    content = json.loads(use.to_json(use.content(found, t, experiment)))
    assert content["settings"]["train.learning_rate"] == pytest.approx(next(a.rate for a in t.arms if a.label == found.chosen))
    assert {row["arm"] for row in content["arms"]} >= {arm.label for arm in t.arms}
    assert bool(content["command"]) == (experiment.search is None)


def test_the_settings_are_yaml_and_the_command_leaves_out_all_others(clear: Tables[Any]) -> None:
    yaml = pytest.importorskip("yaml")
    arm = next(one for one in clear.arms if one.label == "noise_share=0.1")
    flat = recipe.settings(clear, arm)
    parts = yaml.safe_load(recipe.yaml(flat))
    assert {f"{part}.{name}": value for part, own in parts.items() for name, value in own.items()} == flat
    assert flat["model.name"] == ["lab:base-0", "lab:base-1"]
    words = shlex.split(recipe.command(clear, arm, experiments.load("label_noise")))
    assert [words[i + 1] for i, word in enumerate(words) if word == "--without"] == [
        "noise_share=0", "noise_share=0.25", "noise_share=0.5",
    ]  # fmt: skip
    assert yaml.safe_load(f"a: {recipe.number(1e-5)}") == {"a": 1e-5}


def test_a_figure_of_quality_has_the_base_as_a_line_or_says_where_it_lies(clear: Tables[Any]) -> None:
    texts = [text.get_text() for text in draw(clear).axes[0].texts]
    assert any("untuned base" in text for text in texts)


@pytest.mark.parametrize(
    ("text", "conditions", "arm"),
    [
        ("quality>=base+0.02,forgetting<=0.05", [("quality", True, True, 0.02), ("forgetting", False, False, 0.05)], ""),
        (" quality >= base - 1e-2 ", [("quality", True, True, -0.01)], ""),
        ("quality>=base,arm=lora r=4, 8", [("quality", True, True, 0.0)], "lora r=4, 8"),
        ("arm=full,kl/documents<=.5", [("kl/documents", False, False, 0.5)], "full"),
        ("quality>=0.5,quality<=0.9", [("quality", True, False, 0.5), ("quality", False, False, 0.9)], ""),
    ],
)
def test_conditions_are_read(text: str, conditions: list[tuple[Any, ...]], arm: str) -> None:
    asked = accept.parse(text)
    assert [(one.measure, one.least, one.base, one.number) for one in asked.conditions] == conditions
    assert asked.arm == arm


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write MEASURE>=NUMBER"),
        ("quality>0.5", "cannot be read"),
        ("quality>=two", "cannot be read"),
        ("quality>=2%", "cannot be read"),
        ("quality>=base0.2", "cannot be read"),
        ("quality>=0.5,", "cannot be read"),
        ("quality>=1e999", "too large"),
        ("quality>=0.5,quality>=0.6", "limited twice"),
        ("quality>=0.5,arm=", "give one arm"),
        ("arm=full", "no condition"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        accept.parse(text)


def test_a_condition_is_judged_by_its_interval(clear: Tables[Any]) -> None:
    mean = clear.means["noise_share=0.1"]["quality"]
    choice = choose(clear)

    def outcome(text: str) -> Outcome:
        return accept.overall(accept.judge(clear, choice, accept.parse(text)))

    assert outcome("quality>=base+0.02,forgetting<=2") is Outcome.ACCEPTED
    assert outcome(f"quality>={mean.value - 0.001}") is Outcome.UNDECIDED
    assert outcome(f"quality>={mean.low - 1e-6},arm=noise_share=0.1") is Outcome.ACCEPTED  # named: no other arm counts
    assert outcome(f"quality>={mean.low - 1e-6}") is Outcome.UNDECIDED  # chosen by the data: for all arms at once
    assert outcome("quality>=0.99,forgetting<=2") is Outcome.REJECTED
    assert outcome("quality>=base+0.02,arm=untuned base") is Outcome.REJECTED
    assert outcome("quality>=base,forgetting<=0,arm=untuned base") is Outcome.ACCEPTED
    assert accept.judge(clear, Choice(why="one seed"), accept.parse("quality>=0.1"))[0].outcome is Outcome.UNDECIDED
    of_six = dataclasses.replace(mean, n_items=6)
    few = dataclasses.replace(clear, means={"noise_share=0.1": {"quality": of_six}})
    judged = accept.judge(few, choice, accept.parse("quality>=0.1,arm=noise_share=0.1"))[0]
    assert (judged.outcome, judged.why) == (Outcome.UNDECIDED, "only 6 evaluation items")
    for text, says in (("qualty>=0", "did you mean 'quality'"), ("quality>=0,arm=noise", "choose|mean")):
        with pytest.raises(BadInput, match=says):
            outcome(text)


@pytest.mark.parametrize(
    ("text", "code"), [("quality>=base+0.02", 0), ("quality>=0.99", 1), ("quality>=0.7", 3), ("quality>>1", 2), ("nll>=1", 2)]
)
def test_the_exit_code_is_the_outcome(
    text: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = question(noises(), tuned=False, seeds=6, n_items=200)
    label_noise = questions.load("label_noise"), experiments.load("label_noise")
    monkeypatch.setattr(door, "tracking", FakeTracking(*frames))
    monkeypatch.setattr(question_report, "_figures", lambda asked, output: output.mkdir(parents=True, exist_ok=True) or [])
    monkeypatch.setattr(
        question_report,
        "analysed",
        lambda name, uri, sweep, directory, costs: question_report.report(*label_noise, frames, directory),
    )
    asked = ["label_noise", "--tracking-uri", "memory", "--report", str(tmp_path / "report"), "--json", "--accept", text]
    assert door.main(asked) == code
    told = capsys.readouterr()
    if code == 2:
        assert told.err.startswith("error: --accept ")
        return
    found = json.loads(told.out)
    assert found["accept"]["outcome"] == {0: "accepted", 1: "rejected", 3: "undecided"}[code]
    kept = json.loads((tmp_path / "report/decision.json").read_text())
    assert kept == {name: value for name, value in found.items() if name not in ("accept", "report")}
    assert (tmp_path / "report/report.md").read_text().rstrip().endswith("test split.")


def test_conditions_need_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["--accept", "quality>=1"]) == 2
    assert "name it" in capsys.readouterr().err
    assert isinstance(accept.parse("quality>=1").conditions[0], Condition)
