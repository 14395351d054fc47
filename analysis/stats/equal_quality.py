"""Forgetting at matched quality: each arm's forgetting where its learning-rate curve first reaches a quality. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from analysis.stats.estimate import NEEDS_SEEDS, Estimate, Missing, Why, no_interval
from analysis.stats.front import Scores, joint_draws
from analysis.stats.intervals import from_draws, resampled_counts

# Shares of the gain in quality that both arms reach. Not 1: at the top quality is flat in the learning rate while
# forgetting is not, so that "the same quality" would no longer say how much forgetting.
GAIN_SHARES = (0.80, 0.85, 0.90, 0.95)
# Where in its bracket a curve crosses a quality: sd, as a share of the bracket. Found by simulation (five rates in 2.5
# decades and one near the top, frontiers of four shapes, arms shifted and stretched along the rate): two arms on one
# frontier are then called different at most 1 % of the time, and twice the forgetting is found in 82–92 %. With 0 it is
# 6–20 %; interpolated linearly in quality, 23–49 %, because forgetting is convex in quality.
CROSSING = 0.15
STEPS = 24  # of the interpolation inside a bracket


@dataclass(frozen=True)
class Curve:
    """One arm along its learning rates (K,), sorted upwards, each once: item scores of quality (K, I), forgetting (K, J)."""

    rates_K: np.ndarray
    quality_KI: np.ndarray
    forgetting_KJ: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two arms along their learning rates, scored on the same items (each with its stratum), and what quality was before."""

    first: Curve
    second: Curve
    strata_I: np.ndarray
    strata_J: np.ndarray
    quality_before: float

    @property
    def curves(self) -> tuple[Curve, Curve]:
        return self.first, self.second

    @property
    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Each (K,)."""
        return self.first.rates_K, self.second.rates_K


@dataclass(frozen=True)
class SeedPair:
    """Two arms along their learning rates, every rate with every seed: the rates (K,) of each, sorted upwards, the scores at the
    first's rates and then at the second's, and what quality was before."""

    rates: tuple[np.ndarray, np.ndarray]
    scores: Scores
    quality_before: float

    def split(self, quality_NC: np.ndarray, forgetting_NC: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Quality and forgetting (N, K) of each arm."""
        n_first = len(self.rates[0])
        return [(quality_NC[:, part], forgetting_NC[:, part]) for part in (slice(n_first), slice(n_first, None))]


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


def _levels(
    rates: tuple[np.ndarray, np.ndarray],
    means: list[tuple[np.ndarray, np.ndarray]],
    quality_before: float,
    moved: list[np.ndarray | float],
) -> np.ndarray:
    """Forgetting of both arms at GAIN_SHARES of the gain that both reach, nan where either does not: (2, shares, N)."""
    top_N = np.minimum(*(quality_NK.max(axis=1) for quality_NK, _ in means))
    targets_TN = np.array([quality_before + share * (top_N - quality_before) for share in GAIN_SHARES])
    found = np.array(
        [forgetting_at(rates_K, *own, targets_TN, shift) for rates_K, own, shift in zip(rates, means, moved, strict=True)]
    )
    return np.where(np.isnan(found).any(axis=0), math.nan, found)


