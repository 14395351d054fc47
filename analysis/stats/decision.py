"""From an interval to a decision: the region in which a claim is right, the verdict with its p value, Holm over several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

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


def q_values(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p values: of the claims whose q is at most 5 %, at most that share is expected to be
    decided wrongly. A nan stays nan and does not count."""
    found = np.full(len(p_values), math.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    falling = tested[np.argsort(-p_values[tested], kind="stable")]
    share = len(tested) / np.arange(len(tested), 0, -1)
    found[falling] = np.minimum.accumulate(np.minimum(p_values[falling] * share, 1.0))
    return found


class Decision(StrEnum):
    """What an interval says about a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"  # there is no estimate

    @property
    def decided(self) -> bool:
        return self in (Decision.SUPPORTED, Decision.CONTRADICTED)


class Form(StrEnum):
    """How the numbers of a rule are written."""

    PLAIN = ""
    PERCENT = "%"  # of what the effect is relative to
    FACTOR = "×"


@dataclass(frozen=True)
class Region:
    """What a claim says about an effect. Contradicted: the interval lies outside `low`–`high`. Supported: the estimate lies
    inside, and the whole interval inside `known_low`–`known_high` (the same region unless the claim is about a size that
    need be known only within a factor)."""

    low: float
    high: float
    known_low: float | None = None
    known_high: float | None = None
    form: Form = Form.PLAIN

    def rule(self) -> str:
        """The rule in words: when a claim with this region is supported, when contradicted."""
        if self.support != (self.low, self.high):
            inside, known = self.span(self.low, self.high), self.span(*self.support)
            return f"supported: estimate in {inside} and interval within {known}; contradicted: interval outside {inside}"
        if math.isinf(self.high):
            return f"supported: interval above {self.number(self.low)}; contradicted: below"
        if math.isinf(self.low):
            return f"supported: interval below {self.number(self.high)}; contradicted: above"
        return f"supported: interval within {self.span(self.low, self.high)}; contradicted: outside"

    def span(self, low: float, high: float) -> str:
        """Both ends: "5–20×", "±3 %", "2–8 %", "0.07–0.29", "−0.1 to +0.2"."""
        if low == -high:
            return f"±{self._digits(high)}{self._mark}"
        if low < 0:
            return f"{self.number(low)} to {self.number(high)}"
        return f"{self._digits(low)}–{self._digits(high)}{self._mark}"

    def number(self, value: float) -> str:
        """One end, with its sign unless it is a factor."""
        sign = "−" if value < 0 else "+" if value and self.form is not Form.FACTOR else ""
        return f"{sign}{self._digits(abs(value))}{self._mark}"

    def _digits(self, value: float) -> str:
        return f"{100 * value if self.form is Form.PERCENT else value:.3g}"

    @property
    def _mark(self) -> str:
        """What stands after a number."""
        return {Form.PLAIN: "", Form.PERCENT: " %", Form.FACTOR: "×"}[self.form]

    @property
    def support(self) -> tuple[float, float]:
        """The limits within which the whole interval must lie to support the claim."""
        return (
            self.low if self.known_low is None else self.known_low,
            self.high if self.known_high is None else self.known_high,
        )


ABOVE_ZERO, BELOW_ZERO = Region(0.0, math.inf), Region(-math.inf, 0.0)


def verdict(estimate: Estimate, region: Region) -> tuple[Decision, float]:
    """The decision and its two-sided p value. p ≤ 0.05 exactly when the 95 % interval decides: an estimate
    outside the region can't support the claim, however near, so its p is that of the contradiction."""
    if not estimate.known:
        return Decision.UNDECIDED, math.nan
    low, high = region.support
    p_support = max(estimate.p_beyond(low, "above"), estimate.p_beyond(high, "below"))
    p_contradict = min(estimate.p_beyond(region.low, "below"), estimate.p_beyond(region.high, "above"))
    if not region.low <= estimate.value <= region.high:
        p_support = 1.0
    if 2 * p_contradict <= 1 - LEVEL:
        return Decision.CONTRADICTED, 2 * p_contradict
    if 2 * p_support <= 1 - LEVEL:
        return Decision.SUPPORTED, 2 * p_support
    return Decision.UNDECIDED, min(1.0, 2 * min(p_support, p_contradict))
