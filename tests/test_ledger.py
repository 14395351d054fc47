"""The sweep's directory: results are whole or absent, and one process at a time holds it, however it dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.fields import fingerprint, flatten
from core.result import FILE, Result
from core.settings import Trial
from core.states import State
from sweeps import ledger

ROOT = Path(__file__).parents[1]
UNKNOWN = '{"state": "tired", "metrics": {}, "seconds": 1}'
HOLD = """
import sys
from pathlib import Path
from sweeps import ledger
with ledger.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def write_result(folder: Path, state: State = State.FINISHED, **values: Any) -> None:
    Result(folder.name.partition("-")[0], state, **{"metrics": {"quality": 0.5}, "seconds": 2.0, **values}).write(folder)


@contextmanager
def other_process(sweep_directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the sweep until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(sweep_directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_what_is_written_is_read_by_key(tmp_path: Path) -> None:
    write_result(ledger.trial_directory(tmp_path, "abc-tune"))
    write_result(ledger.trial_directory(tmp_path, "def-final"), state=State.DIVERGED, reason="nan at step 3", metrics={})
    (ledger.trial_directory(tmp_path, "begun-final")).mkdir()
    assert ledger.read(tmp_path) == {
        "abc-tune": ledger.Outcome(State.FINISHED, 0.5, 2.0, ""),
        "def-final": ledger.Outcome(State.DIVERGED, None, 2.0, "nan at step 3"),
    }
    assert ledger.read(tmp_path / "not there") == {}


@pytest.mark.parametrize(
    "text",
    ["", '{"state": "finished", "metr', "[]", '{"state": "finished"}', '{"metrics": [], "state": 1}', "\udcff", UNKNOWN],
)
def test_a_damaged_result_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = ledger.trial_directory(tmp_path, "abc-tune") / "result.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadInput) as error:
        ledger.read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path} is damaged")
    assert "delete it" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fingerprint": "def"}, "it is the result of trial def, in the folder of abc"),
        ({"fingerprint": None}, "fingerprint=None: must be str"),
        ({"metrics": {"forgetting": 1.0}}, "its trial has finished, and it has no quality"),
        ({"metrics": {"quality": float("nan")}}, "quality=nan: must be a finite number"),
        ({"metrics": {"quality": None}}, "quality=None: must be a finite number"),
        ({"metrics": {"quality": "0.9"}}, "quality='0.9': must be a finite number"),
        ({"metrics": {"quality": True}}, "quality=True: must be a finite number"),
        ({"metrics": {"quality": 0.5, "seconds": float("inf")}}, "seconds=inf: must be a finite number"),
        ({"seconds": float("nan")}, "seconds=nan: must be a finite number"),
        ({"history": [{"loss": float("nan")}]}, "loss=nan: must be a finite number"),
        ({"history": {}}, "history={}: must be list"),
        ({"provenance": "x"}, "provenance='x': must be dict"),
        ({"facts": []}, "facts=[]: must be dict"),
    ],
)
def test_a_result_that_was_changed_never_counts(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = ledger.trial_directory(tmp_path, "abc-tune")
    write_result(folder)
    (folder / FILE).write_text(json.dumps(json.loads((folder / FILE).read_text()) | changes))
    with pytest.raises(BadInput) as error:
        ledger.read(tmp_path)
    assert says in str(error.value)
    assert str(error.value).startswith(f"{folder / FILE} is damaged")
    assert str(error.value).endswith("delete it and the trial runs again")


def test_the_row_of_a_trial_that_could_not_write_its_own_counts_its_time(tmp_path: Path) -> None:
    trial, provenance = Trial(seed=3), {"data": "d", "model": "m"}
    folder = tmp_path / "new" / f"{fingerprint(trial, provenance)}-final"
    Result.failure(trial, provenance, State.CRASHED, "still running after its time limit of 21600 s", 21_600.0).write(folder)
    row = json.loads((folder / FILE).read_text())
    assert row["trial"] == flatten(trial)
    assert row["fingerprint"] == fingerprint(trial, provenance)
    assert row["metrics"] == {"seconds": 21_600.0}  # from which the report sums up the cost
    outcome = ledger.outcome(folder / FILE)
    assert (outcome.failed, outcome.seconds) == (True, 21_600.0)


def test_a_forgotten_failure_is_kept_aside(tmp_path: Path) -> None:
    folder = ledger.trial_directory(tmp_path, "abc-tune")
    for number in (1, 2):
        write_result(folder, state=State.CRASHED, reason=f"attempt {number}")
        ledger.forget(tmp_path, "abc-tune")
        assert ledger.read(tmp_path) == {}
        assert json.loads((folder / f"failed-{number}.json").read_text())["reason"] == f"attempt {number}"


def test_the_lock_is_exclusive_and_ends_with_its_block(tmp_path: Path) -> None:
    assert ledger.holder(tmp_path) == ""
    with ledger.locked(tmp_path):
        assert ledger.holder(tmp_path) == f"pid {os.getpid()}"
        with pytest.raises(BadInput, match=f"pid {os.getpid()}"), ledger.locked(tmp_path):
            pass
    assert ledger.holder(tmp_path) == ""
    with ledger.locked(tmp_path):
        pass


def test_another_process_is_kept_out_and_the_kernel_drops_the_lock_of_a_killed_one(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        assert ledger.holder(tmp_path) == f"pid {process.pid}"
        with (
            pytest.raises(BadInput, match=rf"another process \(pid {process.pid}\) is running this sweep"),
            ledger.locked(tmp_path),
        ):
            pass
        process.kill()  # SIGKILL
        process.wait()
        assert ledger.holder(tmp_path) == ""
        with ledger.locked(tmp_path):
            assert ledger.holder(tmp_path) == f"pid {os.getpid()}"
