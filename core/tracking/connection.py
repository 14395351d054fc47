"""The MLflow client, the names of the tags that runs carry, and searching and logging within MLflow's limits."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadInput, one_line, redacted
from core.tracking.sqlite import normalised, opening, relocate, remains, revision, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


KIND, SWEEP, ARM, PHASE, STATE = "tunelab.kind", "tunelab.sweep", "tunelab.arm", "tunelab.phase", "tunelab.state"
OLD_ARM, OLD_SUMMARY = "tunelab.cell", "cell"  # what stores written before 2026-11-27 have for ARM, and for KIND "arm"
FINGERPRINT, REASON, DIGEST, FOLDER = "tunelab.fingerprint", "tunelab.reason", "tunelab.result", "tunelab.folder"
FILE_DIGEST = "tunelab.result_file"
KEY, SUPERSEDED, LAST_RUN = "tunelab.key", "superseded", "tunelab.last_run"
# Of the parent run: looks at its claims, and how many seeds were planned at most.
LOOKS, MOST_SEEDS = "tunelab.looks", "tunelab.most_seeds"
CLAIMS = "tunelab.claims"  # of the parent run: the hash of what its claims said before the first seed
REPEATED = "tunelab.repeated"  # of the parent run: arms that are the same runs as others, as JSON
PARENT, NOTE, NAME = "mlflow.parentRunId", "mlflow.note.content", "mlflow.runName"
BATCH = {"metrics": 1_000, "params": 100, "tags": 100}  # limits of MLflow's log_batch
PARAM_CHARACTERS = 6_000  # MLflow's limit for a parameter's value
TAG_CHARACTERS = 5_000
_FILES: dict[Path, int] = {}  # SQLite file → the inode that this process opened
ENGINE_TRIES = 2  # MLflow's own ten take 100 s before a wrong password or a damaged file is told


def client(uri: str) -> MlflowClient:
    """MLflow's client, quiet, and without the long retries that would hold up a sweep when a server goes away. A SQLite store
    that is new is made, one that was moved gets its artifacts' new place.

    Raises:
        BadInput: the database has another version of MLflow's schema.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for noisy in ("alembic", "mlflow.store", "mlflow.tracking"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what goes wrong is raised, and told in one line
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = ENGINE_TRIES
    with opening(uri) as file:
        if file is None:
            return MlflowClient(tracking_uri=uri)
        _ready(file)
        made, number = MlflowClient(tracking_uri=normalised(uri)), file.stat().st_ino
        if _FILES.setdefault(file, number) != number:  # it was deleted or replaced: MLflow still has the old one open
            made._tracking_client.store.engine.dispose()
            _FILES[file] = number
        return made


def _ready(file: Path) -> None:
    """Makes the store's tables, whole or not at all, or looks whether those that are there can be used."""
    if not file.exists() or not file.stat().st_size:
        _make(file)
        return
    from mlflow.store.db import utils

    found, needed = revision(file), utils._get_latest_schema_revision()
    if found != needed:  # MLflow itself would change some of these at once, without a backup
        how = f"back it up, then `mlflow db upgrade {sqlite_uri(file)}`, or name another store"
        raise BadInput(f"{file}: its MLflow schema is {found or 'missing'}, this MLflow's is {needed}; {how}")
    try:
        relocate(file)
    except sqlite3.OperationalError as error:  # a store that can only be read is read as it is
        if "readonly" not in str(error):
            raise


def _make(file: Path) -> None:
    from mlflow import MlflowClient

    for left in list(remains(file)):
        left.unlink()
    temporary = file.with_name(f".{file.name}.{time.time_ns()}")
    try:
        MlflowClient(tracking_uri=sqlite_uri(temporary)).search_experiments(max_results=1)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Raises BadInput with one line, without credentials, for whatever MLflow raises for a store that it can't use."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException, sqlite3.Error, ImportError) as error:
        raise unusable(uri, error) from None


def unusable(uri: str, error: Exception) -> BadInput:
    """What to say of a store that raised `error`."""
    return error if isinstance(error, BadInput) else BadInput(f"{redacted(uri)}: {one_line(error)}", field="--tracking-uri")


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
    wanted = _filter(tags)
    runs: list[Run] = []
    token = None
    with _no_garbage_collection():
        while True:
            page = client.search_runs(experiment_ids, wanted, max_results=1_000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs


def has_run(client: MlflowClient, experiment_ids: list[str], tags: Mapping[str, str]) -> bool:
    """Whether there is an active run with these tags."""
    return bool(client.search_runs(experiment_ids, _filter(tags), max_results=1))


def _filter(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """MLflow makes 150 small objects a run; collecting among them took 7 of 10 s for 2,000 runs (measured)."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def arm_of(run: Run) -> str:
    """The label of the arm that a trial or a summary belongs to."""
    tags = run.data.tags
    return str(tags.get(ARM) or tags[OLD_ARM])
