"""What a running sweep writes: one parent run, one child for each trial.

Only the process that drives a sweep writes, through `Store`. A trial's run is found by its tags before it is created, so that a
sweep that was killed at any line and is repeated has every run once. The trial's folder on disk stays the record: a store
that is away loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadInput, redacted
from core.result import FILE, Result

if TYPE_CHECKING:
    from mlflow.entities import Run
from core.tracking.connection import (
    ARM,
    DIGEST,
    FINGERPRINT,
    FOLDER,
    KEY,
    KIND,
    LAST_RUN,
    NOTE,
    PARENT,
    PHASE,
    REASON,
    STATE,
    SUPERSEDED,
    SWEEP,
    TAG_CHARACTERS,
    arm_of,
    client,
    log_batch,
    search_runs,
)

AXES = ("quality", "forgetting")  # the two metrics that every trial is compared by


@dataclass(frozen=True)
class TrialRecord:
    """What the store is told of a trial beside its result.json."""

    key: str  # fingerprint-phase
    name: str
    arm: str
    phase: str
    axes: tuple[str, ...]
    folder: Path


Stale = Callable[[str, str, str, Mapping[str, str]], bool]  # arm, phase, key, parameters of a logged trial


class Store:
    """Writes one sweep's runs. Not thread-safe: one thread at a time."""

    def __init__(self, uri: str, experiment: str, sweep: str, artifacts: Path | None = None) -> None:
        self.uri, self.experiment, self.sweep, self.artifacts = uri, experiment, sweep, artifacts
        self.parent_id = self.experiment_id = ""  # until `open`

    def open(self, params: Mapping[str, object], note: str, tags: Mapping[str, str] | None = None) -> None:
        """Makes schema, experiment and parent run where they are missing; the parent is RUNNING from here on.

        `params` and `note` are said once; `tags` may be other ones each time.
        """
        self.client = client(self.uri)
        self.experiment_id = self._experiment_id()
        found = search_runs(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "sweep"})
        if found:
            run_id = found[0].info.run_id
            self.client.update_run(run_id, status="RUNNING")
        else:
            name = f"{self.experiment} {self.sweep[:8]}"
            first = {KIND: "sweep", SWEEP: self.sweep, NOTE: note, "mlflow.source.name": "sweeps/run.py"}
            run_id = self.client.create_run(self.experiment_id, run_name=name, tags=first).info.run_id
        now = {LAST_RUN: str(time.time_ns() // 1_000_000), **(tags or {})}
        log_batch(
            self.client, run_id, params=params, tags=now
        )  # again after a kill between the two: the same values change nothing
        self.parent_id = run_id

    def close(self, status: str) -> None:
        """Ends the parent run: FINISHED, or KILLED when the sweep was interrupted."""
        self.client.set_terminated(self.parent_id, status=status)

    def logged(self) -> dict[str, Run]:
        """The runs of this sweep's trials by key (fingerprint-phase)."""
        runs = search_runs(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "trial"})
        return {run.data.tags[KEY]: run for run in runs}

    def log_trial(self, record: TrialRecord, known: Run | None) -> None:
        """Writes one finished trial. A run that was begun for the same result is continued, another result replaces it."""
        path = record.folder / FILE
        result, end_ms = Result.read(path), path.stat().st_mtime_ns // 1_000_000
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if known is not None and known.data.tags.get(DIGEST) == digest:
            if known.data.tags[PHASE] == SUPERSEDED:  # and yet it is the arm's best again
                self.client.set_tag(known.info.run_id, PHASE, record.phase)
            if known.info.status != "RUNNING":
                return
            run_id = known.info.run_id
        else:
            if known is not None:
                self.client.delete_run(known.info.run_id)
            run_id = self._create(record, result, digest, end_ms)
        log_batch(self.client, run_id, params=_params(result, record), metrics=_metrics(result, end_ms))
        self._log_datasets(run_id, result)
        for name in (FILE, "items.csv.gz", "traceback.txt"):
            if (record.folder / name).exists():
                self.client.log_artifact(run_id, str(record.folder / name))
        self.client.set_terminated(run_id, status="FAILED" if result.state.failed else "FINISHED", end_time=end_ms)

    def supersede(self, stale: Stale) -> None:
        """Marks the trials that no longer belong to the sweep (a repeated tuning trial changed what followed from it)."""
        for key, run in self.logged().items():
            phase = run.data.tags[PHASE]
            if phase != SUPERSEDED and stale(arm_of(run), phase, key, run.data.params):
                self.client.set_tag(run.info.run_id, PHASE, SUPERSEDED)

    def _create(self, record: TrialRecord, result: Result, digest: str, end_ms: int) -> str:
        tags = {
            KIND: "trial",
            SWEEP: self.sweep,
            KEY: record.key,
            FINGERPRINT: result.fingerprint,
            ARM: record.arm,
            PHASE: record.phase,
            STATE: str(result.state),
            REASON: result.reason[:TAG_CHARACTERS],
            DIGEST: digest,
            FOLDER: str(record.folder),
            PARENT: self.parent_id,
            "mlflow.source.name": "sweeps/run.py",
        }
        tags[NOTE] = _summary(result)
        started = end_ms - int(1_000 * result.seconds)
        return self.client.create_run(self.experiment_id, start_time=started, run_name=record.name, tags=tags).info.run_id

    def _log_datasets(self, run_id: str, result: Result) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        trial, provenance = result.trial, result.provenance
        wanted = [("data", "data.source", "training"), ("eval_data", "data.eval_source", "evaluation")]
        wanted.append(("base_text", "evaluation.base_text", "forgetting"))
        inputs = []
        for kind, field, context in wanted:
            if provenance.get(kind) and trial.get(field):
                source = json.dumps(
                    {"source": trial[field], "n_examples": trial.get("data.n_examples") if kind == "data" else None}
                )
                name = Path(str(trial[field])).name or str(trial[field])
                dataset = Dataset(name=name, digest=provenance[kind][:36], source_type="tunelab", source=source)
                inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
        if inputs:
            self.client.log_inputs(run_id, datasets=inputs)

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is not None and found.lifecycle_stage != "active":
            raise BadInput(
                f"--tracking-uri {redacted(self.uri)}: experiment {self.experiment!r} was deleted there; restore it first",
                field="--tracking-uri",
            )
        if found is not None:
            return found.experiment_id
        location = self.artifacts.resolve().as_uri() if self.artifacts else None
        # the kind decides which page the UI opens on: this one opens the table of runs
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return self.client.create_experiment(self.experiment, artifact_location=location, tags=tags)
        except MlflowException:  # another process made it in the same moment
            made = self.client.get_experiment_by_name(self.experiment)
            if made is None:
                raise
            return made.experiment_id


def _summary(result: Result) -> str:
    """One line of Markdown: how the trial ended."""
    if result.state.failed:
        return f"**{result.state}**: {result.reason or 'no reason recorded'}"
    shown = [f"{name} {result.metrics[name]:.4g}" for name in AXES if result.metrics.get(name) is not None]
    return f"**{result.state}** on the {result.trial.get('evaluation.split')} split: " + ", ".join(shown)


def _params(result: Result, record: TrialRecord) -> dict[str, object]:
    tails = [name.rpartition(".")[2] for name in record.axes]
    short = {name: tail if tails.count(tail) == 1 else name for name, tail in zip(record.axes, tails, strict=True)}
    axes = {f"axis.{short[name]}": result.trial[name] for name in record.axes if name in result.trial}
    return {**axes, **result.trial, **result.provenance, **result.facts}


def _metrics(result: Result, end_ms: int) -> list[tuple[str, float, int, int]]:
    """(name, value, timestamp, step): timestamps come from the result file, so that logging twice gives the same rows."""
    # the UI shows metrics in the order in which they were logged: the two axes first, then totals, then details
    ordered = sorted(result.metrics.items(), key=lambda metric: (metric[0] not in AXES, "/" in metric[0]))
    found = [(name, float(value), end_ms, 0) for name, value in ordered if value is not None]
    start_ms, total = end_ms - int(1_000 * result.seconds), max(len(result.history), 1)
    for index, point in enumerate(result.history):
        at = start_ms + int((end_ms - start_ms) * (index + 1) / total)
        found += [
            (f"train/{name}", float(value), at, int(point["step"]))
            for name, value in point.items()
            if name not in ("step", "epoch", "tokens") and value is not None
        ]
    return found
