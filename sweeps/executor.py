"""Runs a search's jobs with Ray Tune on warm workers (sweeps/worker.py), inside a Ray cluster (sweeps/cluster.py).

One Tune trial is one whole trial in one step of a class Trainable whose actor is reused, so that torch, transformers and trl
are imported once per worker and not once per trial (4.6 s with function trainables). Ray decides where and when; what is
known of a trial afterwards stands in its result.json. A trial that hangs or raises leaves a row "crashed"; one whose worker or
node was lost is run again, and what takes its worker every time is a crash too.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from core import installation, shared_texts
from core.errors import BadInput, Lost
from core.fields import flatten
from core.result import FILE, Result
from sweeps import cluster, ledger, places
from sweeps.cluster import Death
from sweeps.plan import Job
from sweeps.resources import Resources
from sweeps.search import Search
from sweeps.texts import Texts
from sweeps.worker import HANG_FILE, Kind, Report, Worker


def _unheard(job: Job, reason: str) -> None:
    """Nobody wants to hear of it."""


@dataclass(frozen=True)
class Events:
    """What the caller wants to hear of: a trial started, a trial ended, a trial that was lost will run again."""

    started: Callable[[Job], None]
    ended: Callable[[Job, ledger.Outcome], None]
    again: Callable[[Job, str], None] = _unheard


@dataclass(frozen=True)
class Running:
    """A job that was handed to Ray Tune: since when, under which key its report will be, on which of Ray's actors."""

    job: Job
    since: float
    report: str
    actor: str = ""


