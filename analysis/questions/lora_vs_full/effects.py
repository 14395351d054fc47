"""What lora_vs_full prepares: LoRA beside full fine-tuning under each condition (the ratio of their best learning rates, and what
each forgets at equal quality), and how far a condition moves these from another, paired by seed and item where both have the same
bases. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import Plane, matched_arms, scores
from analysis.claims.rules import Ask, not_measured
from analysis.claims.tables import Tables
from analysis.stats import ABOVE_ZERO, Estimate, Missing, Why, no_interval
from analysis.stats.drawn import drawn
from analysis.stats.equal_quality import Matched, further
from analysis.stats.good_rates import over_seeds, ratio_of_best
from analysis.stats.optimum import log_ratios, ratio_over_seeds, spacing
from core.adapters import METHODS
from experiments.lora_vs_full import BASELINE, CONDITIONS, EXPERIMENT

RATIO, NLL, SKILLS = "ratio", "forgetting", "raw_accuracy/skills"
WHAT = (RATIO, NLL, SKILLS)  # what a condition is looked at by
LEAST_RATES = {RATIO: 3, NLL: 2, SKILLS: 2}
NARROW, WIDE = "narrow base", "wide base"
PAIRS = (*((name, BASELINE) for name in CONDITIONS if name != BASELINE), (WIDE, NARROW))  # conditions that are compared


@dataclass(frozen=True)
class Effects:
    """Every condition's level, and every pair's shift."""

    levels: Mapping[tuple[str, str], Estimate]  # (condition, what)
    shifts: Mapping[tuple[str, str, str], Estimate]  # (condition, the one that it is compared with, what)

    def level(self, name: str, what: str) -> Estimate:
        """LoRA's best rate ÷ full's, or what full forgets more than LoRA at equal quality, under a condition."""
        return self.levels[name, what]

    def shift(self, name: str, what: str, against: str = BASELINE) -> Estimate:
        """By what factor the ratio, or by how much the difference, is larger under one condition than under another."""
        return self.shifts[name, against, what]

    def of(self, name: str) -> dict[str, tuple[Estimate, Estimate | None]]:
        """All that a condition is looked at by: its level, and its shift against the baseline, where it has one."""
        moved = {what: name != BASELINE and self.level(name, what).known for what in WHAT}
        return {what: (self.level(name, what), self.shift(name, what) if moved[what] else None) for what in WHAT}


@dataclass(frozen=True)
class Over:
    """One thing by which a condition is looked at, over some seeds."""

    condition: str
    what: str
    seeds: tuple[int, ...]


def conditions(trials: pd.DataFrame) -> pd.DataFrame:
    """The condition of each trial: the one whose changes it has, the baseline without any; and what makes a curve."""
    condition = pd.Series(BASELINE, index=trials.index)
    for name, one in CONDITIONS.items():
        if one.changes:
            own = [trials[field].isin(EXPERIMENT.drawn.get(str(value), (value,))) for field, value in one.changes.items()]
            condition[np.logical_and.reduce(own)] = name
    labels = trials["adapter.method"].map({name: method.label for name, method in METHODS.items()})
    return trials.assign(condition=condition, curve=labels + ", " + condition)


def sides(t: Tables[Any], name: str) -> tuple[list[Arm], list[Arm]]:
    """LoRA's arms along the learning rate and full fine-tuning's beside them."""
    beside = name if CONDITIONS[name].full else BASELINE
    return t.where({"condition": name, "adapter.method": "lora"}), t.where({"condition": beside, "adapter.method": "full"})


def prepare(t: Tables[Any]) -> Effects:
    """The levels of all conditions and the shifts of all pairs. Curves that several of these need over the same seeds are
    compared once."""
    groups = [*((name,) for name in CONDITIONS), *PAIRS]
    missing = {(names, what): _missing(t, what, names) for names in groups for what in WHAT}
    seeds = {names: tuple(_seeds(t, names)) for names in groups}
    wanted = [Over(name, what, seeds[names]) for (names, what), why in missing.items() if why is None for name in names]
    ratios = {one: _ratios(t, one) for one in dict.fromkeys(wanted) if one.what == RATIO}
    matched = {one: _matched(t, one) for one in dict.fromkeys(wanted) if one.what != RATIO}

    def found(names: tuple[str, ...], what: str) -> Estimate:
        if why := missing[names, what]:
            return no_interval(math.nan, 0, 0, why)
        over = [Over(name, what, seeds[names]) for name in names]
        if what == RATIO:
            return ratios[over[0]].level if len(over) == 1 else _shift(t, names, [ratios[one] for one in over])
        first = matched[over[0]]
        return first.difference if len(over) == 1 else further(first, matched[over[1]])

    levels = {(name, what): found((name,), what) for name in CONDITIONS for what in WHAT}
    return Effects(levels, {(*names, what): found(names, what) for names in PAIRS for what in WHAT})


def _missing(t: Tables[Any], what: str, names: Sequence[str]) -> Missing | None:
    """Why this is not known of these conditions; None where it can be worked out."""
    if what != RATIO and (why := not_measured(t, Ask(what, ABOVE_ZERO, ""))):
        return Missing(Why.NOT_MEASURED, why)
    for name in names:
        lora, full = sides(t, name)
        if min(len(lora), len(full)) < LEAST_RATES[what]:
            return Missing(Why.TOO_FEW, f"{name}: needs {LEAST_RATES[what]} learning rates of each method")
    return None if _seeds(t, names) else Missing(Why.TOO_FEW, "no seed finished in all arms")


def _seeds(t: Tables[Any], names: Sequence[str]) -> list[int]:
    """The seeds that all arms of these conditions share."""
    return seeds_of(*(arm for name in names for side in sides(t, name) for arm in side))


@dataclass(frozen=True)
class Ratio:
    """Both curves of one condition: the ratio of the tops of parabolas with where it may lie whatever the curves' shapes, each
    seed's log ratio (S,), and which curves have no top."""

    level: Estimate
    logs_S: np.ndarray
    lost: Sequence[Missing]


