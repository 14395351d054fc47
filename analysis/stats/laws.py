"""The laws that a measure may follow in one quantity or two, and how one is fitted. Pure.

    y(x) = limit − s·gain·h(x; bends),   s = +1 for a rising measure (accuracy), −1 for a falling one (loss)

h falls from 1 at the smallest x measured to 0, so `gain` is what was still to be had there, positive when the measure
moves the way its caller says. The laws differ in h; the logarithmic one has no limit. Limit and gain are linear, so for
every point of a grid over the bends they are solved exactly; every local minimum of that grid is a start of SciPy's
least_squares with Huber's loss: many starts, and no random ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.optimize import least_squares
from scipy.special import expit

from analysis.stats.points import SIGN, Array, Points

HUBER = 1.345  # standard deviations; 95 % efficient under normal noise (Huber 1981)
HUBER_CONSISTENCY = 0.7102  # E[min(z², 1.345²)] of a standard normal z
# Degrees of freedom beyond the parameters. With 3 the last term of AICc is so large (24 for a straight line through 5
# points) that a flat line beats one with R² = 0.97 (the five sizes of Tk-Instruct).
SPARE = 4
EVALUATIONS = 60  # an optimum needs about 10; a valley that runs to a bound would take thousands


class Bend(NamedTuple):
    """A parameter in which a law is not linear, with its bounds; a place (an x) has them in units of the x measured."""

    name: str
    low: float
    high: float
    log: bool = True
    place: bool = False


class Law(NamedTuple):
    """`shape(u_KV, bends)` → (K, J) rising columns; u is x over its smallest value measured, bends are natural values."""

    shape: Callable[[Array, Array], Array]
    linear: tuple[str, ...]
    bends: tuple[Bend, ...] = ()
    simpler: tuple[str, ...] = ()  # laws without the bends: where one of them does as well, the bends are not identified
    variables: int = 1  # 0: any number
    constant: bool = True  # whether the first linear parameter is the height of a constant
    at_zero: bool = False  # whether it has a value at x = 0

    @property
    def n_parameters(self) -> int:
        """Linear and bent ones, without the noise variance."""
        return len(self.linear) + len(self.bends)


def _logistic(u: Array, b: Array) -> Array:
    with np.errstate(divide="ignore"):  # at x = 0 its logarithm is infinite, and the curve at its start
        return -expit(b[1] * np.log(b[0] / u)) / expit(b[1] * np.log(b[0]))


def _hump(u: Array, b: Array) -> Array:
    return np.column_stack([np.log(u), np.log(u) ** 2])


FLOORED, SIMPLER, JOINT_SIMPLER = ("limit", "gain"), ("flat", "logarithmic"), ("flat", "joint_logarithmic")
LAWS: dict[str, Law] = {
    "flat": Law(lambda u, b: np.empty((len(u), 0)), ("level",), variables=0, at_zero=True),
    "logarithmic": Law(lambda u, b: np.log(u), ("intercept", "slope")),  # slope: per e-fold, in the direction stated
    # y = c·x^a, the commonest published form (Kaplan 2020): it has no limit, and falls where its exponent is below 0.
    "power_without_limit": Law(
        lambda u, b: u ** b[0], ("gain",), (Bend("exponent", -5, 5, log=False),), SIMPLER, constant=False
    ),
    "hump": Law(_hump, ("intercept", "slope", "curvature")),  # a parabola in ln x: turns where −slope / (2 curvature)
    "power": Law(lambda u, b: -(u ** -b[0]), FLOORED, (Bend("exponent", 0.01, 5),), SIMPLER),
    "exponential": Law(
        lambda u, b: -np.exp((1 - u) / b[0]), FLOORED, (Bend("scale", 0.3, 3, place=True),), SIMPLER, at_zero=True
    ),
    "michaelis": Law(
        lambda u, b: -(1 + b[0]) / (u + b[0]), FLOORED, (Bend("half", 0.03, 10, place=True),), SIMPLER, at_zero=True
    ),
    "logistic": Law(
        _logistic, FLOORED, (Bend("midpoint", 0.1, 10, place=True), Bend("steepness", 0.3, 8)), SIMPLER, at_zero=True
    ),
    "joint_logarithmic": Law(lambda u, b: np.log(u), ("intercept", "slope_1", "slope_2"), variables=2),
    # Zhang 2024 (arXiv 2402.17193), A·X^-α·D^-β + E: its table 4 has exponents of 0 and below, so the bounds hold them.
    "joint_product": Law(
        lambda u, b: -np.prod(u**-b, axis=1, keepdims=True), FLOORED,
        (Bend("alpha", -0.5, 3, log=False), Bend("beta", -0.5, 3, log=False)), JOINT_SIMPLER, 2,
    ),
    "joint_additive": Law(
        lambda u, b: -(u**-b), ("limit", "gain_1", "gain_2"), (Bend("alpha", 0.01, 5), Bend("beta", 0.01, 5)), JOINT_SIMPLER, 2
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """One law fitted to one curve. `theta`: bends (their logarithm where Bend.log), then linear parameters (see Law)."""

    law: str
    points: Points
    theta: Array
    scale: float  # of the noise, in standard errors where given, else in units of y
    aicc: float  # inf where there are too few levels
    extent_2V: Array  # smallest x above 0, and largest x

    @property
    def n_parameters(self) -> int:
        return LAWS[self.law].n_parameters

    @property
    def values(self) -> dict[str, float]:
        """Parameters as they are, identified or not; `parameters` of a Curve are what may be reported."""
        return {name: float(v[0]) for name, v in natural(self, self.theta[None]).items()}

    def predict(self, x: Array) -> Array:
        """y at x (M,) or (M, 2)."""
        return curves_at(self, self.theta[None], x)[0]


def bends_of(law: Law, theta: Array) -> Array:
    return np.array([math.exp(t) if b.log else t for b, t in zip(law.bends, theta, strict=False)])


def _design(law: Law, u_KV: Array, sign: float, theta: Array) -> Array:
    """(K, P): a column of ones and the law's columns, rising with the measure; of a law without a constant its own alone."""
    if not law.constant:
        return law.shape(u_KV, bends_of(law, theta))
    return np.column_stack([np.ones(len(u_KV)), sign * law.shape(u_KV, bends_of(law, theta))])


