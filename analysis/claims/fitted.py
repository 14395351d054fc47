"""A law fitted to one curve of a question: what is known of it, its line as it is drawn, and its description in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.stats.estimate import Estimate
from analysis.stats.scaling import Comparison, Curve

POINTS_OF_LINE = 120


@dataclass(frozen=True)
class Line:
    """A law as it is drawn, with the limits of its 95 % band: each (POINTS_OF_LINE,)."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def line_of(best: Curve) -> Line:
    """The law between the smallest and the largest x measured."""
    x_K = best.fit.points.x_KV[:, 0]
    x = np.geomspace(x_K.min(), x_K.max(), POINTS_OF_LINE)
    return Line(x, best.fit.predict(x), *best.band(x))


@dataclass(frozen=True)
class Fitted:
    """One curve of one measure, the comparison of laws, and the best law with what is known of it."""

    curve: str
    measure: str
    comparison: Comparison
    best: Curve
    held_out_error: float
    line: Line

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


MOST_NAMED = 2  # laws that fit as well as the best one, in a legend
# What a law is called in a figure, and the parameter that tells its shape.
NAMED = {
    "flat": ("flat", "level"),
    "logarithmic": ("logarithmic", "slope"),
    "power_without_limit": ("power law", "exponent"),
    "hump": ("parabola in the logarithm", "turn"),
    "power": ("power law with limit", "exponent"),
    "exponential": ("exponential", "scale"),
    "michaelis": ("Michaelis–Menten", "half"),
    "logistic": ("logistic", "midpoint"),
}


def label(one: Fitted) -> str:
    """The law in a legend: its shape's parameter with the interval; or what is not known, that is which other laws fit as
    well (of many only their number) and which parameters the curve does not identify."""
    name, shape = NAMED[one.best.fit.law]
    if not one.in_doubt:
        return f"{name}, {parameter_text(shape, one.best.parameters[shape])}"
    if len(one.rivals) > MOST_NAMED:
        return f"{name}; {len(one.rivals)} other laws fit as well"
    laws = " or ".join([name, *(NAMED[rival][0] for rival in one.rivals)])
    unknown = " and ".join(one.unknown) if one.comparison.as_good else "law"
    return f"{laws}; {unknown} not identified" if unknown else laws


def value_text(e: Estimate) -> str:
    """A value with its interval: two digits, no powers of ten below a million."""
    value, low, high = (f"{float(f'{x:.2g}'):,g}" if abs(x) < 1e6 else f"{x:.2g}" for x in (e.value, e.low, e.high))
    return f"{value} [{low}, {high}]"


def parameter_text(name: str, e: Estimate) -> str:
    """A parameter with its interval, or why it is not known."""
    return f"{name} {value_text(e)}" if e.known else f"{name} {e.why}"
