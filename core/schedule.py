"""How the learning rate goes over a run. Pure: step numbers in, shares of the learning rate out."""

from __future__ import annotations

import math


def warmup_steps(warmup_share: float, steps: int) -> int:
    """The steps over which the rate rises: the share of all, rounded up (a product's last digits are no further step)."""
    return math.ceil(round(warmup_share * steps, 9))


def rate_share(schedule: str, step: int, warmup: int, steps: int) -> float:
    """The share of `train.learning_rate` at optimizer step `step` (from 0) of `steps`: above 0 and at most 1.

    transformers' own schedules give the first step of a warm-up a rate of 0. A run of one step then trains nothing, and any
    other loses a step; so the warm-up counts from 1 here. What follows it is theirs.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shares = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    return max(0.0, shares[schedule])
