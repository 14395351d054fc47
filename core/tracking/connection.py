"""The MLflow client, the names of the tags that runs carry, and searching and logging within MLflow's limits."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


KIND, SWEEP, ARM, PHASE, STATE = "tunelab.kind", "tunelab.sweep", "tunelab.arm", "tunelab.phase", "tunelab.state"
OLD_ARM, OLD_SUMMARY = "tunelab.cell", "cell"  # what stores written before 2026-11-27 have for ARM, and for KIND "arm"
FINGERPRINT, REASON, DIGEST, FOLDER = "tunelab.fingerprint", "tunelab.reason", "tunelab.result", "tunelab.folder"
KEY, SUPERSEDED, LAST_RUN = "tunelab.key", "superseded", "tunelab.last_run"
REPEATED = "tunelab.repeated"  # of the parent run: arms that are the same runs as others, as JSON
PARENT, NOTE, NAME = "mlflow.parentRunId", "mlflow.note.content", "mlflow.runName"
BATCH = {"metrics": 1_000, "params": 100, "tags": 100}  # limits of MLflow's log_batch
PARAM_CHARACTERS = 6_000  # MLflow's limit for a parameter's value
TAG_CHARACTERS = 5_000


def client(uri: str) -> MlflowClient:
    """MLflow's client, quiet, and without the long retries that would hold up a sweep when a server goes away."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for noisy in ("alembic", "mlflow.store", "mlflow.tracking"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what goes wrong is raised, and told in one line
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def log_batch(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, object] | None = None,
    metrics: Sequence[tuple[str, float, int, int]] = (),
    tags: Mapping[str, object] | None = None,
) -> None:
    """MLflow's own `log_batch`, in as many calls as its limits ask for."""
    from mlflow.entities import Metric, Param, RunTag

    write: Any = client.log_batch
    entries: dict[str, list[Any]] = {
        "params": [Param(name, str(value)[:PARAM_CHARACTERS]) for name, value in (params or {}).items()],
        "metrics": [Metric(name, value, at, step) for name, value, at, step in metrics],
        "tags": [RunTag(name, str(value)[:TAG_CHARACTERS]) for name, value in (tags or {}).items()],
    }
    for kind, found in entries.items():
        for first in range(0, len(found), BATCH[kind]):
            write(run_id, **{kind: found[first : first + BATCH[kind]]})


def search_runs(client: MlflowClient, experiment_ids: list[str], tags: Mapping[str, str]) -> list[Run]:
    """Every active run with these tags, newest first."""
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiment_ids, wanted, max_results=1_000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def arm_of(run: Run) -> str:
    """The label of the arm that a trial or a summary belongs to."""
    tags = run.data.tags
    return str(tags.get(ARM) or tags[OLD_ARM])