def curves_at(fit: Fit, theta_NT: Array, x: Array) -> Array:
    law, sign = LAWS[fit.law], SIGN[fit.points.direction]
    x = np.asarray(x, dtype=float)
    u = (x[:, None] if x.ndim == 1 else x) / fit.extent_2V[0]
    return np.stack([_design(law, u, sign, t) @ t[len(law.bends) :] for t in theta_NT])


def bounds_of(law: Law, points: Points) -> Array:
    """(2, T) bounds of theta."""
    span = points.x_KV.max() / points.unit_V.min()
    bends = [(b.low, b.high * span if b.place else b.high) for b in law.bends]
    bends = [(math.log(low), math.log(high)) if b.log else (low, high) for b, (low, high) in zip(law.bends, bends, strict=True)]
    first = points.limits if law.linear[0] == "limit" else (-math.inf, math.inf)
    return np.array([*bends, first, *[(-math.inf, math.inf)] * (len(law.linear) - 1)]).T


class Solver:
    """Fits one law to any y at the same x and errors: the grid of designs is made once for a curve and all its redraws."""

    def __init__(self, law: Law, points: Points, near: Array | None = None) -> None:
        self.law, self.sign = law, SIGN[points.direction]
        self.u = points.x_KV / points.unit_V
        self.se = np.ones(len(self.u)) if points.se_K is None else np.asarray(points.se_K, dtype=float)
        self.bounds = bounds_of(law, points)
        n = {0: 1, 1: 60, 2: 16}[len(law.bends)]
        axes = [np.linspace(low, high, n + 2)[1:-1] for low, high in self.bounds.T[: len(law.bends)]]
        self.grid_shape = (n,) * len(axes)
        self.grid_GT = np.array([*product(*axes), *([] if near is None else [near])])
        designs_GKP = np.stack([_design(law, self.u, self.sign, t) / self.se[:, None] for t in self.grid_GT])
        self.q_GKP = np.linalg.qr(designs_GKP)[0]

    def profile(self, y_NK: Array) -> Array:
        """(G, N): how much of the weighted sum of squares the law explains at each point of the grid."""
        return np.stack([np.sum((y_NK / self.se @ q) ** 2, axis=1) for q in self.q_GKP])

    def start(self, g: int, y_K: Array) -> Array:
        bends = self.grid_GT[g]
        design = _design(self.law, self.u, self.sign, bends) / self.se[:, None]
        linear = np.linalg.lstsq(design, y_K / self.se, rcond=None)[0]
        return np.clip(np.concatenate([bends, linear]), *self.bounds)

    def starts(self, y_K: Array) -> list[Array]:
        """Every local minimum of the grid (at most 8, best first)."""
        left = -self.profile(y_K[None])[:, 0].reshape(self.grid_shape)
        found = np.flatnonzero(minimum_filter(left, size=3, mode="nearest") == left) if left.ndim else np.array([0])
        return [self.start(g, y_K) for g in found[np.argsort(left.ravel()[found], kind="stable")][:8]]

    def residual(self, theta: Array, y_K: Array) -> Array:
        return (_design(self.law, self.u, self.sign, theta) @ theta[len(self.law.bends) :] - y_K) / self.se

    def jacobian(self, theta: Array, y_K: Array) -> Array:
        """Linear columns are exact; the bends' are central differences."""
        steps = 1e-5 * np.eye(len(theta))[: len(self.law.bends)]
        bent = [(self.residual(theta + d, y_K) - self.residual(theta - d, y_K)) / 2e-5 for d in steps]
        return np.column_stack([*bent, _design(self.law, self.u, self.sign, theta) / self.se[:, None]])

    def polish(self, theta: Array, y_K: Array, threshold: float, tolerance: float = 1e-10) -> tuple[float, Array]:
        """(cost, theta) of Huber's loss with this threshold (inf: least squares), from one start."""
        loss = {"loss": "huber", "f_scale": threshold} if math.isfinite(threshold) else {}
        inside = np.clip(theta, self.bounds[0] + 1e-9, self.bounds[1] - 1e-9)
        stop = {"ftol": tolerance, "xtol": tolerance, "max_nfev": EVALUATIONS}
        found = least_squares(self.residual, inside, self.jacobian, self.bounds, args=(y_K,), **stop, **loss)
        return float(found.cost), found.x


