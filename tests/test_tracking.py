"""MLflow on a real SQLite store: one run per trial whatever happens in between, everything readable again, no secrets."""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis import load
from core import tracking
from core.errors import BadInput, one_line, redacted
from core.fields import fingerprint, flatten
from core.result import Result
from core.settings import Data, Evaluation, Full, Lora, Train, Trial
from core.tracking import Store, TrialRecord
from core.tracking.entries import Digest

PROVENANCE = {"data": "d" * 16, "model": "m" * 16, "base_text": "b" * 16}
AXES = ("adapter.rank", "adapter.method")
ITEMS = "measure,axis,group,item,weight,before,after\nexact_match/seen,quality,sort,q1,1,0.0,1.0\n"
STEPS = 30


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tracking.default_uri(tmp_path)


def opened(uri: str, sweep: str = "sweep-0") -> Store:
    store = Store(uri, "rank_vs_quality", sweep)
    store.open({"train.epochs": 3}, "does it?")
    return store


def finished(folder: Path, trial: Trial, arm: str = "lora r=4", phase: str = "final", **changes: Any) -> TrialRecord:
    """A trial's folder as core.trial leaves it, and its record."""
    mark = fingerprint(trial, PROVENANCE)
    row: dict[str, Any] = {
        "fingerprint": mark, "state": "finished", "reason": "", "trial": flatten(trial), "provenance": PROVENANCE,
        "metrics": {"quality": 0.75, "quality_se": 0.02, "forgetting": 0.31, "before/nll/prose": 1.5},
        "history": [
            {"step": step, "epoch": step / 10, "loss": 2 / (1 + step), "learning_rate": 1e-3} for step in range(STEPS)
        ],
        "facts": {"git_commit": "0" * 40, "device": "cpu", "quality_measure": "exact_match/seen"}, "seconds": 2.0,
    }  # fmt: skip
    place = folder / "trials" / f"{mark}-{phase}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "result.json").write_text(json.dumps(row | changes))
    (place / "items.csv.gz").write_bytes(gzip.compress(ITEMS.encode()))
    return TrialRecord(f"{mark}-{phase}", f"{arm} seed {trial.seed}", arm, phase, AXES, place)


def test_how_far_a_sweep_is(uri: str) -> None:
    store = opened(uri)
    asked = uri, "rank_vs_quality", "sweep-0"
    assert tracking.read_status(*asked) == "RUNNING"
    for status in ("KILLED", "FINISHED"):
        store.close(status)
        assert tracking.read_status(*asked) == status
    assert tracking.read_status(uri, "rank_vs_quality", "another") == ""


def log(store: Store, record: TrialRecord) -> None:
    store.log_trial(record)


def all_runs(uri: str, **tags: str) -> list[Run]:
    reader = tracking.client(uri)
    wanted = {f"tunelab.{name}": value for name, value in tags.items()}
    ids = [found.experiment_id for found in reader.search_experiments()]
    return [run for run in reader.search_runs(ids) if wanted.items() <= run.data.tags.items()]


def datasets(run: Run) -> dict[str, tuple[str, str]]:
    assert run.inputs is not None
    return {found.dataset.name: (found.dataset.digest, found.tags[0].value) for found in run.inputs.dataset_inputs}


TRIAL = Trial(
    data=Data(source="some/where/lima.jsonl"), adapter=Lora(rank=4), evaluation=Evaluation(base_text="wiki.txt"), seed=1
)


