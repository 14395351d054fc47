"""Which learning rates are good, and where the best one may lie, whatever the shape of the curve. Pure.

A parabola's top is right for parabolas. Simulated with splines of measured curves its interval covered the true top in 5 to 21 %,
and two methods' curves differ in shape. All that is asked for here is one top: quality rises up to it and falls beyond. Then

- the best of the rates tried is, with confidence 95 %, among those that are not shown to be worse than another one (each pair
  tested at 5 % over the number of the others, as in analysis/stats/best.py), and
- the best rate of all lies next to the best one tried: by REACH of the way to the neighbours of the lowest and highest of these.

Good rates are those tried that lose at most TOLERANCE to the best; they are what a reader can use. Simulated with 5 to 7 rates in
2.5 decades and 1 or 4 runs a rate, 300 curves of each of five shapes from a parabola to a cliff, the best rate is covered in
99 to 100 % (half of the way: 85 to 100), and the interval is 1.3 to 2.8 spacings of the grid long: only a finer grid shortens it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr

from analysis.stats.drawn import drawn
from analysis.stats.estimate import LEVEL, Estimate, Missing, Over, Why, no_interval
from analysis.stats.intervals import quotient_of_estimates

REACH = 0.65  # of the way to the next rate tried
TOLERANCE = 0.02  # of quality, here and where an arm is chosen: two points of accuracy, 2 % of the perplexity


@dataclass(frozen=True)
class Rated:
    """Qualities of K rates, sorted upwards, in one run each or in U units, which are seeds or bases: (U, K); the standard
    deviation of a difference of two runs (None: from the units) with its degrees of freedom. `ends`: whether rates below and
    above these are known to be worse, as trainings there diverged. `n_seeds`: from how many the units were made."""

    rates_K: np.ndarray
    quality_UK: np.ndarray
    sd: float | None = None
    df: float = math.inf
    ends: tuple[bool, bool] = (False, False)
    n_seeds: int = 1
    over: Over = Over.SEEDS

    @property
    def mean_K(self) -> np.ndarray:
        return np.asarray(self.quality_UK.mean(axis=0))


def over_seeds(rates_K: np.ndarray, quality_SK: np.ndarray, bases_S: np.ndarray | None = None) -> Rated:
    """K rates in S seeds, (S, K), by what their bases (None: unknown) let them speak for: seeds on one base are not independent
    where bases differ."""
    units = drawn(quality_SK, bases_S)
    return Rated(rates_K, units.scores_UI, n_seeds=len(quality_SK), over=units.over)


@dataclass(frozen=True)
class GoodRates:
    """The best rate with an interval that holds whatever the shape, and the rates tried that are good, both ends included."""

    best: Estimate
    low: float
    high: float


def not_worse(rated: Rated, level: float = LEVEL) -> np.ndarray:
    """Which of the K rates are not shown to be worse than another one (K,)."""
    n_units, n_rates = rated.quality_UK.shape
    gain_KK = rated.mean_K[None, :] - rated.mean_K[:, None]
    if rated.sd is None:
        rest_UK = rated.quality_UK - rated.mean_K - rated.quality_UK.mean(axis=1, keepdims=True) + rated.quality_UK.mean()
        df = (n_units - 1) * (n_rates - 1)
        pooled = math.sqrt(2 * float(np.sum(rest_UK**2)) / max(df, 1))
        own_KK = np.std(rated.quality_UK[:, None, :] - rated.quality_UK[:, :, None], axis=0, ddof=1)
        # As in best.py the larger p of two errors, that of the pair alone and that over all pairs.
        p_KK = np.maximum(_p(gain_KK, own_KK / math.sqrt(n_units), n_units - 1), _p(gain_KK, pooled / math.sqrt(n_units), df))
    else:
        p_KK = _p(gain_KK, rated.sd / math.sqrt(n_units), rated.df)
    found: np.ndarray = ~(p_KK <= (1 - level) / max(n_rates - 1, 1)).any(axis=1)
    return found


def _p(gain_KK: np.ndarray, error: np.ndarray | float, df: float) -> np.ndarray:
    """One-sided; of no difference 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t_KK = np.where(gain_KK > 0, gain_KK / error, 0.0)
    return np.asarray(np.where(gain_KK > 0, stdtr(df, -np.minimum(t_KK, 1e9)), 1.0))


def good_rates(rated: Rated, n_items: int, level: float = LEVEL) -> GoodRates:
    """The best rate and the good ones. There is no interval where the best may lie beyond what was tried; of one seed there is
    one only where the noise is known."""
    (n_units, n_rates), n_seeds = rated.quality_UK.shape, rated.n_seeds
    top = int(np.argmax(rated.mean_K)) if n_rates else 0
    if n_rates < 3:
        few = Missing(Why.TOO_FEW, "needs 3 learning rates") if n_rates else Missing(Why.NOT_TUNED, "not tuned")
        return GoodRates(no_interval(math.nan, n_seeds, n_items, few, "log"), math.nan, math.nan)
    value = float(rated.rates_K[top])
    good = np.flatnonzero(rated.mean_K >= rated.mean_K[top] - TOLERANCE)
    low, high = (float(rated.rates_K[end]) for end in _run(good, top))
    if rated.sd is None and n_units < 2:
        few = Missing(Why.TOO_FEW, "needs 2 seeds, or the noise between runs")
        return GoodRates(no_interval(value, n_seeds, n_items, few, "log"), low, high)
    kept = np.flatnonzero(not_worse(rated, level))
    outer = _between(rated, int(kept[0]), int(kept[-1]))
    if isinstance(outer, Missing):
        return GoodRates(no_interval(value, n_seeds, n_items, outer, "log"), low, high)
    df = n_units - 1 if rated.sd is None else min(rated.df, 1e6)
    reach = math.log(outer[1] / outer[0]) / 2
    return GoodRates(Estimate(value, *outer, df, n_seeds, n_items, "log", fixed=reach, over=rated.over), low, high)


def _run(good: np.ndarray, top: int) -> tuple[int, int]:
    """The first and the last of the good rates that lie beside the best without a gap."""
    runs = np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
    run = next(one for one in runs if top in one)
    return int(run[0]), int(run[-1])


def _between(rated: Rated, first: int, last: int) -> tuple[float, float] | Missing:
    """From where to where the best rate lies, if one of these is the best of those tried; a rate at which trainings diverge
    counts as a spacing away."""
    x, n = np.log(rated.rates_K), len(rated.rates_K)
    spacing = (x[-1] - x[0]) / (n - 1)
    for at_end, known, end in ((first == 0, rated.ends[0], "lowest"), (last == n - 1, rated.ends[1], "highest")):
        if at_end and not known:
            return Missing(Why.NOT_BRACKETED, f"not bracketed: the best may be the {end} learning rate tried, or beyond it")
    below, above = x[first] - x[first - 1] if first else spacing, x[last + 1] - x[last] if last < n - 1 else spacing
    return math.exp(x[first] - REACH * below), math.exp(x[last] + REACH * above)


def ratio_of_best(top: Rated, bottom: Rated, n_items: int) -> Estimate:
    """How many times the best rate of one curve is that of another, whatever their shapes."""
    one, other = (good_rates(rated, n_items).best for rated in (top, bottom))
    e = quotient_of_estimates(one, other)
    lost = [f"{name} {side.why}" for name, side in (("first", one), ("second", other)) if side.missing]
    if e.missing:
        return replace(e, missing=Missing(e.missing.kind, "; ".join(lost)))
    return replace(e, fixed=math.log(e.high / e.low) / 2, over=top.over)
