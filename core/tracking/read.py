"""What the analysis reads from MLflow: which sweeps there are, their trials, the items of a trial."""

from __future__ import annotations

import gzip
import json
import tempfile
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadInput, one_line, redacted
from core.looks import CLAIMS_FILE, Looks
from core.result import FILE, GENERATIONS
from core.states import Phase, State

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
from core.tracking.connection import (
    ARM,
    CLAIMS,
    FINGERPRINT,
    KEY,
    KIND,
    LAST_RUN,
    LOOKS,
    MOST_SEEDS,
    OLD_ARM,
    PHASE,
    REPEATED,
    STATE,
    SUPERSEDED,
    SWEEP,
    arm_of,
    client,
    has_run,
    search_runs,
    told,
)
from core.tracking.entries import ITEMS
from core.tracking.sqlite import sqlite_file
from core.tracking.uri import check_uri


class Absent(BadInput):
    """The store answers, and has no such experiment or sweep."""


@contextmanager
def _experiment(uri: str, experiment: str) -> Iterator[tuple[MlflowClient, list[str]]]:
    check_uri(uri)
    with told(uri):
        file = sqlite_file(uri)
        reader = client(uri) if file is None or file.exists() else None  # reading makes no store
        found = reader.get_experiment_by_name(experiment) if reader else None
        if found is None or reader is None:
            raise Absent(f"{redacted(uri)} has no experiment {experiment!r}: run `python sweeps/run.py {experiment}` first")
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
        runs = [run for run in search_runs(reader, ids, {KIND: "sweep"}) if run.data.tags[SWEEP].startswith(beginning)]
    if not runs:
        which = f"sweep {beginning!r}" if beginning else "sweep"
        raise Absent(f"{redacted(uri)} has no {which} of {experiment!r}: run `python sweeps/run.py {experiment}` first")
    ordered = sorted(runs, key=lambda run: int(run.data.tags.get(LAST_RUN, run.info.start_time)), reverse=True)
    return list(dict.fromkeys(str(run.data.tags[SWEEP]) for run in ordered))


def last_with_results(uri: str, experiment: str, beginning: str = "") -> tuple[str, list[str]]:
    """The sweep that ran last of those with a finished final trial, and the newer ones, which have none yet. One that is named by
    the `beginning` of its id is taken as it is, and the last one where none has results.

    Raises:
        BadInput: the store has no such sweep of this experiment.
    """
    found = sweeps(uri, experiment, beginning)
    if beginning or len(found) == 1:
        return found[0], []
    with _experiment(uri, experiment) as (reader, ids):
        for at, sweep in enumerate(found):
            if has_run(reader, ids, {SWEEP: sweep, KIND: "trial", PHASE: Phase.FINAL, STATE: State.FINISHED}):
                return sweep, found[:at]
    return found[0], []


def read_trials(uri: str, experiment: str, sweep: str | None = None) -> list[dict[str, Any]]:
    """The trials of one sweep (the latest, if none is named): run_id, artifacts (where its files are), name, status, params,
    metrics, tags; failures included.

    Runs that are still being written and runs of a setting that was superseded are left out. Each trial is there once, also
    while two processes log the same sweep.
    """
    wanted = sweep or latest_sweep(uri, experiment)
    with _experiment(uri, experiment) as (reader, ids):
        runs = search_runs(reader, ids, {SWEEP: wanted, KIND: "trial"})
    _check_tags(uri, runs)
    whole = [run for run in runs if run.info.status != "RUNNING" and run.data.tags[PHASE] != SUPERSEDED]
    by_key = {run.data.tags[KEY]: run for run in sorted(whole, key=lambda run: (run.info.status, run.info.end_time))}
    return [
        {
            "run_id": run.info.run_id,
            "artifacts": run.info.artifact_uri,
            "name": run.info.run_name,
            "status": run.info.status,
            "params": dict(run.data.params),
            "metrics": dict(run.data.metrics),
            "tags": {**run.data.tags, ARM: arm_of(run)},
        }
        for run in sorted(by_key.values(), key=lambda run: (arm_of(run), run.data.tags[PHASE], run.info.start_time))
    ]


def _check_tags(uri: str, runs: Sequence[Run]) -> None:
    """Every trial's run has the tags that it is known by.

    Raises:
        BadInput: one lacks some: another version wrote it, or a person took them away.
    """
    for run in runs:
        tags = run.data.tags.keys() | ({ARM} if OLD_ARM in run.data.tags else set())
        if lost := [name for name in (ARM, PHASE, KEY, FINGERPRINT) if name not in tags]:
            raise damaged(uri, run.info.run_id, f"it lacks the tag {lost[0]}")


