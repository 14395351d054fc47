"""Forgetting of single runs beside the KL divergence from the base on the tuning task's held-out prompts: does it tell forgetting
alone, whatever else a run did (RL's Razor, Shenfeld et al. 2025)? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims.curves import RANDOM_STATE
from analysis.stats import Estimate
from analysis.stats.explained import Origin, explained
from core.states import Phase, State

KL = "after/kl/responses"  # a column of trials


@dataclass(frozen=True)
class Cloud:
    """Forgetting and the KL divergence on the task of N final trials, and where each comes from."""

    kl_N: np.ndarray
    forgetting_N: np.ndarray
    origin: Origin

    @property
    def r_squared(self) -> Estimate:
        """Of a quadratic, with an interval over arms and bases."""
        return explained(self.kl_N, self.forgetting_N, self.origin, np.random.default_rng(RANDOM_STATE))


def measured(trials: pd.DataFrame) -> pd.DataFrame:
    """The final trials that have finished and were told both."""
    if KL not in trials:
        return trials.iloc[:0]
    done = trials[(trials["phase"] == Phase.FINAL) & (trials["state"] == State.FINISHED)]
    return done[done[[KL, "forgetting"]].notna().all(axis=1)]


def cloud(parts: Sequence[pd.DataFrame]) -> Cloud | None:
    """The final trials of several sweeps, whose arms are others even where they are called the same; None without one. Trainings
    that several arms share, which ask or prompt the tuned model in other ways, count once."""
    found = [measured(one) for one in parts]
    if len(parts) > 1:
        found = [one.assign(arm=f"{number} " + one["arm"].astype(str)) for number, one in enumerate(found)]
    every = pd.concat(found) if found else pd.DataFrame()
    if every.empty:
        return None
    each = every.drop_duplicates(["seed", "model.name", KL, "forgetting"])
    kl_N, forgetting_N = (each[name].to_numpy(float) for name in (KL, "forgetting"))
    return Cloud(kl_N, forgetting_N, Origin(*(each[name].to_numpy(str) for name in ("arm", "seed", "model.name"))))
