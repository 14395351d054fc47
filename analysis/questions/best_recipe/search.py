"""What best_recipe prepares: the search's configurations by rung, their fronts and hypervolumes, and which settings decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.tables import Tables
from analysis.questions.best_recipe.importance import Importance, importance
from analysis.stats import Missing
from analysis.stats.front import Box, hypervolume, on_front
from core.errors import BadInput, nearest
from core.experiment import TUNED_ARM, OpenSearch
from core.states import Phase, State
from experiments.best_recipe import EXPERIMENT

RANDOM_STATE = 20_250_701
DRAWS = 50  # of configurations and forests; 0.1 to 0.2 s each


def _defined() -> OpenSearch:
    assert EXPERIMENT.search is not None  # best_recipe is an open search
    return EXPERIMENT.search


SEARCHED = tuple(_defined().space)  # the fields
SHARES = dict(zip(_defined().labels(), _defined().rungs, strict=True))  # a rung → the share of its configurations' training


@dataclass(frozen=True)
class Rung:
    """The configurations that ran at one rung."""

    label: str
    tried: pd.DataFrame  # one row a configuration, in the order in which they started
    front: pd.DataFrame  # those that no other beats in both, along forgetting
    volume_K: np.ndarray  # the hypervolume of the first 1, 2, … of them; empty where no trial of the search gained anything


@dataclass(frozen=True)
class Search:
    """The search on validation, beside the arms on test."""

    rungs: Sequence[Rung]  # from the smallest share of the training to the whole
    deciding: Mapping[str, Importance | Missing]  # "quality", "forgetting" → how much each setting decides at the first rung


def prepare(t: Tables[Any]) -> Search:
    """The rungs with their fronts, and the importance of every setting."""
    tried = configurations(t.trials)
    inside = box(tried)
    rungs = [_rung(own, inside) for _, own in tried.groupby("share")]
    return Search(rungs, {measure: deciding(tried, measure) for measure in ("quality", "forgetting")})


def configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """The search's finished trials, one row each: `share` of the training, the settings as they were searched (the epochs of the
    whole training), quality and forgetting on validation."""
    of_usual = trials["arm"] == TUNED_ARM
    found = trials[(trials["phase"] == Phase.TUNE) & (trials["state"] == State.FINISHED) & ~of_usual]
    found = found.assign(share=[_share(str(label)) for label in found["arm"]])
    epochs = found["train.epochs"].astype(float) / found["share"].astype(float)
    return found.assign(**{"train.epochs": [float(f"{value:.3g}") for value in epochs]})


def _share(rung: str) -> float:
    """The share of the training that a rung gives.

    Raises:
        BadInput: the question has no such rung.
    """
    if rung not in SHARES:
        raise BadInput(f"best_recipe: rung {rung!r}: {nearest(rung, list(SHARES))}")
    return SHARES[rung]


def _rung(own: pd.DataFrame, inside: Box | None) -> Rung:
    return Rung(str(own["arm"].iloc[0]), own, front(own), volume(own, inside) if inside else np.empty(0))


def box(tried: pd.DataFrame) -> Box | None:
    """What hypervolumes are shares of: up to the best quality and the largest forgetting of all trials; None without a gain."""
    if tried.empty:
        return None
    before = float(tried["quality_before"].mean())
    found = Box(before, float(tried["quality"].max()), float(tried["forgetting"].max()))
    return found if found.quality_best > before and found.forgetting_worst > 0 else None


def volume(tried: pd.DataFrame, inside: Box) -> np.ndarray:
    """The hypervolume of the first 1, 2, … of these trials."""
    quality, forgetting = tried["quality"].to_numpy(float), tried["forgetting"].to_numpy(float)
    return np.array([hypervolume(quality[:k], forgetting[:k], inside) for k in range(1, len(quality) + 1)])


def front(tried: pd.DataFrame) -> pd.DataFrame:
    """Those that no other beats in both, along forgetting."""
    kept = on_front(tried["quality"].to_numpy(float), tried["forgetting"].to_numpy(float))
    return tried[kept].sort_values("forgetting")


def has_knee(trials: pd.DataFrame) -> bool:
    """Whether of the recipes that had the whole training, and gained enough, one lies between that of best quality and that of
    least forgetting: then the knee is an arm of its own (sweeps/recipes.py)."""
    tried = configurations(trials)
    whole = tried[tried["share"] == max(SHARES.values())]
    if whole.empty:
        return False
    gain = (whole["quality"] - whole["quality_before"]).astype(float)
    kept = whole[gain >= _defined().least_gain * max(float(gain.max()), 0.0)]
    if kept.empty:
        return False
    best = kept.sort_values(["quality", "forgetting"], ascending=[False, True]).iloc[0]
    least = kept.sort_values(["forgetting", "quality"], ascending=[True, False]).iloc[0]
    between = (kept["quality"] > least["quality"]) & (kept["quality"] < best["quality"])
    return bool((between & (kept["forgetting"] > least["forgetting"]) & (kept["forgetting"] < best["forgetting"])).any())


def deciding(tried: pd.DataFrame, measure: str) -> Importance | Missing:
    """How much each setting decides of a measure at the first rung, where all configurations are; or why that is not known."""
    first = tried[tried["share"] == tried["share"].min()]
    settings = first[[name for name in SEARCHED if first[name].nunique(dropna=False) > 1]]
    return importance(settings, first[measure].to_numpy(float), RANDOM_STATE, DRAWS)
