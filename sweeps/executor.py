"""Runs a search's jobs with Ray Tune on warm workers, inside a Ray cluster (sweeps/cluster.py).

One Tune trial is one whole trial in one step of a class Trainable whose actor is reused, so that torch, transformers and trl
are imported once per worker and not once per trial (4.6 s with function trainables). Ray decides where and when; what is
known of a trial afterwards stands in its result.json. A worker that dies, hangs or raises leaves a row "crashed".
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from core.errors import BadInput, one_line
from core.fields import flatten, from_flat
from core.hardware import Device
from core.result import FILE, Result
from core.states import State
from sweeps import ledger
from sweeps.cluster import session_directory
from sweeps.plan import Job
from sweeps.resources import Resources
from sweeps.search import Search

HANG_FILE, REFUSED_FILE = "hang.txt", "refused.txt"


@dataclass(frozen=True)
class Events:
    """What the caller wants to hear of: a trial started, a trial ended."""

    started: Callable[[Job], None]
    ended: Callable[[Job, ledger.Outcome], None]


class Worker(tune.Trainable):
    """A warm process that runs one trial per step and keeps what it has loaded for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self.task = config["task"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.task = new_config["task"]
        return True

    def step(self) -> dict[str, Any]:
        run_task(self.task)
        return {"done": True, "quality": 0.0}


def run_task(task: Mapping[str, Any]) -> None:
    """One trial in this process: a time limit around it, and a row even if it raises."""
    folder, trial, started = Path(task["folder"]), from_flat(task["trial"]), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REFUSED_FILE).unlink(missing_ok=True)  # of a sweep that was killed before it read it
    module, _, name = task["function"].partition(":")
    with (folder / HANG_FILE).open("w") as hang:
        # a stuck trial can't be interrupted from inside: the process says where it hangs and ends itself
        faulthandler.dump_traceback_later(task["timeout"], exit=True, file=hang)
        try:
            getattr(importlib.import_module(module), name)(trial, task["provenance"], folder, Device(**task["device"]))
        except BadInput as error:  # what could not be seen before: the sweep stops, as no trial of it can be right
            (folder / REFUSED_FILE).write_text(str(error))
        except Exception as error:
            seconds = time.perf_counter() - started
            Result.failure(trial, task["provenance"], State.CRASHED, one_line(error), seconds).write(folder)
        finally:
            faulthandler.cancel_dump_traceback_later()
    (folder / HANG_FILE).unlink()


class JobSearcher(Searcher):
    """Hands Ray Tune the search's jobs, and the search the outcomes that the workers wrote."""

    def __init__(self, search: Search, task: Callable[[Job], dict[str, Any]], events: Events) -> None:
        super().__init__(metric="quality", mode="max")
        self.search, self.task, self.events = search, task, events
        self.jobs: dict[str, tuple[Job, float]] = {}
        self.stopped: BadInput | OSError | None = None  # why no further trial starts

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a word
        if self.stopped:
            return Searcher.FINISHED
        job = self.search.next()
        if job is not None:
            self.jobs[trial_id] = (job, time.time())
            return {"task": self.task(job)}
        return Searcher.FINISHED if self.search.finished() else None

    def started(self, trial_id: str) -> None:
        """The trial has its worker; Ray asks for jobs ahead of time, one more for every slot."""
        job, _ = self.jobs[trial_id]
        self.jobs[trial_id] = (job, time.time())
        self.events.started(job)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not error:  # errors come with their reason through `Watch`
            self.ended(trial_id, "")

    def ended(self, trial_id: str, error: str) -> None:
        """Takes the outcome; what the user must mend, or a full disk, stops the sweep (Tune would hide the exception)."""
        try:
            self._ended(*self.jobs.pop(trial_id), error)
        except (BadInput, OSError) as reason:
            self.stopped = reason

    def _ended(self, job: Job, started: float, error: str) -> None:
        """Reads the outcome; where the worker could not write one, writes the row "crashed"."""
        folder = Path(self.task(job)["folder"])
        if (folder / REFUSED_FILE).exists():
            refused = BadInput((folder / REFUSED_FILE).read_text())
            shutil.rmtree(folder)
            raise refused
        if not (folder / FILE).exists():
            reason = error or "the worker wrote no result"
            if (folder / HANG_FILE).exists() and (folder / HANG_FILE).stat().st_size:
                reason = f"still running after its time limit of {self.task(job)['timeout']:g} s (see traceback.txt)"
                (folder / HANG_FILE).replace(folder / "traceback.txt")
            Result.failure(job.trial, job.provenance, State.CRASHED, reason, time.time() - started).write(folder)
        outcome = ledger.outcome(folder / FILE)
        self.search.tell(job, outcome)
        self.events.ended(job, outcome)

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
    """Tells the searcher when a worker takes a trial, and why a worker died."""

    def __init__(self, searcher: JobSearcher) -> None:
        self.searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.started(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = trial.get_pickled_error() or trial.get_error() or "killed, or it no longer answered"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = next((line for line in lines if "exit" in line.lower() or "memory" in line.lower()), lines[0])
        self.searcher.ended(trial.trial_id, f"the worker process died: {detail}"[:300])


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
        OSError: an outcome could not be written (the disk is full).
    """
    for name in ("ray.tune", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def task(job: Job) -> dict[str, Any]:
        return {
            "trial": flatten(job.trial),
            "provenance": dict(job.provenance),
            "folder": str(ledger.trial_directory(sweep_directory, job.key)),
            "function": function,
            "timeout": resources.trial_timeout_seconds,
            "device": asdict(resources.device),
        }

    searcher = JobSearcher(search, task, events)
    _tuner(searcher, resources).fit()
    if searcher.stopped:
        raise searcher.stopped


def _tuner(searcher: JobSearcher, resources: Resources) -> tune.Tuner:
    """Ray Tune as a pool of warm workers: it keeps nothing and decides nothing that the searcher doesn't say."""
    bundle: dict[str, float] = {"CPU": 1} | ({"GPU": resources.gpus_per_trial} if resources.gpus_per_trial else {})
    return tune.Tuner(
        tune.with_resources(Worker, tune.PlacementGroupFactory([bundle])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=1_000_000_000,  # the searcher says when it is finished
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
            trial_name_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(session_directory() / "tune"),
            verbose=0,
            callbacks=[Watch(searcher)],
            failure_config=tune.FailureConfig(0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a failed save would cost the warm worker
        ),
    )