class JobSearcher(Searcher):
    """Hands Ray Tune the search's jobs, and the search the outcomes that the workers wrote."""

    def __init__(self, search: Search, task: Callable[[Job], dict[str, Any]], events: Events, most: int | None) -> None:
        super().__init__(metric="quality", mode="max")
        self.search, self.task, self.events = search, task, events
        self.most = most  # jobs at a time; None: as many as the cluster has room for
        self.running: dict[str, Running] = {}
        self.places, self.lost = places.Places(), list[Job]()  # `lost` wait to be run again
        self.stopped: BadInput | OSError | Lost | None = None  # why no further trial starts

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a word
        if self.stopped:
            return Searcher.FINISHED
        if self.most is not None and len(self.running) >= self.most:
            return None
        job = self.lost.pop(0) if self.lost else self.search.next()
        if job is None:
            return Searcher.FINISHED if self.search.finished() else None
        task = self.task(job) | {"report": f"{secrets.token_hex(8)}/{job.key}"}  # of this attempt alone
        self.running[trial_id] = Running(job, time.time(), task["report"])
        Path(task["folder"]).mkdir(parents=True, exist_ok=True)  # a worker that does not find it sees another disk
        return {"task": task, "away": self.places.away_from(job.key, cluster.nodes()) if task["joined"] else ()}

    def started(self, trial_id: str, actor: str) -> None:
        """The trial has its worker; Ray asks for jobs ahead of time, one more for every slot."""
        self.running[trial_id] = replace(self.running[trial_id], since=time.time(), actor=actor)
        self.events.started(self.running[trial_id].job)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not error:  # errors come through `Watch`
            self.ended(trial_id)

    def ended(self, trial_id: str) -> None:
        """Takes the outcome; what the user must mend, or a full disk, stops the sweep (Tune would hide the exception)."""
        run = self.running.pop(trial_id)
        try:
            folder = Path(self.task(run.job)["folder"])
            if self._settled(run, Report.take(run.report), folder):
                outcome = ledger.outcome(folder / FILE)
                self.search.tell(run.job, outcome)
                self.events.ended(run.job, outcome)
        except (BadInput, OSError, Lost) as reason:
            self.stopped = reason

    def _settled(self, run: Running, report: Report | None, folder: Path) -> bool:
        """Whether the trial's result.json is there, for good; if not, the trial runs again.

        Raises:
            BadInput: the user must mend something.
            Lost: no node is left that could run it.
        """
        if report and report.kind is Kind.REFUSED:
            shutil.rmtree(folder)
            raise BadInput(report.reason, report.to_blame)
        if report and report.kind is Kind.UNFIT:
            return self._left_out(run.job, report)
        if report and not (folder / FILE).exists():  # the worker sees another disk, or a share shows a new file late
            report.write(folder)
        if not (folder / FILE).exists():
            return self._buried(run, folder)
        if report and report.kind is Kind.BROKEN:
            self.places.broken(report.node, run.job.key, report.reason)
            if self._again(run.job, report.reason):
                ledger.forget(folder.parents[1], run.job.key)
                return False
        elif report:
            self.places.worked(report.node)
        return True

    def _left_out(self, job: Job, report: Report) -> bool:
        """A node is not used, and the trial runs on another. It has not begun, so that it does not count as run."""
        self.places.avoided[report.node] = f"{report.host} differs: {report.reason}"
        if not cluster.nodes() - self.places.avoided.keys():
            raise Lost("no node of the Ray cluster can be used: " + "; ".join(self.places.avoided.values()))
        self.events.again(job, f"{report.host} is not used: {report.reason}")
        self.lost.append(job)
        return False

    def _buried(self, run: Running, folder: Path) -> bool:
        """The trial's process ended without a result: runs again, or writes the row "crashed"."""
        death, task = cluster.death_of(run.actor), self.task(run.job)
        hang = folder / HANG_FILE
        hung = hang.exists() and hang.stat().st_size > 0
        if hung or (task["joined"] and time.time() - run.since >= task["timeout"]):  # its node may see another disk
            death = Death(f"still running after its time limit of {task['timeout']:g} s (see traceback.txt)")
            if hung:
                hang.replace(folder / "traceback.txt")
        elif self._again(run.job, death.reason):
            return False
        n_lost = self.places.reruns[run.job.key]
        reason = death.reason if hung or not n_lost else f"{death.reason}, {n_lost + 1} times in a row"
        Result.failure(run.job.trial, run.job.provenance, death.state, reason, time.time() - run.since).write(folder)
        return True

    def _again(self, job: Job, reason: str) -> bool:
        """Puts a trial up to be run again, unless it was often enough."""
        if not self.places.again(job.key):
            return False
        self.events.again(job, f"{reason} (run again, {self.places.reruns[job.key]} of {places.RERUNS})")
        self.lost.append(job)
        return True

    def save(self, checkpoint_path: str) -> None:
        """The ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The ledger is the state."""

    def get_state(self) -> dict[str, Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles the searcher for its own way to resume, which is not used: the ledger is the state."""
        return {}


class Watch(tune.Callback):
    """Tells the searcher when a worker takes a trial, and when it failed to end it."""

    def __init__(self, searcher: JobSearcher) -> None:
        self.searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.started(trial.trial_id, trial.temporary_state.ray_actor._actor_id.hex())

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.ended(trial.trial_id)


def execute(
    search: Search,
    sweep_directory: Path,
    resources: Resources,
    events: Events,
    function: str = "core.trial:run",
) -> None:
    """Runs the search to its end inside `cluster`; returns when every job has an outcome.

    Raises:
        BadInput: a worker found something that the user must mend; what ran beside it has ended first.
        Lost: no node of the cluster can be used any more.
        OSError: an outcome could not be written (the disk is full).
    """
    for name in ("ray.tune", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    common = _common(resources) | {"function": function}

    def task(job: Job) -> dict[str, Any]:
        folder = ledger.trial_directory(sweep_directory, job.key)
        return common | {"trial": flatten(job.trial), "provenance": dict(job.provenance), "folder": str(folder)}

    # A Ray of our own has no more room than that, and keeps its workers warm when it is asked for jobs ahead of time.
    if common["joined"]:
        with Texts(common["texts"]).passed(sweep_directory / shared_texts.FOLDER) as gather:
            _fit(JobSearcher(search, task, _after(gather, events), resources.slots), resources)
    else:
        _fit(JobSearcher(search, task, events, None), resources)


def _common(resources: Resources) -> dict[str, Any]:
    """What every worker is told."""
    return {
        "timeout": resources.trial_timeout_seconds,
        "device": asdict(resources.device),
        "joined": cluster.is_joined(),
        "slots": resources.slots,
        "gpus_per_trial": resources.gpus_per_trial,
        "installed": installation.identity(),
        "texts": secrets.token_hex(8),
    }


def _after(first: Callable[[], None], events: Events) -> Events:
    """The events, with something to be done before the end of a trial is told."""

    def ended(job: Job, outcome: ledger.Outcome) -> None:
        first()
        events.ended(job, outcome)

    return replace(events, ended=ended)


def _fit(searcher: JobSearcher, resources: Resources) -> None:
    _tuner(searcher, resources).fit()
    if searcher.stopped:
        raise searcher.stopped


def _tuner(searcher: JobSearcher, resources: Resources) -> tune.Tuner:
    """Ray Tune as a pool of warm workers: it keeps nothing and decides nothing that the searcher doesn't say."""
    bundle: dict[str, float] = {"CPU": 1} | ({"GPU": resources.gpus_per_trial} if resources.gpus_per_trial else {})

    def place(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([bundle], **cluster.away_from(config["away"]))

    return tune.Tuner(
        tune.with_resources(Worker, place),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=1_000_000_000,  # the searcher says when it is finished
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
            trial_name_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(cluster.session_directory() / "tune"),
            verbose=0,
            callbacks=[Watch(searcher)],
            failure_config=tune.FailureConfig(0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a failed save would cost the warm worker
        ),
    )
