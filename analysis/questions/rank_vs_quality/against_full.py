"""What rank_vs_quality prepares: each arm beside full fine-tuning on test, its learning-rate curve, and the front of all arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis.arms import AXES, Arm, Panel
from analysis.claims.curves import beside_quality
from analysis.claims.tables import Tables
from analysis.questions.rank_vs_quality import retuning
from analysis.stats import Estimate, interquartile_mean
from analysis.stats.front import front_probability, on_front
from analysis.stats.good_rates import GoodRates, good_rates
from core.errors import BadInput


@dataclass(frozen=True)
class AgainstFull:
    """The arms beside full fine-tuning; every mapping goes from an arm's label, and lacks arms that have no such number."""

    full: Arm | None  # full fine-tuning, if the sweep has an arm of it with a final trial
    tuning: pd.DataFrame  # one row a tuning trial
    good: Mapping[str, GoodRates]  # an arm's best rate, whatever the shape of its curve, and the rates that are good
    differences: Mapping[str, Mapping[str, Estimate]]  # axis → the arm less full, on test
    at_equal_quality: Mapping[str, Estimate]  # forgetting of full less the arm's, on validation
    rows: pd.DataFrame  # one row an arm: all of these, the interquartile mean, and how surely it is on the front
    front: tuple[str, ...]  # the arms that no other beats in both means, along forgetting

    @property
    def optima(self) -> dict[str, Estimate]:
        """The best learning rate of every arm."""
        return {label: one.best for label, one in self.good.items()}


def prepare(t: Tables[Any]) -> AgainstFull:
    """Curves, optima and comparisons with full fine-tuning.

    Raises:
        BadInput: two arms have one rank.
    """
    one_arm_a_rank(t)
    full = next((arm for arm in t.arms if arm.method == "full" and arm.final), None)
    tuning = retuning.tuning_trials(t)
    tuned = retuning.scored(tuning)
    panels = retuning.panels_of(t, tuned)
    n_items = panels["quality"].n_items
    rated, matched = retuning.rated(t, tuning, panels), retuning.at_equal_quality(t, tuned, panels)
    good = {label: good_rates(one, n_items) for label, one in rated.items()}
    optima = {label: one.best for label, one in good.items()}
    differences = {axis: _differences(t, full, axis) for axis in AXES}
    rows = _rows(t, {"optimum": optima, "forgetting_saved_at_equal_quality": matched}, differences)
    rows = rows.assign(**{f"good_{end}": [getattr(good[arm.label], end) for arm in t.arms] for end in ("low", "high")})
    return AgainstFull(full, tuning, good, differences, matched, rows, _front(t))


def one_arm_a_rank(t: Tables[Any]) -> None:
    """Refuses a sweep that varies something else beside the rank: it answers another question."""
    seen: dict[tuple[str, int | None], str] = {}
    for arm in t.arms:
        key = (arm.method, arm.rank)
        if key in seen:
            raise BadInput(f"rank_vs_quality: arms {seen[key]!r} and {arm.label!r} have the same rank; vary adapter.rank alone")
        seen[key] = arm.label


def _differences(t: Tables[Any], full: Arm | None, axis: str) -> dict[str, Estimate]:
    """Each arm less full fine-tuning, paired by seed and item."""
    if full is None:
        return {}
    others = [arm for arm in t.arms if arm is not full and a.seeds_of(arm, full)]
    return {arm.label: a.difference(arm, full, t.panels[axis]) for arm in others}


def _rows(
    t: Tables[Any], estimates: Mapping[str, Mapping[str, Estimate]], differences: Mapping[str, Mapping[str, Estimate]]
) -> pd.DataFrame:
    """One row an arm: every estimate as name, name_low, name_high."""
    probability = _front_probability(t)
    named = {**estimates, **{f"{axis}_vs_full": found for axis, found in differences.items()}}
    rows = []
    for arm in t.arms:
        row: dict[str, object] = {"arm": arm.label, "quality_iqm": _interquartile_mean(arm, t.panels["quality"])}
        row["front_probability"] = probability.get(arm.label, math.nan)
        for name, found in named.items():
            row |= a.columns(name, found.get(arm.label))
        rows.append(row)
    return pd.DataFrame(rows)


def _interquartile_mean(arm: Arm, scores: Panel) -> float:
    """Over seeds × tasks; nan where the trials were not scored on the same items."""
    if not arm.final or not scores.crossed:
        return math.nan
    scores_SI = scores.of(list(arm.final.values()))
    tasks = [scores_SI[:, scores.strata_I == stratum].mean(axis=1) for stratum in np.unique(scores.strata_I)]
    return interquartile_mean(np.stack(tasks, axis=1))


def _front_probability(t: Tables[Any]) -> dict[str, float]:
    """How surely each arm is on the front, over the seeds that finished in every arm; empty below two such seeds."""
    ready = [arm for arm in t.arms if arm.final]
    seeds = a.seeds_of(*ready)
    if len(seeds) < 2:
        return {}
    share = front_probability(beside_quality(t, ready, seeds), np.random.default_rng(retuning.RANDOM_STATE))
    return {arm.label: float(p) for arm, p in zip(ready, share, strict=True)}


def _front(t: Tables[Any]) -> tuple[str, ...]:
    """The front of the arms' means."""
    ready = t.arm_rows[t.arm_rows["seeds"] > 0]
    best = ready[on_front(*(ready[axis].to_numpy(float) for axis in AXES))]
    return tuple(best.sort_values("forgetting")["arm"])
