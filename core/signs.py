"""A trial's signs of life: what it does at the moment, in a small file beside where its result will be.

The file is for the display alone. It is written every few seconds at most, each time whole, it goes when the trial ends, and
nothing of it enters a result.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = ".now.json"  # files with a dot stay where they are when a trial's files are sent
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
    """Writes the sign; a full disk is told where results are written."""
    temporary = folder / f"{FILE}.{os.getpid()}"
    with suppress(OSError):
        temporary.write_text(json.dumps(asdict(sign)))
        temporary.replace(folder / FILE)


def clear(folder: Path) -> None:
    """Takes the sign away, also one that a killed process left half-written."""
    with suppress(OSError):
        for path in folder.glob(f"{FILE}*"):
            path.unlink(missing_ok=True)


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
        self.began = self.shown = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.shown >= EVERY_SECONDS

    def at(self, step: int, loss: float) -> None:
        self.shown = time.monotonic()
        left = (self.shown - self.began) / max(step, 1) * (self.steps - step)
        show(self.folder, Sign("training", step, self.steps, loss, left))
