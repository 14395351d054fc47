"""From an interval to a decision: the region in which a claim is right, the verdict with its p value, Holm over several."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.estimate import LEVEL, Estimate


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p values; a nan (not tested) stays nan and does not count in the family."""
    adjusted = np.full(len(p_values), math.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    running = 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - position) * float(p_values[index])))
        adjusted[index] = running
    return adjusted


@dataclass(frozen=True)
class Region:
    """What a claim says about an effect. Contradicted: the interval lies outside `low`–`high`. Supported: the estimate lies
    inside, and the whole interval inside `known_low`–`known_high` (the same region unless the claim is about a size that
    need be known only within a factor)."""

    low: float
    high: float
    known_low: float | None = None
    known_high: float | None = None

    @property
    def support(self) -> tuple[float, float]:
        """The limits within which the whole interval must lie to support the claim."""
        return (
            self.low if self.known_low is None else self.known_low,
            self.high if self.known_high is None else self.known_high,
        )


ABOVE_ZERO, BELOW_ZERO = Region(0.0, math.inf), Region(-math.inf, 0.0)


def verdict(estimate: Estimate, region: Region) -> tuple[str, float]:
    """(supported / contradicted / undecided, two-sided p). p ≤ 0.05 exactly when the 95 % interval decides: an estimate
    outside the region can't support the claim, however near, so its p is that of the contradiction."""
    if not estimate.known:
        return "undecided", math.nan
    low, high = region.support
    p_support = max(estimate.p_beyond(low, "above"), estimate.p_beyond(high, "below"))
    p_contradict = min(estimate.p_beyond(region.low, "below"), estimate.p_beyond(region.high, "above"))
    if not region.low <= estimate.value <= region.high:
        p_support = 1.0
    if 2 * p_contradict <= 1 - LEVEL:
        return "contradicted", 2 * p_contradict
    if 2 * p_support <= 1 - LEVEL:
        return "supported", 2 * p_support
    return "undecided", min(1.0, 2 * min(p_support, p_contradict))
