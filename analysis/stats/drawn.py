"""What was drawn: seeds, seeds inside each of two bases, or bases. Imports numpy only.

A seed may also change the base model: with `model.name` for each seed, seeds take turns over the bases. What differs between
bases is then 50 to 70 % of the variance of paired differences (forgetting, quality; measured in the laboratory's first edition).
So it matters whom an interval is to speak for.

- One base: for new seeds on it.
- Two bases, or a user's two checkpoints: two are no sample of bases. Each is a block, seeds differ from the others of their
  block, and the interval is for these two bases. Simulated (1,500 draws) with 0.5 to 0.7 of the seeds' variance between bases, it
  covers their mean in 93 % at 4 seeds and 96 % at 8 (unblocked 97 to 98 %, and a seventh to a quarter longer at 8), and that over
  all bases in 62 to 85 %, which it does not claim. Both count alike, whatever their seeds. Where a base has one seed, blocks
  leave too little: what differs between the bases then counts as noise, which is safe for these.
- Three bases or more: bases are what was drawn, and the interval is for new ones of the same kind, from the means of each base:
  these it covers in 94 to 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats.estimate import Estimate, Over

LEAST_BASES = 3  # that say how bases differ
LEAST_IN_BLOCK = 2


@dataclass(frozen=True)
class Drawn:
    """Scores (U, I) of what was drawn, U seeds or bases; the block of each, if they lie in blocks; and for whom they speak."""

    scores_UI: np.ndarray
    over: Over = Over.SEEDS
    blocks_U: np.ndarray | None = None
    n_bases: int = 0  # that were drawn; 0: seeds were
    between: float | None = None  # the part of the grand mean's standard error that more seeds on these bases do not lessen

    def told(self, e: Estimate, reach: float) -> Estimate:
        """The estimate with what was drawn; `reach`: how far its interval reaches over Student's t."""
        return replace(e, over=self.over, n_bases=self.n_bases, between=self.between, reach=reach)


def drawn(scores_SI: np.ndarray, bases_S: np.ndarray | None) -> Drawn:
    """The scores of S seeds by what their bases (words or numbers; None: unknown) let them speak for."""
    if bases_S is None or len(scores_SI) < 2:
        return Drawn(scores_SI)
    codes_S = np.unique(bases_S, return_inverse=True)[1].reshape(-1)
    sizes_B = np.bincount(codes_S)
    if len(sizes_B) == 1:
        return Drawn(scores_SI)
    if len(sizes_B) < LEAST_BASES:
        blocks = sizes_B.min() >= LEAST_IN_BLOCK
        return Drawn(_evened(scores_SI, codes_S) if blocks else scores_SI, Over.THESE_BASES, codes_S if blocks else None)
    mean_BI = np.stack([scores_SI[codes_S == base].mean(axis=0) for base in range(len(sizes_B))])
    return Drawn(mean_BI, Over.NEW_BASES, None, len(sizes_B), _between(scores_SI.mean(axis=1), codes_S))


@dataclass(frozen=True)
class DrawnArms:
    """The same of several arms, (C, U, I); every unit has a block, which is 0 where there are none."""

    scores_CUI: np.ndarray
    over: Over
    blocks_U: np.ndarray

    @property
    def df(self) -> int:
        """How many units tell the noise between them."""
        return len(self.blocks_U) - 1 - int(self.blocks_U.max())

    @property
    def widening(self) -> float:
        """By how much deviations of resampled means are too small, Student's t aside."""
        return math.sqrt(len(self.blocks_U) / self.df)


def drawn_arms(scores_CSI: np.ndarray, bases_S: np.ndarray | None) -> DrawnArms:
    """As `drawn`, of arms over the same seeds."""
    n_arms, n_seeds, width = scores_CSI.shape
    units = drawn(scores_CSI.transpose(1, 0, 2).reshape(n_seeds, -1), bases_S)
    n_units = len(units.scores_UI)
    blocks_U = np.zeros(n_units, dtype=int) if units.blocks_U is None else units.blocks_U
    return DrawnArms(units.scores_UI.reshape(n_units, n_arms, width).transpose(1, 0, 2), units.over, blocks_U)


def _evened(scores_SI: np.ndarray, codes_S: np.ndarray) -> np.ndarray:
    """Where bases have unequal numbers of seeds: scores whose mean is the mean over bases, and whose deviations inside the bases
    are as much larger as that mean's standard error is. Uneven weights would leave in the mean what differs between the bases:
    6 seeds on one and 2 on another covered the mean over both in 87 %."""
    sizes_B = np.bincount(codes_S)
    if len(set(sizes_B)) == 1:
        return scores_SI
    mean_I = np.mean([scores_SI[codes_S == base].mean(axis=0) for base in range(len(sizes_B))], axis=0)
    larger = math.sqrt(len(codes_S) * float(np.sum(1 / sizes_B))) / len(sizes_B)
    return np.asarray(mean_I + larger * centred(scores_SI, codes_S))


def centred(x_S: np.ndarray, blocks_S: np.ndarray) -> np.ndarray:
    """Each seed's row less the mean of its block."""
    sums = np.stack([x_S[blocks_S == block].mean(axis=0) for block in range(int(blocks_S.max()) + 1)])
    return np.asarray(x_S - sums[blocks_S])


def _between(mean_S: np.ndarray, codes_S: np.ndarray) -> float | None:
    """The part of the standard error of the mean over bases that is theirs; None where each has one seed, which says nothing of
    it."""
    sizes_B = np.bincount(codes_S)
    n_free = len(mean_S) - len(sizes_B)
    if n_free < 1:
        return None
    of_base_B = np.bincount(codes_S, weights=mean_S) / sizes_B
    within = float(np.sum((mean_S - of_base_B[codes_S]) ** 2)) / n_free * float(np.mean(1 / sizes_B))
    return math.sqrt(max(float(of_base_B.var(ddof=1)) - within, 0.0) / len(sizes_B))
