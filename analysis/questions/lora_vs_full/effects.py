"""LoRA beside full fine-tuning under one condition: the ratio of their best learning rates, and what each forgets at equal
quality; and how far a condition moves these, paired with another by seed and item. Pure."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import matched_arms, scores
from analysis.claims.rules import lacks
from analysis.claims.tables import Tables
from analysis.stats import Estimate, no_interval
from analysis.stats.equal_quality import Matched, further
from analysis.stats.optimum import log_ratios, ratio_over_seeds, spacing
from experiments.lora_vs_full import BASELINE, CONDITIONS

RATIO, NLL, SKILLS = "ratio", "forgetting", "raw_accuracy/skills"
WHAT = (RATIO, NLL, SKILLS)  # what a condition is looked at by
LEAST_RATES = {RATIO: 3, NLL: 2, SKILLS: 2}


def conditions(trials: pd.DataFrame) -> pd.DataFrame:
    """The condition of each trial: the one whose changes it has, the baseline without any; and what makes a curve."""
    condition = pd.Series(BASELINE, index=trials.index)
    for name, one in CONDITIONS.items():
        if one.changes:
            condition[np.logical_and.reduce([trials[field] == value for field, value in one.changes.items()])] = name
    methods = trials["adapter.method"].map({"lora": "LoRA", "full": "full"})
    return trials.assign(condition=condition, curve=methods + ", " + condition)


def sides(t: Tables, name: str) -> tuple[list[Arm], list[Arm]]:
    """LoRA's arms along the learning rate and full fine-tuning's beside them."""
    beside = name if CONDITIONS[name].full else BASELINE
    return t.where({"condition": name, "adapter.method": "lora"}), t.where({"condition": beside, "adapter.method": "full"})


def _lacking(t: Tables, what: str, *names: str) -> str:
    """Why this cannot be said of these conditions, in words."""
    if what != RATIO and (why := lacks(t, what)):
        return why
    for name in names:
        lora, full = sides(t, name)
        if min(len(lora), len(full)) < LEAST_RATES[what]:
            return f"{name}: needs {LEAST_RATES[what]} learning rates of each method"
    return "" if _seeds(t, *names) else "no seed finished in all arms"


def _seeds(t: Tables, *names: str) -> list[int]:
    """The seeds that all arms of these conditions share."""
    return seeds_of(*(arm for name in names for side in sides(t, name) for arm in side))


def _logs(t: Tables, name: str, seeds: Sequence[int]) -> tuple[np.ndarray, str]:
    """Each seed's log ratio of best rates, and what has no top."""
    curves = {
        method: (np.array([arm.rate for arm in arms]), scores(t, arms, seeds, "quality").mean(axis=2))
        for method, arms in zip(("LoRA", "full"), sides(t, name), strict=True)
    }
    logs_S, lost = log_ratios(curves, seeds, t.panels["quality"].n_items)
    return logs_S, "; ".join(f"{name}: {one}" for one in lost)


def _matched(t: Tables, name: str, what: str, seeds: Sequence[int]) -> Matched:
    found = matched_arms(t, sides(t, name), what, seeds, place=list(CONDITIONS).index(name))
    assert found is not None, name  # `_lacking` has looked
    return found


@functools.lru_cache(maxsize=64)  # rules, table and figure ask for the same
def level(t: Tables, name: str, what: str) -> Estimate:
    """LoRA's best rate ÷ full's, or what full forgets more than LoRA at equal quality, under a condition."""
    if why := _lacking(t, what, name):
        return no_interval(math.nan, 0, 0, why)
    seeds = _seeds(t, name)
    return _ratio(t, *_logs(t, name, seeds), sides(t, name)) if what == RATIO else _matched(t, name, what, seeds).difference


@functools.lru_cache(maxsize=64)
def shift(t: Tables, name: str, what: str, against: str = BASELINE) -> Estimate:
    """By what factor the ratio, or by how much the difference, is larger under one condition than under another."""
    if why := _lacking(t, what, name, against):
        return no_interval(math.nan, 0, 0, why)
    seeds = _seeds(t, name, against)
    if what == RATIO:
        (own_S, why), (other_S, other_why) = _logs(t, name, seeds), _logs(t, against, seeds)
        own, other = sides(t, name), sides(t, against)
        apart = [arms for arms in (*own, *other) if not (arms in own and arms in other)]  # what both have cancels
        return _ratio(t, own_S - other_S, "; ".join(filter(None, (why, other_why))), apart)
    return further(_matched(t, name, what, seeds), _matched(t, against, what, seeds))


def of(t: Tables, name: str) -> dict[str, tuple[Estimate, Estimate]]:
    """All that a condition is looked at by: its level, and its shift against the baseline, where it has one."""
    levels, nothing = {what: level(t, name, what) for what in WHAT}, no_interval(math.nan, 0, 0, "")
    return {what: (e, shift(t, name, what) if e.known and name != BASELINE else nothing) for what, e in levels.items()}


def _ratio(t: Tables, logs_S: np.ndarray, lost: str, curves: Sequence[list[Arm]]) -> Estimate:
    n_items = t.panels["quality"].n_items
    if lost:
        return no_interval(math.nan, len(logs_S), n_items, lost, "log")
    return ratio_over_seeds(logs_S, [spacing(np.array([arm.rate for arm in arms])) for arms in curves], n_items)
