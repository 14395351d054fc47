"""Which of several laws a curve follows: by AICc, by the error at levels left out, and whether it is monotone at all. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.estimate import t_quantile
from analysis.stats.laws import LAWS, SPARE, LeastSquares, fit, known_law, size_penalty
from analysis.stats.points import Points

AS_GOOD = 2.0  # AICc


def defined(points: Points, law: str) -> bool:
    """Whether the law has a value at every x."""
    return LAWS[law].at_zero or not points.has_zero


def too_few(points: Points, law: str) -> str:
    """Why the law cannot be compared by AICc; "" where it can."""
    if not defined(points, law):
        return "has no value at x = 0"
    needed = LAWS[law].n_parameters + SPARE
    return f"too few levels or seeds ({points.n} degrees of freedom, needs {needed})" if points.n < needed else ""


@dataclass(frozen=True)
class Row:
    """One law in a comparison; `difference` is AICc above the best, `weight` Akaike's, `penalty` the part of AICc for size."""

    law: str
    aicc: float
    difference: float
    weight: float
    penalty: float
    held_out_error: float  # root mean square at the largest x, which the fit did not see; units of y
    left_out_error: float  # the same over every level but the ends, each left out of the fit in turn
    why: str = ""  # not compared


@dataclass(frozen=True)
class Comparison:
    """Laws by AICc. A larger law may be far behind for its parameters alone and yet be true: it is `not_excluded`. With too few
    levels for AICc by the error at levels left out."""

    rows: tuple[Row, ...]  # best first
    warning: str = ""  # the curve rises and falls

    @property
    def as_good(self) -> tuple[str, ...]:
        """The laws that the points don't tell from the best; none where fewer than two could be compared."""
        compared = [row for row in self.rows if not row.why]
        return tuple(row.law for row in compared if row.difference <= AS_GOOD) if len(compared) > 1 else ()

    @property
    def by_left_out(self) -> tuple[str, ...]:
        """Where AICc compares nothing: the laws by their error at levels left out, the least first."""
        found = sorted((row.left_out_error, row.law) for row in self.rows if math.isfinite(row.left_out_error))
        return () if self.as_good else tuple(law for _, law in found)

    @property
    def not_excluded(self) -> tuple[str, ...]:
        """Laws further behind that fit no worse than the best: only their number of parameters speaks against them."""
        further = [row for row in self.rows if not row.why and row.difference > AS_GOOD]
        return tuple(row.law for row in further if row.difference - row.penalty + self.rows[0].penalty <= 0)

    def conclusion(self, names: Mapping[str, str] | None = None) -> str:
        """The best law, or between which the points don't decide, and which larger ones they don't exclude. `names`: what laws
        are called in it, by their key in LAWS."""
        return self._best(names) + (f"; {self.warning}" if self.warning else "")

    def _best(self, names: Mapping[str, str] | None) -> str:
        if not self.as_good:
            few, errors = "not compared: too few levels or seeds", {row.law: row.left_out_error for row in self.rows}
            least = ", ".join(f"{(names or {}).get(law, law)} {errors[law]:.2g}" for law in self.by_left_out[:3])
            return few + (f"; error at levels left out: {least}" if least else "")
        good, further = (", ".join((names or {}).get(law, law) for law in laws) for laws in (self.as_good, self.not_excluded))
        best = good if len(self.as_good) == 1 else f"indistinguishable: {good}"
        return best + (f"; not excluded, with more parameters: {further}" if further else "")


def held_out_error(points: Points, law: str, axis: int = 0) -> float:
    """Root mean square error at the largest x of `axis`, predicted by the law fitted to all others; nan if those are too few."""
    kept_K = points.x_KV[:, axis] < points.x_KV[:, axis].max()
    x_KV = np.unique(points.x_KV[kept_K], axis=0)
    if len(x_KV) <= LAWS[law].n_parameters or np.any(x_KV.min(axis=0) == x_KV.max(axis=0)):
        return math.nan
    predicted = fit(points.only(kept_K), law).predict(points.x_KV[~kept_K])
    return float(np.sqrt(np.mean((predicted - points.y_K[~kept_K]) ** 2)))


def compare(points: Points, laws: Sequence[str] = (), axis: int = 0) -> Comparison:
    """All laws of as many variables (or those named) by AICc, at one noise scale, and by extrapolation along `axis`."""
    names = laws or [name for name, law in LAWS.items() if law.variables in (0, points.x_KV.shape[1])]
    n_levels = len(points.y_K)
    there = [name for name in names if defined(points, name)]
    enough = [name for name in there if n_levels >= LAWS[name].n_parameters and known_law(name, points)]
    begun = {name: LeastSquares(points, name) for name in enough}
    alone = [fit(points, name, begun=begun[name]) for name in enough]
    scale = min((f.scale for f in alone if n_levels - f.n_parameters >= 2), default=None)
    aicc = {name: fit(points, name, scale=scale, begun=begun[name]).aicc if name in enough else math.inf for name in names}
    best = min(aicc.values())
    difference = {name: a - best if math.isfinite(a) else math.inf for name, a in aicc.items()}
    total = sum(math.exp(-d / 2) for d in difference.values()) or math.nan
    penalty = {name: size_penalty(points, LAWS[name].n_parameters) for name in names}
    weight = {name: math.exp(-d / 2) / total for name, d in difference.items()}
    held_out = {name: held_out_error(points, name, axis) if name in enough else math.nan for name in names}
    few = sum(map(math.isfinite, aicc.values())) < 2
    left_out = {name: left_out_error(points, name) if few and name in enough else math.nan for name in names}
    rows = [Row(n, aicc[n], difference[n], weight[n], penalty[n], held_out[n], left_out[n], too_few(points, n)) for n in names]
    return Comparison(tuple(sorted(rows, key=lambda row: row.aicc)), not_monotone(points))


def left_out_error(points: Points, law: str) -> float:
    """Root mean square error at every level but the ends, each predicted by the law fitted to the others; nan where these are too
    few. Of one quantity."""
    x_K = points.x_KV[:, 0]
    inner = list(np.argsort(x_K)[1:-1]) if points.x_KV.shape[1] == 1 else []
    if not inner or len(x_K) - 1 < LAWS[law].n_parameters:
        return math.nan
    errors = []
    for i in inner:
        others_K = np.arange(len(x_K)) != i
        errors.append(fit(points.only(others_K), law).predict(points.x_KV[[i]])[0] - points.y_K[i])
    return float(np.sqrt(np.mean(np.square(errors))))


def not_monotone(points: Points) -> str:
    """A warning where the curve surely rises between two levels and surely falls between two others: in both directions some pair
    differs by more than noise, at 5 % over all pairs. "" where it does not, or where nothing is known of the noise."""
    if points.se_K is None or points.x_KV.shape[1] > 1 or points.pure_df < 1:
        return ""
    order = np.argsort(points.x_KV[:, 0])
    y_K, error_K = points.y_K[order], np.asarray(points.se_K)[order]
    i, j = np.triu_indices(len(y_K), 1)
    t_P = (y_K[j] - y_K[i]) / np.hypot(error_K[i], error_K[j])
    limit = t_quantile(points.pure_df, 1 - 0.05 / len(t_P))
    if t_P.max() <= limit or t_P.min() >= -limit:
        return ""
    turn = order[int(np.argmax(y_K) if t_P[j == len(y_K) - 1].min() < -limit or np.argmin(y_K) == 0 else np.argmin(y_K))]
    return f"not monotone: it rises and falls, with a turn near {points.x_KV[turn, 0]:.3g}"
