"""The curve of a trial that is still running: it reaches the store, and the finished trial's run has each point once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from test_logbook import Memory
from test_store import NAME, SWEEP, opened, record, runs

from core import curve, signs, tracking
from core.result import Result
from core.tracking import Store, TrialRecord
from sweeps import logbook
from sweeps.logbook import Logbook

PLANNED = 250
LOSSES = [1 / (step + 1) for step in range(PLANNED)]
BEGUN = Result("f" * 16, trial={"adapter.rank": 4, "seed": 0}, seconds=40.0)
MEASURED = [{"step": 0, "epoch": 0.0, "quality": 0.0}, {"step": 120, "epoch": 1.0, "quality": 0.5, "forgetting": 0.1}]


def points(n: int, whole: bool, factor: float = 1.0) -> list[curve.Point]:
    """The history of a training after n steps, with what was measured along it."""
    losses = [factor * loss for loss in LOSSES[:n]]
    done = curve.Steps(losses, [10] * n, [1e-3] * n, PLANNED, 2.0)
    along = [point for point in MEASURED if point["step"] <= n]
    return sorted(curve.points(done, whole) + along, key=lambda point: point["step"])


def histories(output: Path, run_id: str) -> dict[str, list[tuple[int, float]]]:
    client = tracking.client(tracking.default_uri(output))
    names = ("train/loss", "train/learning_rate", "along/quality", "along/forgetting")
    return {name: sorted((one.step, one.value) for one in client.get_metric_history(run_id, name)) for name in names}


def once(history: list[curve.Point]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for name, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate")):
        found[name] = [(int(point["step"]), point[key]) for point in history if key in point]
    for name, key in (("along/quality", "quality"), ("along/forgetting", "forgetting")):
        found[name] = [(int(point["step"]), point[key]) for point in history if key in point]
    return found


def test_windows_are_the_same_while_a_training_goes_on() -> None:
    final = points(PLANNED, whole=False)
    assert len([point for point in final if "loss" in point]) == 84  # windows of three steps
    for n in (0, 2, 3, 100, 249, 250):
        now = points(n, whole=True)
        assert now == final[: len(now)]


def test_a_running_trials_curve_becomes_its_runs(output: Path) -> None:
    store, one = opened(output), record(output, history=points(PLANNED, whole=False))
    for n in (30, 30, 130, 200):
        store.log_live(one, BEGUN, points(n, whole=True))
    (shown,) = runs(output, "live")
    assert (shown.info.status, shown.data.params["adapter.rank"]) == ("RUNNING", "4")
    assert histories(output, shown.info.run_id) == once(points(200, whole=True))
    uri = tracking.default_uri(output)
    assert tracking.read_trials(uri, NAME) == []  # it has no result
    store.log_trial(one)
    (ended,) = runs(output)
    assert runs(output, "live") == []
    assert (ended.info.run_id, ended.info.status) == (shown.info.run_id, "FINISHED")
    assert ended.info.start_time < ended.info.end_time
    assert histories(output, ended.info.run_id) == once(points(PLANNED, whole=False))
    store.log_trial(one)  # once more changes nothing
    store.close("FINISHED")
    again = opened(output)
    assert again.holds(one)
    assert len(runs(output)) == 1


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_curve_that_another_process_began_goes_on_or_gives_way(output: Path, factor: float) -> None:
    one = record(output, history=points(PLANNED, whole=False))
    killed = opened(output)
    killed.log_live(one, BEGUN, points(100, whole=True, factor=factor))  # with other numbers where it computes others
    (before,) = runs(output, "live")
    store = opened(output)
    store.log_live(one, BEGUN, points(60, whole=True))  # went on from an earlier state
    store.log_live(one, BEGUN, points(130, whole=True))
    (shown,) = runs(output, "live")
    assert (shown.info.run_id == before.info.run_id) == (factor == 1.0)
    store.log_trial(one)
    (ended,) = runs(output)
    assert runs(output, "live") == []
    assert histories(output, ended.info.run_id) == once(points(PLANNED, whole=False))


def test_a_kill_between_the_end_and_its_record_leaves_no_point_twice(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = opened(output), record(output, history=points(PLANNED, whole=False))
    store.log_live(one, BEGUN, points(200, whole=True))

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_filled", killed)
        with pytest.raises(KeyboardInterrupt):
            store.log_trial(one)
    store = opened(output)
    store.log_trial(one)
    (ended,) = runs(output)
    assert ended.info.status == "FINISHED"
    assert histories(output, ended.info.run_id) == once(points(PLANNED, whole=False))


@pytest.mark.parametrize(("status", "left"), [("KILLED", ["KILLED"]), ("FINISHED", [])])
def test_a_trial_that_never_ended_is_told_of_as_killed(output: Path, status: str, left: list[str]) -> None:
    store, one = opened(output), record(output)
    store.log_live(one, BEGUN, points(60, whole=True))
    store.close(status)
    assert [run.info.status for run in runs(output, "live")] == left
    assert tracking.read_trials(tracking.default_uri(output), NAME) == []
    store = opened(output)
    if left:
        store.log_live(one, BEGUN, points(90, whole=True))
        assert [run.info.status for run in runs(output, "live")] == ["RUNNING"]


def test_what_runs_in_another_directory_is_left_alone(output: Path) -> None:
    theirs = opened(output)
    theirs.log_live(record(output), BEGUN, points(60, whole=True))
    uri = tracking.default_uri(output)
    own = Store(uri, NAME, SWEEP, directory=output / "elsewhere")
    own.open({}, "")
    own.close("FINISHED")
    assert [run.info.status for run in runs(output, "live")] == ["RUNNING"]
    own = Store(uri, NAME, SWEEP, directory=record(output).folder.parent.parent)
    own.open({}, "")
    own.close("FINISHED")
    assert runs(output, "live") == []


def test_a_trial_that_crashed_keeps_the_curve_that_it_had(output: Path) -> None:
    store, one = opened(output), record(output, state="crashed", reason="it broke")
    store.log_live(one, BEGUN, points(60, whole=True))
    store.log_trial(one)
    (ended,) = runs(output)
    assert ended.info.status == "FAILED"
    assert histories(output, ended.info.run_id) == once(points(60, whole=True))


# Which trials, and when


class Shown(Memory):
    """A store in memory that shows curves."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[tuple[str, int]] = []

    def log_live(self, record: TrialRecord, begun: Result, points: list[curve.Point]) -> None:
        self._answer()
        self.live.append((record.key, len(points)))


