"""At which steps of a training the model is measured (`evaluation.every`), known without torch. core/tasks/along.py measures."""

from __future__ import annotations

import math
from dataclasses import replace

from core.errors import BadInput
from core.settings import BEST, Trial


def check(trial: Trial) -> None:
    """Whether the settings go together.

    Raises:
        BadInput: the best step is to be kept, and none is measured.
    """
    if trial.train.keep == BEST and trial.evaluation.every is None:
        text = "chooses among steps that are measured; set evaluation.every too, to 0.1 for each tenth of the training"
        raise BadInput(f"train.keep={trial.train.keep}: {text}", field="train.keep")


def on_validation(trial: Trial) -> Trial:
    """The trial with the split that is measured along its training."""
    return replace(trial, evaluation=replace(trial.evaluation, split="validation"))


def stops(every: float | None, planned: int) -> list[int]:
    """The steps of `planned` after which the model is measured; where any are, the last is among them."""
    if every is None:
        return []
    if every >= 1:
        found = {*range(int(every), planned + 1, int(every))}
    else:
        found = {max(1, round(number * every * planned)) for number in range(1, math.ceil(1 / every))}
    return sorted({step for step in found if step <= planned} | {planned})
