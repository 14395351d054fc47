"""Does tuning add facts, or only bring out those that pretraining left, and does that take rank?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.rules import Rule, hindrance, lacks, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import IS_ABOVE, SEEDS_ALONE, Finding
from analysis.formatting import joined
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region, mean_interval

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


def of_seeds(t: Tables, weights: dict[str, float], region: Region, rule: str, effect: str) -> Finding:
    """A combination of several measures of the rank-16 arm: their items differ, so the seeds are what varies."""
    arm = t.arm(RANK)
    if why := joined(*(lacks(t, measure) for measure in weights)) or ("" if arm else "no arm with rank 16"):
        return Finding(None, None, rule, effect, note=f"{why}")
    assert arm is not None
    names = [arm.final[seed] for seed in sorted(arm.final)]
    per_seed = np.sum([weight * t.panels[m].of(names).mean(axis=1) for m, weight in weights.items()], axis=0)
    e = mean_interval(per_seed[:, None], n_items=min(t.panels[m].n_items for m in weights))
    return Finding(e, region, rule, effect, "accuracy", note=SEEDS_ALONE, hindrance=hindrance(t, "quality", arm))


RULES: dict[str, Rule] = {
    "unheard_facts_stay_unknown": lambda t: of_seeds(
        t, {"recall/unheard": 1.0}, GUESSED, "supported: interval below 0.15; contradicted: above",
        "facts of unheard people, rank 16",
    ),
    "pretrained_facts_beat_taught_facts": lambda t: of_seeds(
        t, {"recall/known": 1.0, "recall/taught": -1.0}, ABOVE_ZERO, IS_ABOVE,
        "facts of pretraining − facts of tuning, rank 16",
    ),
    "rank_helps_new_facts": lambda t: trend(
        t, {"adapter.method": "lora"}, "recall/taught", ABOVE_ZERO,
        "supported: interval of the slope above 0; contradicted: below 0",
        "rise of recall of taught facts with parameters (LoRA)",
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)
