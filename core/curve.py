"""A training's curve: the mean loss over windows of its steps. Pure, and the same while it goes on as when it has ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

POINTS = 100  # at most, along a training

# What a point of a training has beside its place: of the first stage, of one on preferences, of one held near its base.
IN_TRAINING = ("loss", "learning_rate", "preference_loss", "reward_margin", "reward_accuracy", "chosen_reward", "kl_to_base")

Point = dict[str, float]


@dataclass(frozen=True)
class Steps:
    """The steps of a training that are done: of each its loss, the tokens of its sequences, its learning rate; and how many are
    planned, and how many passes over the rows these come to."""

    losses: Sequence[float]
    tokens: Sequence[int]
    rates: Sequence[float]
    planned: int
    epochs: float
    name: str = "loss"  # of the losses in a point
    beside: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by name, of each step: what has a mean in a point too
    first: int = 0  # steps of an earlier training that these follow
    seen: int = 0  # and its tokens

    def epoch(self, step: int) -> float:
        return step * self.epochs / self.planned


def points(done: Steps, whole: bool) -> list[Point]:
    """One point a window, at its last step; `whole`: without the window that is not full yet."""
    every = max(1, math.ceil(done.planned / POINTS))
    n = len(done.losses)
    found, seen = list[Point](), done.seen
    for start in range(0, n - n % every if whole else n, every):
        window = done.losses[start : start + every]
        seen += sum(done.tokens[start : start + every])
        step = start + len(window)
        found.append(
            {
                "step": done.first + step,
                "epoch": done.epoch(step),
                done.name: sum(window) / len(window),
                "learning_rate": done.rates[step - 1],
                "tokens": seen,
                **{name: sum(values[start:step]) / len(window) for name, values in done.beside.items()},
            }
        )
    return found