def known_law(name: str, points: Points) -> Law:
    if name not in LAWS:
        near = difflib.get_close_matches(name, LAWS, n=1)
        raise ValueError(f"law={name!r}: " + (f"did you mean {near[0]!r}?" if near else f"must be one of {', '.join(LAWS)}"))
    if LAWS[name].variables not in (0, points.x_KV.shape[1]):
        raise ValueError(f"law={name!r}: has {LAWS[name].variables} variables, the curve {points.x_KV.shape[1]}")
    if points.has_zero and not LAWS[name].at_zero:
        raise ValueError(f"law={name!r}: has no value at x = 0")
    if len(points.y_K) < LAWS[name].n_parameters:
        raise ValueError(f"law={name!r}: needs {LAWS[name].n_parameters} levels, the curve has {len(points.y_K)}")
    return LAWS[name]


def _noise(residual_K: Array, n_parameters: int) -> float:
    """Standard deviation that outliers move little (Huber's proposal 2); 0 where there are no residuals to see it from."""
    df = len(residual_K) - n_parameters
    scale = math.sqrt(float(residual_K @ residual_K) / df) if df > 0 else 0.0
    for _ in range(20):
        scale = math.sqrt(float(np.sum(np.minimum(residual_K**2, (HUBER * scale) ** 2))) / max(df, 1) / HUBER_CONSISTENCY)
    return scale


def size_penalty(points: Points, n_parameters: int) -> float:
    """AICc's 2k + 2k(k + 1)/(n − k − 1), the noise variance counted in k; inf where n < parameters + SPARE."""
    n, k = points.n, n_parameters + 1
    return 2 * k + 2 * k * (k + 1) / (n - k - 1) if n >= n_parameters + SPARE else math.inf


def _misfit(points: Points, total: float, se_K: Array) -> float:
    """n·log(total / n). `total`: Huber's sum over level means in squared standard errors; repeats add 1 for each degree of
    freedom. A perfect fit counts as one to nine digits: it has no likelihood."""
    rounding = max(1e-9 * float(np.max(np.abs(points.y_K) / se_K)), 1e-12)
    return points.n * math.log(max((total + points.pure_df) / points.n, rounding**2))


