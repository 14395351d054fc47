"""Proposals that a search has made, kept beside its trials (proposals.jsonl), so that a start does not ask Optuna for each again.

The next trial follows from the outcomes of earlier ones, so every start of a sweep makes the same proposals, and asking costs
two seconds for the imports of Optuna and torch alone. A proposal is found by a hash of everything that it follows from, and
its line carries a hash of itself: a line that is torn, changed or of other outcomes is never used, and Optuna is asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from core.fields import content_hash
from core.settings import Scalar

FILE = "proposals.jsonl"
Values = Mapping[str, Scalar]


class Proposals:
    """The proposals known so far. With `writes`, new ones are added to the file, for which the caller holds the sweep's lock."""

    def __init__(self, path: Path | None = None, writes: bool = False) -> None:
        self.path = path if writes else None
        self.known = _read(path) if path and path.exists() else {}

    def get(self, package: str, basis: Mapping[str, object], ask: Callable[[], Sequence[Values]]) -> list[Values]:
        """What was proposed on this basis by this version of the package; `ask` proposes where nothing is recorded."""
        key = content_hash({"basis": basis, "package": f"{package} {version(package)}"})
        if key not in self.known:
            self.known[key] = [dict(values) for values in ask()]
            if self.path:
                with suppress(OSError):  # a full disk: a later start asks again
                    _append(self.path, key, self.known[key])
        return [dict(values) for values in self.known[key]]


def _read(path: Path) -> dict[str, list[Values]]:
    """The whole lines of the file; what cannot be read, or is not what was written, is left out."""
    found: dict[str, list[Values]] = {}
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if row["hash"] == content_hash([row["key"], row["values"]]):
                found[row["key"]] = row["values"]
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _append(path: Path, key: str, values: Sequence[Values]) -> None:
    """Adds a line; a line that a kill left without its end is ended first."""
    line = json.dumps({"key": key, "values": values, "hash": content_hash([key, values])})
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(f"{line}\n".encode())
