"""Which learning rate counts where an arm's final trials ran at several: the sweep was extended and tuned again."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from core.errors import BadInput
from core.states import Phase, State


def final_trials(group: pd.DataFrame) -> np.ndarray:
    """Which trials of an arm are the final ones at its chosen learning rate (T,)."""
    final_T = group["phase"].to_numpy(dtype=object) == Phase.FINAL
    final = group.loc[final_T, "train.learning_rate"]
    if final.nunique() < 2:
        return final_T
    tuned = group[(group["phase"] == Phase.TUNE) & (group["state"] == State.FINISHED)]
    qualities = tuned.set_index("train.learning_rate")["quality"].astype(float).dropna()
    if qualities.empty:
        label = group["arm"].iloc[0]
        raise BadInput(f"{label}: final trials at several learning rates, and no tuning trial that finished says which is best")
    qualities = _over_bases(qualities, group[group["phase"] == Phase.AGAIN])
    best = qualities.index[qualities == qualities.max()]
    # Of rates that are equally good one that has final trials, and of several the lowest, in whatever order they were logged.
    rate = min(best, key=lambda one: (not (final == one).any(), one))
    return final_T & (group["train.learning_rate"] == rate).to_numpy()


def _over_bases(qualities: pd.Series, again: pd.DataFrame) -> pd.Series:
    """The qualities by rate; where the best two ran on further bases too, their means, as the sweep chose (sweeps/tuning.py)."""
    if again.empty:
        return qualities
    further = dict(list(again.groupby("train.learning_rate")))
    means = {}
    for rate, quality in qualities.sort_values(ascending=False, kind="stable").iloc[:2].items():
        own = further.get(rate, again.iloc[:0])
        diverged = (own["state"] == State.DIVERGED).any()
        means[rate] = -math.inf if diverged else pd.concat([pd.Series([quality]), own["quality"].dropna().astype(float)]).mean()
    return pd.Series(means)