def _ratios(t: Tables[Any], one: Over) -> Ratio:
    curves = {
        method: (np.array([arm.rate for arm in arms]), scores(t, arms, one.seeds, "quality").mean(axis=2))
        for method, arms in zip(("LoRA", "full"), sides(t, one.condition), strict=True)
    }
    quality, arms = t.panels["quality"], [arm for side in sides(t, one.condition) for arm in side]
    n_items, bases_S = quality.n_items, quality.bases(arms, one.seeds)
    lora, full = (over_seeds(rates_K, quality_KS.T, bases_S) for rates_K, quality_KS in curves.values())
    logs_S, lost = log_ratios(curves, one.seeds, n_items)
    named = [Missing(why.kind, f"{one.condition}: {why.text}") for why in lost]
    if named:
        edge = any(why.kind is Why.NOT_BRACKETED for why in named)
        why = Missing(Why.NOT_BRACKETED if edge else named[0].kind, "; ".join(one.text for one in named))
        return Ratio(no_interval(math.nan, len(logs_S), n_items, why, "log"), logs_S, named)
    e = ratio_of_best(lora, full, n_items)
    return Ratio(replace(e, value=math.exp(drawn(logs_S[:, None], bases_S).scores_UI.mean())), logs_S, named)


def _shift(t: Tables[Any], names: tuple[str, ...], found: Sequence[Ratio]) -> Estimate:
    """The ratio of two conditions' ratios. Both conditions' curves of a method are taken to have one shape, so that a parabola
    misses their tops alike."""
    n_items = t.panels["quality"].n_items
    logs_S = found[0].logs_S - found[1].logs_S
    if lost := next((one.level.missing for one in found if one.lost), None):
        return no_interval(math.nan, len(logs_S), n_items, lost, "log")
    both = [sides(t, name) for name in names]
    curves = [arms for one in both for arms in one if not all(arms in own for own in both)]  # shared: cancels
    bases_S = t.panels["quality"].bases([arms[0] for one in both for arms in one], _seeds(t, names))
    return ratio_over_seeds(logs_S, [spacing(np.array([arm.rate for arm in arms])) for arms in curves], n_items, bases_S)


def _matched(t: Tables[Any], one: Over) -> Matched:
    found = matched_arms(t, sides(t, one.condition), Plane(one.what), one.seeds, place=list(CONDITIONS).index(one.condition))
    assert found is not None, one.condition  # `_missing` has looked
    return found
