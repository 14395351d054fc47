"""Which learning rate counts where an arm's final trials ran at several: the sweep was extended and tuned again."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from core.errors import BadInput
from core.states import Phase, State

DRAWN = ("model.name", "data.held_out_fold")  # what further bases may differ in


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
    qualities = _over_bases(tuned, qualities, group[group["phase"] == Phase.AGAIN])
    best = qualities.index[qualities == qualities.max()]
    # Of rates that are equally good one that has final trials, and of several the lowest, in whatever order they were logged.
    rate = min(best, key=lambda one: (not (final == one).any(), one))
    return final_T & (group["train.learning_rate"] == rate).to_numpy()


def base_keys(trials: pd.DataFrame) -> list[tuple[str, ...]]:
    """What a trial shares with those that it is paired with: seed, base, and clusters held out, as far as it is told."""
    names = [name for name in ("seed", *DRAWN) if name in trials]
    return list(zip(*(trials[name].astype(str) for name in names), strict=True)) if names else [()] * len(trials)


def _over_bases(tuned: pd.DataFrame, qualities: pd.Series, again: pd.DataFrame) -> pd.Series:
    """The qualities by rate; where the best two ran on further bases too, their means over those that both finished on, and with
    them rates beyond the better of the two: as the sweep chose (sweeps/tuning.py). Of equal means the first alone."""
    if again.empty:
        return qualities
    two = list(qualities.sort_values(ascending=False, kind="stable").index[:2])
    means = _means(two, tuned, again)
    best = max(means, key=lambda rate: means[rate])
    side = 1 if best == max(two) else -1
    beyond = [rate for rate in qualities.index if rate in set(again["train.learning_rate"]) and (rate - best) * side > 0]
    means = _means([*two, *beyond], tuned, again)
    best = max(means, key=lambda rate: means[rate])
    return pd.Series({best: means[best]})


def _means(rates: list[float], tuned: pd.DataFrame, again: pd.DataFrame) -> dict[float, float]:
    """Means over the bases that all these rates finished on; a rate that diverged on one is as bad as can be."""
    lost = set(again.loc[again["state"] == State.DIVERGED, "train.learning_rate"])
    each = {}
    for rate in rates:
        own = pd.concat([table[(table["train.learning_rate"] == rate) & table["quality"].notna()] for table in (tuned, again)])
        each[rate] = dict(zip(base_keys(own), own["quality"].astype(float), strict=True))
    whole = [set(found) for rate, found in each.items() if rate not in lost]
    both = sorted(set.intersection(*whole)) if whole else []
    return {rate: -math.inf if rate in lost else float(np.mean([found[key] for key in both])) for rate, found in each.items()}
