"""Response surfaces over mixtures: what a measure is as a function of shares that sum to 1. Arrays in, estimates out.

Kinds: `constant`; Scheffé's `linear` and `quadratic` polynomials (no constant: shares sum to 1; Scheffé 1958); the `exponential`
law c ± exp(Σ t·share) of Ye et al. 2024. The one with the least error on mixtures left out of its fit, one at a time, is taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import chi2

from analysis.stats.drawn import drawn
from analysis.stats.estimate import LEVEL, NEEDS_SEEDS, Estimate, Missing, Why, no_interval
from analysis.stats.scaling import seed_draws

Array = np.ndarray
Predict = Callable[[Array], Array]  # shares (M, Q) → values (M,)
Fit = Callable[[Array, Array], Predict]  # shares (K, Q), values (K,)
SPARE = 2  # mixtures beyond the parameters of a surface, at least
N_DRAWS = 200
RANDOM_STATE = 20_251_127
FINE = {2: 200, 3: 60, 4: 24}  # number of sources → parts of each share on the grid that the best mixture is sought on
FLAT = Missing(Why.NOT_LOCATED, "shares predict nothing: the constant has the least error on mixtures left out")


def linear_terms(x_KQ: Array) -> Array:
    return x_KQ


def quadratic_terms(x_KQ: Array) -> Array:
    pairs = itertools.combinations(range(x_KQ.shape[1]), 2)
    return np.column_stack([x_KQ, *(x_KQ[:, i] * x_KQ[:, j] for i, j in pairs)])


def polynomial(terms: Callable[[Array], Array]) -> Fit:
    """Least squares on these terms."""

    def fit(x_KQ: Array, y_K: Array) -> Predict:
        beta = np.linalg.lstsq(terms(x_KQ), y_K, rcond=None)[0]
        return lambda x_MQ: np.asarray(terms(x_MQ) @ beta)

    return fit


def exponential(x_KQ: Array, y_K: Array) -> Predict:
    """c + s·exp(Σ t·share): s is −1 where shares raise the value towards a limit, +1 where they lower it to one."""
    spread = float(np.ptp(y_K)) or 1.0
    fits = []
    for sign, limit in ((-1.0, y_K.max() + spread / 2), (1.0, y_K.min() - spread / 2)):
        rest = np.maximum(sign * (y_K - limit), 1e-3 * spread)
        start = np.r_[limit, np.linalg.lstsq(x_KQ, np.log(rest), rcond=None)[0]]

        found = least_squares(_residuals, start, jac=_slopes, method="lm", max_nfev=400, args=(x_KQ, y_K, sign))
        fits.append((found.cost, found.x, sign))
    _, theta, sign = min(fits, key=lambda one: one[0])
    return lambda x_MQ: _law(theta, x_MQ, sign)


def _law(theta: Array, x_MQ: Array, sign: float) -> Array:
    return np.asarray(theta[0] + sign * np.exp(np.minimum(x_MQ @ theta[1:], 50.0)))


def _residuals(theta: Array, x_KQ: Array, y_K: Array, sign: float) -> Array:
    return _law(theta, x_KQ, sign) - y_K


def _slopes(theta: Array, x_KQ: Array, y_K: Array, sign: float) -> Array:
    rise_K = sign * np.exp(np.minimum(x_KQ @ theta[1:], 50.0))
    return np.column_stack([np.ones(len(x_KQ)), rise_K[:, None] * x_KQ])


def constant(x_KQ: Array, y_K: Array) -> Predict:
    level = float(y_K.mean())
    return lambda x_MQ: np.full(len(x_MQ), level)


KINDS: Mapping[str, Fit] = {
    "constant": constant,
    "linear": polynomial(linear_terms),
    "quadratic": polynomial(quadratic_terms),
    "exponential": exponential,
}


def n_parameters(kind: str, n_sources: int) -> int:
    return {
        "constant": 1, "linear": n_sources, "quadratic": n_sources * (n_sources + 1) // 2, "exponential": n_sources + 1,
    }[kind]  # fmt: skip


def left_out_errors(fit: Fit, x_KQ: Array, y_K: Array) -> Array:
    """Of each mixture, what it is less what a fit to the others predicts (K,)."""
    kept = ~np.eye(len(y_K), dtype=bool)
    return np.array([y_K[i] - fit(x_KQ[kept[i]], y_K[kept[i]])(x_KQ[[i]])[0] for i in range(len(y_K))])


def root_mean_square(errors_K: Array) -> float:
    return float(np.sqrt(np.mean(np.square(errors_K))))


@dataclass(frozen=True)
class Best:
    """The best mixture on a surface, and on each redrawn one (`places_NQ`). `shares` has one estimate a source: its share there,
    with the 95 % interval over redrawn seeds; `value`: what the surface has there; `over_equal`: how much better that is than
    equal shares."""

    at_Q: Array
    places_NQ: Array
    shares: tuple[Estimate, ...]
    value: Estimate
    over_equal: Estimate


@dataclass(frozen=True)
class Surface:
    """A surface fitted to the means of K mixtures of Q sources over S seeds. `errors`: of each kind that could be fitted the root
    mean square error on mixtures left out; `error`: that of the kind taken, with an interval as if they were independent draws;
    `noise`: the standard error of a mixture's mean, which no surface can beat; `draws`: the surface under redrawn seeds."""

    x_KQ: Array
    y_K: Array
    kind: str
    predict: Predict
    errors: Mapping[str, float]
    error: Estimate
    noise: float
    draws: tuple[Predict, ...]
    best: Best

    def band(self, x_MQ: Array) -> tuple[Array, Array]:
        """The 95 % limits of the surface at x; nan without redraws."""
        if not self.draws:
            return np.full(len(x_MQ), math.nan), np.full(len(x_MQ), math.nan)
        low, high = np.quantile([one(x_MQ) for one in self.draws], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low, high


def grid(n_sources: int, parts: int | None = None) -> Array:
    """Mixtures in steps of 1 / parts (M, Q)."""
    n = parts or FINE[n_sources]
    if n_sources == 2:
        first = np.arange(n + 1)
        return np.column_stack([first, n - first]) / n
    inner = [(i, *rest) for i in range(n + 1) for rest in _compositions(n - i, n_sources - 1)]
    return np.array(inner, dtype=float) / n


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [(i, *rest) for i in range(total + 1) for rest in _compositions(total - i, parts - 1)]


def surface(x_KQ: Array, scores_SK: Array, n_items: int, higher_is_better: bool = True, bases_S: Array | None = None) -> Surface:
    """The surface with the least error on mixtures left out, its best mixture, and how sure both are. `bases_S`: what each seed
    was drawn from, where seeds share it."""
    units_UK = drawn(scores_SK, bases_S).scores_UI
    y_K = units_UK.mean(axis=0)
    possible = {kind: fit for kind, fit in KINDS.items() if len(y_K) - n_parameters(kind, x_KQ.shape[1]) >= SPARE}
    errors_of = {kind: left_out_errors(fit, x_KQ, y_K) for kind, fit in (possible or {"constant": constant}).items()}
    errors = {kind: root_mean_square(found) for kind, found in errors_of.items()}
    kind = min(errors, key=lambda one: errors[one])
    n_seeds = len(scores_SK)
    rng = np.random.default_rng(RANDOM_STATE)
    drawn_NK = seed_draws(scores_SK, rng, n=N_DRAWS, bases_S=bases_S) if n_seeds > 1 else np.empty((0, len(y_K)))
    draws = tuple(KINDS[kind](x_KQ, drawn_K) for drawn_K in drawn_NK)
    predict = KINDS[kind](x_KQ, y_K)
    sign = 0.0 if kind == "constant" else 1.0 if higher_is_better else -1.0
    best = _best(x_KQ.shape[1], predict, draws, (n_seeds, n_items), sign)
    error = _error(errors_of[kind], n_seeds, n_items)
    return Surface(x_KQ, y_K, kind, predict, errors, error, _noise(units_UK), draws, best)


def _noise(scores_UK: Array) -> float:
    """The standard error of a mixture's mean over U seeds or bases, without what one adds to all mixtures; nan with one."""
    n_units, n_levels = scores_UK.shape
    df = (n_units - 1) * (n_levels - 1)
    rest = scores_UK - scores_UK.mean(axis=0) - scores_UK.mean(axis=1, keepdims=True) + scores_UK.mean()
    return math.sqrt(float(np.sum(rest**2)) / df / n_units) if df else math.nan


def _error(errors_K: Array, n_seeds: int, n_items: int) -> Estimate:
    """The root mean square of K errors; the interval is that of a variance of as many independent ones."""
    value, n = root_mean_square(errors_K), len(errors_K)
    if value == 0 or n_seeds < 2:
        exact = Missing(Why.NO_SPREAD, "every mixture is predicted exactly")
        return no_interval(value, n_seeds, n_items, NEEDS_SEEDS if n_seeds < 2 else exact)
    low, high = (value * math.sqrt(n / float(chi2.ppf(q, n))) for q in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return Estimate(value, low, high, n, n_seeds, n_items)


def _best(n_sources: int, predict: Predict, draws: tuple[Predict, ...], n: tuple[int, int], sign: float) -> Best:
    """The best mixture on the grid; its interval from where each redraw has it. `n`: seeds and items; `sign`: 1 where more is
    better, −1 where less is, 0 where shares predict nothing."""
    fine, equal = grid(n_sources), np.full((1, n_sources), 1 / n_sources)
    at = fine[int(np.argmax(sign * predict(fine)))] if sign else equal[0]
    drawn_ND = np.array([one(fine) for one in draws]) if sign else np.empty((0, 0))
    places_NQ = fine[np.argmax(sign * drawn_ND, axis=1)] if len(drawn_ND) else np.empty((0, n_sources))
    here = at[None, :]
    gains_N = np.array([sign * float(one(here)[0] - one(equal)[0]) for one in draws])
    heights_N = np.array([float(one(here)[0]) for one in draws])
    return Best(
        at_Q=at,
        places_NQ=places_NQ,
        shares=tuple(_estimate(float(at[q]), places_NQ[:, q], n, None if sign else FLAT) for q in range(n_sources)),
        value=_estimate(float(predict(here)[0]), heights_N, n),
        over_equal=_estimate(sign * float(predict(here)[0] - predict(equal)[0]), gains_N, n, None if sign else FLAT),
    )


def _estimate(value: float, drawn_N: Array, n: tuple[int, int], why: Missing | None = None) -> Estimate:
    """A value with the interval of its redraws."""
    if why is not None or not len(drawn_N):
        return no_interval(value, *n, why or NEEDS_SEEDS)
    low, high = (float(np.quantile(drawn_N, q)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, min(low, value), max(high, value), math.inf, *n, n_draws=len(drawn_N))
