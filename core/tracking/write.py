"""What the analysis adds to MLflow: a summary run for each arm, and its files on the parent run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadInput
from core.looks import Looks

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
from core.tracking.connection import (
    ARM,
    KIND,
    LOOKS,
    NOTE,
    OLD_SUMMARY,
    PARENT,
    PHASE,
    SWEEP,
    arm_of,
    client,
    log_batch,
    search_runs,
    told,
)


def write_arms(uri: str, sweep: str, rows: Sequence[Mapping[str, object]]) -> None:
    """One summary run per arm. A row's "arm" is its name; its numbers become metrics, its words parameters and tags."""
    with told(uri):
        writer = client(uri)
        parent = _parent(writer, sweep)
        experiment_id = parent.info.experiment_id
        known = [run for kind in ("arm", OLD_SUMMARY) for run in search_runs(writer, [experiment_id], {SWEEP: sweep, KIND: kind})]
        for row in rows:
            label = str(row["arm"])
            _write_arm(writer, parent, row)
            for run in known:  # parameters can't be changed: the summary is written anew
                if arm_of(run) == label:
                    writer.delete_run(run.info.run_id)


def _write_arm(writer: MlflowClient, parent: Run, row: Mapping[str, object]) -> None:
    label, sweep = str(row["arm"]), parent.data.tags[SWEEP]
    tags = {KIND: "arm", SWEEP: sweep, ARM: label, PHASE: "summary", PARENT: parent.info.run_id}
    run_id = writer.create_run(parent.info.experiment_id, run_name=f"{label} (summary)", tags=tags).info.run_id
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    words = {name: value for name, value in row.items() if name not in numbers and name != "arm" and value is not None}
    metrics = [(name, float(value), parent.info.start_time, 0) for name, value in numbers.items()]
    log_batch(writer, run_id, params=words, metrics=metrics)
    writer.set_terminated(run_id)


def write_analysis(uri: str, sweep: str, files: Sequence[Path], note: str) -> None:
    """Figures, tables and verdicts as artifacts of the parent run, with a note in Markdown at its top."""
    with told(uri):
        writer = client(uri)
        run_id = _parent(writer, sweep).info.run_id
        for path in files:
            writer.log_artifact(run_id, str(path), "report")
        log_batch(writer, run_id, tags={NOTE: note})


def write_looks(uri: str, sweep: str, looks: Looks) -> None:
    """The looks that were taken at a sweep's claims, with the one of this report."""
    with told(uri):
        writer = client(uri)
        log_batch(writer, _parent(writer, sweep).info.run_id, tags={LOOKS: looks.to_json()})


def _parent(reader: MlflowClient, sweep: str) -> Run:
    ids = [found.experiment_id for found in reader.search_experiments()]
    runs = search_runs(reader, ids, {SWEEP: sweep, KIND: "sweep"})
    if not runs:
        raise BadInput(f"sweep {sweep!r} is not in this store")
    return runs[0]
