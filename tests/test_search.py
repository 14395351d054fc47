"""The search, with a made-up quality: neither the order of outcomes nor an interruption changes what a sweep runs."""

from __future__ import annotations

import dataclasses
import json
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
from sweeps import overrides
from sweeps.ledger import Outcome
from sweeps.plan import Job, Plan
from sweeps.proposals import Proposals
from sweeps.search import Search
from sweeps.tuning import TunedArm

EXPERIMENT = Experiment(
    name="made_up",
    question="?",
    base=Trial(adapter=Lora(rank=4)),
    vary={"adapter.rank": (1, 4)},
    also=({"adapter.method": "full"},),
    tune={"train.learning_rate": LogUniform(1e-4, 1e-1, grid=3)},
    tune_trials=5,
    seeds=(0, 1),
)
PLAN = Plan.of(EXPERIMENT, inspect)
BEST_RATE = {"lora r=1": 2e-2, "lora r=2": 1e-2, "lora r=4": 5e-3, "full": 6e-4}


def truth(job: Job) -> Outcome:
    """A parabola in log learning rate with a little noise that is the trial's own."""
    distance = math.log10(job.trial.train.learning_rate / BEST_RATE[job.arm])
    noise = random.Random(job.key).gauss(0, 0.002)
    return Outcome(State.FINISHED, 0.8 - 0.2 * distance**2 + noise, 1.0)


def new(known: dict[str, Outcome], studies: Path | None = None, experiment: Experiment = EXPERIMENT) -> Search:
    return Search(Plan.of(experiment, inspect), known, studies=studies)


@pytest.fixture(scope="module")
def whole() -> dict[str, Outcome]:
    """key → outcome of the sweep run without a break, one at a time."""
    search = new({})
    told = drive(search, truth)
    assert search.finished()
    return {job.key: truth(job) for job in told}


def test_a_sweep_runs_every_tuning_trial_and_every_seed_once(whole: dict[str, Outcome]) -> None:
    assert len(whole) == PLAN.n_trials == 21
    search = new(whole)
    assert search.finished()
    assert search.next() is None
    assert sorted(job.key for job in search.jobs()) == sorted(whole)


@pytest.mark.parametrize("slots", [2, 5])
def test_the_order_of_outcomes_does_not_matter(whole: dict[str, Outcome], slots: int) -> None:
    search = new({})
    assert {job.key for job in drive(search, truth, slots=slots, order=random.Random(slots))} == set(whole)
    assert search.finished()


def test_an_interruption_at_any_point_does_not_matter(whole: dict[str, Outcome]) -> None:
    for stop in range(0, len(whole), 4):
        first = drive(new({}), truth, slots=2, order=random.Random(stop), stop_after=stop)
        known = {job.key: truth(job) for job in first}
        second = drive(new(known), truth)
        assert {job.key for job in second} == set(whole) - set(known)


def test_any_subset_of_the_ledger_leads_to_the_same_sweep(whole: dict[str, Outcome]) -> None:
    for number in range(4):
        rng = random.Random(number)
        kept = {key: found for key, found in whole.items() if rng.random() < 0.5}
        assert {job.key for job in drive(new(kept), truth)} == set(whole) - set(kept)


def test_tuning_comes_before_finals_and_arms_take_turns() -> None:
    told = drive(new({}), truth)
    assert [job.name for job in told[:4]] == ["lora r=1 tune 0", "lora r=4 tune 0", "full tune 0", "lora r=1 tune 1"]
    phases = [job.phase for job in told]
    assert phases == ["tune"] * 15 + ["final"] * 6


def test_a_running_job_is_not_handed_out_twice_and_proposals_wait_for_the_grid() -> None:
    search = new({})
    jobs = [search.next() for _ in range(9)]
    assert len({job.key for job in jobs if job}) == 9  # three grid points in each of three arms
    assert search.next() is None
    assert not search.finished()


