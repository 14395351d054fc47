"""The command line: what answers at once, bad input in one line, and one small sweep from the question to the report."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import experiments
import sweeps
from core import preflight, tracking
from core.errors import BadInput, Lost
from core.settings import Data, Evaluation, Full, Trial
from core.states import State
from sweeps import configured, describe, ledger, overrides, reporting, resources, run, smoke
from sweeps.logbook import Logbook
from sweeps.plan import Job, Plan
from sweeps.progress import Progress, clock
from sweeps.run import EXIT_INCOMPLETE, Ran, main, run_question
from sweeps.search import Search
from sweeps.sweep import Sweep

ROOT = Path(__file__).parents[1]
NAME = "rank_vs_quality"


@pytest.fixture(autouse=True)
def no_store_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def plan_of(name: str) -> Plan:
    return Plan.of(experiments.load(name), preflight.provenance)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def refused(arguments: list[str], output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an answer with exit code 2, after which nothing was written."""
    capsys.readouterr()  # what fixtures said
    assert main([*arguments, "--output", str(output)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    assert not output.exists() or not any(output.iterdir())
    return said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rank_vs_qualty"], ["rank_vs_qualty", "did you mean 'rank_vs_quality'"]),
        ([], ["--list", NAME]),
        ([NAME, "--bogus"], ["--bogus"]),
        ([NAME, "--seed", "3"], ["--seed: unknown", "did you mean '--seeds'?"]),
        ([NAME, "--model=lab:base-1", "--dat=lab:curated"], ["--dat=lab:curated: unknown", "did you mean '--data'?"]),
        ([NAME, "other"], ["other: unknown"]),
        ([NAME, "--seeds", "x"], ["--seeds", "'x'"]),
        ([NAME, "--seeds", "0"], ["--seeds 0", "between 1 and"]),
        ([NAME, "--set", "adapter.rnk=8"], ["adapter.rnk", "did you mean 'adapter.rank'"]),
        ([NAME, "--set", "adapter.rank=0"], ["adapter.rank=0", "at least 1"]),
        ([NAME, "--set", "adapter.rank=two"], ["adapter.rank='two'", "whole number"]),
        ([NAME, "--set", "adapter.rank=1000"], ["adapter.rank=1000", "128 wide"]),
        ([NAME, "--set", "train.epochs=-1"], ["train.epochs=-1", "above 0"]),
        ([NAME, "--set", "train.epochs"], ["train.epochs", "must look like"]),
        ([NAME, "--set", "seed=3"], ["seed=3", "--seeds"]),
        ([NAME, "--set", "=3"], ["'=3'", "must look like"]),
        ([NAME, "--set", "adapter.rank=8", "--set", "adapter.rank=32"], ["adapter.rank=32", "set twice", "adapter.rank=A,B"]),
        ([NAME, "--status", "--dry-run"], ["--dry-run and --status", "one at a time"]),
        (["knowledge", "--model", "x"], ["model.name=x", "laboratory's own corpus", "leave out --model"]),
        (["replay", "--data", "x.jsonl"], ["data.source=x.jsonl", "laboratory's own corpus"]),
        ([NAME, "--set", "data.n_examples=1,2"], ["data.n_examples=1,2", "adapter.rank"]),
        ([NAME, "--without", "ful"], ["--without 'ful'", "lora r=1, lora r=4", "full"]),
        ([NAME, "--set", "model.quantization=nf4"], ["model.quantization='nf4'", "--without full"]),
        ([NAME, "--concurrency", "0"], ["--concurrency 0", "at least 1"]),
        ([NAME, "--trial-timeout", "0"], ["--trial-timeout 0", "above 0"]),
        ([NAME, "--trial-timeout", "inf"], ["--trial-timeout inf", "at most"]),
        ([NAME, "--gpus-per-trial", "nan"], ["--gpus-per-trial 'nan'", "between 0 and 1"]),
        ([NAME, "--gpus-per-trial", "2"], ["--gpus-per-trial 2", "between 0 and 1, as a trial trains on one GPU"]),
        ([NAME, "--ray-address", "head:6379", "--model", "/m", "--concurrency", "2"], ["--ray-address", "--gpus-per-trial"]),
        ([NAME, "--ray-address", "head:6379"], ["--concurrency"]),
        ([NAME, "--ray-address", "127.0.0.1:9", "--concurrency", "1"], ["127.0.0.1:9", "no answer"]),
        ([NAME, "--ray-address", "head", "--concurrency", "1"], ["--ray-address head", "HOST:PORT"]),
        ([NAME, "--data", ""], ["--data", "empty"]),
        ([NAME, "--eval-data", "rows.jsonl"], ["data.eval_source=rows.jsonl", "give --data"]),
        ([NAME, "--base-text", "text.txt"], ["evaluation.base_text=text.txt", "give --data"]),
        ([NAME, "--data", "lab:curate"], ["data.source='lab:curate'", "lab:curated"]),
        ([NAME, "--model", "lab:base-9"], ["model.name='lab:base-9'", "lab:base-"]),
        ([NAME, "--tracking-uri", "foo://x"], ["foo://x", "sqlite:////"]),
        ([NAME, "--tracking-uri", "http://me:secret@127.0.0.1:9"], ["127.0.0.1:9", "no answer"]),
        ([NAME, "--tracking-uri", "http://[::1"], ["http://[::1", "not a URI"]),
        ([NAME, "--tracking-uri", f"sqlite:///{__file__}"], [__file__, "not an SQLite database"]),
    ],
)
def test_bad_options_are_one_line(
    arguments: list[str], words: list[str], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(arguments, output, capsys)
    assert all(word in line for word in words), line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.jsonl", None, ["gone.jsonl", "no such file"]),
        ("empty.jsonl", "", ["is empty"]),
        ("broken.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": \n', ["line 2", "not JSON"]),
        ("silent.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": "c"}\n', ["line 2", "without a response"]),
        ("blank.jsonl", '{"instruction": "a", "output": ""}\n', ["no row with a response"]),
        ("shape.jsonl", '{"foo": 1}\n', ["line 1", "foo", "instruction + output"]),
        ("table.xls", "x", ["table.xls"]),
        ("two.jsonl", '{"instruction": "a", "output": "b"}\n', ["data.eval_share=0.1", "of 1 rows", "give more"]),
    ],
)
def test_bad_data_files_are_one_line(
    name: str,
    content: str | None,
    words: list[str],
    tmp_path: Path,
    output: Path,
    make_model: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    line = refused([NAME, "--model", make_model("llama"), "--data", str(path)], output, capsys)
    assert all(word in line for word in words), line


def broken_model(kind: str, make_model: Callable[..., str], folder: Path) -> Path:
    shutil.copytree(make_model("llama"), folder)
    if kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "model.safetensors").unlink()
    if kind == "pickle":
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no weights", ["no safetensors weights"]),
        ("pickle", ["pytorch_model.bin", "refused"]),
        ("no tokenizer", ["no tokenizer", "chat template"]),
    ],
)
def test_bad_models_are_one_line(
    kind: str,
    words: list[str],
    tmp_path: Path,
    output: Path,
    rows_file: str,
    make_model: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = broken_model(kind, make_model, tmp_path / "model")
    line = refused([NAME, "--model", str(folder), "--data", rows_file], output, capsys)
    assert all(word in line for word in [str(folder), *words]), line


def test_other_bad_inputs_are_one_line(
    tmp_path: Path,
    output: Path,
    rows_file: str,
    make_model: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [NAME, "--model", make_model("llama"), "--data", rows_file]
    (tmp_path / "empty.txt").touch()
    assert "gone.txt" in refused([*own, "--base-text", "gone.txt"], output, capsys)
    assert "is empty" in refused([*own, "--base-text", str(tmp_path / "empty.txt")], output, capsys)
    assert "gone.jsonl" in refused([*own, "--eval-data", "gone.jsonl"], output, capsys)
    assert "must be a file" in refused([*own, "--eval-data", "lab:curated"], output, capsys)
    laboratory = refused([NAME, "--model", make_model("llama")], output, capsys)
    assert "only a laboratory model" in laboratory
    assert "; give --data with --model" in laboratory
    assert main(["rank_vs_data", *own[1:], "--output", str(output), "--dry-run"]) == 2
    (theirs,) = [line for line in capsys.readouterr().err.splitlines() if "data.source" in line]
    assert theirs.startswith("error: data.source=lab:new-facts: only a laboratory model reads it, not ")
    assert "; leave out: --without" in theirs
    assert "give --data" not in theirs
    english = tmp_path / "english.jsonl"
    rows = [{"instruction": f"Describe crepes in {n} words.", "output": "Thin French pancakes."} for n in range(60)]
    english.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "--model" in refused([NAME, "--data", str(english)], output, capsys)
    monkeypatch.setattr(resources, "n_gpus", lambda: 0)
    assert "no GPU" in refused([NAME, "--gpus-per-trial", "1"], output, capsys)
    (tmp_path / "file").touch()
    assert main([NAME, "--output", str(tmp_path / "file" / "runs")]) == 2
    assert "is no directory" in capsys.readouterr().err


@pytest.mark.parametrize(("field", "left_out"), [("adapter.rank", ["lora r=16", "lora r=64"]), ("", ["lora r=16"])])
def test_arms_that_one_field_keeps_from_running_are_named(
    field: str, left_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspected(trial: Trial) -> None:
        if isinstance(trial.adapter, Full):
            raise BadInput("model.name=small: nothing for full fine-tuning", field="model.name")
        if trial.adapter.rank > 4:
            raise BadInput(f"adapter.rank={trial.adapter.rank}: too wide", field=field)

    monkeypatch.setattr(preflight, "inspect", inspected)
    with pytest.raises(BadInput) as error:
        configured.check(plan_of(NAME))
    wanted = " ".join(f"--without '{label}'" for label in left_out)
    first, *others = [problem.text for problem in error.value.problems]
    assert first == f"adapter.rank=16: too wide; leave out: {wanted}"
    assert others[-1] == "model.name=small: nothing for full fine-tuning; leave out: --without full"  # of another cause


def test_list_dry_run_and_status_start_and_write_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "Does LoRA rank buy quality" in capsys.readouterr().out
    assert main([NAME, "--dry-run", "--output", str(output), "--set", "adapter.rank=2,8", "--seeds", "5"]) == 0
    shown = capsys.readouterr().out
    assert "lora r=8" in shown
    assert "12 tuning + 15 final trials, 0 of them finished" in shown
    assert main([NAME, "--dry-run", "--output", str(output), "--set", "model.quantization=nf4", "--without", "full"]) == 0
    shown = capsys.readouterr().out
    assert "16 tuning + 16 final trials" in shown
    assert "  full  " not in shown
    assert main([NAME, "--dry-run", "--output", str(output), "--set", "train.learning_rate=1e-4..1e-1"]) == 0
    assert "tuned in each arm: train.learning_rate from 0.0001 to 0.1 (4 grid points, 0 proposed)" in capsys.readouterr().out
    assert main([NAME, "--dry-run", "--output", str(output), "--set", "train.learning_rate=1e-3"]) == 0
    assert "tuning is off: train.learning_rate=0.001 in every arm" in capsys.readouterr().out
    assert main([NAME, "--status", "--output", str(output)]) == 0
    assert "0/40 trials done, 0 failed; not running" in capsys.readouterr().out
    assert not output.exists()


def test_more_examples_than_there_are_are_a_caution(
    output: Path, rows_file: str, make_model: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [NAME, "--dry-run", "--output", str(output), "--set", "adapter.rank=2,8", "--set", "evaluation.drift_tokens=64"]
    own += ["--model", make_model("llama"), "--data", rows_file]
    assert main([*own, "--set", "data.n_examples=40"]) == 0
    (few,) = [line for line in capsys.readouterr().out.splitlines() if "caution" in line]
    assert "evaluation rows, and no claim can be decided with fewer than 10: give more with --eval-data, a larger" in few
    assert main([*own, "--set", "data.n_examples=5_000"]) == 0
    line, again = [line for line in capsys.readouterr().out.splitlines() if "caution" in line][::-1]
    assert again == few
    assert line.startswith("  caution: data.n_examples=5,000: ")
    assert "has only 5" in line  # 60 but for the share that is evaluated
    shutil.copy(rows_file, f"{rows_file}.traces.jsonl")
    pair = ["--set", f"data.source={rows_file},{rows_file}.traces.jsonl", "--model", own[-3]]
    assert main(["reasoning_traces", "--dry-run", "--output", str(output), *pair]) == 0
    assert re.search(r"evaluated on \d rows", capsys.readouterr().out)  # its own: no laboratory in it
    assert main([NAME, "--dry-run", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "tasks held out for evaluation left out" in shown
    assert "evaluated on the laboratory's own questions" in shown


@pytest.mark.parametrize(
    ("n", "given", "most", "said"),
    [
        (
            1,
            None,
            500,
            "only 1 evaluation row, and no claim can be decided with fewer than 10: give more with --eval-data, a larger",
        ),
        (9, "f", 500, "only 9 evaluation rows, and no claim can be decided with fewer than 10: give more rows in --eval-data"),
        (10, None, 500, "only 10 evaluation rows: give more with --eval-data, a larger data.eval_share or more rows"),
        (5, "f", 5, "only 5 evaluation rows, and no claim can be decided with fewer than 10: give more with --eval-rows"),
        (20, None, 500, ""),
    ],
)
def test_too_few_rows_to_decide_a_claim(n: int, given: str | None, most: int, said: str) -> None:
    trial = Trial(data=Data(source="rows.jsonl", eval_source=given), evaluation=Evaluation(max_rows=most))
    told = describe.few_rows(trial, SimpleNamespace(n_eval_rows=n))  # type: ignore[arg-type]
    assert [line.startswith(f"caution: {said}") for line in told] == [True] * bool(said)


def imports_nothing_large(arguments: list[str]) -> str:
    """What the command says, in a process that must end without torch and the like."""
    code = (
        "import sys; from sweeps.run import main; main(sys.argv[1:]);"
        "assert not {'torch', 'transformers', 'mlflow', 'ray', 'optuna', 'scipy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def test_dry_run_imports_nothing_large(output: Path) -> None:
    assert "0 of them finished" in imports_nothing_large([NAME, "--dry-run", "--output", str(output)])


def test_a_reader_that_left_is_no_error() -> None:
    code = f"from sweeps.run import main; raise SystemExit(main([{NAME!r}, '--dry-run']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_full_disk_is_one_line_and_a_defect_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(error: OSError) -> Callable[..., int]:
        def command(*request: object) -> int:
            raise error

        return command

    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES):
        monkeypatch.setattr(run, "command", raising(OSError(number, os.strerror(number))))
        assert main([NAME]) == EXIT_INCOMPLETE
        assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(run, "command", raising(FileNotFoundError(errno.ENOENT, "no such file", "a.json")))
    with pytest.raises(FileNotFoundError):
        main([NAME])


def test_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(resources, "n_gpus", lambda: 2)
    assert resources.share_out(None, None, 60, lab=True) == resources.Resources(8, 1, 0.0, 60)
    assert resources.share_out(None, 3, 60, lab=True) == resources.Resources(3, 2, 0.0, 60)
    assert resources.share_out(None, None, 60) == resources.Resources(2, 4, 1.0, 60)
    shared = resources.share_out(0.5, None, 60)
    assert shared == resources.Resources(4, 2, 0.5, 60)
    assert shared.device.memory_fraction == pytest.approx(0.475)
    with pytest.raises(BadInput, match="--concurrency 5: at most 4"):
        resources.share_out(0.5, 5, 60)
    with pytest.raises(BadInput, match="--ray-address: say with --gpus-per-trial"):
        resources.share_out(None, 5, 60, remote=True)
    assert resources.share_out(1, 5, 60, remote=True).gpus_per_trial == 1
    assert resources.share_out(0, 5, 60, remote=True) == resources.share_out(None, 5, 60, remote=True, lab=True)


def test_more_trials_than_cores_are_a_caution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "n_cores", lambda: 4)
    assert resources.cautions(resources.Resources(4, 1)) == []
    assert resources.cautions(resources.Resources(5, 1, gpus_per_trial=0.2)) == []
    (line,) = resources.cautions(resources.Resources(5, 1))
    assert line.startswith("caution: --concurrency 5: this machine has 4 cores")


# The display


def small_search() -> Search:
    """What the display needs of a search: two arms with one job each."""
    experiment = smoke.small(overrides.apply_settings(experiments.load(NAME), ["adapter.rank=4", "train.learning_rate=1e-3"]))
    return Search(Plan.of(experiment, preflight.provenance), {})


def test_plain_lines_where_there_is_no_terminal() -> None:
    search, stream = small_search(), io.StringIO()
    first, second = search.jobs()
    with Progress(search, 1, "title", stream) as progress:
        for job, outcome in (
            (first, ledger.Outcome(State.FINISHED, 0.5, 30.0)),
            (second, ledger.Outcome(State.DIVERGED, None, 2.0, "the loss is not finite at step 3 of 9")),
        ):
            progress.started(job)
            search.next()
            search.tell(job, outcome)
            progress.ended(job, outcome)
            assert progress.eta_seconds() == pytest.approx(30.0 if job is first else 0.0, abs=0.5)
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert [line[:7] for line in lines] == ["[  1/2]", "[  2/2]"]
    assert "quality 0.5000 (test)" in lines[0]
    assert lines[0].endswith("ETA 0:30")
    assert "diverged: the loss is not finite at step 3 of 9" in lines[1]


def test_the_last_trials_do_not_share_slots_that_they_do_not_need() -> None:
    search = small_search()
    progress = Progress(search, 8, "title", io.StringIO())
    progress.started(search.jobs()[0])
    progress.ended(search.jobs()[0], ledger.Outcome(State.FINISHED, 0.5, 600.0))
    progress.started(search.jobs()[1])
    assert progress.eta_seconds() == pytest.approx(600, abs=1)


def test_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    search, stream = small_search(), io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    job: Job = search.jobs()[0]
    with Progress(search, 1, "title", stream) as progress:
        progress.started(job)
        assert any("running: lora r=4 seed 0" in line for line in progress.table())
        progress._draw()
        progress._draw()
    assert stream.getvalue().count("\x1b[") >= 2
    assert "0/2 trials" in progress.table()[0]


def test_a_log_shows_that_the_sweep_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.progress.REDRAW_SECONDS", 0.01)
    monkeypatch.setattr("sweeps.progress.HEARTBEAT_SECONDS", 0.0)
    search, stream = small_search(), io.StringIO()
    with Progress(search, 1, "title", stream) as progress:
        progress.started(search.jobs()[0])
        while not stream.getvalue():
            time.sleep(0.01)
    assert stream.getvalue().startswith("[  0/2] running: lora r=4 seed 0 (0:00)  ETA …")


def test_the_display_goes_on_unseen_when_its_reader_left() -> None:
    search = small_search()
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream, Progress(search, 1, "title", stream) as progress:
        for job in search.jobs():
            progress.started(job)
            progress.ended(job, ledger.Outcome(State.FINISHED, 0.5, 30.0))
        assert progress.done == 2


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 42, 725, 12_000)] == ["0:00", "0:42", "12:05", "3:20:00"]


# The logbook


class FakeStore:
    """A store that refuses the first `refusals` writes."""

    def __init__(self, refusals: int, opens: bool = True) -> None:
        self.refusals, self.opens, self.parent_id, self.uri = refusals, opens, "", "http://store"
        self.runs: list[str] = []
        self.status = ""

    def open(self, params: object, note: str, tags: object) -> None:
        if not self.opens:
            raise ConnectionError("nobody there")
        self.parent_id = "parent"

    def holds(self, record: tracking.TrialRecord) -> bool:
        return record.key in self.runs

    def log_trial(self, record: tracking.TrialRecord) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TimeoutError("database is locked")
        self.runs.append(record.key)

    def supersede(self, stale: object) -> None:
        assert callable(stale)

    def close(self, status: str) -> None:
        self.status = status


def keep(store: FakeStore, finish: bool = True) -> Logbook:
    with Logbook(store, {}, "note") as book:  # type: ignore[arg-type]
        for key in "abc":
            book.put(tracking.TrialRecord(key=key, name=key, arm="c", phase="tune", axes=(), folder=Path()))
        if finish:
            book.finish(lambda *_: False)
    return book


def test_what_the_store_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.0)
    store = FakeStore(refusals=2)
    assert keep(store).missing == []
    assert (store.runs, store.status) == (["a", "b", "c"], "FINISHED")


def test_what_stays_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.0)
    book = keep(FakeStore(refusals=1_000))
    assert sorted(record.key for record in book.missing) == ["a", "b", "c"]
    assert "database is locked" in book.reason()


def test_what_is_missing_in_the_end_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.0)
    sweep = Sweep(plan_of(NAME), tmp_path, "http://me:secret@server", tmp_path)
    assert sweep._account(keep(FakeStore(refusals=0)))
    assert capsys.readouterr().out == ""
    sweep.unrecorded = 2
    assert sweep._account(keep(FakeStore(refusals=0)))
    assert "2 tuning trials are missing there" in capsys.readouterr().out
    assert not sweep._account(keep(FakeStore(refusals=1_000)))
    said = capsys.readouterr().out
    assert "not logged: 3 trials" in said
    assert "database is locked" in said
    assert "secret" not in said


