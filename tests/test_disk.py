"""--disk-budget: whose weights go, in which order, what is told of it, and what is refused."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from driven import drive, inspect

import experiments
import sweeps
from core import leaving, saved
from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.result import FILE, Result
from core.settings import Lora, Trial
from core.states import Phase, State
from core.tracking import TrialRecord
from sweeps import disk, ledger, run
from sweeps.disk import Disk
from sweeps.ledger import Outcome
from sweeps.options import Options
from sweeps.plan import Job, Plan
from sweeps.resources import Resources
from sweeps.search import Search
from sweeps.sweep import Sweep

NAME = "rank_vs_quality"
WEIGHTS = 1_000  # bytes of a made-up trial


def place(directory: Path, arm: str, seed: int, phase: str = "final") -> TrialRecord:
    key = f"{arm}{seed}-{phase}"
    return TrialRecord(key, f"{arm} seed {seed}", arm, phase, (), directory / "trials" / key)


def keep(record: TrialRecord, n_bytes: int = WEIGHTS) -> None:
    """What a trial writes at its end."""
    (record.folder / saved.FOLDER).mkdir(parents=True)
    (record.folder / saved.FOLDER / "adapter_model.safetensors").write_bytes(bytes(n_bytes))
    for name in (FILE, "items.csv.gz"):
        (record.folder / name).write_text("{}")


def finished(quality: float) -> Outcome:
    return Outcome(State.FINISHED, quality, 1.0)


def left(directory: Path) -> set[str]:
    return {path.parent.name for path in directory.glob(f"trials/*/{saved.FOLDER}")}


Qualities = Mapping[str, list[float]]  # of an arm's seeds
FOUR: Qualities = {"worst": [0.1, 0.3, 0.11], "middle": [0.5, 0.4, 0.6], "best": [0.7, 0.95, 0.8]}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Disk]:
    """A sweep that has ended, and is opened with a limit of so many trials' weights."""

    def make(n_trials: float, qualities: Qualities = FOUR, others: tuple[TrialRecord, ...] = ()) -> Disk:
        records, outcomes = {}, {}
        for arm, values in qualities.items():
            for seed, quality in enumerate(values):
                record = place(tmp_path, arm, seed)
                records[record.key], outcomes[record.key] = record, finished(quality)
        for record in (*records.values(), *others):
            if not record.folder.exists():
                keep(record)
        made = Disk(int(n_trials * WEIGHTS), dict.fromkeys(qualities, WEIGHTS))
        made.open(tmp_path, records, outcomes)
        return made

    return make


@pytest.mark.parametrize(
    ("n_trials", "expected"),
    [
        (9, {"worst0", "worst1", "worst2", "middle0", "middle1", "middle2", "best0", "best1", "best2"}),
        (8, {"worst0", "worst2", "middle0", "middle1", "middle2", "best0", "best1", "best2"}),
        (7.5, {"worst2", "middle0", "middle1", "middle2", "best0", "best1", "best2"}),
        (5, {"worst2", "middle0", "best0", "best1", "best2"}),
        (3, {"worst2", "middle0", "best2"}),
        (2, {"middle0", "best2"}),
        (1, {"best2"}),
        (0.5, {"best2"}),  # the leading arm's last stays
    ],
)
def test_what_can_win_least_goes_first(opened: Callable[..., Disk], tmp_path: Path, n_trials: float, expected: set[str]) -> None:
    lines = "\n".join(opened(n_trials).lines())
    assert {key.removesuffix("-final") for key in left(tmp_path)} == expected
    assert len(list(tmp_path.glob(f"trials/*/{FILE}"))) == len(list(tmp_path.glob("trials/*/items.csv.gz"))) == 9
    removed = [path.parent.name for path in tmp_path.glob(f"trials/*/{saved.REMOVED}")]
    assert len(removed) == 9 - len(expected)
    assert f"{len(expected)} trials keep their weights" in lines
    assert ("removed the weights of" in lines) == bool(removed)
    assert ("caution" in lines) == (n_trials < 1)
    before = left(tmp_path)
    assert not opened(n_trials).removed  # the same command again
    assert left(tmp_path) == before


