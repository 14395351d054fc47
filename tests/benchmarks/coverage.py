"""What intervals and decisions are worth: `python tests/benchmarks/coverage.py [DRAWS]`.

Rows are structures of seeds like the measured ones: bases have 50 to 70 % of the variance of paired differences, seeds or bases
are skewed, items are shared by all seeds, clusters differ as much as items. For each kind of rule: how often the interval covers
the truth that it speaks for, and how often a claim whose limit is the truth itself is decided wrongly, above and below together.
"per cent" and "factor" are of an arm over a reference. The last part compares two curves at equal quality that differ by nothing,
or by as much in either direction.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from analysis.stats import Estimate, mean_interval, ratio_interval, relative_difference
from analysis.stats.equal_quality import SeedPair, matched_over_seeds
from analysis.stats.front import Scores

ITEMS, DRAWS, MATCHED_DRAWS = 30, 1_000, 60
STRATA = np.zeros(ITEMS, dtype=int)
LEVEL = 6.0  # of the reference, in standard deviations of the seeds
Noise = Callable[[np.random.Generator, int], np.ndarray]  # n values of mean 0 and variance 1


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(4, size=n) / math.sqrt(2)


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    """Log-normal, a skewness of 1.75."""
    return (np.exp(0.5 * rng.normal(size=n)) - math.exp(0.125)) / math.sqrt(math.exp(0.5) - math.exp(0.25))


def exponential(rng: np.random.Generator, n: int) -> np.ndarray:
    """A skewness of 2."""
    return rng.exponential(size=n) - 1


@dataclass(frozen=True)
class Structure:
    """S seeds over B bases in turn, of which bases have a share of the variance. Two bases are spoken for as they are."""

    name: str
    n_seeds: int
    n_bases: int
    share: float = 0.6
    of_bases: Noise = normal
    of_seeds: Noise = normal
    clusters: int = 0  # columns that differ as items do; 0: items

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None, float]:
        """Differences (S, I), the base of each seed, and the true mean for whom the interval speaks."""
        turn_S = np.arange(self.n_seeds) % self.n_bases
        base_B = math.sqrt(self.share) * self.of_bases(rng, self.n_bases)
        seed_S = math.sqrt(1 - self.share) * self.of_seeds(rng, self.n_seeds)
        if self.clusters:
            shared_I, noise = rng.normal(size=self.clusters), 0.5
        else:
            shared_I, noise = 0.5 * rng.normal(size=ITEMS), 1.0
        scores_SI = (base_B[turn_S] + seed_S)[:, None] + shared_I + noise * rng.normal(size=(self.n_seeds, len(shared_I)))
        truth = float(base_B.mean()) if self.n_bases == 2 else 0.0
        return scores_SI, turn_S if self.n_bases > 1 else None, truth


CASES = (
    Structure("one base", 4, 1, 0.0),
    Structure("one base", 8, 1, 0.0),
    Structure("two bases, these", 4, 2),
    Structure("two bases, these", 8, 2, 0.7),
    Structure("a base a seed", 4, 4, 0.5),
    Structure("a base a seed", 8, 8, 0.5),
    Structure("a base a seed", 8, 8, 0.7),
    Structure("eight bases, two seeds each", 16, 8),
    Structure("three bases, two seeds each", 6, 3),
    Structure("heavy-tailed seeds", 8, 8, 0.6, heavy, heavy),
    Structure("skewed bases", 4, 4, 0.6, exponential),
    Structure("skewed bases", 8, 8, 0.6, exponential),
    Structure("skewed seeds and bases", 4, 4, 0.6, skewed, skewed),
    Structure("skewed seeds and bases", 8, 8, 0.6, skewed, skewed),
    Structure("exponential seeds", 8, 1, 0.0, normal, exponential),
    Structure("new clusters, 3", 8, 8, 0.6, clusters=3),
    Structure("new clusters, 6", 8, 8, 0.6, clusters=6),
    Structure("new clusters, 12", 8, 8, 0.6, clusters=12),
)


def estimates(case: Structure, rng: np.random.Generator) -> list[tuple[Estimate, float]]:
    """Of a difference, a share and a ratio, each with its truth."""
    scores_SI, bases_S, truth = case.draw(rng)
    reference_SI = LEVEL + 0.3 * rng.normal(size=(case.n_seeds, 1)) + 0.3 * rng.normal(size=scores_SI.shape)
    arm_SI, strata = reference_SI + scores_SI, np.zeros(scores_SI.shape[1], dtype=int)
    return [
        (mean_interval(scores_SI, strata, bases_S=bases_S), truth),
        (relative_difference(arm_SI, reference_SI, strata, bases_S=bases_S), truth / LEVEL),
        (ratio_interval(arm_SI, reference_SI, strata, bases_S=bases_S), 1 + truth / LEVEL),
    ]


def rates(case: Structure, n_draws: int, random_state: int = 0) -> list[tuple[float, float]]:
    """Of each kind of rule: the share that is covered, and the share that is decided wrongly below and above added up."""
    rng, counts = np.random.default_rng(random_state), np.zeros((3, 2))
    for _ in range(n_draws):
        for place, (e, truth) in enumerate(estimates(case, rng)):
            known = e.known
            counts[place] += (not known or e.low <= truth <= e.high, known and not e.low <= truth <= e.high)
    return [(float(covered), float(wrong)) for covered, wrong in counts / n_draws]


def curves(factor: float, rng: np.random.Generator, n_seeds: int = 8) -> SeedPair:
    """Two methods along five rates each: the second learns at a third of the rate and forgets `factor` times as much at equal
    quality. Bases have 60 % of the variance of each curve's height and of the logarithm of its forgetting."""
    rates_2K = np.geomspace(3e-4, 3e-2, 5), np.geomspace(1e-4, 1e-2, 5)
    quality, forgetting = [], []
    for place, rates_K in enumerate(rates_2K):
        offset_K = np.log10(rates_K / rates_2K[place][3])
        base_S, seed_S = (math.sqrt(share) * rng.normal(size=(n_seeds, 1)) for share in (0.6, 0.4))
        height_SK = 0.8 - 0.25 * offset_K**2 + 0.02 * (base_S + seed_S) + 0.01 * rng.normal(size=(n_seeds, 5))
        log_SK = 0.8 * math.log(10) * offset_K + 0.2 * (base_S + seed_S) + 0.05 * rng.normal(size=(n_seeds, 5))
        quality.append(height_SK.T)
        forgetting.append((factor**place * np.exp(log_SK)).T)
    items_I, items_J = 0.1 * rng.normal(size=200), 0.2 * rng.normal(size=60)
    quality_CSI = np.concatenate(quality)[:, :, None] + items_I - items_I.mean()
    forgetting_CSJ = np.concatenate(forgetting)[:, :, None] * (1 + items_J - items_J.mean())
    scores = Scores(quality_CSI, forgetting_CSJ, np.zeros(200, dtype=int), np.zeros(60, dtype=int), bases_S=np.arange(n_seeds))
    return SeedPair(rates_2K, scores, 0.0)