def test_no_password_is_printed_recorded_or_an_argument(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(BaseHTTPRequestHandler):
        """Healthy, but no MLflow: every other answer is an error, whose text MLflow repeats with the URI."""

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        do_POST = do_GET

    called: list[tuple[list[str], dict[str, str]]] = []

    def call(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        called.append((arguments, env))
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("sweeps.reporting.subprocess", SimpleNamespace(run=call))
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        uri = f"http://me:hunter2@127.0.0.1:{server.server_port}"
        sweep = Sweep(plan_of(NAME), tmp_path, uri, tmp_path)
        print(sweep.opening(resources.Resources(1, 1)))
        with pytest.raises(BadInput) as refusal, Logbook(sweep.store, {}, "note") as book:
            book.check()
        book.missing.append(tracking.TrialRecord("k", "n", "c", "tune", (), tmp_path))
        sweep._account(book)
        monkeypatch.setattr(run, "command", lambda *rest: (_ for _ in ()).throw(BadInput(f"cannot read {uri}")))
        assert main([NAME]) == main([NAME, f"--tracking-ui={uri}"]) == 2
        assert run.report(plan_of(NAME), uri, tmp_path)
        server.shutdown()
    said = capfd.readouterr()
    assert "refused them: " in said.out
    assert "http://***@127.0.0.1" in said.err
    ((arguments, environment),) = called
    assert environment["MLFLOW_TRACKING_URI"] == uri
    assert "http://***@127.0.0.1" in str(refusal.value)
    for text in (said.out, said.err, str(refusal.value), str(arguments)):
        assert "hunter2" not in text


def test_an_interrupted_sweep_is_killed_in_the_store() -> None:
    store = FakeStore(refusals=0)
    keep(store, finish=False)
    assert (store.runs, store.status) == (["a", "b", "c"], "KILLED")


def test_nothing_starts_without_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.logbook.PAUSE_SECONDS", 0.0)
    with pytest.raises(BadInput, match="nobody there"), Logbook(FakeStore(0, opens=False), {}, "") as book:  # type: ignore[arg-type]
        book.check()


@pytest.mark.parametrize("n_ended", [0, 1])
def test_what_a_trial_refuses_after_others_have_ended_leaves_something_to_keep(
    n_ended: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 says that nothing was started."""

    def execute(search: Search, *rest: object) -> None:
        for job in search.jobs()[:n_ended]:
            search.tell(job, ledger.Outcome(State.FINISHED, 0.5, 1.0))
        raise BadInput("data.source=rows.jsonl: changed", field="data.source")

    monkeypatch.setattr("sweeps.executor.execute", execute)
    monkeypatch.setattr("sweeps.cluster.cluster", lambda *rest: nullcontext())
    sweep = Sweep(plan_of(NAME), tmp_path, tracking.default_uri(tmp_path), tmp_path)
    with pytest.raises(Lost if n_ended else BadInput, match=r"^data.source=rows.jsonl: changed$"):
        sweep._execute(SimpleNamespace(check=lambda: None), resources.Resources(1, 1), None)  # type: ignore[arg-type]


# One small sweep, end to end

BASE = "lab:base-small-0"
SMALL = [
    "--smoke", "--model", BASE, "--set", "adapter.rank=1,4", "--set", "data.n_examples=100", "--set", "train.epochs=2",
    "--set", "evaluation.items_per_task=2",
]  # fmt: skip


def start(output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "sweeps/run.py", NAME, *SMALL, "--output", str(output), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ran(output: Path, *more: str) -> str:
    done = start(output, *more)
    said, _ = done.communicate(timeout=300)
    assert done.returncode == 0, said
    return said


def trials(output: Path) -> list[dict[str, Any]]:
    return tracking.read_trials(tracking.default_uri(output), NAME)


def table(output: Path) -> list[dict[str, str]]:
    """The report's arms, without what a clock or a random id decides."""
    (path,) = output.glob(f"{NAME}-*/report/arms.csv")
    rows = list(csv.DictReader(path.open()))
    return [{name: value for name, value in row.items() if "second" not in name and "run" not in name} for row in rows]


def once(output: Path) -> None:
    """Every trial has one run in MLflow and one result on disk."""
    keys = Counter(run["tags"]["tunelab.key"] for run in trials(output))
    assert set(keys.values()) == {1}
    assert set(keys) == {path.parent.name for path in output.glob(f"{NAME}-*/trials/*/result.json")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    output = tmp_path_factory.mktemp("swept") / "runs"
    return output, ran(output, "--disk-budget", "100MB")  # no part of what the sweep is


def test_a_sweep_ends_with_report_table_and_verdicts(swept: tuple[Path, str]) -> None:
    output, said = swept
    assert "[ 12/12]" in said
    assert "--disk-budget 100MB: 3 trials keep their weights" in said
    assert {path.parent.name[-6:] for path in output.glob(f"{NAME}-*/trials/*/adapter")} == {"-final"}
    assert re.search(r"^starting \d+ workers? \(about", said, re.MULTILINE)
    assert "lora r=4" in said
    assert "lora_within_3_percent_of_full" in said
    assert "mlflow ui --backend-store-uri sqlite:///" in said
    (report,) = output.glob(f"{NAME}-*/report")
    made = {path.name for path in report.iterdir()}
    assert {"report.md", "figure.png", "figure.pdf", "arms.csv", "table.tex", "verdicts.json"} <= made
    assert [row["arm"] for row in table(output)] == ["lora r=1", "lora r=4", "full"]
    once(output)
    assert {run["params"]["axis.rank"] for run in trials(output) if "axis.rank" in run["params"]} == {"1", "4"}


def test_from_python_it_is_the_same_sweep(
    swept: tuple[Path, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = swept
    monkeypatch.setitem(sys.modules, "sweeps.executor", None)  # Ray can't be started
    monkeypatch.delattr(sweeps, "executor", raising=False)
    settings = [word for word in SMALL if "=" in word]
    ran = run_question(NAME, output, settings, smoke=True, model=BASE)
    assert ran == Ran(ran.sweep, next(output.glob(f"{NAME}-*")), complete=True)
    assert ran.directory.name == f"{NAME}-{ran.sweep[:8]}"
    assert "12 of them finished" in capfd.readouterr().out
    with pytest.raises(BadInput, match="did you mean 'smoke'"):
        run_question(NAME, output, settings, smokee=True)
    with pytest.raises(BadInput, match="did you mean 'rank_vs_quality'"):
        run_question("rank_vs_qualty", output)
    own = dataclasses.replace(experiments.load(NAME), name="of_my_own")
    monkeypatch.setattr(Sweep, "run", lambda *rest: True)
    monkeypatch.setattr(reporting, "analyse", lambda *rest: pytest.fail("it has no report"))
    ran = run_question(own, output, ["train.learning_rate=1e-3"], without=["full"])
    assert ran.directory.name == f"of_my_own-{ran.sweep[:8]}"
    assert "tuning is off: train.learning_rate=0.001 in every arm" in capfd.readouterr().out
    ran.directory.joinpath("lock").unlink()
    ran.directory.rmdir()


def test_dry_run_and_status_of_a_finished_sweep_import_nothing_large(swept: tuple[Path, str]) -> None:
    output, _ = swept
    for option in ("--dry-run", "--status"):
        said = imports_nothing_large([NAME, *SMALL, option, "--output", str(output)])
        assert "12 of them finished" in said or "12/12 trials done" in said


def test_the_same_command_runs_nothing_again(
    swept: tuple[Path, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = swept
    before, ids = table(output), {run["run_id"] for run in trials(output)}
    monkeypatch.setitem(sys.modules, "sweeps.executor", None)  # Ray can't be started
    monkeypatch.delattr(sweeps, "executor", raising=False)
    assert main([NAME, *SMALL, "--output", str(output), "--retry", "failed"]) == 0
    said = capfd.readouterr().out
    assert "nothing to retry: no trial failed" in said
    assert "12 of them finished" in said
    assert "starting" not in said
    assert said.count("report.md") == 1
    assert "lora r=4" in said
    assert table(output) == before
    assert {run["run_id"] for run in trials(output)} == ids


def test_more_seeds_run_only_what_is_new_and_a_lost_store_loses_nothing(
    swept: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = swept
    output = tmp_path / "runs"
    shutil.copytree(source, output)
    (output / "mlflow.db").unlink()
    shutil.rmtree(output / "mlartifacts")
    said = ran(output, "--seeds", "2")
    assert "12 of them finished" in said
    told = [line for line in said.splitlines() if line.startswith("[ ") and "] running:" not in line]  # where trials take long
    assert len(told) == 3
    assert "[ 15/15]" in said
    once(output)
    assert len(trials(output)) == 15
    assert main([NAME, *SMALL, "--seeds", "2", "--status", "--output", str(output)]) == 0
    assert "15/15 trials done, 0 failed; not running" in capsys.readouterr().out


@pytest.mark.slow
def test_failed_trials_make_the_exit_code_3_and_run_again(tmp_path: Path) -> None:
    output = tmp_path / "runs"
    ran(output, "--without", "full")  # a time limit below the estimate is refused where no trial has finished
    sweep = start(output, "--trial-timeout", "0.5")
    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == EXIT_INCOMPLETE, said
    assert "still running after its time limit of 0.5 s" in said
    assert "--retry failed" in said
    said = ran(output, "--retry", "failed")
    assert "3 failed trials run again" in said
    once(output)


def test_all_asks_every_question(output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    some = ["rank_vs_quality", "replay", "shots"]  # rows for all of them take long to make
    with monkeypatch.context() as patched:
        patched.setattr(experiments, "names", lambda: some)
        assert main(["--all", "--dry-run", "--output", str(output)]) == 0
        shown = capsys.readouterr().out
        assert all(experiments.load(name).question in shown for name in experiments.names())
        assert main(["--all", "replay"]) == 2
        assert "--all runs every experiment: leave out replay" in capsys.readouterr().err
        assert main(["--all", "--dry-run", "--output", str(output), "--without", "lora r=64"]) == 3  # only one question has it
        told = capsys.readouterr()
        assert "left out: replay: --without 'lora r=64': there is no such arm" in told.err
        assert experiments.load("rank_vs_quality").question in told.out
    wide = ["rank_vs_data", "--model", "lab:base-small-0", "--dry-run"]
    assert main(wide) == 2
    line = capsys.readouterr().err
    assert "adapter.rank=128" in line
    assert line.endswith("; leave out: --without 'lora r=128'\n")
    assert main([*wide, "--without", "lora r=128"]) == 0
    capsys.readouterr()
    assert main(["quality_vs_quantity", "--data", "x.jsonl", "--dry-run"]) == 2
    assert "--set data.source=A,B replaces lab:curated, lab:synthetic" in capsys.readouterr().err
    asked: list[str] = []
    output.mkdir()

    def started(prepared: run.Prepared, *rest: object) -> Ran:
        asked.append(prepared.plan.experiment.name)
        if len(asked) == 3:
            raise Lost("the Ray cluster died")
        return Ran(prepared.plan.sweep, prepared.directory, complete=len(asked) != 2)

    monkeypatch.setattr(run, "start", started)
    monkeypatch.setattr(run, "analyse", lambda uri, arguments: asked.append("report") or True)
    monkeypatch.setattr(experiments, "names", lambda: some)
    assert main(["--all", "--output", str(output)]) == 3  # one is incomplete: the others ran, and so did the report
    assert asked == [*some, "report"]
    assert f"stopped: {some[2]}: the Ray cluster died; what is finished is kept" in capsys.readouterr().err
