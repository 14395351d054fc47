"""A value with its 95 % interval, and what can be asked of it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
POWER = 0.8
BETWEEN_BASES = (
    0.6  # of the variance of one seed's paired difference: 0.5 (forgetting) to 0.7 (quality), measured in the laboratory
)
# Seeds or bases → how many times as large as by Student's t an effect, and a margin, must be where the interval is the longer of
# Student's and Hall's. Simulated (6,000 draws, normal seeds), the middle of 5 % over one claim and over four.
LOST_TO_HALL = {
    3: (1.0, 1.0),
    4: (1.33, 1.47),
    6: (1.41, 1.53),
    8: (1.34, 1.43),
    16: (1.11, 1.12),
    24: (1.04, 1.04),
    48: (1.0, 1.0),
}


class Why(StrEnum):
    """Why there is no interval, in the few words that fit into a figure."""

    TOO_FEW = "too few"  # seeds, learning rates or levels
    NO_RESIDUAL = "needs more learning rates"  # a curve through every point says nothing about noise
    NOT_TUNED = "not tuned"
    NOT_BRACKETED = "not bracketed"  # a top or a crossing may lie outside of what was tried
    NOT_LOCATED = "not located"  # the curve is too flat or too noisy
    UNBOUNDED = "unbounded"
    NOT_IDENTIFIED = "not identified"  # a law without this parameter does as well
    NOT_REACHED = "not reached"  # within what was measured
    NO_SUCH_THING = "none"  # the law has no such place
    NOT_MEASURED = "not measured"
    NO_SPREAD = "no spread"  # nothing varies, so that nothing says how large the error is


class Over(StrEnum):
    """For which models beside those of the sweep an interval speaks."""

    SEEDS = "new seeds"  # of one base, or of bases that nothing is known of
    THESE_BASES = "these bases"  # each alone is a block: what differs between them is no noise
    NEW_BASES = "new bases"  # of the same kind: bases are what was drawn
    NEW_CLUSTERS = "new clusters"  # of tasks: clusters, or folds of them, are what was drawn
    NEW_RECIPES = "new recipes"  # that are ranked: they are what was drawn


@dataclass(frozen=True)
class Missing:
    """Why there is no interval: a kind, which code decides by, and a sentence for the reader."""

    kind: Why
    text: str

    @property
    def short(self) -> str:
        """What fits into a figure or a column."""
        return self.text if self.kind is Why.TOO_FEW else self.kind.value


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; low and high are nan where there is none, and `missing` says why.

    On `scale` "log" the value is a ratio and its error is symmetric (roughly) in its logarithm.
    """

    value: float
    low: float
    high: float
    df: float
    n_seeds: int
    n_items: int
    scale: str = "linear"
    missing: Missing | None = None
    fixed: float = 0.0  # the part of the half width, in quadrature and on the scale, that is a bias: nothing lessens it
    n_draws: int = 0  # from how many resampled values the interval comes; 0: it does not
    lasting: float = 0.0  # the part of the standard error, on the scale, that seeds and bases do not lessen: items
    over: Over = Over.SEEDS
    n_bases: int = 0  # that seeds can take turns over, where bases are what is drawn: seeds beyond them share bases; 0: no such
    between: float | None = None  # the part of the standard error, on the scale, that only more bases lessen; None: not known
    reach: float | None = None  # how far the interval reaches over Student's t; None: it is Student's, or another one

    @property
    def known(self) -> bool:
        """True if there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def why(self) -> str:
        """Why there is no interval, as a sentence; "" where there is one."""
        return self.missing.text if self.missing else ""

    def on_scale(self, x: float) -> float:
        """x where the error is symmetric: its logarithm for a ratio."""
        if self.scale == "linear":
            return x
        return math.log(x) if x > 0 else -math.inf

    def p_beyond(self, bound: float, side: str) -> float:
        """One-sided p value of the true value being "above" or "below" `bound`; 0.025 where the interval touches it. Never below
        1 / (n_draws + 1), as no smaller share of draws could have been seen. Where the value is the end of the interval that
        faces the bound, the other side's width stands for it, but for draws: of these none lay beyond."""
        if not self.known:
            return math.nan
        value, at = self.on_scale(self.value), self.on_scale(bound)
        if math.isinf(at):
            return 0.0 if (at < 0) == (side == "above") else 1.0
        low, high = self.on_scale(self.low), self.on_scale(self.high)
        facing, other = (value - low, high - value) if side == "above" else (high - value, value - low)
        distance = value - at if side == "above" else at - value
        least = 1 / (self.n_draws + 1) if self.n_draws else sys.float_info.min
        if facing <= 0 and self.n_draws:
            return least if distance > 0 else 1.0
        half_width = facing if facing > 0 else other
        if half_width <= 0:
            return 1.0
        return max(float(stdtr(self.df, -distance / half_width * t_quantile(self.df))), least)

    def minimum_detectable(self, n_tests: float = 1, n_seeds: int | None = None) -> float:
        """How far beyond a bound a true effect must lie for a repetition to see that with 80 % power, two-sided at 5 %
        over `n_tests` (the first step of Holm). A ratio's is a factor above 1. `n_seeds`: of the repetition (None: as many as
        here); of the error's variance the seeds' part falls with their number, that of bases with theirs, `lasting` does not."""
        if not self.known:
            return math.nan
        variance, df = self.repeated(n_seeds)
        effect = (
            (t_quantile(df, 1 - (1 - LEVEL) / n_tests) + float(stdtrit(df, POWER))) * math.sqrt(variance) * self._lost(n_seeds)[0]
        )
        effect = math.hypot(effect, self.fixed)
        return math.exp(effect) if self.scale == "log" else effect

    def margin(self, n_tests: float = 1, n_seeds: int | None = None) -> float:
        """Half the width, on the scale, of the narrowest region in whose middle a true effect is seen to lie within it with 80 %
        power: two one-sided tests, each of which errs in half of the rest."""
        if not self.known:
            return math.nan
        variance, df = self.repeated(n_seeds)
        quantiles = t_quantile(df, 1 - (1 - LEVEL) / n_tests) + float(stdtrit(df, (1 + POWER) / 2))
        return math.hypot(quantiles * math.sqrt(variance) * self._lost(n_seeds)[1], self.fixed)

    def parts(self) -> tuple[float, float, float]:
        """The variance on the scale: of items, of bases, and of seeds on one base. Where it is not known what bases have of it,
        as with a seed on each, the share is the laboratory's."""
        half_width = (self.on_scale(self.high) - self.on_scale(self.low)) / 2 / (self.reach or 1.0)
        variance = max(half_width**2 - self.fixed**2, 0.0) / t_quantile(self.df) ** 2
        of_items = min(self.lasting**2, variance)
        drawn = variance - of_items
        if not self.n_bases:
            return of_items, 0.0, drawn
        if self.between is not None:
            of_bases = min(self.between**2, drawn)
        else:
            share, rest = BETWEEN_BASES / self.n_units(self.n_seeds), (1 - BETWEEN_BASES) / self.n_seeds
            of_bases = drawn * share / (share + rest)
        return of_items, of_bases, drawn - of_bases

    def on_bases(self, n_bases: int) -> Estimate:
        """The estimate where seeds may come to take turns over so many bases: those that were drawn until now are all there are
        only where some have several seeds."""
        if self.over is not Over.NEW_BASES or 0 < self.n_bases < self.n_seeds:
            return self
        return replace(self, n_bases=max(n_bases, self.n_bases))

    def n_units(self, n_seeds: int) -> int:
        """How many of what was drawn there are with so many seeds: of bases no more than there are."""
        return min(n_seeds, self.n_bases) if self.n_bases else n_seeds

    def repeated(self, n_seeds: int | None) -> tuple[float, float]:
        """Variance, on the scale, and degrees of freedom of a repetition with so many seeds. Satterthwaite's, of the part of
        seeds and bases alone: items are many."""
        of_items, of_bases, of_seeds = self.parts()
        drawn = of_bases + of_seeds
        if n_seeds is None or not drawn or self.n_seeds < 2:
            return of_items + drawn, self.df
        here, there = self.n_units(self.n_seeds), self.n_units(n_seeds)
        df_of_drawn = self.df * (drawn / (of_items + drawn)) ** 2 * (there - 1) / (here - 1)
        then = of_bases * here / there + of_seeds * self.n_seeds / n_seeds
        return of_items + then, max(df_of_drawn * ((of_items + then) / then) ** 2, 1.0)

    def _lost(self, n_seeds: int | None) -> tuple[float, float]:
        """LOST_TO_HALL for as many seeds, as far as the error is theirs."""
        if self.reach is None:
            return 1.0, 1.0
        n = self.n_seeds if n_seeds is None else n_seeds
        of_items, variance = self.parts()[0], self.repeated(n_seeds)[0]
        part = ((variance - of_items) / variance) ** 1.5 if variance else 0.0
        columns = zip(*LOST_TO_HALL.values(), strict=True)
        effect, margin = (1 + part * (float(np.interp(self.n_units(n), list(LOST_TO_HALL), one)) - 1) for one in columns)
        return effect, margin


NEEDS_SEEDS = Missing(Why.TOO_FEW, "needs 2 seeds")
NO_SPREAD = Missing(Why.NO_SPREAD, "no spread between seeds or items")


def t_quantile(df: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t."""
    return float(stdtrit(df, (1 + level) / 2))


def at_level(e: Estimate, alpha: float) -> Estimate:
    """The estimate with the interval of two-sided level `alpha` in the place of its 95 % interval."""
    factor = t_quantile(e.df, 1 - alpha) / t_quantile(e.df)
    value = e.on_scale(e.value)
    low, high = (value + factor * (e.on_scale(end) - value) for end in (e.low, e.high))
    return replace(e, low=low, high=high) if e.scale == "linear" else replace(e, low=math.exp(low), high=math.exp(high))


def no_interval(value: float, n_seeds: int, n_items: int, why: Missing | None, scale: str = "linear") -> Estimate:
    """An estimate that has no interval, and the reason."""
    return Estimate(value, math.nan, math.nan, math.nan, n_seeds, n_items, scale, why)
