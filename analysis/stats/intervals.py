"""Uncertainty over seeds and items: intervals, paired effects, ratios, bootstrap, interquartile mean.

Scores come as `scores_SI` (seeds × items, the same items for every seed) or `scores_CSI` (arms first). Two things are
random: the seed and the item, so the error of a mean has three parts, estimated by a two-way analysis of variance:
seed, item (within its stratum: tasks are fixed, their items are a sample) and their interaction.

How the interval was chosen. With three seeds the percentile bootstrap over seeds × items covers 71 % where seeds vary
much (85 % with five, 92 % with ten; tests/test_stats.py measures it), the t interval
on seed means wastes the items, and generalised pivots cover 97–99 %. `mean_interval` (Satterthwaite's t with two
constants found by simulation) was searched over all mixtures of the three parts in steps of a tenth, 3, 4, 5 and 10
seeds, 60 and 1,000 items, 60,000 draws each: it covers 92.9–97.8 % at 3 seeds, 94.0–97.8 at 4, 94.5–97.5 at 5 and
94.8–96.1 at 10; the highest where all noise is interaction. Binary and continuous items of the size of the laboratory's,
6,000 draws: 93.3–96.8 %; A/A comparisons are called different 2.5–5.2 % of the time.
With one seed there is no interval. For whom it speaks depends on the bases that seeds take turns over (analysis/stats/drawn.py).

Skewed seeds: on four seeds or more (bases, where these are what was drawn) the interval is the union of Student's and of the one
by Hall's cubic transformation (1992), with the seeds' own skewness times 1 + 8 / n, as that of few seeds comes out too small, and
reaching at most twice as far as Student's. Simulated, 40,000 draws, at 4, 6, 8 and 16 seeds (Student's alone in brackets):

    normal       96.5 97.0 97.0 96.0 (95)            exponential          91.1 94.2 95.5 96.7 (88, 89, 89, 91)
    sd 0.5, log  94.1 95.3 95.5 96.1 (92 to 93)      sd 0.8, log          90.1 92.9 93.9 95.3 (87 to 89)
    heavy tails  97.2 97.3 97.0 96.0 (96)            0.6 exponential of bases, 0.4 normal of seeds  96.1 96.6 96.3 95.9 (94)

It costs power: an effect that Student's finds in 80 % of normal seeds is found in 59 to 74 %. Below four seeds skewness says
nothing; Student's then covers 88 to 92 % of skewed ones. `tests/benchmarks/coverage.py` prints what all rules make of it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from analysis.stats.drawn import centred, drawn
from analysis.stats.estimate import LEVEL, NEEDS_SEEDS, NO_SPREAD, Estimate, Missing, Why, no_interval, t_quantile

# Found by simulation (see above): how far the variance may fall below its largest part, and how much the seed part
# weighs in the degrees of freedom. Without them coverage at 3 seeds goes down to 92.1 % (1.0) and up to 98.4 % (1.0).
VARIANCE_FLOOR = 0.65
SEED_WEIGHT = 1.2
LEAST_FOR_SKEW = 4  # seeds
SMALL_SAMPLES = 8.0  # seeds: the skewness of n counts 1 + 8 / n times
MOST_REACH = 2.0  # times Student's
ROUNDING = 1e-12  # a standard error below this share of the largest score is arithmetic and no spread


def mean_products(
    x_SI: np.ndarray, y_SI: np.ndarray, strata_I: np.ndarray, blocks_S: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-products of seed, item within stratum, and interaction, each divided by seeds × items, so that
    seed + item − interaction is the covariance of the two grand means. Returns (products (3,), degrees of freedom (3,)).
    `blocks_S`: the block of each seed (0, 1, …): seeds then differ from the others of their block.
    """
    n_seeds, n_items = x_SI.shape
    codes = np.unique(strata_I, return_inverse=True)[1]
    sizes = np.bincount(codes)
    blocks = np.zeros(n_seeds, dtype=int) if blocks_S is None else blocks_S

    def parts(z_SI: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stratum_SG = np.stack([np.bincount(codes, weights=row) for row in z_SI]) / sizes
        within_SI = z_SI - stratum_SG[:, codes]
        return centred(z_SI.mean(axis=1), blocks), within_SI.mean(axis=0), centred(within_SI, blocks)

    of_x = parts(x_SI)
    (seed_x, item_x, rest_x), (seed_y, item_y, rest_y) = of_x, of_x if y_SI is x_SI else parts(y_SI)
    n_free = n_seeds - 1 - int(blocks.max())
    df = np.array([n_free, n_items - len(sizes), n_free * (n_items - len(sizes))], dtype=float)
    sums = np.array([n_items * (seed_x @ seed_y), n_seeds * (item_x @ item_y), np.sum(rest_x * rest_y)])
    products = np.divide(sums, df, out=np.zeros(3), where=df > 0)
    return products / (n_seeds * n_items), np.maximum(df, 1)


def variance_and_df(parts_3: np.ndarray, df_3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the grand mean and its degrees of freedom, from the (3, ...) seed, item and interaction parts."""
    seed, item, rest = parts_3
    variance = np.maximum(seed + item - rest, VARIANCE_FLOOR * np.maximum(seed, item))
    spread = SEED_WEIGHT * seed**2 / df_3[0] + item**2 / df_3[1] + rest**2 / df_3[2]
    df = np.divide(variance**2, spread, out=np.full_like(np.asarray(variance, dtype=float), 1e6), where=spread > 0)
    # Of fewer items than seeds (clusters, where these are what was drawn) the items' part may be most of the variance.
    least = np.where(item > 0, min(df_3[0], df_3[1]), df_3[0])
    return variance, np.maximum(df, least)


def mean_interval(
    scores_SI: np.ndarray,
    strata_I: np.ndarray | None = None,
    n_items: int | None = None,
    bases_S: np.ndarray | None = None,
) -> Estimate:
    """The grand mean with an interval for new seeds and new items of the same strata, and for the bases that drawn.py says.

    For a paired effect give the differences. Where items differ from seed to seed give seed means, shape (S, 1), and
    `n_items`: the interval is then Student's t on S − 1 degrees of freedom. There is none where neither seeds nor items differ:
    scores that are all the same say nothing of how far off they are. `bases_S`: of each seed.
    """
    n_seeds, width = scores_SI.shape
    shown = width if n_items is None else n_items
    if n_seeds < 2:
        return no_interval(float(scores_SI.mean()), n_seeds, shown, NEEDS_SEEDS)
    units = drawn(scores_SI, bases_S)
    value = float(units.scores_UI.mean())
    strata = np.zeros(width, dtype=int) if strata_I is None else strata_I
    parts_3, df_3 = mean_products(units.scores_UI, units.scores_UI, strata, units.blocks_U)
    variance, df = (float(one) for one in variance_and_df(parts_3, df_3))
    if no_spread(variance, scores_SI):
        return no_interval(value, n_seeds, shown, NO_SPREAD)
    error = math.sqrt(variance)
    below, above = _reaches(t_quantile(df), _skewness(units.scores_UI.mean(axis=1), units.blocks_U, parts_3[0] / variance))
    lasting = math.sqrt(min(max(parts_3[1] - parts_3[2], 0.0), variance))
    e = Estimate(value, value - below * error, value + above * error, df, n_seeds, shown, lasting=lasting)
    return units.told(e, (below + above) / 2 / t_quantile(df))


def _skewness(mean_U: np.ndarray, blocks_U: np.ndarray | None, part: float) -> float:
    """The skewness of the grand mean, of whose variance the seeds have this part: theirs (Fisher's G1, for few seeds made
    larger) over √n."""
    n = len(mean_U)
    deviation_U = centred(mean_U, np.zeros(n, dtype=int) if blocks_U is None else blocks_U)
    square = float(np.mean(deviation_U**2))
    if n < LEAST_FOR_SKEW or no_spread(square, mean_U):
        return 0.0
    own = float(np.mean(deviation_U**3)) / square**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    return own * (1 + SMALL_SAMPLES / n) / math.sqrt(n) * min(part, 1.0) ** 1.5


def _reaches(t: float, skewness: float) -> tuple[float, float]:
    """How far an interval reaches below and above its value, in standard errors: the longer of Student's t and Hall's."""
    if abs(skewness) < 1e-6:
        return t, t
    below, above = (sign * (3 / skewness) * (math.cbrt(1 + skewness * (sign * t - skewness / 6)) - 1) for sign in (1, -1))
    return min(max(t, below), MOST_REACH * t), min(max(t, above), MOST_REACH * t)


def item_interval(scores_I: np.ndarray, strata_I: np.ndarray | None = None, n_items: int | None = None) -> Estimate:
    """The mean of one seed's scores with an interval for new items of the same strata alone: it says nothing of other seeds."""
    width = len(scores_I)
    codes = np.zeros(width, dtype=int) if strata_I is None else np.unique(strata_I, return_inverse=True)[1]
    sizes = np.bincount(codes)
    value, shown, df = float(scores_I.mean()), width if n_items is None else n_items, width - len(sizes)
    if df < 1:
        return no_interval(value, 1, shown, Missing(Why.TOO_FEW, "needs 2 items"))
    within_I = scores_I - (np.bincount(codes, weights=scores_I) / sizes)[codes]
    variance = float(within_I @ within_I) / df / width
    if no_spread(variance, scores_I):
        return no_interval(value, 1, shown, Missing(Why.NO_SPREAD, "no spread between items"))
    half_width = t_quantile(df) * math.sqrt(variance)
    return Estimate(value, value - half_width, value + half_width, df, 1, shown, lasting=math.sqrt(variance))


def no_spread(variance: float, scores: np.ndarray) -> bool:
    """Whether the variance of a mean of these scores is 0 but for rounding."""
    return math.sqrt(variance) <= ROUNDING * float(np.abs(scores).max())


def relative_difference(
    scores_SI: np.ndarray,
    reference_SI: np.ndarray,
    strata_I: np.ndarray | None = None,
    n_items: int | None = None,
    bases_S: np.ndarray | None = None,
) -> Estimate:
    """(mean − reference mean) / |reference mean|, paired by seed and item, by linearisation."""
    reference = float(drawn(reference_SI, bases_S).scores_UI.mean())
    width = scores_SI.shape[1] if n_items is None else n_items
    if reference == 0:
        return no_interval(math.nan, len(scores_SI), width, Missing(Why.UNBOUNDED, "the reference is 0"))
    ratio = float(drawn(scores_SI, bases_S).scores_UI.mean()) / reference
    value = (ratio - 1) * math.copysign(1, reference)
    linear_SI = (scores_SI - ratio * reference_SI) / abs(reference) + value
    return mean_interval(linear_SI, strata_I, n_items, bases_S=bases_S)


def lowest(e: Estimate) -> float:
    """The lower limit; the value itself where there is no interval."""
    return e.low if e.known else e.value


def ratio_interval(
    top_SI: np.ndarray,
    bottom_SI: np.ndarray,
    strata_I: np.ndarray | None = None,
    n_items: int | None = None,
    bases_S: np.ndarray | None = None,
) -> Estimate:
    """mean(top) / mean(bottom), both above 0, paired, by inverting the test of mean(top − ratio·bottom) = 0 (Fieller).

    There is no interval where either mean is not surely above 0: any ratio would do.
    """
    n_seeds, width = top_SI.shape
    shown, top = width if n_items is None else n_items, drawn(top_SI, bases_S)
    top_UI, bottom_UI = top.scores_UI, drawn(bottom_SI, bases_S).scores_UI
    means = float(top_UI.mean()), float(bottom_UI.mean())
    value = means[0] / means[1] if min(means) > 0 else math.nan
    if n_seeds < 2:
        return no_interval(value, n_seeds, shown, NEEDS_SEEDS, "log")
    strata = np.zeros(width, dtype=int) if strata_I is None else strata_I
    if min(lowest(mean_interval(scores_SI, strata, bases_S=bases_S)) for scores_SI in (top_SI, bottom_SI)) <= 0:
        return no_interval(value, n_seeds, shown, Missing(Why.UNBOUNDED, "one of the two means may be 0"), "log")
    sides = ((top_UI, top_UI), (top_UI, bottom_UI), (bottom_UI, bottom_UI))
    pairs = [mean_products(a, b, strata, top.blocks_U) for a, b in sides]
    grid_G = value * np.geomspace(1e-3, 1e3, 12_001)  # steps of 0.1 %; its middle is the value itself
    parts_3G = np.asarray(sum(c * p[0][:, None] for c, p in zip((1, -2 * grid_G, grid_G**2), pairs, strict=True)))
    variance_G, df_G = variance_and_df(parts_3G, pairs[0][1])
    middle = len(grid_G) // 2
    if no_spread(float(variance_G[middle]), top_SI):
        return no_interval(value, n_seeds, shown, NO_SPREAD, "log")
    inside_G = np.abs(means[0] - grid_G * means[1]) <= stdtrit(df_G, (1 + LEVEL) / 2) * np.sqrt(variance_G)
    below, above = np.flatnonzero(~inside_G[:middle]), np.flatnonzero(~inside_G[middle + 1 :])
    if not len(below) or not len(above):
        return no_interval(value, n_seeds, shown, Missing(Why.UNBOUNDED, "the interval of the ratio is unbounded"), "log")
    ends = float(grid_G[below[-1]]), float(grid_G[middle + 1 + above[0]])
    df, part = float(df_G[middle]), float(parts_3G[0, middle] / variance_G[middle])
    skewness = _skewness((top_UI - value * bottom_UI).mean(axis=1), top.blocks_U, part)
    low, high = _stretched(value, ends, df, skewness)
    lasting = math.sqrt(max(float(parts_3G[1, middle] - parts_3G[2, middle]), 0.0)) / means[0]
    e = Estimate(value, low, high, df, n_seeds, shown, "log", lasting=lasting)
    return drawn((top_SI - value * bottom_SI) / means[0], bases_S).told(e, math.log(high / low) / math.log(ends[1] / ends[0]))


def _stretched(value: float, ends: tuple[float, float], df: float, skewness: float) -> tuple[float, float]:
    """The ends of a ratio's interval by Student's t, as far as skewed seeds make it reach."""
    t = t_quantile(df)
    low, high = (value * (end / value) ** (reach / t) for end, reach in zip(ends, _reaches(t, skewness), strict=True))
    return low, high


def quotient_of_estimates(top: Estimate, bottom: Estimate) -> Estimate:
    """The ratio of two independent estimates on the log scale (MOVER: Zou & Donner 2008)."""
    n_seeds, n_items = min(top.n_seeds, bottom.n_seeds), min(top.n_items, bottom.n_items)
    ratio = top.value / bottom.value
    if not (top.known and bottom.known):
        return no_interval(ratio, n_seeds, n_items, top.missing or bottom.missing, "log")
    t, tl, tu, b, bl, bu = (math.log(x) for x in (top.value, top.low, top.high, bottom.value, bottom.low, bottom.high))
    low, high = t - b - math.hypot(t - tl, bu - b), t - b + math.hypot(tu - t, b - bl)
    lasting = math.hypot(*(e.lasting if e.scale == "log" else e.lasting / e.value for e in (top, bottom)))
    return Estimate(ratio, math.exp(low), math.exp(high), min(top.df, bottom.df), n_seeds, n_items, "log", lasting=lasting)


def resampled_counts(strata_I: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each item is drawn in n bootstrap samples that keep every stratum's size: (n, I)."""
    counts = np.empty((n, len(strata_I)), dtype=np.float32)
    for stratum in np.unique(strata_I):
        members = np.flatnonzero(strata_I == stratum)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n)
    return counts


def bootstrap_means(
    scores_CSI: np.ndarray, strata_I: np.ndarray, rng: np.random.Generator, n: int = 1_000, blocks_S: np.ndarray | None = None
) -> np.ndarray:
    """Means of arms under n crossed bootstrap draws (seeds, each within its block, and items resampled, the same draw for every
    arm): (n, C)."""
    n_arms, n_seeds, n_items = scores_CSI.shape
    blocks = np.zeros(n_seeds, dtype=int) if blocks_S is None else blocks_S
    seeds_NS = resampled_counts(blocks, rng, n)
    items_NI = resampled_counts(strata_I, rng, n)
    by_seed_NCS = (items_NI @ scores_CSI.reshape(-1, n_items).T.astype(np.float32)).reshape(n, n_arms, n_seeds)
    means_NC: np.ndarray = np.einsum("ncs,ns->nc", by_seed_NCS, seeds_NS) / (n_seeds * n_items)
    return means_NC


def percentile_interval(draws_N: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The plain percentile interval of bootstrap draws. Of seeds × items it is far too short below about 10 seeds."""
    low, high = np.quantile(draws_N, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def from_draws(
    value: float, draws_N: np.ndarray, counts: tuple[int, int], df: float, scale: Literal["linear", "log"] = "linear"
) -> Estimate:
    """A value with the percentile interval of its resampled values. `counts`: seeds, items. Draws that lie to one side of the
    value must not make the interval end at it: each side reaches at least as far from the value as from the draws' median.
    There is none where all draws are the same."""
    low, high = percentile_interval(draws_N)
    if no_spread((high - low) ** 2, draws_N):
        return no_interval(value, *counts, NO_SPREAD, scale)
    middle = float(np.median(draws_N))
    low, high = min(low, value - (middle - low)), max(high, value + (high - middle))
    return Estimate(value, low, high, df, *counts, scale, n_draws=len(draws_N))


def interquartile_mean(scores_ST: np.ndarray) -> float:
    """Mean of the middle half of all seeds × tasks (Agarwal 2021, rliable): little moved by a few odd tasks or seeds."""
    ordered = np.sort(scores_ST, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())
