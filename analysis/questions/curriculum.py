"""Does it help to train on easy rows first?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, at_most, difference
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd

USUAL, SHORT, NOISY, HIGH = "three epochs", "one epoch", "25 % wrong answers", "rate too high"


def conditions(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: under which conditions orders are compared. Arms of a rate too high have it in their names where others
    are tuned (and may be left out); where none is tuned, all have, and theirs is the highest rate."""
    named = trials["arm"].astype(str).str.contains("learning_rate=")
    rate = trials["train.learning_rate"]
    high = rate > 1.5 * rate.min() if named.all() else named
    longest = trials["train.epochs"].max()
    condition = np.where(trials["train.epochs"] < longest, SHORT, USUAL)
    condition = np.where(trials["data.noise_share"] > 0, NOISY, condition)
    return trials.assign(condition=np.where(high, HIGH, condition))


VIEW = View(
    x="data.order",
    x_label="order of the rows",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="condition",
    scale="even",
    derive=conditions,
)


def against_random(order: str, condition: str, region: Region, in_points: bool = False) -> Rule:
    """Quality with this order less that with a random one."""
    ask = Ask("quality", region, f"quality, {order} − random order, {condition}", in_points=in_points)
    first: Fields = {"data.order": order, "condition": condition}
    second: Fields = {"data.order": "random", "condition": condition}
    return lambda t: difference(t, first, second, ask)


def at_high_rate(t: Tables[Any]) -> Finding:
    """The same at a rate too high, which is meant not to be tuned."""
    found = against_random("easy-first", HIGH, ABOVE_ZERO)(t)
    return replace(found, hindrance="", note=joined("at one rate, which is not tuned", found.note)) if found.estimate else found


RULES: dict[str, Rule] = {
    "easy_first_beats_random_order": against_random("easy-first", USUAL, ABOVE_ZERO),
    "hard_first_gains_at_most_3_points": against_random("hard-first", USUAL, at_most(3), in_points=True),
    "easy_first_beats_random_order_in_one_epoch": against_random("easy-first", SHORT, ABOVE_ZERO),
    "easy_first_beats_random_order_with_wrong_answers": against_random("easy-first", NOISY, ABOVE_ZERO),
    "easy_first_beats_random_order_at_high_rate": at_high_rate,
}
QUESTION: Question[None] = Question(VIEW, RULES)
