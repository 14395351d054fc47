"""The curve of a trial that is still running, in a run of its own kind, which becomes the trial's run when it has ended.

Readers of trials do not see such runs. A point is logged once, with the value that the finished trial's history has for its step:
windows of steps are the same then (core/curve.py). Where they are not, as an earlier attempt computed others, the run is given up
for a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.tracking import entries
from core.tracking.connection import log_batch

if TYPE_CHECKING:
    from mlflow import MlflowClient

LIVE = "live"  # the kind of such runs, and the tag that a run keeps which was one
TAG = "tunelab.live"
Known = dict[tuple[str, int], float]  # name and step of a metric → its value


@dataclass
class Running:
    """A running trial's run, and what it has of the curve."""

    run_id: str
    known: Known

    def log(self, client: MlflowClient, points: Sequence[Mapping[str, float]]) -> None:
        """Logs what is new of the curve."""
        now = time.time_ns() // 1_000_000
        new = {at: value for at, value in values(points).items() if at not in self.known}
        if new:
            log_batch(client, self.run_id, metrics=[(name, value, now, step) for (name, step), value in new.items()])
            self.known |= new

    def is_of(self, points: Sequence[Mapping[str, float]], whole: bool) -> bool:
        """Whether it has nothing but these points; of a training that goes on (not `whole`) it may be ahead."""
        found = values(points)
        return all(found.get(at, None if whole else value) == value for at, value in self.known.items())


class LiveRuns:
    """The runs of a sweep's running trials, by the trials' keys."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self.runs: dict[str, str | Running] = {}  # those that another process began by their ids

    def found(self, key: str, run_id: str) -> None:
        """A run that another process began; of two, which two processes began, one goes."""
        if self.runs.setdefault(key, run_id) != run_id:
            self.client.delete_run(run_id)

    def shown(self, key: str) -> Running | None:
        """The run that shows the trial while it runs; of one that another process began it is read what it has."""
        found = self.runs.get(key)
        if isinstance(found, str):
            self.client.update_run(found, status="RUNNING")
            self.runs[key] = found = Running(found, logged(self.client, found))
        return found

    def close(self, status: str) -> None:
        """Nothing runs any more: in a sweep that has FINISHED nobody asks for these trials, else they were KILLED."""
        for found in self.runs.values():
            run_id = found if isinstance(found, str) else found.run_id
            if status == "FINISHED":
                self.client.delete_run(run_id)
            else:
                self.client.set_terminated(run_id, status=status)
        self.runs = {}


def values(points: Iterable[Mapping[str, float]]) -> Known:
    return {(name, int(point["step"])): value for point in points for name, value in entries.curves(point).items()}


def logged(client: MlflowClient, run_id: str) -> Known:
    """What a run has of a curve."""
    names = [name for name in client.get_run(run_id).data.metrics if name.startswith(("train/", "along/"))]
    return {
        (name, metric.step): metric.value
        for name in names
        for metric in client.get_metric_history(run_id, name)
        if metric.step or name.startswith("along/")  # totals stand at step 0
    }
