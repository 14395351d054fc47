"""Quality against forgetting: Pareto fronts with uncertainty, and forgetting at matched quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats import Estimate, bootstrap_means, no_interval, percentile_interval, resampled_counts

# Shares of the gain in quality that both arms reach. Not 1: at the top quality is flat in the learning rate while
# forgetting is not, so that "the same quality" would no longer say how much forgetting.
GAIN_SHARES = (0.80, 0.85, 0.90, 0.95)


def on_front(quality_C: np.ndarray, forgetting_C: np.ndarray) -> np.ndarray:
    """Which cells no other cell beats in both quality (higher is better) and forgetting (lower is better). The last
    axis is cells; leading axes are draws."""
    q, f = np.asarray(quality_C)[..., None, :], np.asarray(forgetting_C)[..., None, :]
    own_q, own_f = np.asarray(quality_C)[..., :, None], np.asarray(forgetting_C)[..., :, None]
    beaten = (q >= own_q) & (f <= own_f) & ((q > own_q) | (f < own_f))
    return np.asarray(~beaten.any(axis=-1))


def front_probability(
    quality_CSI: np.ndarray,
    forgetting_CSJ: np.ndarray,
    strata_I: np.ndarray,
    strata_J: np.ndarray,
    rng: np.random.Generator,
    n: int = 1_000,
) -> np.ndarray:
    """How often each cell is on the front when seeds and items are resampled: (C,). The same seeds for both axes."""
    state = rng.bit_generator.state
    quality_NC = bootstrap_means(quality_CSI, strata_I, rng, n)
    rng.bit_generator.state = state  # bootstrap_means draws the seeds first: the same seeds again
    forgetting_NC = bootstrap_means(forgetting_CSJ, strata_J, rng, n)
    probability: np.ndarray = on_front(quality_NC, forgetting_NC).mean(axis=0)
    return probability


@dataclass(frozen=True)
class Curve:
    """One arm along its learning rates, sorted upwards: item scores of quality (K, I) and forgetting (K, J)."""

    quality_KI: np.ndarray
    forgetting_KJ: np.ndarray


@dataclass(frozen=True)
class TrainingNoise:
    """Spread between training runs with the same settings: sd of quality, coefficient of variation of forgetting."""

    quality_sd: float
    forgetting_cv: float
    df: int


def forgetting_at(quality_NK: np.ndarray, forgetting_NK: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Forgetting where a curve first reaches `target_N`, linear between neighbours; nan where it starts above: (N,)."""
    reached = quality_NK >= target_N[:, None]
    first = reached.argmax(axis=1)
    rows = np.arange(len(first))
    before = np.maximum(first - 1, 0)
    low, high = quality_NK[rows, before], quality_NK[rows, first]
    share = np.divide(target_N - low, high - low, out=np.zeros_like(low), where=high > low)
    value = forgetting_NK[rows, before] + share * (forgetting_NK[rows, first] - forgetting_NK[rows, before])
    result: np.ndarray = np.where(reached.any(axis=1) & (first > 0), value, math.nan)
    return result


def _difference(arms: list[tuple[np.ndarray, np.ndarray]], quality_before: float) -> np.ndarray:
    """Forgetting of the second arm less the first's at GAIN_SHARES, nan where a curve starts above: (shares, N)."""
    top_N = np.minimum(*(quality_NK.max(axis=1) for quality_NK, _ in arms))
    targets = [quality_before + share * (top_N - quality_before) for share in GAIN_SHARES]
    first, second = ([forgetting_at(q, f, target) for target in targets] for q, f in arms)
    return np.array(second) - np.array(first)


def forgetting_at_matched_quality(
    first: Curve,
    second: Curve,
    strata_I: np.ndarray,
    strata_J: np.ndarray,
    quality_before: float,
    noise: TrainingNoise | None,
    rng: np.random.Generator,
    n: int = 1_000,
) -> Estimate:
    """How much more the second arm forgets than the first at equal quality, in units of forgetting.

    Each arm's least forgetting that reaches a quality, interpolated along its learning rates. Items are resampled
    (the same draw for every trial) and every run gets training noise of the size seen between final seeds, because
    tuning has one run per learning rate.
    """
    n_items = first.quality_KI.shape[1]
    curves = (first, second)
    point = _difference([(c.quality_KI.mean(axis=1)[None], c.forgetting_KJ.mean(axis=1)[None]) for c in curves], quality_before)
    usable = ~np.isnan(point[:, 0])  # shares of the gain that both curves pass on their way up
    value = float(point[usable].mean()) if usable.any() else math.nan
    if math.isnan(value):
        return no_interval(value, 1, n_items, "not bracketed: a curve starts above the common quality; try lower learning rates")
    if noise is None:
        return no_interval(value, 1, n_items, "needs 2 seeds for the noise between runs")
    items_NI, items_NJ = resampled_counts(strata_I, rng, n), resampled_counts(strata_J, rng, n)
    stretch_N1 = np.sqrt(noise.df / rng.chisquare(noise.df, size=(n, 1)))  # the noise itself is an estimate
    arms = []
    for curve in curves:
        quality_NK = items_NI @ curve.quality_KI.T / items_NI.shape[1]
        forgetting_NK = items_NJ @ curve.forgetting_KJ.T / items_NJ.shape[1]
        quality_NK += noise.quality_sd * stretch_N1 * rng.normal(size=quality_NK.shape)
        forgetting_NK *= 1 + noise.forgetting_cv * stretch_N1 * rng.normal(size=forgetting_NK.shape)
        arms.append((quality_NK, forgetting_NK))
    draws_N = np.ma.masked_invalid(_difference(arms, quality_before)[usable]).mean(axis=0).filled(np.nan)
    lost = float(np.isnan(draws_N).mean())
    if lost > 0.05:
        return no_interval(value, 1, n_items, f"not bracketed in {lost:.0%} of the bootstrap; try lower learning rates")
    low, high = percentile_interval(draws_N[~np.isnan(draws_N)])
    return Estimate(value, min(low, value), max(high, value), 1e6, 1, n_items)
