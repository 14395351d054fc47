"""Where a learning-rate curve has its top: a parabola in log10(learning rate), with an interval for its vertex.

One training run per learning rate is what tuning affords, so noise is estimated from the residuals of the parabolas,
pooled over the arms. The vertex is a ratio of two coefficients, so its interval is Fieller's: it becomes unbounded by
itself where the curve is too flat or too noisy to have a top. A top at the edge of the range tried, or outside of it,
is called not bracketed (too flat or noisy a curve: not located): the range was too narrow, and a number would be an invention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats.estimate import Estimate, Missing, Why, no_interval, t_quantile
from analysis.stats.intervals import mean_interval

WINDOW_DECADES = 1.3  # about two points of a five-point grid over 2.5 decades on either side of the best
# Real curves are not parabolas: they rise slowly and fall off a cliff. A quarter of the distance to the neighbours,
# in quadrature, stands for that: simulated with 6 rates in 2.5 decades it covers the top of a logistic curve in 100 %,
# of lopsided ones in 71–73 % (18–56 without), and the ratio of two curves of one shape, lopsided or not, in 99 % (90–95).
SHAPE = 0.25
WIDEST_DECADES = 4.0
TOO_FLAT = Missing(Why.NOT_LOCATED, "not located: the curve is too flat or too noisy")
NEAR_TOP = 0.5  # of the way from the worst quality to the best; the nearest point on each side stays in any case


@dataclass(frozen=True)
class _Fit:
    best: float  # log10 of the best learning rate tried: the parabola's origin
    coefficients: np.ndarray  # of 1, x, x²
    inverse: np.ndarray  # (X'X)^-1
    residual: float  # sum of squares
    spacing: float  # decades to the neighbours of the best, on average
    df: int


def near_top(x_K: np.ndarray, quality_K: np.ndarray) -> np.ndarray:
    """Which points of a curve (sorted by x) the parabola is fitted to: (K,) of bool."""
    best = int(np.argmax(quality_K))
    threshold = quality_K.min() + NEAR_TOP * (quality_K.max() - quality_K.min())
    used = (np.abs(x_K - x_K[best]) <= WINDOW_DECADES) & (quality_K >= threshold)
    used[max(best - 1, 0) : best + 2] = True
    return used


def _fit(x_K: np.ndarray, quality_K: np.ndarray) -> _Fit | Missing:
    """The parabola near the top, or the reason why there is none."""
    if len(x_K) < 3:
        return Missing(Why.TOO_FEW, "needs 3 learning rates") if len(x_K) else Missing(Why.NOT_TUNED, "not tuned")
    best = int(np.argmax(quality_K))
    if best in (0, len(x_K) - 1):
        end = "lowest" if best == 0 else "highest"
        return Missing(Why.NOT_BRACKETED, f"not bracketed: best at the {end} learning rate tried")
    used = near_top(x_K, quality_K)
    z = x_K[used] - x_K[best]
    design = np.stack([np.ones_like(z), z, z**2], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, quality_K[used], rcond=None)
    vertex = -coefficients[1] / (2 * coefficients[2]) if coefficients[2] < 0 else math.nan
    if not z.min() <= vertex <= z.max():
        return Missing(Why.NOT_BRACKETED, "not bracketed: no top between the learning rates tried")
    residual = float(np.sum((quality_K[used] - design @ coefficients) ** 2))
    spacing = float(x_K[best + 1] - x_K[best - 1]) / 2
    return _Fit(float(x_K[best]), coefficients, np.linalg.inv(design.T @ design), residual, spacing, len(z) - 3)


def _vertex(fit: _Fit, noise: float, df: int, n_items: int) -> Estimate:
    """Fieller's interval of −b / 2c, as a learning rate."""
    _, b, c = fit.coefficients
    value = 10 ** (fit.best - b / (2 * c))
    if df < 1:
        few = Missing(Why.NO_RESIDUAL, "needs more learning rates: no residual to estimate noise from")
        return no_interval(value, 1, n_items, few, "log")
    scale = t_quantile(df) ** 2 * noise
    # (b + 2cθ)² ≤ scale · (M_bb + 4θ M_bc + 4θ² M_cc), a quadratic in θ
    m = fit.inverse
    quadratic = 4 * (c**2 - scale * m[2, 2])
    linear, constant = 4 * (b * c - scale * m[1, 2]), b**2 - scale * m[1, 1]
    if quadratic <= 0:
        return no_interval(value, 1, n_items, TOO_FLAT, "log")
    root = math.sqrt(max(linear**2 - 4 * quadratic * constant, 0.0))
    middle = -b / (2 * c)
    low, high = (
        middle + sign * math.hypot((-linear + sign * root) / (2 * quadratic) - middle, SHAPE * fit.spacing) for sign in (-1, 1)
    )
    if high - low > WIDEST_DECADES:
        return no_interval(value, 1, n_items, TOO_FLAT, "log")
    return Estimate(value, 10 ** (fit.best + low), 10 ** (fit.best + high), df, 1, n_items, "log")