def damaged(uri: str, run_id: str, reason: str) -> BadInput:
    """What to say of a run that cannot be read."""
    text = f"run {run_id} is no trial that this version reads ({reason}); delete this run, and the sweep's command logs it anew"
    return BadInput(f"{redacted(uri)}: {text}", field="--tracking-uri")


def _sweep_run(uri: str, experiment: str, sweep: str) -> Run | None:
    """The sweep's own run."""
    with _experiment(uri, experiment) as (reader, ids):
        return next(iter(search_runs(reader, ids, {SWEEP: sweep, KIND: "sweep"})), None)


def read_repeated(uri: str, experiment: str, sweep: str) -> list[dict[str, Any]]:
    """The arms of a sweep that were not run, as they are the same runs as others: "arm", "of", and "fields", in which they were
    meant to differ."""
    run = _sweep_run(uri, experiment, sweep)
    found: list[dict[str, Any]] = json.loads(run.data.tags.get(REPEATED, "[]")) if run else []
    return found


def read_looks(uri: str, experiment: str, sweep: str) -> Looks:
    """The looks that reports took at the claims of a sweep, and how many seeds were planned at most.

    Raises:
        BadInput: what the store keeps of them is damaged.
    """
    run = _sweep_run(uri, experiment, sweep)
    tags = run.data.tags if run else {}
    try:
        return Looks.from_json(tags.get(MOST_SEEDS, ""), tags.get(LOOKS, ""))
    except (ValueError, TypeError, AttributeError) as error:
        text = f"its tag {LOOKS} or {MOST_SEEDS} is damaged ({one_line(error)}); delete it, and looks are counted from now on"
        raise BadInput(f"{redacted(uri)}: sweep {sweep[:8]}: {text}", field="--tracking-uri") from None


def read_status(uri: str, experiment: str, sweep: str) -> str:
    """How far a sweep is by its own run: RUNNING (or killed at once), FINISHED, KILLED; "" where there is none."""
    run = _sweep_run(uri, experiment, sweep)
    return str(run.info.status) if run else ""


def read_claims(uri: str, experiment: str, sweep: str) -> str:
    """What the claims of a sweep said before its first seed, as the sweep recorded it (claims.json); "" where it did not."""
    run = _sweep_run(uri, experiment, sweep)
    if run is None or CLAIMS not in run.data.tags:
        return ""
    text = _artifact(uri, run.info.run_id, str(run.info.artifact_uri), CLAIMS_FILE)
    return text.decode(errors="replace") if text is not None else ""


def read_items(uri: str, run_id: str, artifacts: str = "") -> str:
    """A trial's items table as CSV text: measure, axis, group, item, weight, before, after. "" for a trial without one.

    `artifacts` is where `read_trials` says that its files are: those on this machine are read without asking the store.
    """
    packed = _artifact(uri, run_id, artifacts, ITEMS)
    with _whole(uri, run_id, artifacts, ITEMS):
        return gzip.decompress(packed).decode() if packed is not None else ""


def read_generations(uri: str, run_id: str, artifacts: str = "") -> list[dict[str, str]]:
    """What base and tuned model wrote to the same prompts: "prompt", "right answer", "base", "tuned"; none of a trial without."""
    text = _artifact(uri, run_id, artifacts, GENERATIONS)
    with _whole(uri, run_id, artifacts, GENERATIONS):
        table = json.loads(text) if text is not None else {"columns": [], "data": []}
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def read_history(uri: str, run_id: str, artifacts: str = "") -> list[dict[str, float]]:
    """The points of a trial's training, and of what was measured along it (those have "quality"), by their steps."""
    text = _artifact(uri, run_id, artifacts, FILE)
    with _whole(uri, run_id, artifacts, FILE):
        return [dict(point) for point in json.loads(text)["history"]] if text is not None else []


@contextmanager
def _whole(uri: str, run_id: str, artifacts: str, name: str) -> Iterator[None]:
    """A stored file that was cut or changed is one line.

    Raises:
        BadInput: what is done inside shows that it was.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError, EOFError, OSError, zlib.error) as error:
        text = f"{name} of run {run_id} is damaged ({one_line(error)}); delete this run, and the sweep's command logs it again"
        raise BadInput(f"{artifacts or redacted(uri)}: {text}") from None


def _artifact(uri: str, run_id: str, artifacts: str, name: str) -> bytes | None:
    if artifacts.startswith("file:"):
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(artifacts).path)) / name
        return path.read_bytes() if path.exists() else None
    with told(uri):
        reader = client(uri)
        if not any(file.path == name for file in reader.list_artifacts(run_id)):
            return None
        with tempfile.TemporaryDirectory() as folder:
            return Path(reader.download_artifacts(run_id, name, folder)).read_bytes()