def test_weights_that_nobody_can_export_go_before_all_others(opened: Callable[..., Disk], tmp_path: Path) -> None:
    tuning, broken = place(tmp_path, "best", 7, "tune"), place(tmp_path, "lost", 8)
    made = opened(9, others=(tuning, broken))
    assert {name for name, _ in made.removed} == {tuning.key[:16], broken.key[:16]}
    assert len(left(tmp_path)) == 9


def test_there_is_room_for_what_running_trials_will_keep(tmp_path: Path) -> None:
    made = Disk(4 * WEIGHTS, {"one": WEIGHTS, "two": WEIGHTS})
    made.open(tmp_path, {}, {})
    qualities = {(arm, seed): start + seed / 100 for arm, start in (("one", 0.5), ("two", 0.6)) for seed in range(6)}
    running: list[TrialRecord] = []

    def end() -> None:
        record = running.pop(0)
        keep(record)
        made.finished(record, finished(qualities[record.arm, int(record.name[-1])]))

    for seed in range(6):
        for arm in ("one", "two"):
            if len(running) == 2:
                end()
            running.append(place(tmp_path, arm, seed))
            made.started(running[-1])
            assert len(left(tmp_path)) + len(running) <= 4
    end()
    end()
    assert len(left(tmp_path)) == 4
    assert {key[:3] for key in left(tmp_path)} == {"one", "two"}


def test_sizes_that_were_estimated_too_low_are_corrected(tmp_path: Path) -> None:
    made = Disk(10 * WEIGHTS, {"one": 1})
    for seed in range(3):
        record = place(tmp_path, "one", seed)
        made.started(record)
        keep(record, 3 * WEIGHTS)
        made.finished(record, finished(0.5))
    made.started(place(tmp_path, "one", 3))
    assert len(left(tmp_path)) == 2