def learning_rate_optimum(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], n_items: int) -> dict[str, Estimate]:
    """The best learning rate of every arm, from {arm: (learning rates (K,), qualities (K,))}; failed trials left out."""
    fits: dict[str, _Fit | Missing] = {}
    for label, (rates, qualities) in curves.items():
        order = np.argsort(rates)
        fits[label] = _fit(np.log10(np.asarray(rates, dtype=float)[order]), np.asarray(qualities, dtype=float)[order])
    good = [fit for fit in fits.values() if isinstance(fit, _Fit)]
    df = sum(fit.df for fit in good)
    noise = sum(fit.residual for fit in good) / df if df else math.nan
    return {
        label: _vertex(fit, noise, df, n_items) if isinstance(fit, _Fit) else no_interval(math.nan, 1, n_items, fit, "log")
        for label, fit in fits.items()
    }


def log_ratios(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], seeds: Sequence[int], n_items: int
) -> tuple[np.ndarray, list[Missing]]:
    """How many times the first curve's best learning rate is the second's in each seed, from two curves {name: (learning
    rates (K,), qualities (K, S))}: the logarithms (S,), and which curves have no top in which seeds (nan there)."""
    logs: list[float] = []
    without_top: dict[Missing, list[str]] = {}
    for i, seed in enumerate(seeds):
        optima = learning_rate_optimum({name: (rates_K, q_KS[:, i]) for name, (rates_K, q_KS) in curves.items()}, n_items)
        for name, e in optima.items():
            if math.isnan(e.value) and e.missing:
                without_top.setdefault(Missing(e.missing.kind, f"{name} {e.missing.text}"), []).append(str(seed))
        first, second = optima.values()
        logs.append(math.log(first.value / second.value))
    return np.array(logs), [Missing(one.kind, f"{one.text} (seed {', '.join(which)})") for one, which in without_top.items()]


def spacing(rates_K: np.ndarray) -> float:
    """Decades between neighbouring learning rates, on average."""
    return math.log10(float(rates_K.max() / rates_K.min())) / (len(rates_K) - 1)


def ratio_over_seeds(logs_S: np.ndarray, spacings: Sequence[float], n_items: int, bases_S: np.ndarray | None = None) -> Estimate:
    """The ratio whose logarithms these are in each seed: Student's t on the logarithm, and in quadrature SHAPE of the spacing of
    every curve that it is made of. All seeds run at the same rates, so that a parabola misses the top by as much in each, which
    their spread can't show: simulated (tests/test_stats.py), two curves of one shape are so covered in 99 to 100 %, in 25 to
    96 % without. Of two shapes that differ nothing covers the ratio."""
    e = mean_interval(logs_S[:, None], n_items=n_items, bases_S=bases_S)
    fixed = math.log(10) * SHAPE * math.hypot(*spacings)
    # Hall's interval of skewed seeds reaches further on one side.
    low = math.exp(e.value - math.hypot(e.value - e.low, fixed))
    high = math.exp(e.value + math.hypot(e.high - e.value, fixed))
    return replace(e, value=math.exp(e.value), low=low, high=high, scale="log", fixed=fixed)