def test_finals_use_the_setting_that_was_best_on_validation(whole: dict[str, Outcome]) -> None:
    search = new(whole)
    for arm in search.parts:
        jobs = arm.known_jobs()
        best = max((job for job in jobs if job.phase is Phase.TUNE), key=lambda job: whole[job.key].quality or 0)
        finals = [job for job in jobs if job.phase is Phase.FINAL]
        assert {job.trial.train.learning_rate for job in finals} == {best.trial.train.learning_rate}
        assert [job.trial.seed for job in finals] == [0, 1]
        assert abs(math.log10(best.trial.train.learning_rate / BEST_RATE[arm.arm.label])) < 0.35


def test_the_best_two_run_again_on_further_bases_and_the_mean_decides() -> None:
    """The rate that is best on the first base diverges, or is much worse, on the others."""
    bases = ("lab:base-0", "lab:base-1", "lab:base-2")
    again = dataclasses.replace(EXPERIMENT, with_seed={"model.name": bases}, tune_again=2, also=())

    def elsewhere(job: Job) -> Outcome:
        found = truth(job)
        if job.trial.model.name == bases[0] or job.phase is Phase.FINAL:
            return found
        worse = job.trial.train.learning_rate == best[job.arm]
        lost = State.DIVERGED if job.arm == "lora r=1" else State.FINISHED
        return Outcome(lost, None if lost.failed else 0.1, 1.0, "loss is nan") if worse else found

    alone = new({}, experiment=dataclasses.replace(again, tune_again=0))
    drive(alone, truth)
    best = {part.arm.label: (part.best() or {})["train.learning_rate"] for part in alone.parts}
    search = new({}, experiment=again)
    told = drive(search, elsewhere)
    assert search.finished()
    chosen = [job for job in told if job.phase is Phase.AGAIN]
    assert len(chosen) == 2 * 2 * 2 == sum(map(search.plan.n_again_of, search.plan.arms))
    assert len(told) == search.n_planned()
    assert {job.trial.model.name for job in chosen} == set(bases[1:])
    assert {(job.trial.seed, job.trial.evaluation.split) for job in chosen} == {(1_000, "validation")}
    for part in search.parts:
        rates = {job.trial.train.learning_rate for job in chosen if job.arm == part.arm.label}
        assert part.best() == {"train.learning_rate": (rates - {best[part.arm.label]}).pop()}
    phases = [job.phase for job in told]
    assert phases.index(Phase.FINAL) > max(i for i, phase in enumerate(phases) if phase is Phase.AGAIN)


def on_bases(quality_of: Callable[[float, str], Outcome]) -> tuple[Search, list[float]]:
    """A search of one arm over three bases, and the rates of its first four points."""
    bases = ("lab:base-0", "lab:base-1", "lab:base-2")
    one = dataclasses.replace(EXPERIMENT, with_seed={"model.name": bases}, tune_again=2, also=(), vary={}, tune_trials=4)
    one = dataclasses.replace(one, tune={name: dataclasses.replace(space, grid=4) for name, space in one.tune.items()})
    search = new({}, experiment=one)
    rates = [point["train.learning_rate"] for point in search.parts[0].arm.grid]
    drive(search, lambda job: quality_of(job.trial.train.learning_rate, job.trial.model.name))
    assert search.finished()
    return search, rates


def test_where_further_bases_choose_an_end_the_range_is_gone_on_with_on_all_of_them() -> None:
    """The first base has the third of four rates before the fourth, the others the fourth, and one beyond it the best."""

    def quality(rate: float, base: str) -> Outcome:
        place = sum(rate >= 0.99 * one for one in found)
        first, others = (0.0, 0.80, 0.85, 0.90, 0.89, 0.88, 0.5), (0.0, 0.5, 0.5, 0.5, 0.7, 0.9, 0.6)
        return Outcome(State.FINISHED, (first if base == "lab:base-0" else others)[min(place, 6)], 1.0)

    one = dataclasses.replace(EXPERIMENT.tune["train.learning_rate"], grid=4)
    step = (one.high / one.low) ** (1 / 3)
    found = [one.low * step**i for i in range(6)]
    search, rates = on_bases(quality)
    part = search.parts[0]
    assert (part.best() or {})["train.learning_rate"] == pytest.approx(rates[3] * step, rel=0.01)
    again = [job for job in part.known_jobs() if job.phase is Phase.AGAIN]
    assert len(again) == 2 * 3 == part.n_again  # the best two and the one beyond, past which no rate may lie
    assert search.n_planned() == len(part.known_jobs())


