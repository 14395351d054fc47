"""What goes to the store and when: everything that has a result in the end, in any order, without the store ever holding up a
sweep; and disks that are full or not ours."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from driven import drive, inspect

from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.fields import flatten
from core.result import Result, write_whole
from core.settings import Lora, Trial
from core.states import State
from core.tracking import TrialRecord
from sweeps import ledger, resources
from sweeps.ledger import Outcome
from sweeps.logbook import Logbook
from sweeps.plan import Job, Plan
from sweeps.proposals import Proposals
from sweeps.run import prepare_output
from sweeps.search import Search
from sweeps.sweep import Sweep
from sweeps.tuning import TunedArm

EXPERIMENT = Experiment(
    name="made_up",
    question="?",
    base=Trial(adapter=Lora(rank=4)),
    vary={"adapter.rank": (1, 4)},
    tune={"train.learning_rate": LogUniform(1e-4, 1e-1, grid=3)},
    tune_trials=5,
    tune_beyond=0,
    seeds=(0, 1),
)
PLAN = Plan.of(EXPERIMENT, inspect)
N_TRIALS = 14


def truth(job: Job) -> Outcome:
    return Outcome(State.FINISHED, random.Random(job.key).random(), 1.0)


class Memory:
    """A store in memory. Until `answers_from` (monotonic time) every call costs `costs_seconds` and fails."""

    def __init__(self, answers_from: float = 0.0, costs_seconds: float = 0.0, refuses: str = "") -> None:
        self.answers_from, self.costs_seconds, self.refuses = answers_from, costs_seconds, refuses
        self.parent_id, self.uri, self.restored = "", "http://store", False
        self.kept: dict[Path, int] = {}
        self.replaced: dict[Path, int] = {}
        self.runs: list[str] = []
        self.n_refused = 0

    def _answer(self) -> None:
        if time.monotonic() < self.answers_from:
            self.n_refused += 1
            time.sleep(self.costs_seconds)
            raise ConnectionError("nobody there")

    def open(self, params: object, note: str, tags: object) -> None:
        self.parent_id = ""
        self._answer()
        self.parent_id = "parent"

    def holds(self, record: TrialRecord) -> bool:
        return record.key in self.runs

    def log_trial(self, record: TrialRecord) -> None:
        self._answer()
        if record.key == self.refuses:
            raise BadInput("result.json is damaged")
        self.runs.append(record.key)

    def supersede(self, stale: object) -> None:
        pass

    def close(self, status: str) -> None:
        self._answer()


def record(key: str) -> TrialRecord:
    return TrialRecord(key=key, name=key, arm="c", phase="tune", axes=(), folder=Path())


def test_a_store_that_is_away_for_a_while_costs_a_few_attempts_and_gets_all_2000(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.logbook.REST_SECONDS", (0.02, 0.1))
    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.01)
    store = Memory()
    with Logbook(store, {}, "note") as book:  # type: ignore[arg-type]
        book.check()
        store.answers_from, store.costs_seconds = time.monotonic() + 1.0, 0.05
        started = time.monotonic()
        for number in range(2_000):
            book.put(record(str(number)))
        assert time.monotonic() - started < 0.5  # the sweep does not wait
        time.sleep(1.2)
        assert store.n_refused < 20  # not one attempt a trial
        book.finish(lambda *_: False)
    assert book.missing == []
    assert sorted(store.runs, key=int) == [str(number) for number in range(2_000)]


def test_a_trial_that_can_not_be_logged_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.logbook.REST_SECONDS", (0.01, 0.02))
    store = Memory(refuses="3")
    with Logbook(store, {}, "note") as book:  # type: ignore[arg-type]
        for number in range(10):
            book.put(record(str(number)))
        book.finish(lambda *_: False)
    assert [one.key for one in book.missing] == ["3"]
    assert "damaged" in book.reason()
    assert sorted(set(store.runs)) == [str(number) for number in range(10) if number != 3]


# Everything that has a result is logged


def finish(directory: Path, job: Job) -> Outcome:
    """What a worker leaves of a trial."""
    found = truth(job)
    metrics = {"quality": found.quality or 0.0}
    Result(job.fingerprint, metrics=metrics, seconds=1.0).write(ledger.trial_directory(directory, job.key))
    return found


def call(directory: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch, order: random.Random | None, stop_after: int) -> list[str]:
    """One call of the command, with two workers; what the store has afterwards. It is killed after `stop_after` trials."""

    def execute(self: Sweep, book: Logbook, share: object, address: object) -> None:
        def ended(job: Job) -> Outcome:
            ledger.name(self._record(job))
            outcome = finish(directory, job)
            book.put(self._record(job))
            return outcome

        drive(self.search, ended, slots=3, order=order, stop_after=stop_after)

    monkeypatch.setattr(Sweep, "_execute", execute)
    sweep = Sweep(plan, directory, "http://store", directory.parent)
    sweep.store = store = Memory()  # type: ignore[assignment]
    sweep.run(resources.Resources(1, 1), None, "command")
    return store.runs


@pytest.mark.parametrize("seed", range(4))
def test_in_the_end_the_store_has_all_that_the_ledger_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    call(tmp_path, PLAN, monkeypatch, rng, stop_after=rng.randrange(2, 12))
    results = sorted(tmp_path.glob("trials/*/result.json"))
    results[rng.randrange(len(results))].unlink()  # an early one comes last: what follows from it is in the ledger already
    logged = call(tmp_path, PLAN, monkeypatch, rng, stop_after=10**9)
    assert sorted(logged) == sorted(ledger.read(tmp_path))
    assert len(logged) == N_TRIALS


def test_a_sweep_that_is_interrupted_within_a_proposal_asks_for_none_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that was interrupted (Optuna brings torch) cannot be made again in the same process."""
    asked = []

    def ask(*_: object) -> object:
        asked.append(1)
        raise KeyboardInterrupt if len(asked) == 1 else RuntimeError("imported halfway")

    with monkeypatch.context() as patched:
        patched.setattr(TunedArm, "_ask", ask)
        with pytest.raises(KeyboardInterrupt):
            call(tmp_path, PLAN, patched, None, stop_after=10**9)
    assert len(asked) == 1
    assert sorted(call(tmp_path, PLAN, monkeypatch, None, stop_after=10**9)) == sorted(ledger.read(tmp_path))


