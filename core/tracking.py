"""MLflow: the only file that imports it. One parent run per sweep, one child per trial, one summary run per cell.

Only the process that drives a sweep writes, through `Store`; the analysis reads and adds its files through the functions
at the end. A trial's run is found by its tags before it is created, so that a sweep that was killed at any line and is
repeated has every run once. The trial's folder on disk stays the record: a store that is away loses nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import logging
import os
import socket
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.definitions import BadInput, redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KIND, SWEEP, CELL, PHASE, STATE = "tunelab.kind", "tunelab.sweep", "tunelab.cell", "tunelab.phase", "tunelab.state"
FINGERPRINT, REASON, DIGEST, FOLDER = "tunelab.fingerprint", "tunelab.reason", "tunelab.result", "tunelab.folder"
KEY, SUPERSEDED, LAST_RUN = "tunelab.key", "superseded", "tunelab.last_run"
PARENT, NOTE, NAME = "mlflow.parentRunId", "mlflow.note.content", "mlflow.runName"
STATUS_OF_STATE = {"finished": "FINISHED", "diverged": "FAILED", "oom": "FAILED", "crashed": "FAILED", "pruned": "KILLED"}
BATCH = {"metrics": 1_000, "params": 100, "tags": 100}  # limits of MLflow's log_batch
PARAM_CHARACTERS = 6_000  # MLflow's limit for a parameter's value
TAG_CHARACTERS = 5_000
AXES = ("quality", "forgetting")  # the two metrics that every trial is compared by
SQLITE_BEGINNING = b"SQLite format 3\0"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def chosen_uri(asked: str | None, output: Path) -> tuple[str, str]:
    """The store to log to and where its URI comes from: the command line, MLflow's own variable, or the embedded store.

    Raises:
        BadInput: nothing answers there.
    """
    for uri, origin in ((asked, "--tracking-uri"), (os.environ.get(URI_VARIABLE), URI_VARIABLE)):
        if uri:
            check_uri(uri, origin)
            return uri, origin
    check_uri(default_uri(output))
    return default_uri(output), ""


def default_uri(output: Path) -> str:
    """The embedded store: one SQLite file beside the runs, by its absolute path."""
    return f"sqlite:///{output.resolve()}/mlflow.db"


def check_uri(uri: str, origin: str = "--tracking-uri", timeout_seconds: float = 4) -> None:
    """Whether the store answers, before anything is started and without importing MLflow.

    Raises:
        BadInput: the URI is of no known kind, or nothing answers there.
    """
    told = f"{origin} {redacted(uri)}"
    try:
        parts = urllib.parse.urlsplit(uri)
        port = parts.port
    except ValueError:  # its text may hold a piece of the password
        raise BadInput(f"{told}: not a URI") from None
    kind = parts.scheme.partition("+")[0]
    if kind in ("http", "https"):
        _check_server(uri, told, timeout_seconds)
    elif kind == "sqlite" and parts.path.strip("/") not in ("", ":memory:"):  # in memory, no other process could read it
        _check_sqlite(Path(uri.removeprefix(f"{parts.scheme}:///").partition("?")[0]), told)
    elif kind in DATABASES:
        try:
            socket.create_connection((parts.hostname or "localhost", port or DATABASES[kind]), timeout_seconds).close()
        except (OSError, ValueError) as error:
            raise BadInput(f"{told}: no answer ({_why(error)})") from None
    elif kind != "databricks":
        raise BadInput(f"{told}: must be sqlite:////absolute/file.db, http(s)://host:port or a database's URI")


def _check_sqlite(file: Path, told: str) -> None:
    if not file.parent.is_dir():
        raise BadInput(f"{told}: the directory {file.parent} does not exist")
    try:
        with file.open("rb") as opened:
            beginning = opened.read(len(SQLITE_BEGINNING))
    except FileNotFoundError:
        return  # it will be made
    except OSError as error:
        raise BadInput(f"{told}: cannot be read ({error.strerror})") from None
    if beginning not in (b"", SQLITE_BEGINNING):
        raise BadInput(f"{told}: {file} is not an SQLite database")


def _check_server(uri: str, told: str, timeout_seconds: float) -> None:
    parts = urllib.parse.urlsplit(uri)
    bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with urllib.request.urlopen(bare.rstrip("/") + "/health", timeout=timeout_seconds):
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return  # a server that asks for credentials: MLflow's client has them (MLFLOW_TRACKING_USERNAME, …_TOKEN)
        raise BadInput(f"{told}: something answers, but not an MLflow server (HTTP {error.code})") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BadInput(f"{told}: no answer ({_why(reason)})") from None


def _why(error: Any) -> str:
    """The operating system's words; other texts may repeat the address and are told by their kind alone."""
    return getattr(error, "strerror", None) or (type(error).__name__ if isinstance(error, Exception) else "no such address")