def test_a_base_on_which_one_setting_crashed_counts_for_neither() -> None:
    """.80, .60, .60 against .79, none, .599: the mean of all that finished would choose the second."""

    def quality(rate: float, base: str) -> Outcome:
        others = {0.80: (0.60, 0.60), 0.79: (None, 0.599)}
        first = {rates[1]: 0.80, rates[2]: 0.79}.get(rate, 0.1)
        value = first if base == "lab:base-0" else others[first][0 if base == "lab:base-1" else 1]
        return Outcome(State.OOM, None, 1.0, "out of memory") if value is None else Outcome(State.FINISHED, value, 1.0)

    one = dataclasses.replace(EXPERIMENT.tune["train.learning_rate"], grid=4)
    rates = [float(f"{one.low * (one.high / one.low) ** (i / 3):.3g}") for i in range(4)]
    search, tried = on_bases(quality)
    assert tried == rates
    assert search.parts[0].best() == {"train.learning_rate": rates[1]}


def test_one_base_is_not_asked_again() -> None:
    alone = Plan.of(dataclasses.replace(EXPERIMENT, tune_again=2), inspect)
    assert (alone.n_trials, alone.n_more_bases) == (PLAN.n_trials, 0)
    folds = overrides.with_input(experiments.load("quality_vs_quantity"), "--model", "lab:base-0")
    made = Plan.of(folds, inspect)
    assert (made.cycle, made.n_more_bases) == (4, 0)  # what else goes with the seed is no base


def test_proposals_stay_in_the_range_and_are_new(whole: dict[str, Outcome]) -> None:
    def flat(job: Job) -> Outcome:
        return Outcome(State.FINISHED, 0.5, 1.0)  # nothing to learn: Optuna likes to go to the ends

    search = new({})
    drive(search, flat)
    for arm in search.parts:
        rates = [point["train.learning_rate"] for point in arm.points]
        assert len(set(rates)) == EXPERIMENT.tune_trials
        assert all(1e-4 <= rate <= 1e-1 for rate in rates)


def test_where_every_value_of_three_digits_was_tried_proposals_have_four() -> None:
    narrow = dataclasses.replace(EXPERIMENT, tune={"train.learning_rate": LogUniform(1e-3, 2e-3, grid=3)}, tune_trials=200)
    (arm, *_) = new({}, experiment=narrow).parts
    assert isinstance(arm, TunedArm)
    arm.points = [{"train.learning_rate": float(f"{rate}e-5")} for rate in range(100, 201)]
    found = arm._new(arm.points[7], random.Random(0))
    assert found not in arm.points
    assert found == {"train.learning_rate": float(f"{found['train.learning_rate']:.4g}")}


def test_failed_tuning_trials_are_never_the_best_and_do_not_stop_an_arm() -> None:
    def outcome(job: Job) -> Outcome:
        if job.phase == Phase.TUNE and job.trial.train.learning_rate > 5e-2:
            return Outcome(State.DIVERGED, None, 1.0, "the loss is not finite at step 3 of 9")
        if job.phase == Phase.TUNE and job.number == 1:
            return Outcome(State.CRASHED, None, 1.0, "the worker process died")
        return truth(job)

    search = new({})
    told = drive(search, outcome, slots=2, order=random.Random(1))
    assert search.finished()
    assert len(told) == 21
    for job in told:
        if job.phase is Phase.FINAL:
            assert job.trial.train.learning_rate < 5e-2
            assert job.trial.train.learning_rate != search.parts[0].points[1]["train.learning_rate"]
    known = {job.key: outcome(job) for job in told[:7]}
    assert {job.key for job in drive(new(known), outcome)} == {job.key for job in told[7:]}


