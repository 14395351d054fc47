"""How often sweeps that add seeds until they are decided decide wrongly: `python tests/benchmarks/looks.py [DRAWS]`.

Each row is a structure of seeds like the measured ones; paired differences of seeds × items go through the interval that reports
use. "difference": there is none, and some look finds one. "equality": the effect is the margin itself, and some look finds it
within. "once": the same at the first look alone, as a sweep without --until-decided; "as if once": at all looks at 5 % each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Decision, Estimate, Region, mean_interval, verdict
from analysis.stats.estimate import at_level
from analysis.stats.looks import ALPHA, levels

ITEMS, DRAWS = 30, 2_000
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray | None]]  # seeds' effects (S,), their bases


def normal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, None]:
    return rng.normal(size=n), None


def skewed(rng: np.random.Generator, n: int) -> tuple[np.ndarray, None]:
    """Log-normal with sd 0.5 of the logarithm: a skewness of 1.75."""
    drawn = np.exp(0.5 * rng.normal(size=n))
    return (drawn - np.exp(0.125)) / 0.6, None


def heavy(rng: np.random.Generator, n: int) -> tuple[np.ndarray, None]:
    return rng.standard_t(4, size=n) / 2**0.5, None


def blocks(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two bases, of which the claim speaks: 60 % of the variance is theirs, and their mean is 0."""
    bases = np.arange(n) % 2
    return 0.6**0.5 * np.array([1.0, -1.0])[bases] + 0.4**0.5 * rng.normal(size=n), bases


def bases(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A base a seed, eight of them, in turn: 60 % of the variance is theirs."""
    turn = np.arange(n) % 8
    return 0.6**0.5 * rng.normal(size=8)[turn] + 0.4**0.5 * rng.normal(size=n), turn


CASES: tuple[tuple[str, Draw, tuple[int, ...]], ...] = (
    ("normal", normal, (4, 6, 8, 10, 12)),
    ("normal", normal, (3, 5, 7, 9)),
    ("normal", normal, (8, 12, 16, 20, 24)),
    ("skewed", skewed, (4, 6, 8, 10, 12)),
    ("heavy tails", heavy, (4, 6, 8, 10, 12)),
    ("two bases", blocks, (4, 6, 8, 10, 12)),
    ("eight bases", bases, (8, 16, 24)),
)


def estimates(draw: Draw, seeds_K: Sequence[int], rng: np.random.Generator) -> list[Estimate]:
    """At each look, of one sweep."""
    effect_S, bases_S = draw(rng, seeds_K[-1])
    noise_SI = 0.5 * rng.normal(size=ITEMS) + rng.normal(size=(seeds_K[-1], ITEMS))
    scores_SI = effect_S[:, None] + noise_SI
    return [mean_interval(scores_SI[:n], bases_S=None if bases_S is None else bases_S[:n]) for n in seeds_K]


def wrong(found: Sequence[Estimate], levels_K: Sequence[float], regions: Sequence[Region], moved: float = 0.0) -> bool:
    """Whether some look supports one of the regions, of the effect moved by so much."""
    for e, level in zip(found, levels_K, strict=True):
        at = at_level(e, level) if level != ALPHA else e
        at = Estimate(at.value + moved, at.low + moved, at.high + moved, at.df, at.n_seeds, at.n_items)
        if any(verdict(at, region)[0] is Decision.SUPPORTED for region in regions):
            return True
    return False


def rates(draw: Draw, seeds_K: tuple[int, ...], n_draws: int = DRAWS, random_state: int = 0) -> list[float]:
    """Of the columns of the table."""
    rng, own, margin = np.random.default_rng(random_state), levels(seeds_K, seeds_K[-1]), 3.0
    both, within = (ABOVE_ZERO, BELOW_ZERO), (Region(-margin, margin),)
    counts = np.zeros(4)
    for _ in range(n_draws):
        found = estimates(draw, seeds_K, rng)
        counts += [
            wrong(found, own, both),
            wrong(found, own, within, margin),
            wrong(found[:1], [ALPHA], both),
            wrong(found, [ALPHA] * len(seeds_K), both),
        ]
    return [float(one) for one in counts / n_draws]


def main() -> None:
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    print(f"{'seeds':<12}{'looks at':<20}{'difference':>12}{'equality':>10}{'once':>8}{'as if once':>12}   ({n_draws} draws)")
    for name, draw, seeds_K in CASES:
        cells = [f"{100 * rate:.1f} %" for rate in rates(draw, seeds_K, n_draws)]
        looks = ", ".join(map(str, seeds_K))
        print(f"{name:<12}{looks:<20}{cells[0]:>12}{cells[1]:>10}{cells[2]:>8}{cells[3]:>12}", flush=True)


if __name__ == "__main__":
    main()