def _resampled(pair: Pair, noise: TrainingNoise, rng: np.random.Generator, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Quality and forgetting (N, K) of each curve under n draws of items (the same for both) and of training noise."""
    items_NI, items_NJ = resampled_counts(pair.strata_I, rng, n), resampled_counts(pair.strata_J, rng, n)
    stretch_N1 = np.sqrt(noise.df / rng.chisquare(noise.df, size=(n, 1)))  # the noise itself is an estimate
    means = []
    for curve in pair.curves:
        quality_NK = items_NI @ curve.quality_KI.T / items_NI.shape[1]
        forgetting_NK = items_NJ @ curve.forgetting_KJ.T / items_NJ.shape[1]
        quality_NK += noise.quality_sd * stretch_N1 * rng.normal(size=quality_NK.shape)
        forgetting_NK *= 1 + noise.forgetting_cv * stretch_N1 * rng.normal(size=forgetting_NK.shape)
        means.append((quality_NK, forgetting_NK))
    return means


def forgetting_at_matched_quality(pair: Pair, noise: TrainingNoise | None, rng: np.random.Generator, n: int = 4_000) -> Estimate:
    """How much more the second arm forgets than the first at equal quality, in units of forgetting.

    Each arm's forgetting where its curve first reaches a quality. Three things are random in the interval: the items
    (the same draw for every trial); the runs, each with training noise of the size seen between final seeds, because
    tuning has one run a learning rate; and the place of the crossing between two learning rates (`CROSSING`).
    """
    n_items = pair.first.quality_KI.shape[1]
    means = [(curve.quality_KI.mean(axis=1)[None], curve.forgetting_KJ.mean(axis=1)[None]) for curve in pair.curves]
    point_T = np.diff(_levels(pair.rates, means, pair.quality_before, [0.0, 0.0])[..., 0], axis=0)[0]
    if noise is None:
        found = _over_shares(point_T, point_T[:, None], 1, n_items)
        few = Missing(Why.TOO_FEW, "needs 2 seeds for the noise between runs")
        return found if found.missing else no_interval(found.value, 1, n_items, few)
    means = _resampled(pair, noise, rng, n)
    moved: list[np.ndarray | float] = [CROSSING * rng.normal(size=quality_NK.shape) for quality_NK, _ in means]
    return _over_shares(point_T, np.diff(_levels(pair.rates, means, pair.quality_before, moved), axis=0)[0], 1, n_items)


def _over_shares(point_T: np.ndarray, draws_TN: np.ndarray, n_seeds: int, n_items: int, df: float = 1e6) -> Estimate:
    """The mean over those shares of the gain that both curves pass on their way up, with its percentile interval."""
    usable = ~np.isnan(point_T)
    if not usable.any():
        why = "not bracketed: a curve starts above the common quality; try lower learning rates"
        return no_interval(math.nan, n_seeds, n_items, Missing(Why.NOT_BRACKETED, why))
    return _from_draws(float(point_T[usable].mean()), _mean_over_shares(point_T, draws_TN), (n_seeds, n_items), df)


def _mean_over_shares(point_T: np.ndarray, draws_TN: np.ndarray) -> np.ndarray:
    """Draws (N,) of the mean over the shares that the point estimate has, nan where a draw has none of them."""
    return np.ma.masked_invalid(draws_TN[~np.isnan(point_T)]).mean(axis=0).filled(np.nan)  # type: ignore[no-any-return]


def _from_draws(value: float, draws_N: np.ndarray, counts: tuple[int, int], df: float) -> Estimate:
    """A value with the percentile interval of its draws, if nearly all of them are known."""
    unknown = float(np.isnan(draws_N).mean())
    if unknown > 0.05:
        why = f"not bracketed in {unknown:.0%} of the bootstrap; try lower learning rates"
        return no_interval(value, *counts, Missing(Why.NOT_BRACKETED, why))
    return from_draws(value, draws_N[~np.isnan(draws_N)], counts, df)


@dataclass(frozen=True)
class Matched:
    """Forgetting of two arms at equal quality, and how much more the second forgets, also in each bootstrap draw (N,)."""

    first: Estimate
    second: Estimate
    difference: Estimate
    draws_N: np.ndarray


def matched_over_seeds(
    pair: SeedPair, rng: np.random.Generator, crossing: np.random.Generator | None = None, n: int = 4_000
) -> Matched:
    """Forgetting at equal quality where every learning rate ran with every seed. Random are the seeds (the same in both arms),
    the items and the place of the crossing between two rates (`CROSSING`). With the same state of `rng` two pairs of arms meet
    the same seeds and items; `crossing` (None: `rng`) must then differ, as they cross at different places."""
    n_seeds, n_items, units = pair.scores.n_seeds, pair.scores.n_items_shown, pair.scores.units
    means = pair.split(*(mean_C[None] for mean_C in pair.scores.means))
    point_2T = _levels(pair.rates, means, pair.quality_before, [0.0, 0.0])[..., 0]
    points_3T = [*point_2T, point_2T[1] - point_2T[0]]
    if n_seeds < 2:
        found = (_over_shares(point_T, point_T[:, None], n_seeds, n_items) for point_T in points_3T)
        one, two, more = (e if math.isnan(e.value) else no_interval(e.value, n_seeds, n_items, NEEDS_SEEDS) for e in found)
        return Matched(one, two, more, np.empty(0))
    means = pair.split(*joint_draws(pair.scores, rng, n))
    places = crossing or rng
    moved: list[np.ndarray | float] = [CROSSING * places.normal(size=quality_NK.shape) for quality_NK, _ in means]
    draws_2TN = _levels(pair.rates, means, pair.quality_before, moved)
    draws_3TN = [*draws_2TN, draws_2TN[1] - draws_2TN[0]]
    one, two, more = (
        replace(_over_shares(*both, n_seeds, n_items, units.df), over=units.over)
        for both in zip(points_3T, draws_3TN, strict=True)
    )
    return Matched(one, two, more, _mean_over_shares(points_3T[2], draws_3TN[2]))


def further(one: Matched, other: Matched) -> Estimate:
    """By how much the difference at equal quality is larger in `one` than in `other`: pairs of arms that were scored on the same
    items with the same seeds, and resampled with the same state of the generator."""
    e, reference = one.difference, other.difference
    value = e.value - reference.value
    if not (e.known and reference.known):
        return no_interval(value, e.n_seeds, e.n_items, e.missing or reference.missing)
    fewer = min((e, reference), key=lambda side: side.df)
    return replace(_from_draws(value, one.draws_N - other.draws_N, (e.n_seeds, e.n_items), fewer.df), over=fewer.over)