def test_an_arm_in_which_nothing_works_ends_without_finals() -> None:
    def outcome(job: Job) -> Outcome:
        return Outcome(State.CRASHED, None, 1.0, "no") if job.arm == "full" else truth(job)

    search = new({})
    told = drive(search, outcome)
    assert search.finished()
    assert [arm.has_no_setting() for arm in search.parts] == [False, False, True]
    assert sum(job.arm == "full" for job in told) == EXPERIMENT.tune_trials
    assert {job.phase for job in told if job.arm == "full"} == {"tune"}


def test_without_tuning_only_finals_run() -> None:
    fixed = overrides.apply_settings(EXPERIMENT, ["train.learning_rate=1e-3"])
    told = drive(new({}, experiment=fixed), truth)
    assert len(told) == 6
    assert {(job.phase, job.trial.train.learning_rate) for job in told} == {("final", 1e-3)}


def test_adding_a_rank_and_a_seed_runs_only_what_is_new(whole: dict[str, Outcome]) -> None:
    more = overrides.with_seeds(overrides.apply_settings(EXPERIMENT, ["adapter.rank=1,2,4"]), 3)
    told = drive(new(whole, experiment=more), truth)
    assert sorted(job.name for job in told if job.arm != "lora r=2") == ["full seed 2", "lora r=1 seed 2", "lora r=4 seed 2"]
    assert sum(job.arm == "lora r=2" for job in told) == 8


def test_another_range_goes_on_with_the_same_ledger_in_studies_of_its_own(whole: dict[str, Outcome], tmp_path: Path) -> None:
    studies = tmp_path / "optuna.db"
    new(whole, studies).close()
    wider = overrides.apply_settings(EXPERIMENT, ["train.learning_rate=1e-4..5e-1"])
    search = new(whole, studies, wider)
    told = drive(search, truth)
    assert search.finished()
    assert search.close() == 0
    assert all(1e-4 < job.trial.train.learning_rate <= 0.5 for job in told if job.phase is Phase.TUNE)  # the low end was known
    assert sum(job.phase is Phase.TUNE for job in told) == 3 * (EXPERIMENT.tune_trials - 1)
    assert max(job.trial.train.learning_rate for job in told) == 0.5
    labels = [label for found in trials_in(studies).values() for label in found]
    assert (len(labels), len(set(labels))) == (15 + 15, 15 + 12)
    assert drive(new(whole | {job.key: truth(job) for job in told}, studies), truth) == []  # and back to the range before


def trials_in(studies: Path) -> dict[str, list[str]]:
    """Study → labels of its trials."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{studies}")
    names = optuna.get_all_study_names(storage)
    found = {name: optuna.load_study(study_name=name, storage=storage).trials for name in names}
    storage.engine.dispose()
    assert all(trial.state.is_finished() for trials in found.values() for trial in trials)
    return {name: [trial.user_attrs["label"] for trial in trials] for name, trials in found.items()}


def test_the_study_holds_every_tuning_trial_once_after_interruptions(whole: dict[str, Outcome], tmp_path: Path) -> None:
    studies, known = tmp_path / "optuna.db", dict[str, Outcome]()
    for _ in range(6):
        search = new(known, studies)
        told = drive(search, truth, slots=2, order=random.Random(len(known)), stop_after=4)
        known |= {job.key: truth(job) for job in told}
        if len(known) % 8:
            assert search.close() == 0  # else: killed before it could close
    found = trials_in(studies)
    assert sorted(found) == [f"{PLAN.sweep} {label}" for label in ("full", "lora r=1", "lora r=4")]
    tuned = [key for key in whole if key.endswith("-tune")]
    assert sorted(label for labels in found.values() for label in labels) == sorted(f"{key} finished" for key in tuned)


def test_a_repeated_failure_is_recorded_beside_its_success(tmp_path: Path) -> None:
    studies, one = tmp_path / "optuna.db", dataclasses.replace(EXPERIMENT, vary={"adapter.rank": (4,)}, also=())
    job = new({}, experiment=one).jobs()[0]
    for outcome in (
        Outcome(State.CRASHED, None, 1.0, "no"),
        Outcome(State.FINISHED, 0.5, 1.0),
        Outcome(State.FINISHED, None, 1.0),
    ):
        new({job.key: outcome}, studies, one).close()
    assert trials_in(studies) == {f"{PLAN.sweep} lora r=4": [f"{job.key} crashed", f"{job.key} finished"]}


def test_a_locked_study_file_does_not_stop_the_sweep(
    whole: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.studies.BUSY_SECONDS", 0.01)
    studies = tmp_path / "optuna.db"
    reader = sqlite3.connect(studies, isolation_level=None)
    reader.execute("CREATE TABLE other (x)")
    reader.execute("BEGIN EXCLUSIVE")
    search = new({}, studies)
    told = drive(search, truth)
    assert {job.key for job in told} == set(whole)
    assert search.close() == 15  # the record lacks them all
    reader.execute("ROLLBACK")
    reader.close()
    assert new(whole, studies).close() == 0
    assert sum(map(len, trials_in(studies).values())) == 15


# Proposals that are kept


def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever Optuna is asked."""
    calls: list[int] = []
    ask = TunedArm._ask
    monkeypatch.setattr(TunedArm, "_ask", lambda self, number, scored: calls.append(number) or ask(self, number, scored))
    return calls


