"""The sweep's directory: one folder per trial, whose result.json says that it is finished, and the lock of the sweep.

    <output>/<experiment>-<sweep8>/trials/<fingerprint>-<phase>/result.json
                                                                name.json: its arm, and what people call it

result.json is written last and atomically, so its existence is the record: after kill -9 at any line, what is there is
complete and what is missing runs again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import BadInput
from core.result import FILE, Result, damaged, write_whole
from core.states import State
from core.tracking import TrialRecord

NAME_FILE = "name.json"


@dataclass(frozen=True)
class Outcome:
    """What the search and the progress display need to know of a finished trial."""

    state: State
    quality: float | None
    seconds: float
    reason: str = ""
    quality_before: float | None = None
    forgetting: float | None = None

    @property
    def failed(self) -> bool:
        return self.state.failed


def trial_directory(sweep_directory: Path, key: str) -> Path:
    return sweep_directory / "trials" / key


def read(sweep_directory: Path) -> dict[str, Outcome]:
    """Every finished trial of the sweep by its key."""
    return {path.parent.name: outcome(path) for path in sorted(sweep_directory.glob(f"trials/*/{FILE}"))}


def outcome(path: Path) -> Outcome:
    """The outcome that a trial's result.json holds.

    Raises:
        BadInput: the file is damaged, lacks a finished trial's quality, or is another trial's.
    """
    result, of = Result.read(path), path.parent.name.rpartition("-")[0]
    if result.fingerprint != of:
        raise damaged(path, f"it is the result of trial {result.fingerprint[:40]}, in the folder of {of}")
    if not result.state.failed and "quality" not in result.metrics:
        raise damaged(path, "its trial has finished, and it has no quality")
    quality, before, forgetting = (result.metrics.get(name) for name in ("quality", "quality_before", "forgetting"))
    return Outcome(result.state, quality, result.seconds, result.reason, before, forgetting)


def forget(sweep_directory: Path, key: str) -> None:
    """Sets a failed trial's result aside (it is kept as failed-N.json) so that the trial runs again."""
    folder = trial_directory(sweep_directory, key)
    number = len(list(folder.glob("failed-*.json"))) + 1
    (folder / FILE).replace(folder / f"failed-{number}.json")


def name(record: TrialRecord) -> None:
    """Keeps what the store is told of a trial beside its result, so that a later call which has other seeds or arms can log
    it too."""
    row = {"name": record.name, "arm": record.arm, "phase": record.phase, "axes": record.axes}
    with suppress(OSError):  # a full disk is told where the result is written
        write_whole(record.folder / NAME_FILE, json.dumps(row).encode())


def names(sweep_directory: Path) -> dict[str, TrialRecord]:
    """The finished trials of the sweep that have a name, also those of earlier calls, by their keys."""
    found = {}
    for path in sorted(sweep_directory.glob(f"trials/*/{NAME_FILE}")):
        key = path.parent.name
        if (path.parent / FILE).exists():
            with suppress(ValueError, KeyError, TypeError):  # a damaged name is no name
                row = json.loads(path.read_bytes())
                found[key] = TrialRecord(key, row["name"], row["arm"], row["phase"], tuple(row["axes"]), path.parent)
    return found


@contextmanager
def locked(sweep_directory: Path) -> Iterator[None]:
    """Holds the sweep for this process. The kernel drops the lock when the process dies, however it dies.

    Raises:
        BadInput: another process runs this sweep.
    """
    try:
        file = (sweep_directory / "lock").open("a+")
    except OSError as error:
        raise BadInput(f"{sweep_directory}: cannot be written to ({error.strerror})", field="--output") from None
    with file:
        if not _take(file):
            raise BadInput(f"{sweep_directory}: another process ({holder(sweep_directory)}) is running this sweep")
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        yield


def _take(file: IO[str]) -> bool:
    for _ in range(5):  # `holder` takes a lock for a moment to see whether it can
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def holder(sweep_directory: Path) -> str:
    """Who runs the sweep at present ("pid 123"), or "" for nobody."""
    path = sweep_directory / "lock"
    if not path.is_file():  # `locked` tells what else there is
        return ""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "unknown"
    return ""
