"""Which law each curve of a question follows along x: competing laws over the seeds that all its arms share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from analysis import formatting
from analysis.arms import Arm, seeds_of
from analysis.claims.fitted import Fitted, label, line_of, parameter_text, value_text
from analysis.claims.tables import Tables
from analysis.stats.drawn import drawn
from analysis.stats.points import Points, from_seeds
from analysis.stats.scaling import compare, curve, seed_draws

HEADER = ["curve", "measure", "best law (AICc)", "parameters [95 % interval]", "95 % of the gain at", "error at the largest x"]
RANDOM_STATE = 20_250_702
LEAST_LEVELS = 4


def fits(t: Tables) -> tuple[Fitted, ...]:
    """A fit for each curve with at least four levels and two common seeds, of each measure that the view wants fitted."""
    found: list[Fitted] = []
    if not t.view.fits:
        return ()
    curve_of = dict(zip(t.arm_rows["arm"], t.arm_rows["curve"], strict=True))
    for level in dict.fromkeys(t.arm_rows["curve"]):
        of_curve = [arm for arm in t.where({}) if curve_of[arm.label] == level]
        for measure, direction in t.view.fits.items():
            if measure not in t.panels:
                continue
            arms = t.on_x(arm for arm in of_curve if set(arm.final.values()) <= t.panels[measure].rows.keys())
            if len(arms) < LEAST_LEVELS or len(seeds_of(*arms)) < 2:
                continue
            points, scores_SK = points_of(t, arms, measure, np.array([t.x_of(arm) for arm in arms]), direction)
            comparison = compare(points)
            law = next(row.law for row in comparison.rows)
            bases_S = t.panels[measure].bases(arms, seeds_of(*arms))
            best = curve(points, law, seed_draws(scores_SK, np.random.default_rng(RANDOM_STATE), bases_S=bases_S))
            error = comparison.rows[0].held_out_error
            found.append(Fitted(str(level), measure, comparison, best, error, line_of(best)))
    return tuple(found)


def points_of(t: Tables, arms: Sequence[Arm], measure: str, x: np.ndarray, direction: str) -> tuple[Points, np.ndarray]:
    """What a law is fitted to: these K arms at x over the S seeds that they share, with the noise between the seeds or the bases
    that these drew, and the scores of each seed (S, K)."""
    scores, seeds = t.panels[measure], seeds_of(*arms)
    scores_SK = np.array([scores.of([arm.final[seed] for arm in arms]).mean(axis=1) for seed in seeds])
    limits = (0.0, 1.0) if t.units[measure] == "accuracy" else (-math.inf, math.inf)
    return from_seeds(x, drawn(scores_SK, scores.bases(arms, seeds)).scores_UI, direction, limits), scores_SK


def legend(found: Sequence[Fitted]) -> str:
    """The laws in a caption, and where they level off."""
    parts = []
    for one in found:
        where = formatting.readable(one.measure) + (f" ({one.curve})" if one.curve else "")
        at = f", 95 % of the gain at {value_text(one.best.plateau)}" if one.best.plateau.known else ""
        why = "" if one.comparison.as_good else f" ({one.comparison.conclusion()})"
        parts.append(f"{where}: {label(one)}{why}{at}")
    return "; ".join(parts)


def rows(found: Sequence[Fitted]) -> list[list[str]]:
    """The fits as rows under HEADER; a parameter that is not identified has the reason instead of a value."""
    return [
        [
            one.curve or "all", formatting.readable(one.measure), one.comparison.conclusion(),
            "; ".join(parameter_text(name, e) for name, e in one.best.parameters.items()),
            value_text(one.best.plateau) if one.best.plateau.known else one.best.plateau.why,
            formatting.number(one.held_out_error),
        ]
        for one in found
    ]  # fmt: skip
