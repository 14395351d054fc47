"""How much each searched setting decides, by fANOVA (Hutter et al. 2014): the share of a random forest's variance over the space
that one setting explains alone. The owner of Optuna's evaluator.

Each draw resamples the configurations and fits another forest, so the interval holds both kinds of uncertainty; it says nothing
about other seeds of training. In every fit there is one made-up setting that decides nothing: shares sum to at most 1 and are
never below 0, so a few configurations give every setting some share, and this is how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats import Estimate, Missing, Why, from_draws

NOTHING = "(decides nothing)"
LEAST = 20  # configurations, below which a forest finds what it likes
TREES, FORESTS = 16, 5


@dataclass(frozen=True)
class Importance:
    """Shares of the variance: setting → draws (N,), the same draws for all, so that differences are paired."""

    draws: Mapping[str, np.ndarray]
    whole: Mapping[str, float]  # from all configurations, without resampling
    n: int

    def of(self, name: str) -> Estimate:
        """One setting's share."""
        return from_draws(self.whole[name], self.draws[name], (1, self.n), 1e6)


def importance(settings: pd.DataFrame, values_K: np.ndarray, random_state: int, draws: int) -> Importance | Missing:
    """Of K configurations (a column a setting) and what each one scored; why not where they are too few or all alike."""
    if len(settings) < LEAST:
        return Missing(Why.TOO_FEW, f"{len(settings)} configurations, fANOVA needs {LEAST}")
    if np.ptp(values_K) == 0:
        return Missing(Why.NOT_IDENTIFIED, "all configurations scored the same")
    rng, values_K = np.random.default_rng(random_state), np.asarray(values_K, dtype=float)
    table = settings.astype(object).reset_index(drop=True).infer_objects().assign(**{NOTHING: 0.0})
    space = {str(name): _distribution(column) for name, column in table.items()}
    table[NOTHING] = rng.random(len(table))
    whole = pd.DataFrame([_shares(table, values_K, space, int(rng.integers(2**31))) for _ in range(FORESTS)]).mean()
    rows = []
    for _ in range(draws):
        table[NOTHING] = rng.random(len(table))
        chosen_K = rng.integers(len(table), size=len(table))
        rows.append(_shares(table.iloc[chosen_K], values_K[chosen_K], space, int(rng.integers(2**31))))
    found = pd.DataFrame(rows)
    return Importance({name: found[name].to_numpy() for name in found}, dict(whole), len(table))


def _distribution(column: pd.Series) -> Any:
    """Numbers above 0 on a log scale, words as categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if column.name == NOTHING:
        return FloatDistribution(0.0, 1.0)
    if pd.api.types.is_numeric_dtype(column) and column.notna().all():
        return FloatDistribution(float(column.min()), float(column.max()), log=bool(column.min() > 0))
    return CategoricalDistribution(tuple(dict.fromkeys(map(str, column))))


def _shares(table: pd.DataFrame, values_K: np.ndarray, space: Mapping[str, Any], seed: int) -> dict[str, float]:
    """One forest's shares of the variance, not made to sum to 1: the rest is interaction."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for row, value in zip(table.to_dict("records"), values_K, strict=True):
        params = {name: float(x) if _is_range(space[name]) else str(x) for name, x in row.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(space), value=float(value)))
    found = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed).evaluate(study)
    return {name: found[name] for name in table}


def _is_range(distribution: Any) -> bool:
    return hasattr(distribution, "low")
