"""Does tuning add facts, or only bring out those that pretraining left, and does that take rank?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, hindrance, labels, not_measured, over_measures, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import SEEDS_ALONE, Finding, untested
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO
from core.measures import ACCURACY

if TYPE_CHECKING:
    import pandas as pd

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


def known_against_taught(t: Tables[None]) -> Finding:
    """Facts of pretraining less facts of tuning, of the rank-16 arm."""
    ask = Ask("recall/known", ABOVE_ZERO, "facts of pretraining − facts of tuning, rank 16")
    arm, both = t.arm(RANK), ("recall/known", "recall/taught")
    absent = joined(*(not_measured(t, replace(ask, measure=name)) for name in both))
    if arm is None or absent:
        return untested(ask.region, ask.effect, absent or "no arm with rank 16")
    e = over_measures(t, [("recall/known", [(arm, 1.0)]), ("recall/taught", [(arm, -1.0)])])
    return Finding(e, ask.region, ask.effect, ACCURACY, SEEDS_ALONE, hindrance(t, "quality", arm), labels([arm]))


RULES: dict[str, Rule] = {
    "pretrained_facts_beat_taught_facts": known_against_taught,
    "rank_helps_new_facts": lambda t: trend(
        t, {"adapter.method": "lora"}, Ask("recall/taught", ABOVE_ZERO, "rise of recall of taught facts with parameters (LoRA)")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
