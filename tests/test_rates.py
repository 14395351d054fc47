"""Learning rates on a model that is not the laboratory's: where ranges and fixed rates go, and what like sweeps have found."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driven import drive

import experiments
from core import preflight, rates
from core.errors import BadInput
from core.experiment import Experiment
from core.rates import RATE
from core.settings import Lora
from core.states import Phase, State
from sweeps import moved, priors, smoke
from sweeps.configured import configured
from sweeps.ledger import Outcome
from sweeps.options import Options
from sweeps.plan import Job, Plan, arms
from sweeps.priors import Like, Prior
from sweeps.search import Search


@pytest.mark.parametrize(
    ("width", "kind", "changes_base", "rate"),
    [
        (2_000, "llama", False, 5e-4), (2_000, "llama", True, 5e-5), (576, "llama", False, 1.31e-3),
        (128, "llama", False, 4.2e-3),
        (4_096, "llama", False, 2.87e-4), (4_096, "gemma3_text", True, 2.87e-5), (4_096, "qwen2", False, 4.73e-4),
        (896, "qwen3", True, 5.32e-5),
    ],
)  # fmt: skip
def test_the_best_rate_by_width_family_and_method(width: int, kind: str, changes_base: bool, rate: float) -> None:
    assert rates.best(width, kind, changes_base) == pytest.approx(rate, rel=0.01)


def test_a_range_is_as_wide_as_the_questions_and_reaches_eight_times_at_most() -> None:
    assert rates.around(1.31e-3, 1e-4, 3e-2) == (1.6e-4, 1e-2)
    assert rates.around(1e-3, 1e-3, 4e-3) == (5e-4, 2e-3)


def asked(name: str, model: str = "", *settings: str, **more: object) -> Experiment:
    return configured(experiments.load(name), Options(model=model or None, set=settings, **more))  # type: ignore[arg-type]


def levels(experiment: Experiment) -> list[float]:
    found = {arm.overrides.get(RATE, experiment.base.train.learning_rate) for arm in arms(experiment)}
    return sorted(float(str(rate)) for rate in found)


def test_the_laboratorys_questions_are_as_they_are_written() -> None:
    for name in experiments.names():
        assert asked(name) == experiments.load(name)
        assert moved.told(asked(name), experiments.load(name), False) == []


def test_tuned_ranges_go_by_the_width_and_method_of_each_arm(make_model: Callable[..., str]) -> None:
    model = make_model("llama")  # 32 wide: the rule says 1.23e-2
    found = asked("rank_vs_quality", model)
    by_arm = {arm.label: arm for arm in arms(found)}
    lora, full = by_arm["lora r=16"].tune[RATE], by_arm["full"].tune[RATE]
    assert (lora.low, lora.high, lora.grid) == (1.5e-3, 9.9e-2, 4)
    assert (full.low, full.high, full.grid) == (1.5e-4, 9.9e-3, 4)
    assert by_arm["full"].grid[0] == {RATE: 1.5e-4}
    assert moved.ranges(found) == "1.5e-3 to 9.9e-2 for LoRA, 1.5e-4 to 9.9e-3 for full (width 32; Schulman 2025)"
    fewer = asked("rank_vs_quality", model, tune_trials=3)
    assert [len(arm.grid) for arm in arms(fewer)] == [3] * 5
    assert Plan.of(found, preflight.provenance).sweep != Plan.of(asked("rank_vs_quality"), preflight.provenance).sweep


def test_an_arm_at_a_rate_of_its_own_moves_as_the_range_does(make_model: Callable[..., str]) -> None:
    found = asked("curriculum", make_model("llama"))
    own = {float(str(arm[RATE])) for arm in found.also if RATE in arm}
    high = next(arm for arm in arms(found) if RATE in arm.tune).tune[RATE].high
    assert own == {rates.moved(3e-2, 32, "llama")}
    assert min(own) > high / 2
    assert any(f"learning_rate={rates.rounded(min(own)):g}" in arm.label for arm in arms(found))
    assert "learning rate of arms that are not tuned: " in moved.told(found, experiments.load("curriculum"), False)[0]
    full = asked("curriculum", make_model("llama"), "adapter.method=full")
    assert min(float(str(arm[RATE])) for arm in full.also if RATE in arm) == pytest.approx(
        min(own) / rates.LORA_OVER_FULL, rel=0.02
    )


def test_models_of_several_widths_have_a_range_each(make_model: Callable[..., str]) -> None:
    model = make_model("qwen2")
    found = asked("model_scale", "", f"model.name=lab:base-small-0,lab:base-0,{model}")
    question = experiments.load("model_scale").tune[RATE]
    spaces: dict[bool, set[tuple[float, float]]] = {True: set(), False: set()}
    for arm in arms(found):
        spaces[arm.overrides["model.name"] == model].add((arm.tune[RATE].low, arm.tune[RATE].high))
    assert spaces[False] == {(question.low, question.high)}
    assert spaces[True] == {rates.around(rates.best(32, "qwen2", False), question.low, question.high)}


def test_methods_that_change_the_base_have_fulls_rates_only_where_these_are_theirs(make_model: Callable[..., str]) -> None:
    found = asked("rank_vs_quality", model := make_model("qwen2"))
    spaces = {method: found.rates[model, method] for method in ("lora", "full", "last-layers", "bitfit", "layernorm")}
    assert spaces["full"] == spaces["last-layers"]
    assert spaces["lora"] == spaces["bitfit"] == spaces["layernorm"]  # ten times full's: Ben Zaken et al. 2021
    assert spaces["lora"][0] > 5 * spaces["full"][0]


def test_what_the_user_sets_stays(make_model: Callable[..., str]) -> None:
    model = make_model("llama")
    assert asked("rank_vs_quality", model, f"{RATE}=1e-4..1e-1").rates == {}
    assert asked("epochs", model, f"{RATE}=2e-3").base.train.learning_rate == 2e-3
    assert levels(asked("learning_rate", model, f"{RATE}=1e-4,1e-3")) == [1e-4, 1e-3]
    assert moved.told(asked("epochs", model, f"{RATE}=1e-3"), experiments.load("epochs"), True) == []


def test_fixed_rates_and_axes_move_with_the_width_and_keep_their_ratios(make_model: Callable[..., str]) -> None:
    model = make_model("llama")
    ratio = (128 / 32) ** 0.775
    found = asked("epochs", model)
    assert found.base.train.learning_rate == pytest.approx(2e-3 * ratio, rel=0.05)
    assert moved.told(found, experiments.load("epochs"), False) == [
        "learning rate: 5.9e-3 (the laboratory's 2e-3, moved to width 32; Schulman 2025)"
    ]
    assert asked("epochs", model, "adapter.method=full").base.train.learning_rate == pytest.approx(2e-4 * ratio, rel=0.05)
    for name in ("learning_rate", "forgetting_tradeoff"):
        was, now = levels(experiments.load(name)), levels(asked(name, model))
        assert now == pytest.approx([rate * ratio for rate in was], rel=0.05)
    recipe = asked("best_recipe", model, "data.n_clusters=none")
    assert recipe.search is not None
    assert recipe.search.space[RATE] == dataclasses.replace(
        experiments.load("best_recipe").search.space[RATE],
        low=1.5e-3,
        high=9.9e-2,  # type: ignore[union-attr]
    )


def test_an_experiment_of_ones_own_on_a_model_of_ones_own_keeps_its_rates(make_model: Callable[..., str]) -> None:
    question = experiments.load("rank_vs_quality")
    model = dataclasses.replace(question.base.model, name=make_model("llama"))
    own = dataclasses.replace(question, base=dataclasses.replace(question.base, model=model), with_seed={})
    assert configured(own, Options()) == own


# What like sweeps have found


@pytest.fixture
def plan(make_model: Callable[..., str], rows_file: str) -> Plan:
    found = asked("rank_vs_quality", make_model("llama"), data=rows_file, tune_trials=4, seeds=1, without=("lora r=64",))
    return Plan.of(found, preflight.provenance)


def truth(best: float) -> Callable[[object], Outcome]:
    return lambda job: Outcome(State.FINISHED, 1 - abs(job.trial.train.learning_rate / best - 1), 1.0)  # type: ignore[attr-defined]


def tuned(plan: Plan, output: Path, name: str, best: float) -> Search:
    """A sweep that has been tuned, and its record."""
    directory = output / name
    directory.mkdir(parents=True)
    search = Search(plan, {})
    drive(search, truth(best))
    priors.keep_tuned(directory, plan, search.parts)
    return search


def test_the_rates_of_a_like_sweep_come_first_and_are_kept_in_the_sweeps_own_record(plan: Plan, tmp_path: Path) -> None:
    done, new = tuned(plan, tmp_path, "rank_vs_quality-1", 4.1e-3), tmp_path / "target_modules-2"
    found = priors.of(plan, new, tmp_path, True)
    best = {part.arm.label: (part.best() or {})[RATE] for part in done.parts}
    assert {label: one.rate for label, one in found.items() if one} == best
    taken = dataclasses.replace(plan, priors=dict.fromkeys(found, 5e-3))  # what was found is a point of the same grid
    assert priors.told(dataclasses.replace(plan, priors=best), found, True) == []
    said = priors.told(taken, found, True)
    assert len(said) == 1
    assert "(tuned in rank_vs_quality-1; --no-prior leaves it out)" in said[0]
    assert priors.of(plan, new, tmp_path, False) == dict.fromkeys(best)
    new.mkdir()
    priors.keep(new, found)
    assert priors.keep(new, dict.fromkeys(found)) == best  # a process that began it a moment later goes on with these
    tuned(plan, tmp_path, "another-3", 2e-3)
    (tmp_path / "rank_vs_quality-1" / priors.TUNED).unlink()
    assert priors.of(plan, new, tmp_path, True) == priors.of(plan, new, tmp_path, False) == found
    assert "began with it" in priors.told(taken, found, False)[0]


def test_a_call_with_fewer_arms_keeps_what_the_others_were_tuned_to(plan: Plan, tmp_path: Path) -> None:
    def kept() -> dict[tuple[str, int], float]:
        return {(row["method"], row["rank"]): row["rate"] for row in json.loads((directory / priors.TUNED).read_text())}

    directory = tmp_path / "rank_vs_quality-1"
    tuned(plan, tmp_path, directory.name, 4.1e-3)
    whole = kept()
    one = dataclasses.replace(plan, arms=plan.arms[:1])
    search = Search(one, {})
    drive(search, truth(2e-3))
    priors.keep_tuned(directory, one, search.parts)
    assert (kept().keys(), whole.items() - kept().items()) == (whole.keys(), {(("lora", 1), whole["lora", 1])})
    end = dataclasses.replace(one, experiment=dataclasses.replace(one.experiment, tune_beyond=0))
    search = Search(end, {})
    drive(search, truth(1e9))
    priors.keep_tuned(directory, end, search.parts)
    assert kept() == {arm: rate for arm, rate in whole.items() if arm != ("lora", 1)}  # its best rate is an end now


def test_a_sweep_that_began_without_a_prior_never_takes_one(plan: Plan, tmp_path: Path) -> None:
    begun = tmp_path / "begun-1"
    (begun / "trials" / "a").mkdir(parents=True)
    tuned(plan, tmp_path, "later-2", 4e-3)
    assert set(priors.of(plan, begun, tmp_path, True).values()) == {None}
    fresh = tmp_path / "fresh-1"
    fresh.mkdir()
    priors.keep(fresh, priors.of(plan, fresh, tmp_path, False))
    assert set(priors.of(plan, fresh, tmp_path, True).values()) == {None}


def test_nothing_is_learnt_from_rates_that_were_all_as_good_or_from_a_damaged_record(plan: Plan, tmp_path: Path) -> None:
    directory = tmp_path / "flat-1"
    directory.mkdir()
    search = Search(plan, {})
    drive(search, lambda job: Outcome(State.FINISHED, 0.5 if job.phase is Phase.FINAL else 0.0, 1.0))  # on the test split
    priors.keep_tuned(directory, plan, search.parts)
    assert not (directory / priors.TUNED).exists()
    for text in ("{", "[1]", json.dumps([{"rate": 1.0}])):
        (directory / priors.TUNED).write_text(text)
        assert set(priors.of(plan, tmp_path / "new-2", tmp_path, True).values()) == {None}


@pytest.mark.parametrize(
    ("best", "failing", "kept"), [(1e-9, None, 0), (1.0, None, 0), (1.0, State.DIVERGED, 0), (1.0, State.CRASHED, 0)]
)
def test_a_rate_that_was_best_at_an_end_of_those_tried_is_not_learnt(
    best: float, failing: State | None, kept: int, plan: Plan, tmp_path: Path
) -> None:
    def outcome(job: Job) -> Outcome:
        rate = job.trial.train.learning_rate
        if failing and rate > 5e-3:
            return Outcome(failing, None, 1.0)
        return Outcome(State.FINISHED, -abs(math.log(rate / best)), 1.0)

    fixed = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, tune_beyond=0))
    search = Search(fixed, {})
    drive(search, outcome)
    priors.keep_tuned(tmp_path, fixed, search.parts)
    assert (tmp_path / priors.TUNED).exists() == (kept > 0)


def test_a_smoke_sweep_teaches_nothing(plan: Plan, tmp_path: Path) -> None:
    assert smoke.small(plan.experiment).smoke
    small = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, smoke=True))
    assert small.sweep == plan.sweep  # the sizes make it another sweep, not the word
    tuned(small, tmp_path, "rank_vs_quality-1", 4.1e-3)
    assert set(priors.of(plan, tmp_path / "new-2", tmp_path, True).values()) == {None}
    tuned(plan, tmp_path, "rank_vs_quality-3", 4.1e-3)
    assert None not in priors.of(plan, tmp_path / "new-2", tmp_path, True).values()


def test_an_input_that_changed_meanwhile_keeps_no_sweep_from_its_end(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(trial: object) -> Like:
        raise BadInput("data.source: no such file")

    monkeypatch.setattr(Like, "of", changed)
    tuned(plan, tmp_path, "rank_vs_quality-1", 4e-3)
    assert not list(tmp_path.glob(f"*/{priors.TUNED}"))


def test_a_damaged_record_of_what_was_taken_is_told(plan: Plan, tmp_path: Path) -> None:
    for text in ("{", "[1]", '{"lora r=1": {"rate": 1.0}}'):
        (tmp_path / priors.PRIOR).write_text(text)
        with pytest.raises(BadInput, match=r"prior\.json: cannot be read"):
            priors.of(plan, tmp_path, tmp_path, True)


def test_the_laboratory_takes_no_prior(plan: Plan, tmp_path: Path) -> None:
    tuned(plan, tmp_path, "real-1", 4e-3)
    lab = Plan.of(experiments.load("rank_vs_quality"), preflight.provenance)
    assert priors.of(lab, tmp_path / "lab-2", tmp_path, True) == {}


ONE = Like("llama", 576, 30, "lora", "gym", 2.0, "linear", "adamw", rank=16, batch_size=16, steps=200)


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({}, True), ({"rank": 64}, True), ({"rank": 4}, True), ({"rank": 1}, False), ({"batch_size": 32}, True),
        ({"batch_size": 64}, False), ({"steps": 50}, True), ({"steps": 20}, False), ({"width": 577}, False),
        ({"layers": 12}, False), ({"method": "full"}, False), ({"data": "text"}, False), ({"architecture": "qwen2"}, False),
        ({"scale": 1.0}, False), ({"schedule": "constant"}, False), ({"optimizer": "lion"}, False),
    ],
)  # fmt: skip
def test_what_is_alike(change: dict[str, object], alike: bool) -> None:
    assert (ONE.apart(dataclasses.replace(ONE, **change)) < float("inf")) is alike  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("adapter", "scale"),
    [({}, 2.0), ({"alpha": 16.0}, 1.0), ({"alpha": 16.0, "rank_stabilized": True}, 4.0), ({"rank_stabilized": True}, 8.0)],
)
def test_how_much_an_adapter_is_scaled_is_part_of_what_is_alike(plan: Plan, adapter: dict[str, Any], scale: float) -> None:
    own = plan.trial(0, plan.arms[1].overrides)
    assert Like.of(dataclasses.replace(own, adapter=Lora(rank=16, **adapter))).scale == scale


def test_the_nearest_is_taken(plan: Plan) -> None:
    arm = plan.arms[1]
    own = Like.of(plan.trial(0, arm.overrides))
    others = [(dataclasses.replace(own, rank=8), Prior(1e-3, "a")), (own, Prior(2e-3, "b")), (own, Prior(3e-3, "c"))]
    assert priors._nearest(plan, arm, others) == Prior(2e-3, "b")
