"""Several looks at a growing number of seeds: how much of alpha each may spend, so that all together err in at most ALPHA.

A claim that is judged after 4, 6, 8 … seeds until it is decided has as many chances to be decided wrongly: at 95 % each, 16.5 %
for every step from 3 to 12. Looks are planned by the most seeds there may be, and alpha is spent along n / most as by Pocock's
boundaries (Lan, DeMets 1983: alpha · ln(1 + (e − 1) n / most)), which need not know when the looks will be. The level of each
look follows from independent increments of a normal mean (Armitage, McPherson, Rowe 1969) and is then taken on Student's t with
the degrees of freedom at hand (Jennison, Turnbull 2000, 11.5). One look at the most seeds has all of alpha.

Simulated with Student's t (200,000 draws, normal seeds): looks at 4, 6, … 12 seeds find a difference that is none in 5.6 %, at 8,
12, … 24 in 5.3 %, at 3, 4, … 9 in 5.9 %, and an equality that is wrong by its margin in half of that. With reports' interval,
with skewed and heavy-tailed seeds and with bases: tests/benchmarks/looks.py.

Pocock's spending, not O'Brien and Fleming's: of a clear effect the point is to stop at the first look, and with three or four
seeds Student's t leaves a level of a tenth of a per cent no chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from analysis.stats.estimate import LEVEL

ALPHA = 1 - LEVEL
NODES_N, WEIGHTS_N = np.polynomial.legendre.leggauss(201)  # of integrals over a mean that no look has decided
TINY = 1e-10  # a p value below changes in proportion


def spent(share: float, alpha: float = ALPHA) -> float:
    """How much of alpha looks at up to this share of the most seeds may spend."""
    return alpha * math.log1p((math.e - 1) * min(share, 1.0))


@functools.lru_cache(maxsize=4096)
def levels(seeds_K: tuple[int, ...], most: int, alpha: float = ALPHA) -> tuple[float, ...]:
    """The two-sided level of each look, at numbers of seeds that rise to at most `most`."""
    found: list[float] = []
    undecided, before = None, 0.0
    for k, n in enumerate(seeds_K):
        more = spent(n / most, alpha) - spent(before / most, alpha)
        if undecided is None:
            bound = -float(ndtri(more / 2))
        else:
            bound = float(brentq(functools.partial(_beyond, undecided, n, n - before, more), 0.0, 40.0))
        found.append(2 * float(ndtr(-bound)))
        undecided = _undecided(undecided, bound, n, n - before) if k + 1 < len(seeds_K) else None
        before = n
    return tuple(found)


def total_error(seeds_K: Sequence[int], levels_K: Sequence[float]) -> float:
    """The chance that some look at these levels decides wrongly."""
    found, undecided, before = 0.0, None, 0
    for n, level in zip(seeds_K, levels_K, strict=True):
        bound = -float(ndtri(level / 2))
        found += level if undecided is None else _crossed(undecided, bound, n, n - before)
        undecided, before = _undecided(undecided, bound, n, n - before), n
    return found


def repeated_p(p: float, seeds_K: tuple[int, ...], most: int) -> float:
    """The least alpha at which the last of these looks would have decided, with a p value of its own of `p`: at most ALPHA
    exactly where `p` is at most the look's level. The p value that Holm's procedure may take."""
    if math.isnan(p) or (len(seeds_K) == 1 and seeds_K[0] >= most):
        return p
    if p < TINY:
        return p * (repeated_p(TINY, seeds_K, most) / TINY)

    def beyond(log_alpha: float) -> float:
        return math.log(levels(seeds_K, most, math.exp(log_alpha))[-1] / p)

    most_log = math.log(0.99)
    return 1.0 if beyond(most_log) <= 0 else math.exp(brentq(beyond, math.log(p) - 1e-9, most_log, xtol=1e-6))


def _beyond(before: _Density, n: float, step: float, wanted: float, bound: float) -> float:
    return _crossed(before, bound, n, step) - wanted


_Density = tuple[np.ndarray, np.ndarray]  # of the sum that no look has decided: places, and weights of an integral over them


def _undecided(before: _Density | None, bound: float, n: float, step: float) -> _Density:
    """The sum of n seeds (each of variance 1) where |sum| / √n stays within `bound`."""
    places_N, widths_N = NODES_N * bound * math.sqrt(n), WEIGHTS_N * bound * math.sqrt(n)
    if before is None:
        return places_N, widths_N * _normal(places_N, n)
    earlier_N, weights_N = before
    return places_N, widths_N * (_normal(places_N[:, None] - earlier_N, step) @ weights_N)


def _crossed(before: _Density, bound: float, n: float, step: float) -> float:
    """The chance that the sum, undecided before, lies beyond the bound after `step` seeds more."""
    places_N, weights_N = before
    beyond_N = ndtr((places_N - bound * math.sqrt(n)) / math.sqrt(step)) + ndtr(
        (-places_N - bound * math.sqrt(n)) / math.sqrt(step)
    )
    return float(weights_N @ beyond_N)


def _normal(x: np.ndarray, variance: float) -> np.ndarray:
    found: np.ndarray = np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return found
