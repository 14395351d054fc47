"""A trial's signs of life: what it does at the moment, and its curve so far, in small files beside where its result will be.

The files are for the display and for live curves in the store. They are written every few seconds at most, each time whole, they
go when the trial ends, and nothing of them enters a result.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from core.curve import Point

FILE, CURVE = ".now.json", ".curve.json"  # files with a dot stay where they are when a trial's files are sent
EVERY_SECONDS = 3.0


@dataclass(frozen=True)
class Sign:
    """`doing`: training, or what is measured. In training: the step, of how many, its loss, and seconds to training's end."""

    doing: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left_seconds: float | None = None

    def __str__(self) -> str:
        if not self.steps:
            return self.doing
        loss = f", loss {self.loss:.3f}" if self.loss is not None else ""
        return f"step {self.step:,}/{self.steps:,}{loss}"


def show(folder: Path, sign: Sign) -> None:
    _write(folder, FILE, asdict(sign))


def _write(folder: Path, name: str, content: object) -> None:
    """Writes a sign; a full disk is told where results are written."""
    temporary = folder / f"{name}.{os.getpid()}"
    with suppress(OSError, ValueError):  # no number that JSON lacks
        temporary.write_text(json.dumps(content, allow_nan=False))
        temporary.replace(folder / name)


def clear(folder: Path) -> None:
    """Takes the signs away, also those that a killed process left half-written."""
    with suppress(OSError):
        for name in (FILE, CURVE):
            for path in folder.glob(f"{name}*"):
                path.unlink(missing_ok=True)


def curve(folder: Path) -> list[Point]:
    """The points so far of the training in this folder, as its result will have them; none where none can be read."""
    try:
        found = json.loads((folder / CURVE).read_text())
        return [point for point in found if isinstance(point, dict) and "step" in point]
    except (OSError, ValueError, TypeError):
        return []


def read(folder: Path) -> Sign | None:
    """What the trial in this folder does; None where it says nothing that can be read."""
    try:
        return Sign(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Steps:
    """The signs of a training: `at` is called at each step and shows one when some seconds have gone by."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.first = 0  # after which it goes on
        self.began = self.shown = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.shown >= EVERY_SECONDS

    def at(self, step: int, loss: float, points: Sequence[Point] = ()) -> None:
        self.shown = time.monotonic()
        left = (self.shown - self.began) / max(step - self.first, 1) * (self.steps - step)
        show(self.folder, Sign("training", step, self.steps, loss, left))
        if points:
            _write(self.folder, CURVE, list(points))
