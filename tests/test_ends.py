"""A best learning rate at an end of its range: the range is gone on with, the same after any interruption."""

from __future__ import annotations

import dataclasses
import math
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import drive, inspect

import experiments
from core.experiment import Experiment, LogUniform
from core.settings import Lora, Trial
from core.states import Phase, State
from sweeps import smoke
from sweeps.ledger import Outcome
from sweeps.plan import Job, Plan
from sweeps.search import Search

RATE = "train.learning_rate"
EXPERIMENT = Experiment(
    name="made_up",
    question="?",
    base=Trial(adapter=Lora(rank=4)),
    vary={"adapter.rank": (1, 4)},
    tune={RATE: LogUniform(1e-4, 1e-2, grid=3)},
    tune_trials=4,
    seeds=(0, 1),
)
PLAN = Plan.of(EXPERIMENT, inspect)
Truth = Callable[[Job], Outcome]


def top_at(best: float, diverges: float = math.inf) -> Truth:
    """A parabola in the logarithm of the rate; from `diverges` on there is no quality."""

    def outcome(job: Job) -> Outcome:
        rate = job.trial.train.learning_rate
        if rate >= diverges:
            return Outcome(State.DIVERGED, None, 1.0, "the loss is not finite")
        return Outcome(State.FINISHED, 0.8 - 0.1 * math.log10(rate / best) ** 2, 1.0)

    return outcome


def run(truth: Truth, experiment: Experiment = EXPERIMENT) -> Search:
    search = Search(Plan.of(experiment, inspect), {})
    drive(search, truth)
    assert search.finished()
    return search


def rates(search: Search) -> list[float]:
    """What the first arm has tried, in order."""
    return [job.trial.train.learning_rate for job in search.parts[0].known_jobs() if job.phase is Phase.TUNE]


def chosen(search: Search) -> float:
    return float(str((search.parts[0].best() or {})[RATE]))


@pytest.mark.parametrize(("best", "beyond"), [(3e-1, [0.1, 1.0]), (2e-7, [1e-5, 1e-6]), (2e-2, [0.1])])
def test_a_best_rate_at_an_end_is_gone_beyond_by_steps_of_the_grid(best: float, beyond: list[float]) -> None:
    search = run(top_at(best))
    assert rates(search)[EXPERIMENT.tune_trials :] == beyond
    assert search.n_planned() == PLAN.n_trials + 2 * len(beyond) == len(search.done())
    finals = [job for job in search.parts[0].known_jobs() if job.phase is Phase.FINAL]
    assert {job.trial.train.learning_rate for job in finals} == {chosen(search)}
    assert search.parts[0].tuned()


def test_a_best_rate_between_others_or_as_good_as_they_are_ends_the_tuning() -> None:
    assert len(rates(run(top_at(1e-3)))) == EXPERIMENT.tune_trials
    assert len(rates(run(lambda job: Outcome(State.FINISHED, 0.0, 1.0)))) == EXPERIMENT.tune_trials
    assert len(rates(run(lambda job: Outcome(State.CRASHED, None, 1.0)))) == EXPERIMENT.tune_trials


def test_below_a_rate_that_diverged_the_range_is_halved() -> None:
    search = run(top_at(3e-3, diverges=5e-3))
    assert rates(search)[:3] == [1e-4, 1e-3, 1e-2]
    assert PLAN.n_beyond == 4
    finished = [rate for rate in rates(search) if rate < 5e-3]
    assert all(1e-3 < rate < 1e-2 for rate in rates(search)[3:])
    assert chosen(search) in finished


def test_what_crashed_is_not_gone_beyond() -> None:
    def truth(job: Job) -> Outcome:
        crashed = job.trial.train.learning_rate > 2e-3
        return Outcome(State.CRASHED, None, 1.0, "out of memory") if crashed else top_at(1e-2)(job)

    assert len(rates(run(truth))) == EXPERIMENT.tune_trials


def test_no_rate_leaves_what_can_be_trained_with() -> None:
    high = dataclasses.replace(EXPERIMENT, tune={RATE: LogUniform(1e-2, 5, grid=3)})
    assert all(rate < 10 for rate in rates(run(top_at(100), high)))


@pytest.mark.parametrize("best", [3e-1, 2e-7])
def test_an_interruption_at_any_point_gives_the_same_trials(best: float) -> None:
    truth = top_at(best)
    whole = {job.key: truth(job) for job in drive(Search(PLAN, {}), truth)}
    assert len(whole) == PLAN.n_trials + 4
    for stop in range(len(whole)):
        first = drive(Search(PLAN, {}), truth, slots=2, order=random.Random(stop), stop_after=stop)
        second = drive(Search(PLAN, {job.key: truth(job) for job in first}), truth, slots=3, order=random.Random(stop))
        assert {job.key for job in first} | {job.key for job in second} == set(whole)
        assert len(first) + len(second) == len(whole)


def test_the_study_holds_what_was_tried_beyond_the_range(tmp_path: Path) -> None:
    search = Search(PLAN, {}, studies=tmp_path / "optuna.db")
    drive(search, top_at(3e-1))
    assert search.close() == 0
    with sqlite3.connect(tmp_path / "optuna.db") as file:
        (count,) = file.execute("select count(*) from trials").fetchone()
    assert count == 2 * (EXPERIMENT.tune_trials + 2)


def test_a_smoke_run_stays_within_its_range_and_no_default_sweep_changes_its_plan() -> None:
    asked = experiments.load("rank_vs_quality")
    assert Plan.of(smoke.small(asked), inspect).n_beyond == 0
    plan = Plan.of(asked, inspect)
    assert (plan.n_tuning, plan.n_beyond) == (20, 10)


@pytest.mark.parametrize(("prior", "asked", "tried"), [(4e-4, 4, [1e-4, 1e-3, 1e-2, 4e-4]), (2e-4, 3, [1e-4, 1e-3, 1e-2, 2e-4])])
def test_the_rate_of_a_like_sweep_is_proposed_first(prior: float, asked: int, tried: list[float]) -> None:
    plan = dataclasses.replace(Plan.of(dataclasses.replace(EXPERIMENT, tune_trials=asked), inspect), priors={"lora r=1": prior})
    search = Search(plan, {})
    drive(search, top_at(5e-4))
    assert rates(search) == tried
    assert plan.sweep == Plan.of(plan.experiment, inspect).sweep
    inside = dataclasses.replace(plan, priors={"lora r=1": 1e-3})  # a point of the grid: nothing to add
    search = Search(inside, {})
    drive(search, top_at(1e-3))
    assert len(rates(search)) == asked


def test_a_prior_further_away_than_an_arm_may_go_is_none() -> None:
    plan = Plan.of(EXPERIMENT, inspect)  # 1e-4 to 1e-2 in steps of 10, and two steps beyond
    for prior, taken in ((0.9, True), (1.1, False), (1.1e-6, True), (0.9e-6, False)):
        given = dataclasses.replace(plan, priors={"lora r=1": prior})
        assert (given.prior_of(given.arms[0]) == prior) is taken
