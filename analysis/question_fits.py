"""Which law each curve of a question follows along x: competing laws over the seeds that all its arms share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.scaling import Comparison, Curve, compare, curve, from_seeds, seed_draws
from analysis.stats import Estimate

if TYPE_CHECKING:
    from analysis.question import Tables

HEADER = ["curve", "measure", "best law (AICc)", "parameters [95 % interval]", "95 % of the gain at", "error at the largest x"]
RANDOM_STATE = 20_250_702
LEAST_LEVELS = 4


@dataclass(frozen=True)
class Fitted:
    """One curve of one measure, the comparison of laws, and the best law with what is known of it."""

    curve: str
    measure: str
    comparison: Comparison
    best: Curve
    held_out_error: float


def fits(t: Tables) -> list[Fitted]:
    """A fit for each curve with at least four levels and two common seeds, of each measure that the view wants fitted."""
    found: list[Fitted] = []
    if not t.view.fits:
        return found
    for level in dict.fromkeys(t.cells["curve"]):
        arms = [arm for arm in t.where({}) if t.cells.loc[t.cells["cell"] == arm.cell, "curve"].iloc[0] == level]
        seeds = sorted(set.intersection(*(set(arm.final) for arm in arms))) if arms else []
        if len(arms) < LEAST_LEVELS or len(seeds) < 2:
            continue
        x_K = np.array([t.x_of(arm) for arm in arms])
        for measure, direction in t.view.fits.items():
            if measure not in t.panels:
                continue
            scores = t.panels[measure]
            scores_SK = np.array([scores.of([arm.final[seed] for arm in arms]).mean(axis=1) for seed in seeds])
            limits = (0.0, 1.0) if t.units[measure] == "accuracy" else (-math.inf, math.inf)
            points = from_seeds(x_K, scores_SK, direction, limits)
            comparison = compare(points)
            law = next(row.law for row in comparison.rows)
            best = curve(points, law, seed_draws(scores_SK, np.random.default_rng(RANDOM_STATE)))
            found.append(Fitted(str(level), measure, comparison, best, comparison.rows[0].held_out_error))
    return found


def rows(found: list[Fitted]) -> list[list[str]]:
    """The fits as rows under HEADER; what is not identified is said, not given."""
    return [
        [
            one.curve or "all", formatting.readable(one.measure), one.comparison.said,
            "; ".join(_parameter(name, e) for name, e in one.best.parameters.items()),
            formatting.estimate(one.best.plateau).replace("×", "") if one.best.plateau.known else one.best.plateau.why,
            formatting.number(one.held_out_error),
        ]
        for one in found
    ]  # fmt: skip


def _parameter(name: str, e: Estimate) -> str:
    return f"{name} {e.value:.3g} [{e.low:.3g}, {e.high:.3g}]" if e.known else f"{name} {e.why}"
