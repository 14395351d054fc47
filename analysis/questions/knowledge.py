"""Does tuning add facts, or only bring out those that pretraining left, and does that take rank?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, hindrance, labels, not_measured, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import SEEDS_ALONE, Finding, untested
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO, Region, mean_interval
from core.measures import ACCURACY

if TYPE_CHECKING:
    import pandas as pd

GUESSED = Region(-math.inf, 0.15)  # the largest share that a value has among the taught facts is below this
RANK = {"adapter.rank": 16}


def capacity(trials: pd.DataFrame) -> pd.DataFrame:
    """Trained parameters, where full fine-tuning stands beside the ranks."""
    return trials.assign(parameters=trials["trainable_parameters"].groupby(trials["arm"]).transform("mean"))


VIEW = View(
    x="parameters",
    x_label="trained parameters (LoRA of rank 1, 4, 16, 64; full last)",
    measures=("recall/taught", "recall/known", "recall/unheard", "raw_accuracy/facts"),
    curves="adapter.method",
    derive=capacity,
)


def of_seeds(t: Tables[None], weights: Mapping[str, float], region: Region, effect: str) -> Finding:
    """A combination of several measures of the rank-16 arm: their items differ, so the seeds are what varies."""
    arm = t.arm(RANK)
    absent = joined(*(not_measured(t, Ask(measure, region, effect)) for measure in weights))
    if arm is None or absent:
        return untested(region, effect, absent or "no arm with rank 16")
    names = [arm.final[seed] for seed in sorted(arm.final)]
    per_seed = np.sum([weight * t.panels[m].of(names).mean(axis=1) for m, weight in weights.items()], axis=0)
    n_items = min(t.panels[m].n_items for m in weights)
    e = mean_interval(per_seed[:, None], n_items=n_items, share=list(weights.values()) == [1.0])
    return Finding(e, region, effect, ACCURACY, SEEDS_ALONE, hindrance(t, "quality", arm), labels([arm]))


RULES: dict[str, Rule] = {
    "unheard_facts_stay_unknown": lambda t: of_seeds(t, {"recall/unheard": 1.0}, GUESSED, "facts of unheard people, rank 16"),
    "pretrained_facts_beat_taught_facts": lambda t: of_seeds(
        t, {"recall/known": 1.0, "recall/taught": -1.0}, ABOVE_ZERO, "facts of pretraining − facts of tuning, rank 16"
    ),
    "rank_helps_new_facts": lambda t: trend(
        t, {"adapter.method": "lora"}, Ask("recall/taught", ABOVE_ZERO, "rise of recall of taught facts with parameters (LoRA)")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
