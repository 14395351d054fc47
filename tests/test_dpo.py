"""The question dpo: which arms are tuned, and that each claim is judged on the second stage's own rates."""

from __future__ import annotations

import pytest
from simulated import changed, question, truths

import experiments
from analysis import questions
from analysis.claims import comparable
from analysis.reports import recipe
from core.errors import BadInput
from core.fields import replace_field
from core.settings import Trial
from core.states import State
from sweeps.configured import configured
from sweeps.ledger import Outcome
from sweeps.options import Options
from sweeps.plan import Plan
from sweeps.proposals import Proposals
from sweeps.tuning import TunedArm

EXPERIMENT = experiments.load("dpo")


def test_arms_without_a_second_stage_are_not_tuned_and_not_blamed_for_it() -> None:
    plan = Plan.of(EXPERIMENT, lambda trial: {})
    alone = [arm for arm in plan.arms if arm.overrides.get("prefer.method") == "none"]
    assert [arm.label for arm in alone] == ["lora first stage", "full first stage learning_rate=0.0008"]
    assert [plan.n_tuning_of(arm) for arm in plan.arms] == [0 if arm in alone else EXPERIMENT.tune_trials for arm in plan.arms]
    states = changed(truths("dpo", forgetting=0.5), first_stage={"ability": 0.0}, chosen={"ability": 0.8, "forgetting": 0.9})
    trials, items = question(states, seeds=4)
    bare = trials[~((trials["phase"] == "tune") & trials["arm"].str.contains("first stage"))]
    found = questions.answer("dpo", bare, items)
    verdicts = {one.id: one for one in found.verdicts}
    assert set(verdicts) == {claim.id for claim in EXPERIMENT.claims}
    assert (verdicts["dpo_raises_quality"].verdict, verdicts["dpo_forgets_less_than_more_tuning"].verdict) == ("supported",) * 2
    assert not comparable.not_tuned(found.tables.arm_rows)
    other = trials[~((trials["phase"] == "tune") & trials["arm"].str.contains("chosen"))]
    assert comparable.not_tuned(questions.answer("dpo", other, items).tables.arm_rows)


def test_the_rate_of_an_arm_is_that_of_its_second_stage() -> None:
    trials, items = question(truths("dpo"), seeds=2)
    trials["prefer.rate_ratio"] = trials["train.learning_rate"] / 2e-3
    trials["train.learning_rate"] = 2e-3
    rows = questions.answer("dpo", trials, items).tables.arm_rows
    tuned = rows[(rows["curve"] == "lora") & rows["tunable"]]
    assert len(tuned) == 4
    assert not tuned["at_edge"].any()  # the ratio lies between others, whatever the first stage's rate


def test_what_is_copied_from_a_report_has_the_rate_of_the_first_stage() -> None:
    trials, items = question(truths("dpo"), seeds=2)
    trials["prefer.rate_ratio"], trials["train.learning_rate"] = 0.05, 3e-3
    t = questions.answer("dpo", trials, items).tables
    dpo = t.arm({"stage": "DPO 0.1", "adapter.method": "lora"})
    assert dpo is not None
    found = recipe.settings(t, dpo)
    assert (found["train.learning_rate"], found["prefer.rate_ratio"]) == (3e-3, 0.05)


def test_a_best_ratio_at_an_end_is_followed(tmp_path: object) -> None:
    plan = Plan.of(EXPERIMENT, lambda trial: {})
    part = TunedArm(plan, plan.arms[0], Proposals(tmp_path / "p"))  # type: ignore[operator]
    part.points = [*part.arm.grid, {"prefer.rate_ratio": 0.02}]
    for number, quality in enumerate((0.9, 0.5, 0.4, 0.3, 0.8)):
        part.outcomes[part._tuning(number).key] = Outcome(State.FINISHED, quality, 1.0)
    further = part._beyond()
    assert further is not None
    assert further["prefer.rate_ratio"] == pytest.approx(0.003 / 100 ** (1 / 3), rel=0.05)


def test_settings_of_a_second_stage_that_no_arm_has_are_refused() -> None:
    asked = experiments.load("epochs")
    with pytest.raises(BadInput, match="no arm of epochs has a second stage") as caught:
        configured(asked, Options(set=("prefer.beta=0.3",)))
    assert caught.value.field == "prefer.beta"
    found = configured(asked, Options(set=("prefer.method=dpo", "prefer.beta=0.3")))
    assert found.base.prefer.beta == 0.3
    assert configured(EXPERIMENT, Options(set=("prefer.n_pairs=20",))).base.prefer.n_pairs == 20
    assert replace_field(Trial(), "prefer.method", "ipo").prefer.on
