"""Forgetting of many arms against the fine-tuning loss and against the steps, with the laws that it follows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import RANDOM_STATE, scores
from analysis.claims.fitted import Line
from analysis.claims.tables import Tables
from analysis.questions.forgetting_tradeoff.laws import Shape, band, exponent, line, local_exponents, shapes, straightness
from analysis.questions.forgetting_tradeoff.methods import LORA, Method, along_rates, epochs_of
from analysis.stats import Estimate
from analysis.stats.drawn import drawn
from analysis.stats.points import from_seeds
from analysis.stats.scaling import compare, seed_draws

LEAST_POINTS = 5  # that a straight line and its AICc need
LEAST_LENGTHS = 3  # that a power law is fitted to
POINTS_OF_LINE = 100


@dataclass(frozen=True)
class Cloud:
    """Points of several arms in each of S seeds: x (loss or steps) and forgetting, each (S, K), and the base of each seed (None:
    unknown)."""

    arms: list[Arm]
    x_SK: np.ndarray
    y_SK: np.ndarray
    bases_S: np.ndarray | None

    @property
    def x_K(self) -> np.ndarray:
        return np.asarray(drawn(self.x_SK, self.bases_S).scores_UI.mean(axis=0))

    @property
    def y_K(self) -> np.ndarray:
        return np.asarray(self.y_UK.mean(axis=0))

    @property
    def y_UK(self) -> np.ndarray:
        """Forgetting by what seeds and their bases speak for."""
        return drawn(self.y_SK, self.bases_S).scores_UI

    def drawn(self, law: str) -> Line:
        """A law through the means, with its band over redrawn seeds or bases."""
        at = np.geomspace(self.x_K.min(), self.x_K.max(), POINTS_OF_LINE)
        draws_NK = seed_draws(self.y_SK, np.random.default_rng(RANDOM_STATE), bases_S=self.bases_S)
        return Line(at, line(law, self.x_K, self.y_K, at), *band(law, self.x_K, draws_NK, at))


@dataclass(frozen=True)
class AgainstLoss:
    """Forgetting against the fine-tuning loss at the end of training, and the laws in it."""

    points: Cloud
    shapes: Sequence[Shape]  # best first by the error at arms left out
    straightness: Estimate  # R² of the falling line
    lines: Mapping[str, Line]  # the straight line, and the best law where that is another


@dataclass(frozen=True)
class AgainstSteps:
    """Forgetting of one method at one rate against the steps, and the power law in it."""

    points: Cloud
    exponent: Estimate | None  # None: some run did not forget
    between_neighbours: str  # the exponents there, in words
    conclusion: str  # of the comparison of laws
    power: Line | None  # None: some run did not forget


def _cloud(t: Tables[Any], arms: list[Arm], column: str, least: int) -> Cloud | None:
    seeds = seeds_of(*arms)
    if len(arms) < least or len(seeds) < 2 or column not in t.trials:
        return None
    x_by_name = t.trials.set_index("fingerprint")[column].astype(float)
    x_SK = np.array([[x_by_name[arm.final[seed]] for arm in arms] for seed in seeds])
    y_SK = scores(t, arms, seeds, "forgetting").mean(axis=2).T
    if not np.isfinite(x_SK).all() or (x_SK <= 0).any() or np.ptp(x_SK.mean(axis=0)) == 0:
        return None
    return Cloud(arms, x_SK, y_SK, t.panels["forgetting"].bases(arms, seeds))


def up_to_best(t: Tables[Any], method: Method) -> list[Arm]:
    """A method's arms of every length, up to the rate that is best for quality: beyond it the loss no longer falls."""
    arms = along_rates(t, method)
    seeds = seeds_of(*arms)
    if not seeds:
        return []
    best = arms[int(scores(t, arms, seeds, "quality").mean(axis=(1, 2)).argmax())].rate
    return [arm for arm in t.where({"method": method.name}) if arm.rate <= best]


def against_loss(t: Tables[Any], methods: Sequence[Method]) -> AgainstLoss | None:
    """Over the arms of these methods together; None with too few of them."""
    arms = [arm for method in methods for arm in up_to_best(t, method)]
    points = _cloud(t, arms, "train/loss_last_tenth", LEAST_POINTS)
    if points is None:
        return None
    found = shapes(points.x_K, points.y_K)
    drawn = dict.fromkeys(("line", *(one.law for one in found[:1]))) if methods == LORA else {}
    straight = straightness(points.x_SK, points.y_SK, t.panels["forgetting"].n_items, points.bases_S)
    return AgainstLoss(points, found, straight, {law: points.drawn(law) for law in drawn})


def against_steps(t: Tables[Any], method: Method) -> AgainstSteps | None:
    """At the rate that has the most numbers of epochs; None with fewer than three."""
    arms = t.where({"method": method.name})
    by_rate = {arm.rate: [other for other in arms if other.rate == arm.rate] for arm in arms}
    most = max(by_rate.values(), key=len, default=[])
    points = _cloud(t, sorted(most, key=epochs_of), "train/steps", LEAST_LENGTHS)
    if points is None:
        return None
    conclusion = compare(from_seeds(points.x_K, points.y_UK, "rising")).conclusion()
    e = exponent(points.x_K, points.y_SK, t.panels["forgetting"].n_items, points.bases_S)
    if e is None:
        return AgainstSteps(points, None, "", conclusion, None)
    return AgainstSteps(points, e, local_exponents(points.x_K, points.y_K), conclusion, points.drawn("power"))