def test_trials_of_other_seeds_are_logged_by_a_later_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(tmp_path, PLAN, monkeypatch, None, stop_after=10**9)
    fewer = Plan.of(Experiment(**{**EXPERIMENT.__dict__, "seeds": (0,)}), inspect)
    assert len(call(tmp_path, fewer, monkeypatch, None, stop_after=0)) == N_TRIALS
    name = next(tmp_path.glob(f"trials/*/{ledger.NAME_FILE}"))
    for damaged in ("", "[]", '{"name": 1}'):
        name.write_text(damaged)
        assert len(ledger.names(tmp_path)) == N_TRIALS - 1


def test_what_diverged_in_tuning_is_an_answer_that_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(tmp_path, PLAN, monkeypatch, None, stop_after=10**9)
    sweep = Sweep(PLAN, tmp_path, "http://store", tmp_path.parent)

    def fails(at: int, state: State) -> Job:
        job = sweep.search.jobs()[at]
        Result(job.fingerprint, state, reason="so").write(ledger.trial_directory(tmp_path, job.key))
        return job

    diverged, out_of_memory = fails(0, State.DIVERGED), fails(1, State.OOM)
    sweep = Sweep(PLAN, tmp_path, "http://store", tmp_path.parent)
    sweep.search.parts.append(sweep.search.parts[0])  # two arms that share their trials
    assert sweep.forget_failed() == "1 failed trials run again"
    assert diverged.key in sweep.search.known
    assert out_of_memory.key not in sweep.search.known
    assert "nothing to retry" in sweep.forget_failed()


