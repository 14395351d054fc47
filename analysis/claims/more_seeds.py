"""What more seeds would do for a claim that is undecided, and what only more bases or items would."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import ndtr

from analysis.stats.decision import Region
from analysis.stats.estimate import Estimate, Over, t_quantile

MOST_SEEDS = 100  # that a sweep takes
ANY_SEEDS = 1_000_000  # leave of an error what seeds do not lessen
LEAST_CHANCE = 0.1  # of deciding a claim, for which seeds are added


def seeds_needed(e: Estimate | None, region: Region, n_tests: int) -> int | None:
    """About how many seeds would decide the claim with 80 % power if the effect is what was estimated (one more than MOST_SEEDS:
    more than a sweep takes). None where the estimate lies so near the rule's limit that more seeds need not do it (also for an
    error that they do not lessen), or one was all there could be."""
    if e is None or not e.known or e.n_seeds < 2:
        return None
    inside = region.low <= e.value <= region.high
    bounds = [bound for bound in (region.support if inside else (region.low, region.high)) if math.isfinite(bound)]
    if e.scale == "log":
        bounds = [bound for bound in bounds if bound > 0]
    distance = min((abs(e.on_scale(e.value) - e.on_scale(bound)) for bound in bounds), default=0.0)
    needed = e.on_scale(e.minimum_detectable(n_tests))
    if distance < max(needed / 30, e.on_scale(e.minimum_detectable(n_tests, ANY_SEEDS))):  # a thousand times the seeds: no plan
        return None
    counts = range(e.n_seeds + 1, MOST_SEEDS + 1)
    return next((n for n in counts if e.on_scale(e.minimum_detectable(n_tests, n)) <= distance), MOST_SEEDS + 1)


def text(e: Estimate, region: Region, n_tests: int) -> str:
    """What would decide a claim that is undecided."""
    n = seeds_needed(e, region, n_tests)
    if n is not None:
        how_many = f"about {n}" if n <= MOST_SEEDS else f"more than {MOST_SEEDS}"
        return f"{how_many} seeds would decide it, were the effect as estimated"
    items = {Over.NEW_CLUSTERS: "clusters", Over.NEW_RECIPES: "recipes"}.get(e.over, "items")
    more_items, more_bases = replace(e, lasting=0.0), replace(e, n_bases=0)
    drawn = items if e.over is Over.NEW_CLUSTERS else "bases"  # folds of clusters are drawn as bases are
    either = ((drawn, more_bases), (items, more_items), (f"{drawn} and items", replace(more_items, n_bases=0)))
    for what, one in either:
        if (e.n_bases or what == items) and seeds_needed(one, region, n_tests) is not None:
            return f"more seeds alone would not decide it, were the effect as estimated: more {what} would"
    return "it lies so near the rule's limit that more seeds need not decide it"


def chance(e: Estimate, region: Region, n_seeds: int) -> float:
    """The chance that the claim is decided once there are so many seeds, with what is known now: the estimate moves by what the
    further seeds bring, and the interval shrinks by what they lessen. The truth's own uncertainty is in it."""
    variance, df = e.repeated(n_seeds)
    half = math.hypot(t_quantile(df) * math.sqrt(variance), e.fixed)
    moves = math.sqrt(max(sum(e.parts()) - variance, 0.0))
    low, high, known_low, known_high = (_on_scale(e, end) for end in (region.low, region.high, *region.support))
    inside = max(low, known_low + half), min(high, known_high - half)
    supported = _within(e, moves, *inside) if inside[0] < inside[1] else 0.0
    return supported + _within(e, moves, high + half, math.inf) + _within(e, moves, -math.inf, low - half)


def _within(e: Estimate, moves: float, low: float, high: float) -> float:
    """The chance that the estimate comes to lie between two places on its scale."""
    at = e.on_scale(e.value)
    if moves <= 0:
        return float(low < at < high)
    return float(ndtr((high - at) / moves) - ndtr((low - at) / moves))


def _on_scale(e: Estimate, end: float) -> float:
    return end if math.isinf(end) else e.on_scale(end)
