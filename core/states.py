"""How a trial may end, and what it was run for. Text wherever it is stored: members equal their values."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"  # the loss, or a measurement after training, is not finite
    OOM = "oom"
    CRASHED = "crashed"  # it raised, its worker died, or it ran into its time limit

    @property
    def failed(self) -> bool:
        return self is not State.FINISHED


class Phase(StrEnum):
    """What a trial was run for."""

    TUNE = "tune"  # on the validation split, to choose a setting
    AGAIN = "again"  # the same on another base, to choose between the best settings
    FINAL = "final"  # on the test split, with a fresh seed


TUNING = (Phase.TUNE, Phase.AGAIN)  # in which an arm's setting is chosen
FAILED = tuple(state for state in State if state.failed)