def test_final_trials_of_what_a_file_held_before_are_superseded(tmp_path: Path) -> None:
    """The sweep and its arms are the same where a file of an axis was edited; the other file's trials stay, and so do those of
    seeds that are not asked for now."""
    held = {"a.jsonl": "a", "b.jsonl": "b"}
    base = Trial(adapter=Lora(rank=4))
    asked = Experiment(name="made_up", question="?", base=base, vary={"data.source": ("a.jsonl", "b.jsonl")}, seeds=(0, 1))

    def driven(experiment: Experiment) -> Sweep:
        plan = Plan.of(experiment, lambda trial: {"data": held.get(trial.data.source, "")})
        sweep = Sweep(plan, tmp_path, "http://store", tmp_path.parent)
        drive(sweep.search, truth)
        return sweep

    first = driven(asked)
    held["b.jsonl"] = "b, edited"
    second = driven(dataclasses.replace(asked, seeds=(0,)))
    assert second.plan.sweep == first.plan.sweep

    def superseded(job: Job) -> bool:
        params = {name: str(value) for name, value in (flatten(job.trial) | dict(job.provenance)).items()}
        return second._superseded(job.arm, job.phase, job.key, params)

    before = {(job.trial.data.source, job.trial.seed): superseded(job) for job in first.search.jobs()}
    assert before == {("a.jsonl", 0): False, ("a.jsonl", 1): False, ("b.jsonl", 0): True, ("b.jsonl", 1): True}
    assert not any(map(superseded, second.search.jobs()))


# Disks, and files that are others'


def other_optuna(path: Path) -> None:
    search = Search(PLAN, {}, studies=path)
    job = search.next()
    assert job is not None
    search.tell(job, truth(job))
    search.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE version_info SET schema_version = 3")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")


@pytest.mark.parametrize(
    "spoil",
    [other_optuna, lambda path: path.write_text("notes"), lambda path: path.mkdir(), lambda path: path.symlink_to("/no/where/x")],
)
def test_whatever_is_wrong_with_the_record_of_studies_the_sweep_goes_on(tmp_path: Path, spoil: Any) -> None:
    studies = tmp_path / "optuna.db"
    spoil(studies)
    search = Search(PLAN, {}, studies=studies)
    assert len(drive(search, truth)) == N_TRIALS
    assert search.close() == 10
    assert search.record is not None
    assert search.record.reason


def full(*arguments: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "result.json", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(tmp_path / "result.json", b"after")
        with pytest.raises(BadInput, match=r"^--output .*: cannot be written to \(No space left on device\)$"):
            prepare_output(tmp_path / "runs")
        ledger.name(TrialRecord("k", "n", "a", "tune", (), tmp_path / "k"))  # told where the result is written
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["result.json"]
    assert (tmp_path / "result.json").read_bytes() == b"before"
    monkeypatch.setattr("sweeps.proposals._append", full)
    kept = Proposals(tmp_path / "proposals.jsonl", writes=True)
    assert kept.get("optuna", {"a": 1}, lambda: [{"x": 1.0}]) == [{"x": 1.0}]


def test_an_output_that_can_not_be_one_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), Path("/proc/1/x"), Path("a\udcff")):
        with pytest.raises(BadInput, match=r"^--output ") as error:
            prepare_output(output)
        assert "\n" not in str(error.value).encode().decode()
        assert error.value.field == "--output"
    (tmp_path / "sweep" / "lock").mkdir(parents=True)
    with pytest.raises(BadInput, match="cannot be written to"), ledger.locked(tmp_path / "sweep"):
        pass


def test_a_record_keeps_its_name(tmp_path: Path) -> None:
    one = TrialRecord("k-tune", "lora r=4 tune 0", "lora r=4", "tune", ("adapter.rank",), tmp_path / "trials" / "k-tune")
    ledger.name(one)
    assert ledger.names(tmp_path) == {}  # it has no result yet
    (one.folder / "result.json").write_text(json.dumps({}))
    assert ledger.names(tmp_path) == {"k-tune": one}
