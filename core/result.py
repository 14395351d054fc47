"""A trial's result: the one place where the schema of result.json stands. Written whole, by the trial itself or for one that
could not write its own; read by the sweep and by the MLflow store. No torch."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from core.errors import BadInput
from core.fields import fingerprint, flatten
from core.settings import Scalar, Trial
from core.states import State

FILE = "result.json"  # in a trial's folder
OF_TRIAL = re.compile("[0-9a-f]{16}")  # what the name of a trial's folder begins with: its fingerprint
GENERATIONS = "generations.json"  # beside it: what base and tuned model write to a few prompts
CUT = " […]"  # stands there behind what did not come to its end


@dataclass
class Result:
    """What became of one trial. The fields, in this order, are the keys of result.json. A trial fills them as it goes, so that
    one which crashes keeps what it had measured."""

    fingerprint: str
    state: State = State.FINISHED
    reason: str = ""  # why it failed, in one line
    trial: dict[str, Scalar] = field(default_factory=dict)  # its settings, by dotted field
    provenance: dict[str, str] = field(default_factory=dict)  # content hashes of what it read
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)  # of the training: loss, learning rate, tokens
    facts: dict[str, str] = field(default_factory=dict)  # what was resolved from defaults, versions, the device
    seconds: float = 0.0

    @classmethod
    def begun(cls, trial: Trial, provenance: Mapping[str, str]) -> Result:
        """The result of a trial that nothing is known of yet."""
        return cls(fingerprint(trial, provenance), trial=flatten(trial), provenance=dict(provenance))

    @classmethod
    def failure(cls, trial: Trial, provenance: Mapping[str, str], state: State, reason: str, seconds: float) -> Result:
        """The result of a trial that could not write its own: its worker died, hung, or raised outside the trial boundary."""
        begun = cls.begun(trial, provenance)
        return replace(begun, state=State(state), reason=reason, metrics={"seconds": seconds}, seconds=seconds)

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result that a result.json holds.

        Raises:
            BadInput: the file is damaged.
        """
        try:
            row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = {one.name: row[one.name] for one in fields(cls) if one.name in row}
            known |= {"fingerprint": row.get("fingerprint", ""), "reason": row.get("reason") or ""}
            known |= {"state": State(row["state"]), "metrics": dict(row["metrics"]), "seconds": float(row["seconds"])}
            found, folder = _checked(cls(**known)), path.parent.name.rpartition("-")[0]
            if OF_TRIAL.fullmatch(folder) and found.fingerprint != folder:
                raise ValueError(f"it is the result of trial {found.fingerprint[:40]}, in the folder of {folder}")
            return found
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}") from None

    def write(self, folder: Path) -> Result:
        """Writes result.json and returns what it holds: numbers that are not finite are left out of metrics and history (JSON
        has none; the state tells)."""
        finite = replace(self, metrics=_finite(self.metrics), history=[_finite(point) for point in self.history])
        row = {one.name: getattr(finite, one.name) for one in fields(finite)}
        write_whole(folder / FILE, (json.dumps(row, indent=1, allow_nan=False) + "\n").encode())
        return finite


def damaged(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is damaged ({reason}); delete it and the trial runs again", field="--output")


def _checked(result: Result) -> Result:
    """The result, if it holds what `write` writes.

    Raises:
        ValueError: a number is none, or something is of another kind.
    """
    kinds: dict[str, type] = {
        "fingerprint": str,
        "reason": str,
        "trial": dict,
        "provenance": dict,
        "history": list,
        "facts": dict,
    }
    for name, kind in kinds.items():
        if not isinstance(value := getattr(result, name), kind):
            raise ValueError(f"{name}={value!r:.60}: must be {kind.__name__}")
    for point in [result.metrics, {"seconds": result.seconds}, *result.history]:
        for name, number in point.items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"{name}={number!r:.60}: must be a finite number")
    if result.state is State.FINISHED and not result.metrics:
        raise ValueError("its trial has finished, and it has no measures")
    return result


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def sweep_folder(output: Path, experiment: str, sweep: str) -> Path:
    """Where a sweep's trials and its report lie."""
    return output / f"{experiment}-{sweep[:8]}"


def write_whole(path: Path, data: bytes) -> None:
    """The whole file or nothing, also when the machine goes down: a temporary file, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(directory: Path) -> Iterator[Path]:
    """A folder to write into, whose files take their places in `directory` when all of them are there; else none does.

    Raises:
        OSError: one cannot be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        directory.mkdir(exist_ok=True)
        for path in sorted(temporary.iterdir()):
            path.replace(directory / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