def page(uri: str, experiment_id: str, sweep: str) -> str:
    """Where the UI shows a sweep's final trials side by side, best first.

    Sorted by a metric, as the UI folds children under their parent when it sorts by time.
    """
    server = redacted(uri).rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    final = urllib.parse.quote(f"tags.`{SWEEP}` = '{sweep}' AND tags.`{PHASE}` = 'final'")
    order = urllib.parse.quote("metrics.`quality`")
    return f"{server}/#/experiments/{experiment_id}/runs?searchFilter={final}&orderByKey={order}&orderByAsc=false"


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


@dataclass(frozen=True)
class TrialRecord:
    """What the store is told of a trial beside its result.json."""

    key: str  # fingerprint-phase
    name: str
    cell: str
    phase: str
    axes: tuple[str, ...]
    folder: Path


Stale = Callable[[str, str, str, Mapping[str, str]], bool]  # cell, phase, key, parameters of a logged trial


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
        found = _search(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "sweep"})
        if found:
            run_id = found[0].info.run_id
            self.client.update_run(run_id, status="RUNNING")
        else:
            name = f"{self.experiment} {self.sweep[:8]}"
            first = {KIND: "sweep", SWEEP: self.sweep, NOTE: note, "mlflow.source.name": "sweeps/run.py"}
            run_id = self.client.create_run(self.experiment_id, run_name=name, tags=first).info.run_id
        now = {LAST_RUN: str(time.time_ns() // 1_000_000), **(tags or {})}
        _log(self.client, run_id, params=params, tags=now)  # again after a kill between the two: the same values change nothing
        self.parent_id = run_id

    def close(self, status: str) -> None:
        """Ends the parent run: FINISHED, or KILLED when the sweep was interrupted."""
        self.client.set_terminated(self.parent_id, status=status)

    def logged(self) -> dict[str, Run]:
        """The runs of this sweep's trials by key (fingerprint-phase)."""
        runs = _search(self.client, [self.experiment_id], {SWEEP: self.sweep, KIND: "trial"})
        return {run.data.tags[KEY]: run for run in runs}

    def log_trial(self, record: TrialRecord, known: Run | None) -> None:
        """Writes one finished trial. A run that was begun for the same result is continued, another result replaces it."""
        path = record.folder / "result.json"
        content = path.read_bytes()
        row, digest, end_ms = json.loads(content), hashlib.sha256(content).hexdigest()[:16], path.stat().st_mtime_ns // 1_000_000
        if known is not None and known.data.tags.get(DIGEST) == digest:
            if known.data.tags[PHASE] == SUPERSEDED:  # and yet it is the cell's best again
                self.client.set_tag(known.info.run_id, PHASE, record.phase)
            if known.info.status != "RUNNING":
                return
            run_id = known.info.run_id
        else:
            if known is not None:
                self.client.delete_run(known.info.run_id)
            run_id = self._create(record, row, digest, end_ms)
        _log(self.client, run_id, params=_params(row, record), metrics=_metrics(row, end_ms))
        self._log_datasets(run_id, row)
        for name in ("result.json", "items.csv.gz", "traceback.txt"):
            if (record.folder / name).exists():
                self.client.log_artifact(run_id, str(record.folder / name))
        self.client.set_terminated(run_id, status=STATUS_OF_STATE[row["state"]], end_time=end_ms)

    def supersede(self, stale: Stale) -> None:
        """Marks the trials that no longer belong to the sweep (a repeated tuning trial changed what followed from it)."""
        for key, run in self.logged().items():
            phase = run.data.tags[PHASE]
            if phase != SUPERSEDED and stale(run.data.tags[CELL], phase, key, run.data.params):
                self.client.set_tag(run.info.run_id, PHASE, SUPERSEDED)

    def _create(self, record: TrialRecord, row: Mapping[str, Any], digest: str, end_ms: int) -> str:
        tags = {
            KIND: "trial",
            SWEEP: self.sweep,
            KEY: record.key,
            FINGERPRINT: row["fingerprint"],
            CELL: record.cell,
            PHASE: record.phase,
            STATE: row["state"],
            REASON: (row.get("reason") or "")[:TAG_CHARACTERS],
            DIGEST: digest,
            FOLDER: str(record.folder),
            PARENT: self.parent_id,
            "mlflow.source.name": "sweeps/run.py",
        }
        tags[NOTE] = _summary(row)
        started = end_ms - int(1_000 * row["seconds"])
        return self.client.create_run(self.experiment_id, start_time=started, run_name=record.name, tags=tags).info.run_id

    def _log_datasets(self, run_id: str, row: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        trial, provenance = row["trial"], row["provenance"]
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
                f"--tracking-uri {redacted(self.uri)}: experiment {self.experiment!r} was deleted there; restore it first"
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


def _summary(row: Mapping[str, Any]) -> str:
    """One line of Markdown: how the trial ended."""
    if row["state"] != "finished":
        return f"**{row['state']}**: {row.get('reason') or 'no reason recorded'}"
    shown = [f"{name} {row['metrics'][name]:.4g}" for name in AXES if row["metrics"].get(name) is not None]
    return f"**{row['state']}** on the {row['trial'].get('evaluation.split')} split: " + ", ".join(shown)


def _params(row: Mapping[str, Any], record: TrialRecord) -> dict[str, object]:
    tails = [name.rpartition(".")[2] for name in record.axes]
    short = {name: tail if tails.count(tail) == 1 else name for name, tail in zip(record.axes, tails, strict=True)}
    axes = {f"axis.{short[name]}": row["trial"][name] for name in record.axes if name in row["trial"]}
    return {**axes, **row["trial"], **row["provenance"], **row["facts"]}


def _metrics(row: Mapping[str, Any], end_ms: int) -> list[tuple[str, float, int, int]]:
    """(name, value, timestamp, step): timestamps come from the result file, so that logging twice gives the same rows."""
    # the UI shows metrics in the order in which they were logged: the two axes first, then totals, then details
    ordered = sorted(row["metrics"].items(), key=lambda metric: (metric[0] not in AXES, "/" in metric[0]))
    found = [(name, float(value), end_ms, 0) for name, value in ordered if value is not None]
    start_ms, total = end_ms - int(1_000 * row["seconds"]), max(len(row["history"]), 1)
    for index, point in enumerate(row["history"]):
        at = start_ms + int((end_ms - start_ms) * (index + 1) / total)
        found += [
            (f"train/{name}", float(value), at, int(point["step"]))
            for name, value in point.items()
            if name not in ("step", "epoch", "tokens") and value is not None
        ]
    return found


def _log(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, object] | None = None,
    metrics: Sequence[tuple[str, float, int, int]] = (),
    tags: Mapping[str, object] | None = None,
) -> None:
    """`log_batch` within MLflow's limits."""
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


def _search(client: MlflowClient, experiment_ids: list[str], tags: Mapping[str, str]) -> list[Run]:
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


@contextmanager
def _experiment(uri: str, experiment: str) -> Iterator[tuple[MlflowClient, list[str]]]:
    check_uri(uri)
    reader = client(uri)
    found = reader.get_experiment_by_name(experiment)
    if found is None:
        raise BadInput(f"{redacted(uri)} has no experiment {experiment!r}: run `python sweeps/run.py {experiment}` first")
    yield reader, [found.experiment_id]


def latest_sweep(uri: str, experiment: str, beginning: str = "") -> str:
    """The id of the experiment's sweep that was started or went on last, of those whose id begins with `beginning`.

    Raises:
        BadInput: the store has no such sweep of this experiment.
    """
    return sweeps(uri, experiment, beginning)[0]


def sweeps(uri: str, experiment: str, beginning: str = "") -> list[str]:
    """The ids of the experiment's sweeps, the one that ran last first.

    Raises:
        BadInput: the store has none (whose id begins with `beginning`).
    """
    with _experiment(uri, experiment) as (reader, ids):
        runs = [run for run in _search(reader, ids, {KIND: "sweep"}) if run.data.tags[SWEEP].startswith(beginning)]
    if not runs:
        which = f"sweep {beginning!r}" if beginning else "sweep"
        raise BadInput(f"{redacted(uri)} has no {which} of {experiment!r}: run `python sweeps/run.py {experiment}` first")
    ordered = sorted(runs, key=lambda run: int(run.data.tags.get(LAST_RUN, run.info.start_time)), reverse=True)
    return [str(run.data.tags[SWEEP]) for run in ordered]


def read_trials(uri: str, experiment: str, sweep: str | None = None) -> list[dict[str, Any]]:
    """The trials of one sweep (the latest, if none is named): run_id, name, status, params, metrics, tags; failures included.

    Runs that are still being written and runs of a setting that was superseded are left out.
    """
    wanted = sweep or latest_sweep(uri, experiment)
    with _experiment(uri, experiment) as (reader, ids):
        runs = _search(reader, ids, {SWEEP: wanted, KIND: "trial"})
    return [
        {
            "run_id": run.info.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "params": dict(run.data.params),
            "metrics": dict(run.data.metrics),
            "tags": dict(run.data.tags),
        }
        for run in sorted(runs, key=lambda run: (run.data.tags[CELL], run.data.tags[PHASE], run.info.start_time))
        if run.info.status != "RUNNING" and run.data.tags[PHASE] != SUPERSEDED
    ]


def read_items(uri: str, run_id: str) -> str:
    """A trial's items table as CSV text: measure, axis, group, item, weight, before, after. "" for a trial without one."""
    reader = client(uri)
    if not any(file.path == "items.csv.gz" for file in reader.list_artifacts(run_id)):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        path = reader.download_artifacts(run_id, "items.csv.gz", folder)
        return gzip.decompress(Path(path).read_bytes()).decode()


def write_cells(uri: str, sweep: str, rows: Sequence[Mapping[str, object]]) -> None:
    """One summary run per cell. A row's "cell" is its name; its numbers become metrics, its words parameters and tags."""
    writer = client(uri)
    parent = _parent(writer, sweep)
    experiment_id, parent_id = parent.info.experiment_id, parent.info.run_id
    known = {run.data.tags[CELL]: run for run in _search(writer, [experiment_id], {SWEEP: sweep, KIND: "cell"})}
    for row in rows:
        label = str(row["cell"])
        if label in known:  # parameters can't be changed: the summary is written anew
            writer.delete_run(known[label].info.run_id)
        tags = {KIND: "cell", SWEEP: sweep, CELL: label, PHASE: "summary", PARENT: parent_id}
        run_id = writer.create_run(experiment_id, run_name=f"{label} (summary)", tags=tags).info.run_id
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)}
        words = {name: value for name, value in row.items() if name not in numbers and name != "cell" and value is not None}
        metrics = [(name, float(value), parent.info.start_time, 0) for name, value in numbers.items()]
        _log(writer, run_id, params=words, metrics=metrics)
        writer.set_terminated(run_id)


def write_analysis(uri: str, sweep: str, files: Sequence[Path], note: str) -> None:
    """Figures, tables and verdicts as artifacts of the parent run, with a note in Markdown at its top."""
    writer = client(uri)
    run_id = _parent(writer, sweep).info.run_id
    for path in files:
        writer.log_artifact(run_id, str(path), "report")
    _log(writer, run_id, tags={NOTE: note})


def _parent(reader: MlflowClient, sweep: str) -> Run:
    ids = [found.experiment_id for found in reader.search_experiments()]
    runs = _search(reader, ids, {SWEEP: sweep, KIND: "sweep"})
    if not runs:
        raise BadInput(f"sweep {sweep!r} is not in this store")
    return runs[0]
