"""How forgetting grows with the fine-tuning loss and with the steps: a straight line against bent ones, a power law. Pure.

After Kalajdzievski 2024 (https://arxiv.org/abs/2401.05605): forgetting linear in the fine-tuning loss (R² above .94) and a
shifted power law in the steps. Laws in the loss are compared by AICc, where they are fitted by least squares, and by the error
at each point when it is left out; those in the steps by analysis/stats/scaling.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analysis.stats import Estimate, mean_interval

Array = np.ndarray
Columns = Callable[[Array], list[Array]]
# Law → its columns of x beside the constant. "power": a line between the logarithms of x and y, so its noise is relative.
SHAPES: dict[str, Columns] = {
    "line": lambda x: [x],
    "quadratic": lambda x: [x, x**2],
    "logarithm": lambda x: [np.log(x)],
    "power": lambda x: [np.log(x)],
}


@dataclass(frozen=True)
class Shape:
    """One law of forgetting in the loss, over the points of all arms."""

    law: str
    aicc: float  # nan for the power law, whose noise is another
    left_out_error: float  # root mean square, in units of y


def _fitted(law: str, x_K: Array, y_NK: Array, at_M: Array) -> Array:
    """The law fitted to each of N curves, at new x: (N, M)."""
    columns = [np.column_stack([np.ones_like(x), *SHAPES[law](x)]) for x in (x_K, at_M)]
    target_NK = np.log(y_NK) if law == "power" else y_NK
    values_NM = (columns[1] @ np.linalg.lstsq(columns[0], target_NK.T, rcond=None)[0]).T
    return np.asarray(np.exp(values_NM) if law == "power" else values_NM)


def shapes(x_K: Array, y_K: Array) -> list[Shape]:
    """Every law that K points allow, best first by the error at points left out. x and, for the power law, y above 0."""
    found = []
    for law, columns in SHAPES.items():
        n, k = len(x_K), 2 + len(columns(x_K))  # coefficients and the noise
        if n < k + 2 or (law == "power" and np.min(y_K) <= 0):
            continue
        left_K = [_fitted(law, np.delete(x_K, i), np.delete(y_K, i)[None], x_K[i : i + 1])[0, 0] for i in range(n)]
        squares = float(np.sum((_fitted(law, x_K, y_K[None], x_K)[0] - y_K) ** 2))
        aicc = n * math.log(max(squares, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        found.append(Shape(law, math.nan if law == "power" else aicc, math.sqrt(float(np.mean((np.array(left_K) - y_K) ** 2)))))
    return sorted(found, key=lambda shape: shape.left_out_error)


def band(law: str, x_K: Array, draws_NK: Array, at_M: Array) -> tuple[Array, Array]:
    """95 % limits of the law at new x, from redrawn curves (of the power law those that are above 0)."""
    kept_NK = draws_NK[(draws_NK > 0).all(axis=1)] if law == "power" else draws_NK
    low_M, high_M = np.quantile(_fitted(law, x_K, kept_NK, at_M), [0.025, 0.975], axis=0)
    return low_M, high_M


def line(law: str, x_K: Array, y_K: Array, at_M: Array) -> Array:
    """The law fitted to one curve, at new x."""
    return _fitted(law, x_K, y_K[None], at_M)[0]


def straightness(x_SK: Array, y_SK: Array, n_items: int, bases_S: Array | None = None) -> Estimate:
    """R² of a falling straight line through each seed's K points (−R² where forgetting rises with the loss), with Student's t
    over the seeds, or the bases that they drew. Noise of single runs bends a line as a law does, so this is what a published R²
    is: of runs, not of means."""
    r_S = np.array([np.corrcoef(x_K, y_K)[0, 1] for x_K, y_K in zip(x_SK, y_SK, strict=True)])
    return mean_interval(-(r_S * np.abs(r_S))[:, None], n_items=n_items, bases_S=bases_S)


def exponent(steps_K: Array, y_SK: Array, n_items: int, bases_S: Array | None = None) -> Estimate | None:
    """The exponent of a power law in the steps: each seed's slope between logarithms, Student's t over the seeds, or the bases
    that they drew. None where some seed did not forget."""
    if np.min(y_SK) <= 0:
        return None
    x_K = np.log(steps_K) - np.log(steps_K).mean()
    slope_S = np.log(y_SK) @ x_K / float(x_K @ x_K)
    return mean_interval(slope_S[:, None], n_items=n_items, bases_S=bases_S)


def local_exponents(steps_K: Array, y_K: Array) -> str:
    """The exponents between neighbouring numbers of steps, in words: alike where a power law holds."""
    slopes = np.diff(np.log(y_K)) / np.diff(np.log(steps_K))
    parts = [f"{slope:.2f} from {a:,.0f} to {b:,.0f} steps" for slope, (a, b) in zip(slopes, pairwise(steps_K), strict=True)]
    return f"between neighbours {', '.join(parts)}".replace("-", "−")