def test_only_long_trials_are_shown_and_a_store_that_is_away_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "LIVE_SECONDS", 0.02)
    monkeypatch.setattr(logbook, "REST_SECONDS", (0.01, 0.02))
    folders = {name: tmp_path / name for name in ("short", "long")}
    records = {name: TrialRecord(name, name, "c", "final", (), folder) for name, folder in folders.items()}
    for folder in folders.values():
        folder.mkdir()
        (folder / signs.CURVE).write_text(json.dumps(points(60, whole=True)))
    store = Shown()
    with Logbook(store, {}, "note") as book:  # type: ignore[arg-type]
        book.check()
        for one in records.values():
            book.watch(one, BEGUN)
        time.sleep(0.1)
        assert store.live == []  # neither runs for long
        begun = book.watched["long"]
        store.answers_from = time.monotonic() + 0.2
        book.watched["long"] = (begun[0], begun[1], time.monotonic() - logbook.LIVE_AFTER_SECONDS)
        time.sleep(0.6)
        assert store.n_refused
        assert {key for key, _ in store.live} == {"long"}
        for one in records.values():
            book.put(one)
        time.sleep(0.1)
        n_shown = len(store.live)
        time.sleep(0.1)
        assert len(store.live) == n_shown
        book.finish(lambda *_: False)
    assert sorted(store.runs) == ["long", "short"]
    assert not book.missing


def test_a_sign_that_cannot_be_read_is_no_curve(tmp_path: Path) -> None:
    assert signs.curve(tmp_path) == []
    for text in ("", "{", "3", '["a", {"loss": 1}]'):
        (tmp_path / signs.CURVE).write_text(text)
        assert signs.curve(tmp_path) == []


assert SWEEP