def test_a_removal_that_was_cut_short_is_ended_and_one_that_fails_is_told(
    opened: Callable[..., Disk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(9)
    half = tmp_path / "trials" / "worst0-final"
    (half / saved.FOLDER).rename(half / saved.LEFTOVERS)
    opened(9)
    assert not (half / saved.LEFTOVERS).exists()

    def refuse(*words: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    made = opened(1)
    assert len(left(tmp_path)) == 8
    assert not list(tmp_path.glob(f"trials/*/{saved.REMOVED}"))
    assert any(line.startswith("caution") and "could not be removed" in line for line in made.lines())


def test_an_export_says_what_became_of_the_weights(tmp_path: Path) -> None:
    record = place(tmp_path, "one", 0)
    keep(record)
    result = Result.begun(Trial(), {})
    result.metrics = {"quality": 0.5}
    result.write(record.folder)
    saved.remove(record.folder, "--disk-budget 20GB")
    with pytest.raises(BadInput, match=rf"were removed under --disk-budget 20GB; delete its {FILE} to train it again"):
        leaving.source(record.folder)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("20GB", 20 * 10**9), ("500MB", 500 * 10**6), ("1.5TiB", 3 * 2**39), ("64 kB", 64_000), ("7b", 7), (" 2gib ", 2**31),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, n_bytes: int) -> None:
    assert disk.size(text) == disk.limit_bytes(text) == disk.limit_bytes(n_bytes) == n_bytes


BAD = [
    "20",
    "GB",
    "0GB",
    "-1GB",
    "1e3GB",
    "0.0001B",
    "20GB extra",
    "1,5GB",
    "inf",
    "nan",
    "9" * 400 + "GB",
    "\u0662GB",
    "20XB",
    "",
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_size_is_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "runs"
    assert run.main([NAME, "--smoke", f"--disk-budget={text}", "--output", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --disk-budget")
    assert not output.exists()


@pytest.mark.parametrize("asked", [0, -1, True, 2.5, "20"])
def test_from_python_too(asked: Any) -> None:
    with pytest.raises(BadInput, match="--disk-budget"):
        disk.limit_bytes(asked)


def test_the_dry_run_says_what_is_kept_and_whether_the_budget_holds_it(tmp_path: Path) -> None:
    def told(budget: str | int, **more: Any) -> list[str]:
        options = Options(output=tmp_path, smoke=True, seeds=3, concurrency=1, disk_budget=budget, **more)
        return [note for note in run.prepare(experiments.load(NAME), options).notes if "--disk-budget" in note]

    (note,) = told("100MB")
    assert note.startswith("weights of final trials come to ")
    assert note.endswith("and --disk-budget 100MB holds them")
    (note,) = told("12MB")
    assert note.endswith("--disk-budget 12MB holds part of them, at least one seed of each arm")
    (note,) = told("9MB")
    assert note.startswith("caution: ")
    assert "--disk-budget 9MB may not hold one seed of each arm, which takes " in note
    with pytest.raises(BadInput, match=r"full keeps .*give at least ([0-9.]+MB)") as refused:
        told("5MB")
    least = refused.value.text.split("at least ")[1]
    assert told(least)
    assert told("5.5MB", without=("full",))
    plans = [run.prepare(experiments.load(NAME), Options(output=tmp_path, disk_budget=one)).plan for one in (None, "1GB")]
    assert plans[0].sweep == plans[1].sweep  # no part of the identity


def test_seeds_of_later_looks_count_and_their_bases_are_checked_before_the_first(tmp_path: Path) -> None:
    options = Options(output=tmp_path, smoke=True, seeds=3, concurrency=1, disk_budget="20MB", until_decided=True)
    made = run.prepare(experiments.load(NAME), options)
    assert len({trial.model.name for trial in made.inputs}) == made.plan.n_probed > 3
    assert made.disk()
    assert any(note.endswith("holds part of them, at least one seed of each arm") for note in made.notes)


PLAN = Plan.of(
    Experiment(
        name="made_up",
        question="?",
        base=Trial(adapter=Lora(rank=4)),
        vary={"adapter.rank": (1, 4)},
        tune={"train.learning_rate": LogUniform(1e-4, 1e-1, grid=3)},
        tune_trials=3,
        tune_beyond=0,
        seeds=(0, 1, 2),
    ),
    inspect,
)


class Book:
    """A log that nobody reads."""

    def check(self) -> None:
        pass

    def put(self, record: TrialRecord) -> None:
        pass

    def watch(self, record: TrialRecord, begun: Result) -> None:
        pass


def test_a_sweep_never_holds_more_than_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = []

    def execute(search: Search, directory: Path, share: object, events: Any) -> None:
        def run_one(job: Job) -> Outcome:
            events.started(job)
            folder = ledger.trial_directory(directory, job.key)
            if job.phase is Phase.FINAL:
                keep(TrialRecord(job.key, job.name, job.arm, job.phase, job.axes, folder))
            outcome = finished(random.Random(job.key).random())
            Result(job.fingerprint, metrics={"quality": outcome.quality or 0.0}).write(folder)
            most.append(len(left(directory)))
            events.ended(job, outcome)
            return outcome

        drive(search, run_one)

    def told_of(started: object, ended: object, again: object) -> SimpleNamespace:
        return SimpleNamespace(started=started, ended=ended)

    made: dict[str, dict[str, object]] = {
        "cluster": {"cluster": lambda *words: nullcontext()},
        "executor": {"Events": told_of, "execute": execute},
    }
    for name, members in made.items():  # Ray is not started
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, f"sweeps.{name}", module)
        monkeypatch.setattr(sweeps, name, module, raising=False)
    sweep = Sweep(PLAN, tmp_path, "http://store", tmp_path)
    sweep.disk = Disk(3 * WEIGHTS, dict.fromkeys((arm.label for arm in PLAN.arms), WEIGHTS))
    sweep._execute(Book(), Resources(1, 1), None)  # type: ignore[arg-type]
    assert len(sweep.search.done()) == PLAN.n_trials == len(most)
    assert max(most) == len(left(tmp_path)) == 3
    assert len(sweep.disk.removed) == 3
    again = Disk(WEIGHTS, sweep.disk.sizes)  # a finished sweep, with less
    again.open(tmp_path, sweep._known(), sweep.search.known)
    (key,) = left(tmp_path)
    arms = {job.key: job.arm for job in sweep.search.jobs()}
    finals = [(arms[job.key], outcome.quality) for job, outcome in sweep.search.done() if job.phase is Phase.FINAL]
    means = {arm: sum(quality or 0 for one, quality in finals if one == arm) for arm in set(arms.values())}
    assert arms[key] == max(means, key=lambda arm: means[arm])