def test_parent_children_and_what_a_trial_records(uri: str, tmp_path: Path) -> None:
    store = opened(uri)
    log(store, finished(tmp_path, TRIAL))
    store.close("FINISHED")
    (parent,) = all_runs(uri, kind="sweep")
    assert parent.data.params == {"train.epochs": "3"}
    assert parent.data.tags[tracking.NOTE] == "does it?"
    (child,) = all_runs(uri, kind="trial")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    expected = {"sweep": "sweep-0", "arm": "lora r=4", "phase": "final", "state": "finished", "reason": ""}
    assert {name: child.data.tags[f"tunelab.{name}"] for name in expected} == expected
    assert child.info.run_name == "lora r=4 seed 1"
    assert child.data.params.items() >= {name: str(value) for name, value in flatten(TRIAL).items()}.items()
    axes_and_facts = {"axis.rank": "4", "axis.method": "lora", "log10.adapter.rank": "0.6021", "data": "d" * 16, "device": "cpu"}
    assert child.data.params.items() >= axes_and_facts.items()
    assert child.data.metrics["quality"] == 0.75
    assert datasets(child) == {"lima.jsonl": ("d" * 16, "training"), "wiki.txt": ("b" * 16, "forgetting")}
    reader = tracking.client(uri)
    assert {file.path for file in reader.list_artifacts(child.info.run_id)} == {"result.json", "items.csv.gz"}
    losses = reader.get_metric_history(child.info.run_id, "train/loss")
    assert [point.step for point in losses] == list(range(STEPS))
    assert (tmp_path / "mlartifacts").is_dir()
    assert child.info.end_time - child.info.start_time == 2_000


def test_logging_twice_gives_one_run(uri: str, tmp_path: Path) -> None:
    record = finished(tmp_path, TRIAL)
    for _ in range(2):
        store = opened(uri)
        log(store, record)
        log(store, record)
        store.close("FINISHED")
    assert len(all_runs(uri)) == 2
    assert [run.info.status for run in all_runs(uri)] == ["FINISHED"] * 2


