"""The arms of rank_vs_quality as a frame: one row an arm, with its estimates, their limits, and how many trials failed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis.stats import Estimate, interquartile_mean
from analysis.stats.front import front_probability


def arm_frame(
    found: list[a.Arm],
    trials: pd.DataFrame,
    quality: a.Panel,
    forgetting: a.Panel,
    optima: Mapping[str, Estimate],
    matched: Mapping[str, Estimate],
    random_state: int,
) -> pd.DataFrame:
    """One row an arm: settings, counts of trials, and every estimate with its limits as name, name_low, name_high."""
    full = next((arm for arm in found if arm.method == "full" and arm.final), None)
    front = _front(found, quality, forgetting, random_state)
    rows = []
    for arm in found:
        row: dict[str, object] = {"arm": arm.label, **a.counts(arm, trials[trials["arm"] == arm.label])}
        row |= {"quality_iqm": _iqm(arm, quality), "front_probability": front.get(arm.label, math.nan)}
        estimates = {"optimum": optima[arm.label], "forgetting_saved_at_equal_quality": matched.get(arm.label)}
        for name, scores in (("quality", quality), ("forgetting", forgetting)):
            estimates[name] = a.mean(arm, scores) if arm.final else None
            paired = full is not None and arm is not full and bool(a.seeds_of(arm, full))
            estimates[f"{name}_vs_full"] = a.difference(arm, full, scores) if full and paired else None
        for name, estimate in estimates.items():
            row |= a.columns(name, estimate)
        rows.append(row)
    return pd.DataFrame(rows)


def _iqm(arm: a.Arm, scores: a.Panel) -> float:
    """Interquartile mean over seeds × tasks; nan where the trials were not scored on the same items."""
    if not arm.final or not scores.crossed:
        return math.nan
    scores_SI = scores.of(list(arm.final.values()))
    return interquartile_mean(
        np.stack([scores_SI[:, scores.strata_I == g].mean(axis=1) for g in np.unique(scores.strata_I)], axis=1)
    )


def _front(found: list[a.Arm], quality: a.Panel, forgetting: a.Panel, random_state: int) -> dict[str, float]:
    """Probability of being on the Pareto front, over seeds that finished in every arm; empty below two such seeds."""
    ready = [arm for arm in found if arm.final]
    seeds = a.seeds_of(*ready)
    if len(seeds) < 2:
        return {}
    q, f = (np.stack([scores.of([arm.final[s] for s in seeds]) for arm in ready]) for scores in (quality, forgetting))
    share = front_probability(q, f, quality.strata_I, forgetting.strata_I, np.random.default_rng(random_state))
    return {arm.label: float(p) for arm, p in zip(ready, share, strict=True)}