class LeastSquares:
    """A law's fit by least squares over all starts, which others begin from."""

    def __init__(self, points: Points, law: str) -> None:
        self.solver = Solver(known_law(law, points), points)
        self.starts = self.solver.starts(points.y_K)
        found = (self.solver.polish(start, points.y_K, math.inf) for start in self.starts)
        self.cost, self.theta = min(found, key=lambda one: one[0])


def fit(points: Points, law: str, huber: float = HUBER, scale: float | None = None, begun: LeastSquares | None = None) -> Fit:
    """The law with the least Huber loss over all starts; `huber=inf` is plain least squares. The loss turns from square to linear
    at `huber` times the noise: `scale` if given (laws are compared at one scale), else estimated from the residuals, and at
    least the standard errors where there are any. `begun`: of the same points."""
    begun = begun or LeastSquares(points, law)
    solver, starts, cost, theta, y = begun.solver, begun.starts, begun.cost, begun.theta, points.y_K
    least = 1e-9 * (points.spread + 1e-9 * float(np.abs(y).max())) / float(solver.se.max())
    for _ in range(1 if scale is not None else 3):
        seen = _noise(solver.residual(theta, y), solver.law.n_parameters) if scale is None else scale
        noise = seen if points.se_K is None or scale is not None else max(seen, 1.0)
        if noise > least and math.isfinite(huber):  # else: the curve goes through the points, or has no noise to speak of
            cost, theta = min((solver.polish(start, y, huber * noise) for start in [theta, *starts]), key=lambda found: found[0])
    extent = np.array([points.unit_V, points.x_KV.max(axis=0)])
    aicc = _misfit(points, 2 * cost, solver.se) + size_penalty(points, solver.law.n_parameters)
    return Fit(law, points, theta, noise, aicc, extent)


# Which variables belong to each gain of a power law: the coefficient at x = 1 is the gain × Π smallest xᵢ^exponentᵢ.
COEFFICIENTS = {"gain": "coefficient", "gain_1": "coefficient_1", "gain_2": "coefficient_2"}
# c·x^a: its exponent is the other way round.
POWERS = {"power": [[0]], "power_without_limit": [[0]], "joint_product": [[0, 1]], "joint_additive": [[0], [1]]}


def natural(fitted: Fit, theta_NT: Array) -> dict[str, Array]:
    """{parameter: (N,)} in the units of x and y: intercepts and coefficients at x = 1, gains at the smallest x measured."""
    law, sign, smallest = LAWS[fitted.law], SIGN[fitted.points.direction], fitted.extent_2V[0]
    n, rising = len(law.bends), -1 if law.constant else 1  # u^-exponent, or u^exponent
    values = {b.name: np.exp(t) if b.log else t for b, t in zip(law.bends, theta_NT.T, strict=False)}
    powers = [smallest[i] ** (-rising * values[b.name]) for i, b in enumerate(law.bends)] if fitted.law in POWERS else []
    values |= {b.name: values[b.name] * smallest[0] for b in law.bends if b.place}
    linear = dict(zip(law.linear, theta_NT.T[n:], strict=True))
    if fitted.law == "hump":
        linear = _hump_natural(linear, math.log(smallest[0]), sign)
    elif "intercept" in linear:
        linear["intercept"] = linear["intercept"] - sign * (theta_NT[:, n + 1 :] @ np.log(smallest))
    gains = law.linear[1:] if law.constant else law.linear
    for variables, name in zip(POWERS.get(fitted.law, []), gains, strict=True) if powers else ():
        linear[COEFFICIENTS[name]] = linear[name] * np.prod([powers[i] for i in variables], axis=0)
    return linear | values


def _hump_natural(linear: dict[str, Array], shift: float, sign: float) -> dict[str, Array]:
    """Intercept and slope at x = 1, and where the curve turns."""
    intercept, slope, curvature = (linear[name] for name in ("intercept", "slope", "curvature"))
    at_one = slope - 2 * curvature * shift
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        turn = np.exp(-at_one / (2 * curvature))
    return {
        "intercept": intercept + sign * (-slope * shift + curvature * shift**2),
        "slope": at_one,
        "curvature": curvature,
        "turn": turn,
    }
