"""Quality against forgetting: Pareto fronts with uncertainty, and forgetting at matched quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from analysis.stats import Estimate, bootstrap_means, no_interval, percentile_interval, resampled_counts

# Shares of the gain in quality that both arms reach. Not 1: at the top quality is flat in the learning rate while
# forgetting is not, so that "the same quality" would no longer say how much forgetting.
GAIN_SHARES = (0.80, 0.85, 0.90, 0.95)
# Where in its bracket a curve crosses a quality: sd, as a share of the bracket. Found by simulation (five rates in 2.5
# decades and one near the top, frontiers of four shapes, arms shifted and stretched along the rate): two arms on one
# frontier are then called different at most 1 % of the time, and twice the forgetting is found in 82–92 %. With 0 it is
# 6–20 %; interpolated linearly in quality, 23–49 %, because forgetting is convex in quality.
CROSSING = 0.15
STEPS = 24  # of the interpolation inside a bracket


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
    """One arm along its learning rates (K,), sorted upwards, each once: item scores of quality (K, I), forgetting (K, J)."""

    rates_K: np.ndarray
    quality_KI: np.ndarray
    forgetting_KJ: np.ndarray


@dataclass(frozen=True)
class TrainingNoise:
    """Spread between training runs with the same settings: sd of quality, coefficient of variation of forgetting."""

    quality_sd: float
    forgetting_cv: float
    df: int


def forgetting_at(
    rates_K: np.ndarray, quality_NK: np.ndarray, forgetting_NK: np.ndarray, targets_TN: np.ndarray, moved_NK: np.ndarray | float
) -> np.ndarray:
    """Forgetting where N curves first reach their targets on the way up; nan where one starts above its target: (T, N).

    Quality and forgetting are interpolated in log learning rate. `moved_NK` moves the crossing inside its bracket, in
    shares of the bracket, but not out of it: that the crossing lies there is all that the two runs beside it show.
    """
    x_K = np.log10(rates_K)
    share_G = np.linspace(0, 1, STEPS, endpoint=False)
    x_G = np.append((x_K[:-1, None] + share_G * np.diff(x_K)[:, None]).ravel(), x_K[-1])
    quality_NG, forgetting_NG = (PchipInterpolator(x_K, y_NK, axis=1)(x_G) for y_NK in (quality_NK, forgetting_NK))
    rows = np.arange(len(quality_NK))
    moved_NK = np.broadcast_to(moved_NK, quality_NK.shape)
    found = []
    for target_N in targets_TN:
        reached_NG = quality_NG >= target_N[:, None]
        first_N = reached_NG.argmax(axis=1)
        bracket_N = np.maximum(first_N - 1, 0) // STEPS
        at_N = np.rint(first_N + STEPS * moved_NK[rows, bracket_N]).astype(int)
        at_N = np.clip(at_N, bracket_N * STEPS, (bracket_N + 1) * STEPS)
        found.append(np.where(reached_NG.any(axis=1) & (first_N > 0), forgetting_NG[rows, at_N], math.nan))
    return np.array(found)


def _difference(
    curves: tuple[Curve, Curve],
    means: list[tuple[np.ndarray, np.ndarray]],
    quality_before: float,
    moved: list[np.ndarray | float],
) -> np.ndarray:
    """Forgetting of the second arm less the first's at GAIN_SHARES of the gain that both reach: (shares, N)."""
    top_N = np.minimum(*(quality_NK.max(axis=1) for quality_NK, _ in means))
    targets_TN = np.array([quality_before + share * (top_N - quality_before) for share in GAIN_SHARES])
    first_TN, second_TN = (
        forgetting_at(curve.rates_K, *own, targets_TN, shift) for curve, own, shift in zip(curves, means, moved, strict=True)
    )
    return second_TN - first_TN


def _resampled(
    curves: tuple[Curve, Curve],
    strata_I: np.ndarray,
    strata_J: np.ndarray,
    noise: TrainingNoise,
    rng: np.random.Generator,
    n: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Quality and forgetting (N, K) of each curve under n draws of items (the same for both) and of training noise."""
    items_NI, items_NJ = resampled_counts(strata_I, rng, n), resampled_counts(strata_J, rng, n)
    stretch_N1 = np.sqrt(noise.df / rng.chisquare(noise.df, size=(n, 1)))  # the noise itself is an estimate
    means = []
    for curve in curves:
        quality_NK = items_NI @ curve.quality_KI.T / items_NI.shape[1]
        forgetting_NK = items_NJ @ curve.forgetting_KJ.T / items_NJ.shape[1]
        quality_NK += noise.quality_sd * stretch_N1 * rng.normal(size=quality_NK.shape)
        forgetting_NK *= 1 + noise.forgetting_cv * stretch_N1 * rng.normal(size=forgetting_NK.shape)
        means.append((quality_NK, forgetting_NK))
    return means


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

    Each arm's forgetting where its curve first reaches a quality. Three things are random in the interval: the items
    (the same draw for every trial); the runs, each with training noise of the size seen between final seeds, because
    tuning has one run a learning rate; and the place of the crossing between two learning rates (`CROSSING`).
    """
    n_items = first.quality_KI.shape[1]
    curves = (first, second)
    means = [(c.quality_KI.mean(axis=1)[None], c.forgetting_KJ.mean(axis=1)[None]) for c in curves]
    point = _difference(curves, means, quality_before, [0.0, 0.0])
    usable = ~np.isnan(point[:, 0])  # shares of the gain that both curves pass on their way up
    value = float(point[usable].mean()) if usable.any() else math.nan
    if math.isnan(value):
        return no_interval(value, 1, n_items, "not bracketed: a curve starts above the common quality; try lower learning rates")
    if noise is None:
        return no_interval(value, 1, n_items, "needs 2 seeds for the noise between runs")
    means = _resampled(curves, strata_I, strata_J, noise, rng, n)
    moved: list[np.ndarray | float] = [CROSSING * rng.normal(size=quality_NK.shape) for quality_NK, _ in means]
    draws_N = np.ma.masked_invalid(_difference(curves, means, quality_before, moved)[usable]).mean(axis=0).filled(np.nan)
    lost = float(np.isnan(draws_N).mean())
    if lost > 0.05:
        return no_interval(value, 1, n_items, f"not bracketed in {lost:.0%} of the bootstrap; try lower learning rates")
    low, high = percentile_interval(draws_N[~np.isnan(draws_N)])
    return Estimate(value, min(low, value), max(high, value), 1e6, 1, n_items)
