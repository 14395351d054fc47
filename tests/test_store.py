"""The MLflow store under what happens to stores: opened by several at once, cleaned up by hand, moved, or somebody else's."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from core import tracking
from core.errors import BadInput
from core.fields import fingerprint, flatten
from core.settings import Lora, Trial
from core.tracking import Store, TrialRecord
from core.tracking.sqlite import revision, sqlite_file, why_unusable

ROOT = Path(__file__).parents[1]
PROVENANCE = {"data": "d" * 16, "model": "m" * 16}
NAME, SWEEP = "rank_vs_quality", "0123456789abcdef"
ODD = ["a b", "pct 100%20x", "ques?x", "a#b", "a;b&c=d", "it's", '"q"', "[x]", "back\\slash", "straße 数", "dots..", "%", "a%2Fb"]


def opened(output: Path) -> Store:
    store = Store(tracking.default_uri(output), NAME, SWEEP)
    store.open({"train.epochs": 3}, "does it?")
    return store


def record(output: Path, seed: int = 0, scores: tuple[float, ...] = (0.0, 1.0), **changes: Any) -> TrialRecord:
    """A trial's folder as core.trial leaves it, and its record."""
    trial = Trial(adapter=Lora(rank=4), seed=seed)
    mark = fingerprint(trial, PROVENANCE)
    row: dict[str, Any] = {
        "fingerprint": mark, "state": "finished", "reason": "", "trial": flatten(trial), "provenance": PROVENANCE,
        "metrics": {"quality": sum(scores) / len(scores), "forgetting": 0.3}, "history": [], "facts": {}, "seconds": 2.0,
    }  # fmt: skip
    folder = output / f"{NAME}-{SWEEP[:8]}" / "trials" / f"{mark}-final"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(row | changes))
    lines = [f"exact_match/seen,quality,sort,q{i},1,0.0,{score}\n" for i, score in enumerate(scores)]
    table = "measure,axis,group,item,weight,before,after\n" + "".join(lines)
    (folder / "items.csv.gz").write_bytes(gzip.compress(table.encode()))
    return TrialRecord(folder.name, f"lora r=4 seed {seed}", "lora r=4", "final", ("adapter.rank",), folder)


def runs(output: Path, kind: str = "trial") -> list[Run]:
    reader = tracking.client(tracking.default_uri(output))
    ids = [found.experiment_id for found in reader.search_experiments()]
    return [run for run in reader.search_runs(ids) if run.data.tags.get("tunelab.kind") == kind]


def is_whole(output: Path, n_trials: int) -> None:
    """One parent; every trial once, under it, with its items."""
    (parent,) = runs(output, "sweep")
    trials = runs(output)
    assert len(trials) == len({run.data.tags["tunelab.key"] for run in trials}) == n_trials
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    for trial in tracking.read_trials(tracking.default_uri(output), NAME):
        assert tracking.read_items(tracking.default_uri(output), trial["run_id"], trial["artifacts"]).startswith("measure")


# Several at once

OPEN = """
import sys
from pathlib import Path
from core import tracking
output = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    tracking.latest_sweep(tracking.default_uri(output), "rank_vs_quality")  # as a report does
except tracking.read.BadInput as error:
    assert "first" in str(error)
tracking.Store(tracking.default_uri(output), "rank_vs_quality", sys.argv[2]).open({"a": 1}, "n")
"""


def test_sweeps_and_a_report_that_open_a_fresh_store_at_the_same_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    pipes: Any = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*command, what], **pipes) for what in ("sweep-a", "sweep-b", "sweep-b")]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        _, said = process.communicate("go\n", timeout=120)
        assert process.returncode == 0, said
    assert sorted(run.data.tags[tracking.SWEEP] for run in runs(tmp_path, "sweep")) == ["sweep-a", "sweep-b"]