@pytest.mark.parametrize("call", ["log_batch", "log_inputs", "log_artifact", "set_terminated"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_at_any_call_leaves_one_whole_run_in_the_end(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bool
) -> None:
    store, record = opened(uri), finished(tmp_path, TRIAL)
    with monkeypatch.context() as patch:
        original = getattr(MlflowClient, call)

        def killed(self: MlflowClient, *arguments: Any, **named: Any) -> None:
            if not before:
                original(self, *arguments, **named)
            raise ConnectionError("killed here")

        patch.setattr(MlflowClient, call, killed)
        with pytest.raises(ConnectionError):
            log(store, record)
    log(opened(uri), record)  # the next start of the same sweep
    (run,) = all_runs(uri, kind="trial")
    assert run.info.status == "FINISHED"
    assert len(datasets(run)) == 2
    reader = tracking.client(uri)
    assert len(reader.get_metric_history(run.info.run_id, "train/loss")) == STEPS
    assert run.data.metrics["quality"] == 0.75
    assert tracking.read_items(uri, run.info.run_id) == ITEMS
    assert len(all_runs(uri, kind="sweep")) == 1


def test_a_kill_between_the_parent_and_its_parameters(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any, **named: Any) -> None:
        raise ConnectionError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(ConnectionError):
            opened(uri)
    opened(uri)
    (parent,) = all_runs(uri, kind="sweep")
    assert parent.data.params == {"train.epochs": "3"}


def test_the_parents_tags_may_change_when_a_sweep_goes_on(uri: str) -> None:
    for high in ("0.03", "0.1"):
        opened(uri).open({"train.epochs": 3}, "does it?", {"tunelab.tune.train.learning_rate": f"0.0001 to {high}"})
    (parent,) = all_runs(uri, kind="sweep")
    assert parent.data.tags["tunelab.tune.train.learning_rate"] == "0.0001 to 0.1"


def test_a_new_result_replaces_the_old_run(uri: str, tmp_path: Path) -> None:
    store = opened(uri)
    log(store, finished(tmp_path, TRIAL, state="crashed", reason="the worker process died", metrics={}, history=[]))
    log(store, finished(tmp_path, TRIAL))
    (run,) = all_runs(uri, kind="trial")
    assert (run.info.status, run.data.tags["tunelab.state"]) == ("FINISHED", "finished")
    assert run.data.tags[tracking.NOTE].startswith("**finished** on the test split: quality 0.75, forgetting 0.31")


@pytest.mark.parametrize("state", ["diverged", "oom", "crashed"])
def test_a_failed_trial_is_a_failed_run_that_says_why(uri: str, tmp_path: Path, state: str) -> None:
    store = opened(uri)
    changes: dict[str, Any] = {"metrics": {"seconds": 1.0}, "history": []}
    record = finished(tmp_path, TRIAL, state=state, reason="the loss is not finite at step 3 of 9", **changes)
    (record.folder / "traceback.txt").write_text("Traceback …")
    log(store, record)
    (run,) = all_runs(uri, kind="trial")
    assert run.info.status == "FAILED"
    assert run.data.tags["tunelab.state"] == state
    assert run.data.tags[tracking.NOTE] == f"**{state}**: the loss is not finite at step 3 of 9"
    assert {file.path for file in tracking.client(uri).list_artifacts(run.info.run_id)} >= {"traceback.txt", "result.json"}
    (read,) = tracking.read_trials(uri, "rank_vs_quality")
    assert (read["status"], read["metrics"]) == ("FAILED", {"seconds": 1.0})


def test_the_same_trial_in_both_phases_and_in_two_sweeps(uri: str, tmp_path: Path) -> None:
    for sweep in ("sweep-0", "sweep-1"):
        store = opened(uri, sweep)
        for phase in ("tune", "final"):
            log(store, finished(tmp_path, TRIAL, phase=phase))
    assert len(all_runs(uri, kind="trial")) == 4
    assert len(tracking.read_trials(uri, "rank_vs_quality", "sweep-0")) == 2


def test_a_superseded_trial_is_left_out_until_it_is_the_best_again(uri: str, tmp_path: Path) -> None:
    store = opened(uri)
    records = [finished(tmp_path, Trial(train=Train(learning_rate=rate))) for rate in (1e-3, 2e-3)]
    for record in records:
        log(store, record)

    def stale(cell: str, phase: str, key: str, params: Mapping[str, str]) -> bool:
        assert (cell, phase, key) in {("lora r=4", "final", record.key) for record in records}
        return params["train.learning_rate"] == "0.001"

    store.supersede(stale)
    store.supersede(stale)
    (read,) = tracking.read_trials(uri, "rank_vs_quality")
    assert read["params"]["train.learning_rate"] == "0.002"
    for record in records:
        log(store, record)
    assert len(tracking.read_trials(uri, "rank_vs_quality")) == len(all_runs(uri, kind="trial")) == 2


def test_the_analysis_reads_typed_columns(uri: str, tmp_path: Path) -> None:
    store = opened(uri)
    log(store, finished(tmp_path, TRIAL))
    full = Trial(adapter=Full(), train=Train(learning_rate=3e-4, epochs=2), data=Data(n_examples=None))
    log(store, finished(tmp_path, full, arm="full", state="diverged", reason="nan", metrics={}))
    running = store._create(finished(tmp_path, Trial(seed=9)), Result.begun(Trial(seed=9), PROVENANCE), Digest("x", "x"))
    table = load.trials(uri, "rank_vs_quality").set_index("arm")
    assert running.run_id not in set(table["run_id"])
    assert sorted(table.index) == ["full", "lora r=4"]
    lora, tuned = table.loc["lora r=4"], table.loc["full"]
    assert (lora["adapter.rank"], lora["train.learning_rate"], lora["seed"], lora["data.n_examples"]) == (4, 3e-3, 1, 1_000)
    assert (lora["state"], lora["phase"], lora["quality"]) == ("finished", "final", 0.75)
    assert lora["model.trust_remote_code"] == False  # noqa: E712  (numpy's False)
    assert (tuned["state"], tuned["reason"], tuned["adapter.method"]) == ("diverged", "nan", "full")
    for name in ("adapter.rank", "data.n_examples", "quality"):
        assert math.isnan(tuned[name]), name
    assert table["train.learning_rate"].dtype == float
    items = load.items(uri, table.reset_index())
    assert items[["measure", "item", "before", "after"]].to_numpy().tolist() == [["exact_match/seen", "q1", 0.0, 1.0]]


def _text(folder: Path, trial: Trial) -> str:
    return (folder / "trials" / f"{fingerprint(trial, PROVENANCE)}-final" / "result.json").read_text()


def test_cells_are_written_once_however_often(uri: str, tmp_path: Path) -> None:
    opened(uri)
    for mean in (0.5, 0.6):
        rows = [
            {"arm": cell, "quality.mean": mean, "quality.sd": float("nan"), "n": 3, "best": "1e-3", "note": None, "tuned": True}
            for cell in ("lora r=4", "full")
        ]
        tracking.write_arms(uri, "sweep-0", rows)
    cells = {run.data.tags["tunelab.arm"]: run for run in all_runs(uri, kind="arm")}
    assert sorted(cells) == ["full", "lora r=4"]
    assert len(all_runs(uri)) == 3
    run = cells["full"]
    assert run.data.metrics["quality.mean"] == 0.6
    assert math.isnan(run.data.metrics["quality.sd"])
    assert run.data.params == {"best": "1e-3", "tuned": "True"}
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == all_runs(uri, kind="sweep")[0].info.run_id


def test_the_analysis_hangs_on_the_parent(uri: str, tmp_path: Path) -> None:
    opened(uri)
    figure = tmp_path / "rank.png"
    figure.write_bytes(b"png")
    for note in ("first", "# Verdicts\n\n| claim |"):
        tracking.write_analysis(uri, "sweep-0", [figure], note)
    (parent,) = all_runs(uri, kind="sweep")
    assert parent.data.tags[tracking.NOTE] == "# Verdicts\n\n| claim |"
    assert [file.path for file in tracking.client(uri).list_artifacts(parent.info.run_id, "report")] == ["report/rank.png"]
    with pytest.raises(BadInput, match="sweep 'other' is not in this store"):
        tracking.write_analysis(uri, "other", [], "")


def test_the_latest_sweep_is_the_one_that_ran_last(uri: str) -> None:
    with pytest.raises(BadInput, match="has no experiment 'rank_vs_quality'"):
        tracking.latest_sweep(uri, "rank_vs_quality")
    for sweep in ("sweep-0", "sweep-1"):
        opened(uri, sweep).close("FINISHED")
        time.sleep(0.01)
    assert tracking.latest_sweep(uri, "rank_vs_quality") == "sweep-1"
    opened(uri, "sweep-0").close("FINISHED")  # it goes on
    assert tracking.latest_sweep(uri, "rank_vs_quality") == "sweep-0"
    assert tracking.latest_sweep(uri, "rank_vs_quality", "sweep-1") == "sweep-1"
    assert tracking.latest_sweep(uri, "rank_vs_quality", "sweep-0") == "sweep-0"
    with pytest.raises(BadInput, match="sweep-7"):
        tracking.latest_sweep(uri, "rank_vs_quality", "sweep-7")


def test_a_newer_sweep_without_a_finished_final_trial_is_not_the_one_to_report(uri: str, tmp_path: Path) -> None:
    phases = {"sweep-0": "final", "sweep-1": "tune", "sweep-2": ""}
    for sweep, phase in phases.items():
        store = opened(uri, sweep)
        if phase:
            store.log_trial(finished(tmp_path / sweep, Trial(), phase=phase))
        store.close("FINISHED")
        time.sleep(0.01)
    assert tracking.last_with_results(uri, "rank_vs_quality") == ("sweep-0", ["sweep-2", "sweep-1"])
    assert tracking.last_with_results(uri, "rank_vs_quality", "sweep-1") == ("sweep-1", [])  # as it is named


def test_long_and_odd_values(uri: str, tmp_path: Path) -> None:
    history = [{"step": step, "loss": 1.0 / (step + 1), "learning_rate": 1e-3} for step in range(1_200)]
    facts = {f"fact {number}": "x" * 50 for number in range(150)} | {
        "long": "y" * 20_000,
        "empty": "",
        "words": "a 'b' \"c\" ü\n",
    }
    metrics = {"quality": 0.5, "high": 1e308}
    store = opened(uri)
    record = finished(tmp_path, TRIAL, history=history, facts=facts, metrics=metrics, reason="z" * 20_000, state="crashed")
    log(store, record)
    log(store, record)
    (run,) = all_runs(uri, kind="trial")
    assert run.data.metrics["high"] == 1e308
    assert run.data.params["long"] == "y" * tracking.PARAM_CHARACTERS
    assert run.data.params["words"] == "a 'b' \"c\" ü\n"
    assert len(tracking.client(uri).get_metric_history(run.info.run_id, "train/loss")) == 1_200


def test_no_secret_reaches_the_store(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"MLFLOW_TRACKING_PASSWORD": "hunter2-password", "MLFLOW_TRACKING_TOKEN": "hunter3-token", "HF_TOKEN": "hunter4-hf"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    store = opened(uri)
    log(store, finished(tmp_path, TRIAL))
    tracking.write_arms(uri, "sweep-0", [{"arm": "lora r=4", "quality": 0.5}])
    store.close("FINISHED")
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) >= 3
    assert not [path for path in found if b"hunter" in path.read_bytes()]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://me:se@cret@host/db", "postgresql+psycopg2://***@host/db"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
        ("--output=/a/b", "--output=/a/b"),
        ("--tracking-uri=http://me:se/cret@host", "--tracking-uri=http://***@host"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=***"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


def test_exceptions_are_told_without_credentials() -> None:
    text = f"API request to http://me:hunter2@host/api failed{' again' * 60}"
    assert "hunter2" not in one_line(ConnectionError(text))
    cut = "x" * 270 + " http://me:hunter2@host"  # the line ends within the password
    assert "hunter2"[:2] not in one_line(ConnectionError(cut))


def test_mlflows_own_variable_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [tracking.default_uri(tmp_path / name) for name in ("own", "variable", "option")]
    for name in ("own", "variable", "option"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.chosen_uri(None, tmp_path / "own") == (stores[0], "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores[1])
    assert tracking.chosen_uri(None, tmp_path / "own") == (stores[1], "MLFLOW_TRACKING_URI")
    assert tracking.chosen_uri(stores[2], tmp_path / "own") == (stores[2], "--tracking-uri")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    with pytest.raises(BadInput, match=r"^MLFLOW_TRACKING_URI http://\*\*\*@127.0.0.1:1: no answer \(Connection refused\)$"):
        tracking.chosen_uri(None, tmp_path / "own")


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@127.0.0.1:1",
        "http://me:secret/more@127.0.0.1:1",
        "http://",
        "https://me:secret@127.0.0.1:1",
        "http://me:secret@no-such-host.invalid:5000",
        "postgresql://me:secret@127.0.0.1:1/db",
        "ftp://me:secret@host",
        "http://me:secret@host:port",
        "postgresql://me:secret@host:port/db",
        "sqlite:////no/such/directory/mlflow.db",
        "sqlite://",
        "mlruns",
        "./mlruns",
        "file:///tmp/mlruns",
        "nonsense://",
    ],
)
def test_a_store_that_cannot_be_used_is_one_clear_line(uri: str) -> None:
    started = time.monotonic()
    with pytest.raises(BadInput) as error:
        tracking.check_uri(uri)
    assert time.monotonic() - started < 30
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("--tracking-uri")


@pytest.mark.parametrize("case", ["/proc/x.db", "/dev/null", "pipe", "artifacts", "directory"])
def test_places_that_cannot_be_written_to_are_told_at_once(tmp_path: Path, case: str) -> None:
    file = Path(case) if case.startswith("/") else tmp_path / "store.db"
    if case == "pipe":
        os.mkfifo(file)
    elif case == "artifacts":
        (tmp_path / "mlartifacts").write_text("")
    elif case == "directory":
        file.mkdir()
    before, started = sorted(tmp_path.rglob("*")), time.monotonic()
    with pytest.raises(BadInput, match=r"--tracking-uri sqlite:.*(cannot be written to|no regular file)") as error:
        tracking.chosen_uri(f"sqlite:///{file}", tmp_path / "new")
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    tracking.chosen_uri(f"sqlite:///{tmp_path}/store.db", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(BadInput, match="no answer"):
        tracking.check_uri(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.3)


@pytest.mark.parametrize(("status", "fine"), [(200, True), (401, True), (403, True), (404, False), (500, False)])
def test_whether_a_server_is_mlflow(status: int, fine: bool) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        if fine:
            tracking.check_uri(uri)
        else:
            with pytest.raises(BadInput, match=f"not an MLflow server \\(HTTP {status}\\)"):
                tracking.check_uri(uri)
        thread.join()


def test_the_default_store_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.default_uri(Path("runs")) == f"sqlite:///{os.path.realpath(tmp_path)}/runs/mlflow.db"
    (tmp_path / "runs").mkdir()
    tracking.check_uri(tracking.default_uri(Path("runs")))
