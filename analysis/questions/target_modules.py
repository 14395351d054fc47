"""Which layers should LoRA adapt, at equal rank and at equal numbers of parameters?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import AT_MOST_TWO_POINTS, Ask, Rule, difference
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding
from analysis.stats import ABOVE_ZERO

if TYPE_CHECKING:
    import pandas as pd

EQUAL_RANK = 16
EQUAL_PARAMETERS = {"attention-qv": 19, "attention": 10, "mlp": 7, "all-linear": 4}


def budget(trials: pd.DataFrame) -> pd.DataFrame:
    """Which of the two comparisons a trial belongs to."""
    return trials.assign(budget=np.where(trials["adapter.rank"] == EQUAL_RANK, "equal rank", "equal parameters"))


VIEW = View(
    x="adapter.targets",
    x_label="adapted layers",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="budget",
    derive=budget,
)


def more_attention(t: Tables[None]) -> Finding:
    """What adapting k and o beside q and v adds, at equal parameters."""
    first, second = ({"adapter.targets": name, "adapter.rank": EQUAL_PARAMETERS[name]} for name in ("attention", "attention-qv"))
    ask = Ask("quality", AT_MOST_TWO_POINTS, "q, k, v, o − q, v at equal parameters, quality", in_points=True)
    return difference(t, first, second, ask)


def beats_attention(targets: str) -> Rule:
    """These layers less attention's, at equal numbers of parameters."""
    first, second = ({"adapter.targets": name, "adapter.rank": EQUAL_PARAMETERS[name]} for name in (targets, "attention"))
    ask = Ask("quality", ABOVE_ZERO, f"{targets} − attention at equal parameters, quality")
    return lambda t: difference(t, first, second, ask)


RULES: dict[str, Rule] = {
    "k_and_o_add_little_at_equal_parameters": more_attention,
    "mlp_beats_attention": beats_attention("mlp"),
    "all_linear_beats_attention": beats_attention("all-linear"),
}
QUESTION: Question[None] = Question(VIEW, RULES)