def test_a_store_that_was_killed_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    for left in (".mlflow.db.123", ".mlflow.db.123-journal"):
        (tmp_path / left).write_bytes(b"half")
    (tmp_path / "mlflow.db").touch()
    assert opened(tmp_path).parent_id
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_one_sweep_in_two_directories_with_equal_results_is_logged_once(output: Path, tmp_path: Path) -> None:
    first, other = opened(output), tmp_path / "other"
    for seed in (0, 1):
        first.log_trial(record(output, seed))
    first.close("FINISHED")
    ids = {run.info.run_id for run in runs(output)}
    second = opened(output)
    for seed in (0, 1):
        second.log_trial(record(other, seed, seconds=3.0))
    assert {run.info.run_id for run in runs(output)} == ids
    assert (second.kept, second.replaced) == ({output / f"{NAME}-{SWEEP[:8]}": 2}, {})
    is_whole(output, 2)


def test_one_sweep_in_two_directories_with_other_results_is_the_one_that_ran_last(output: Path, tmp_path: Path) -> None:
    first, other = opened(output), tmp_path / "other"
    first.log_trial(record(output))
    second = opened(output)
    second.log_trial(record(other, scores=(1.0, 1.0)))
    second.log_trial(record(other, seed=1))
    assert second.replaced == {output / f"{NAME}-{SWEEP[:8]}": 1}
    first.log_trial(record(output, seed=1))  # at the same time: it does not know of the other's
    is_whole(output, 2)
    again = opened(output)
    assert again.holds(record(other, seed=1))
    assert not again.holds(record(output, scores=(0.0, 0.0)))
    assert sorted(trial["metrics"]["quality"] for trial in tracking.read_trials(again.uri, NAME)) == [0.5, 1.0]


def test_runs_that_two_processes_wrote_under_one_key_are_read_and_kept_once(output: Path) -> None:
    store, one = opened(output), record(output)
    store.log_trial(one)
    store.runs.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_found", lambda self, key: [])
        store.log_trial(one)
    assert len(runs(output)) == 2
    assert len(tracking.read_trials(store.uri, NAME)) == 1
    opened(output).log_trial(one)
    is_whole(output, 1)


# What people do to a store


@pytest.mark.parametrize("what", ["parent", "restored parent", "children", "experiment", "all", "file", "artifacts' names"])
def test_what_was_deleted_is_made_whole_by_the_same_command(output: Path, what: str) -> None:
    records = [record(output, seed) for seed in (0, 1)]

    def command() -> None:
        store = opened(output)
        for one in records:
            store.log_trial(one)
        store.close("FINISHED")

    command()
    reader = tracking.client(tracking.default_uri(output))
    (parent,), children = runs(output, "sweep"), runs(output)
    if what in ("parent", "restored parent", "all"):
        reader.delete_run(parent.info.run_id)
    if what == "restored parent":
        command()
        reader.restore_run(parent.info.run_id)
    for run in children if what == "all" else children[:1] if what == "children" else []:
        reader.delete_run(run.info.run_id)
    if what == "experiment":
        reader.delete_experiment(parent.info.experiment_id)
    if what == "file":
        (output / "mlflow.db").unlink()
        shutil.rmtree(output / "mlartifacts")
    command()
    is_whole(output, 2)


def test_a_store_that_was_moved_goes_on_and_leaves_the_old_place_alone(output: Path) -> None:
    opened(output).log_trial(record(output))
    moved, copied = output.parent / "moved 100%", output.parent / "copied"
    shutil.copytree(output, copied)
    output.rename(moved)
    for place in (moved, copied):
        _artifact_repos_cache.clear()  # by run: one process has one store, but here
        uri = tracking.default_uri(place)
        (place / "report.md").write_text(place.name)
        tracking.write_analysis(uri, SWEEP, [place / "report.md"], "note")
        tracking.write_arms(uri, SWEEP, [{"arm": "lora r=4", "quality": 0.5}])
        store = opened(place)
        for seed in (0, 1):
            store.log_trial(record(place, seed))
        assert store.replaced == {}
        is_whole(place, 2)
        assert [path.read_text() for path in place.glob("mlartifacts/*/artifacts/report/report.md")] == [place.name]
    assert not output.exists()
    assert all(run.data.tags["tunelab.folder"].startswith(str(moved)) for run in runs(moved))


