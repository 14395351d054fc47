"""Which law each curve of a question follows along x: competing laws over the seeds that all its arms share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.arms import seeds_of
from analysis.stats import Estimate
from analysis.stats.scaling import Comparison, Curve, Points, compare, curve, from_seeds, seed_draws

if TYPE_CHECKING:
    from analysis.arms import Arm
    from analysis.claims.tables import Tables

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

    @property
    def rivals(self) -> tuple[str, ...]:
        """Other laws that fit as well."""
        return tuple(name for name in self.comparison.as_good if name != self.best.fit.law)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parameters of the law that the curve does not identify."""
        return tuple(name for name, e in self.best.parameters.items() if not e.known)

    @property
    def in_doubt(self) -> bool:
        return bool(self.rivals or self.unknown or not self.comparison.as_good)


# What a law is called in a figure, and the parameter that tells its shape.
NAMED = {
    "flat": ("flat", "level"),
    "logarithmic": ("logarithmic", "slope"),
    "power": ("power law with limit", "exponent"),
    "exponential": ("exponential", "scale"),
    "michaelis": ("Michaelis–Menten", "half"),
    "logistic": ("logistic", "midpoint"),
}


def fits(t: Tables) -> list[Fitted]:
    """A fit for each curve with at least four levels and two common seeds, of each measure that the view wants fitted."""
    found: list[Fitted] = []
    if not t.view.fits:
        return found
    for level in dict.fromkeys(t.arm_rows["curve"]):
        of_curve = [arm for arm in t.where({}) if t.arm_rows.loc[t.arm_rows["arm"] == arm.label, "curve"].iloc[0] == level]
        for measure, direction in t.view.fits.items():
            if measure not in t.panels:
                continue
            arms = [arm for arm in of_curve if set(arm.final.values()) <= t.panels[measure].rows.keys()]
            if len(arms) < LEAST_LEVELS or len(seeds_of(*arms)) < 2:
                continue
            points, scores_SK = points_of(t, arms, measure, np.array([t.x_of(arm) for arm in arms]), direction)
            comparison = compare(points)
            law = next(row.law for row in comparison.rows)
            best = curve(points, law, seed_draws(scores_SK, np.random.default_rng(RANDOM_STATE)))
            found.append(Fitted(str(level), measure, comparison, best, comparison.rows[0].held_out_error))
    return found


def points_of(t: Tables, arms: Sequence[Arm], measure: str, x: np.ndarray, direction: str) -> tuple[Points, np.ndarray]:
    """What a law is fitted to: these K arms at x over the S seeds that they share, and the scores of each seed (S, K)."""
    scores = t.panels[measure]
    scores_SK = np.array([scores.of([arm.final[seed] for arm in arms]).mean(axis=1) for seed in seeds_of(*arms)])
    limits = (0.0, 1.0) if t.units[measure] == "accuracy" else (-math.inf, math.inf)
    return from_seeds(x, scores_SK, direction, limits), scores_SK


def label(one: Fitted) -> str:
    """The law in a legend: its shape's parameter with the interval; or what is not known, that is which other laws fit as
    well and which parameters the curve does not identify."""
    name, shape = NAMED[one.best.fit.law]
    if not one.in_doubt:
        return f"{name}, {_parameter(shape, one.best.parameters[shape])}"
    laws = " or ".join([name, *(NAMED[rival][0] for rival in one.rivals)])
    unknown = " and ".join(one.unknown) if one.comparison.as_good else "law"
    return f"{laws}; {unknown} not identified" if unknown else laws


def legend(found: Sequence[Fitted]) -> str:
    """The laws in a caption, and where they level off."""
    parts = []
    for one in found:
        where = formatting.readable(one.measure) + (f" ({one.curve})" if one.curve else "")
        at = f", 95 % of the gain at {_text(one.best.plateau)}" if one.best.plateau.known else ""
        why = "" if one.comparison.as_good else f" ({one.comparison.said})"
        parts.append(f"{where}: {label(one)}{why}{at}")
    return "; ".join(parts)


def _text(e: Estimate) -> str:
    """A value with its interval: two digits, no powers of ten below a million."""
    value, low, high = (f"{float(f'{x:.2g}'):,g}" if abs(x) < 1e6 else f"{x:.2g}" for x in (e.value, e.low, e.high))
    return f"{value} [{low}, {high}]"


def rows(found: Sequence[Fitted]) -> list[list[str]]:
    """The fits as rows under HEADER; what is not identified is said, not given."""
    return [
        [
            one.curve or "all", formatting.readable(one.measure), one.comparison.said,
            "; ".join(_parameter(name, e) for name, e in one.best.parameters.items()),
            _text(one.best.plateau) if one.best.plateau.known else one.best.plateau.why,
            formatting.number(one.held_out_error),
        ]
        for one in found
    ]  # fmt: skip


def _parameter(name: str, e: Estimate) -> str:
    return f"{name} {_text(e)}" if e.known else f"{name} {e.why}"