def at_equal_quality(factor: float, n_draws: int, random_state: int = 0) -> tuple[float, float]:
    """How often the second is said to forget more, and less."""
    rng, found = np.random.default_rng(random_state), np.zeros(2)
    for _ in range(n_draws):
        e = matched_over_seeds(curves(factor, rng), rng, n=800).difference
        found += (e.known and e.low > 0, e.known and e.high < 0)
    return float(found[0] / n_draws), float(found[1] / n_draws)


def main() -> None:
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    print(
        f"covered / decided wrongly, in per cent ({n_draws} draws; standard error at 95: {100 * math.sqrt(0.0475 / n_draws):.1f})"
    )
    print(f"{'structure':<30}{'seeds':>6}{'difference':>14}{'per cent':>14}{'factor':>14}")
    for case in CASES:
        cells = [f"{100 * covered:.1f} / {100 * wrong:.1f}" for covered, wrong in rates(case, n_draws)]
        print(f"{case.name:<30}{case.n_seeds:>6}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
    n_matched = max(n_draws * MATCHED_DRAWS // DRAWS, 20)
    print(
        f"at equal quality, 8 bases ({n_matched} draws): the second forgets so many times as much, is said to forget more / less"
    )
    for factor in (1.0, 2.0, 0.5, 1.5, 1 / 1.5):
        more, less = at_equal_quality(factor, n_matched)
        print(f"  {factor:.2f}: {100 * more:.0f} / {100 * less:.0f}", flush=True)


if __name__ == "__main__":
    main()