# Names of paths


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_paths(name: str, empty_store: Path, tmp_path: Path) -> None:
    output = tmp_path / name / "runs"
    output.mkdir(parents=True)
    shutil.copy(empty_store, output)
    uri, _ = tracking.chosen_uri(None, output)
    assert sqlite_file(uri) == output / "mlflow.db"
    assert tracking.chosen_uri(f"sqlite:///{output}/mlflow.db", tmp_path)[0] == uri  # as people type it
    store = opened(output)
    store.log_trial(record(output))
    is_whole(output, 1)
    assert (output / "mlartifacts").is_dir()
    study = optuna.create_study(storage=tracking.sqlite_uri(output / "optuna.db"))
    assert (output / "optuna.db").stat().st_size
    study._storage.remove_session()
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Stores that are none


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE customers (name TEXT)")


def other_schema(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'older'")


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(4_000) + whole[4_100:])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (foreign, "has the tables customers"),
        (other_schema, "schema is older, this MLflow's is"),
        (damaged, "damaged"),
        (lambda path: path.write_text("notes"), "not an SQLite database"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
)
def test_a_file_that_is_no_store_is_one_line_and_stays_as_it_is(output: Path, spoil: Any, said: str) -> None:
    file = output / "mlflow.db"
    if spoil not in (other_schema, damaged):
        file.unlink()
    spoil(file)
    before = file.read_bytes() if file.is_file() else b""
    for use in (lambda: opened(output), lambda: tracking.latest_sweep(tracking.default_uri(output), NAME)):
        started = time.monotonic()
        with pytest.raises(BadInput, match=said) as error:
            use()
        assert "\n" not in str(error.value)
        assert time.monotonic() - started < 10
    assert before == (file.read_bytes() if file.is_file() else b"")


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no experiment"):
        tracking.latest_sweep(tracking.default_uri(tmp_path), NAME)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers everything but its health with this status and body."""
    status, body, healthy = request.param

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else status)
            self.end_headers()
            self.wfile.write(healthy if self.path == "/health" else body)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://me:hunter2@127.0.0.1:{made.server_port}"
        made.shutdown()


PAGE = b"<html>\n<body>no</body></html>"


@pytest.mark.parametrize(
    "server",
    [(200, PAGE, PAGE), (200, PAGE, b"OK"), (404, PAGE, b"OK"), (500, b"{}", b"OK"), (401, b"who?", b"OK"), (200, b"[]", b"OK")],
    indirect=True,
)
def test_a_server_that_is_no_mlflow_is_one_line(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(BadInput) as error:
        tracking.latest_sweep(server, NAME)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)
    assert len(str(error.value)) < 400
    with pytest.raises((BadInput, MlflowException)) as refused:  # the logbook tells it
        Store(server, NAME, SWEEP).open({}, "")
    assert "hunter2" not in str(tracking.unusable(server, refused.value))


def test_a_store_replaced_while_a_sweep_runs_gets_everything(output: Path, empty_store: Path) -> None:
    store, one = opened(output), record(output)
    store.log_trial(one)
    (output / "mlflow.db").unlink()
    shutil.copy(empty_store, output)
    store.open({"train.epochs": 3}, "does it?")
    assert not store.holds(one)
    store.log_trial(one)
    is_whole(output, 1)


def test_a_trial_costs_few_calls(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is a round trip to a server: what is logged already costs none."""
    store, one = opened(output), record(output)
    store.log_trial(one)
    store = opened(output)
    calls: list[str] = []
    for name in ("search_runs", "get_run", "create_run", "log_batch", "set_tag"):
        monkeypatch.setattr(MlflowClient, name, lambda *rest, name=name, **named: calls.append(name))
    store.log_trial(one)
    assert store.holds(one)
    assert calls == []


KILLED_WITHIN = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE more (text)")
database.executemany("INSERT INTO more VALUES (?)", [("x" * 4000,)] * 500)  # more than the cache holds: the file is written to
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_unfinished_is_rolled_back_before_a_store_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE alembic_version (version_num)")
        database.execute("INSERT INTO alembic_version VALUES ('abc')")
        database.commit()
    for read in (lambda: revision(file), lambda: why_unusable(file)):
        subprocess.run([sys.executable, "-c", KILLED_WITHIN, str(file)], check=False)
        assert Path(f"{file}-journal").stat().st_size
        assert read() in ("abc", f"{file} is not MLflow's: it has the tables alembic_version; name another file")
        assert not Path(f"{file}-journal").exists()
