"""How much of one measure of many runs another one explains: R² of a quadratic. Pure.

Runs of one arm are alike, so arms are resampled as wholes, and the quadratic is fitted anew in each draw.
"""

from __future__ import annotations

import numpy as np

from analysis.stats.estimate import Estimate, Missing, Why, no_interval
from analysis.stats.intervals import from_draws

LEAST_ARMS = 6  # twice the parameters of a quadratic
DRAWS = 2_000


def quadratic(x_N: np.ndarray, y_N: np.ndarray, at_M: np.ndarray) -> np.ndarray:
    """The least-squares quadratic through N points, at M others."""
    scale = float(np.abs(x_N).max()) or 1.0
    found: np.ndarray = np.polynomial.Polynomial.fit(x_N / scale, y_N, 2)(at_M / scale)
    return found


def r_squared(x_N: np.ndarray, y_N: np.ndarray) -> float:
    """The share of the variance of y that a quadratic in x explains; nan where y does not vary."""
    spread = float(np.sum((y_N - y_N.mean()) ** 2))
    return 1 - float(np.sum((y_N - quadratic(x_N, y_N, x_N)) ** 2)) / spread if spread > 0 else float("nan")


def explained(x_N: np.ndarray, y_N: np.ndarray, arms_N: np.ndarray, rng: np.random.Generator) -> Estimate:
    """R² over all runs with a percentile interval over arms; `arms_N` names each run's arm."""
    names, codes_N = np.unique(arms_N, return_inverse=True)
    value = r_squared(x_N, y_N) if len(names) > 2 else float("nan")
    counts = len(x_N), len(names)
    if len(names) < LEAST_ARMS:
        return no_interval(value, *counts, Missing(Why.TOO_FEW, f"needs {LEAST_ARMS} arms"))
    of_arm = [np.flatnonzero(codes_N == code) for code in range(len(names))]
    drawn = (np.concatenate([of_arm[i] for i in rng.integers(len(names), size=len(names))]) for _ in range(DRAWS))
    draws = np.array([r_squared(x_N[own], y_N[own]) for own in drawn if len(np.unique(x_N[own])) > 2])
    return from_draws(value, draws[np.isfinite(draws)], counts, len(names) - 1)