def kept(path: Path, known: dict[str, Outcome], writes: bool = False) -> set[str]:
    """The keys of the search that is replayed with the proposals of a file."""
    search = Search(PLAN, known, Proposals(path, writes))
    return {job.key for job in search.jobs()}


def test_proposals_are_made_once_and_kept(whole: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "proposals.jsonl", asked(monkeypatch)
    assert kept(path, whole) == set(whole)
    assert len(calls) == 6  # two in each of three arms, of a sweep from before proposals were kept
    assert not path.exists()  # who only looks writes nothing
    assert kept(path, whole, writes=True) == set(whole)
    assert (len(calls), len(path.read_text().splitlines())) == (12, 6)
    assert kept(path, whole) == kept(path, whole, writes=True) == set(whole)
    assert (len(calls), len(path.read_text().splitlines())) == (12, 6)


def test_kept_proposals_of_other_outcomes_are_not_used(
    whole: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "proposals.jsonl"
    kept(path, whole, writes=True)
    calls = asked(monkeypatch)
    first = next(job for job in new({}).jobs() if job.arm == "full")
    other = whole | {first.key: dataclasses.replace(whole[first.key], quality=0.99)}
    assert kept(path, other) == {job.key for job in new(other).jobs()}
    assert calls[0] == 3  # the arm's first proposal follows from what has changed
    monkeypatch.setattr("sweeps.proposals.version", lambda package: "another")
    calls.clear()
    assert kept(path, whole) == set(whole)
    assert len(calls) == 6


def test_a_damaged_file_of_proposals_changes_nothing(
    whole: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "proposals.jsonl"
    kept(path, whole, writes=True)
    lines = path.read_text().splitlines()
    changed = json.loads(lines[0])
    changed["values"][0]["train.learning_rate"] *= 2
    torn = lines[2][:40]  # by a kill, without its end
    path.write_bytes("\n".join([json.dumps(changed), "{}", "[1]", "null", "\x00\xff", *lines[3:], torn]).encode("latin-1"))
    calls = asked(monkeypatch)
    assert kept(path, whole, writes=True) == set(whole)
    assert len(calls) == 3
    assert kept(path, whole) == set(whole)
    assert len(calls) == 3  # the lines that were missing have been added


def test_what_a_search_does_for_a_job_does_not_grow_with_the_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    whole = TunedArm.known_jobs
    monkeypatch.setattr(TunedArm, "known_jobs", lambda arm: looks.append(1) or whole(arm))

    def looks_a_job(n_arms: int) -> float:
        looks.clear()
        many = dataclasses.replace(
            EXPERIMENT, vary={"data.n_examples": tuple(range(1, n_arms + 1))}, also=(), tune={}, tune_trials=0
        )
        told = drive(new({}, experiment=many), lambda job: Outcome(State.FINISHED, 0.5, 1.0), slots=3)
        assert len(told) == 2 * n_arms
        assert [job.number for job in told] == [0] * n_arms + [1] * n_arms  # arms in turn
        return len(looks) / len(told)

    assert looks_a_job(200) <= looks_a_job(10) * 1.01
