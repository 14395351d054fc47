"""Every reply of a model, on disk as soon as it is there: JSON lines after a first one that says of which run they are."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from core.endpoint import Said
from core.errors import BadInput


class Journal:
    """The replies by the key of their request. A line that a kill cut is dropped and asked again; nothing else is asked twice.

    Raises:
        BadInput: on entering: the file is of another run, damaged, or another process has it.
    """

    def __init__(self, path: Path, run: Mapping[str, object]) -> None:
        self.path, self.run = path, dict(run)
        self.known: dict[str, Said] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b")
        except OSError as error:
            raise BadInput(f"--output: {self.path} cannot be written to ({error.strerror})", field="--output") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BadInput(f"--output: {self.path} is being written by another process", field="--output") from None
        self._file = file
        try:
            self._read(file)
        except BaseException:
            file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def add(self, replies: Mapping[str, Said]) -> None:
        """Keeps these, all or none."""
        self._append({"replies": {key: [said.text, said.whole] for key, said in replies.items()}})
        self.known |= replies

    def _append(self, line: Mapping[str, object]) -> None:
        assert self._file
        self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append({"run": self.run})
            return
        try:
            begun = json.loads(lines[0])["run"]
            for line in lines[1:]:
                replies = json.loads(line)["replies"]
                self.known |= {str(key): Said(str(text), bool(ended)) for key, (text, ended) in replies.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            text = "is no journal of this command, or damaged; delete it, or give another --output"
            raise BadInput(f"--output: {self.path} {text}", field="--output") from None
        if not self.known and begun != self.run:  # nothing was said yet: a wrong command begins no run
            file.truncate(0)
            self._append({"run": self.run})
            return
        differ = [name for name in dict.fromkeys([*self.run, *begun]) if begun.get(name) != self.run.get(name)]
        if differ:
            told = f"{differ[0]}: {begun.get(differ[0])} before, {self.run.get(differ[0])} now"
            raise BadInput(f"--output: {self.path} was begun otherwise ({told}); give another --output", field="--output")
