"""How much curated data is enough, at equal epochs and at equal steps?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.published import PublishedCurve
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, at_most, combination, difference
from analysis.claims.tables import View
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 0.9  # of the quality that the most data give


def matching(trials: pd.DataFrame) -> pd.DataFrame:
    """Which of the two comparisons a trial belongs to; 1,000 examples belong to both and are drawn with equal epochs."""
    return trials.assign(matching=np.where(trials["train.steps"].isna(), "equal epochs", "equal steps"))


# The figure prints no values; the text says that it is flat.
LIMA = PublishedCurve(
    "quality", (2_000, 4_000, 8_000, 16_000, 32_000), (3.8,) * 5, "Zhou 2023, Fig. 6",
    "helpfulness of 1 to 6 by examples, 7 B, about 3.8 throughout", "https://arxiv.org/abs/2305.11206", curve="equal epochs",
)  # fmt: skip
VIEW = View(
    x="data.n_examples",
    x_label="curated examples",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="matching",
    derive=matching,
    fits={"quality": "rising", "exact_match/held_out": "rising"},
    published=(LIMA,),
)


def no_gain(matched: str) -> Rule:
    """Sixteen times the examples give at most three points more."""
    most, few = ({"data.n_examples": n, "matching": matched} for n in (8_000, 500))
    ask = Ask("quality", at_most(3), f"quality, 8,000 − 500 examples, {matched}", in_points=True)
    return lambda t: difference(t, most, few, ask)


def share_reached(n: int, region: Region) -> Rule:
    """The quality of n examples less 90 % of that of 8,000."""
    few, most = ({"data.n_examples": size, "matching": "equal epochs"} for size in (n, 8_000))
    ask = Ask("quality", region, f"quality of {n} examples − 90 % of that of 8,000", in_points=True)
    return lambda t: combination(t, [(few, 1.0), (most, -ENOUGH)], ask)


RULES: dict[str, Rule] = {
    "sixteen_times_data_no_gain_equal_epochs": no_gain("equal epochs"),
    "sixteen_times_data_no_gain_equal_steps": no_gain("equal steps"),
    "500_examples_reach_90_percent": share_reached(500, ABOVE_ZERO),
    "100_examples_miss_90_percent": share_reached(100, BELOW_ZERO),
}
QUESTION: Question[None] = Question(VIEW, RULES)
