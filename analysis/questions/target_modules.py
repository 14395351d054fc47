"""Which layers should LoRA adapt, at equal rank and at equal numbers of parameters?"""

from __future__ import annotations

from dataclasses import replace
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
MOST_APART = 1.08  # of equal numbers of parameters: whole ranks come no nearer in the laboratory (1.05)


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


def at_equal_parameters(first: str, second: str, ask: Ask) -> Rule:
    """The one layers less the other, at the ranks that give both as many parameters in the laboratory's shapes; undecided where
    the model's shapes give one of them more."""
    one, other = ({"adapter.targets": name, "adapter.rank": EQUAL_PARAMETERS[name]} for name in (first, second))

    def found(t: Tables[None]) -> Finding:
        finding = difference(t, one, other, ask)
        arms = [arm.label for side in (one, other) for arm in t.where(side)]
        sizes = t.arm_rows.set_index("arm").reindex(arms, columns=["trainable_parameters"])["trainable_parameters"].dropna()
        if len(sizes) and sizes.max() > MOST_APART * sizes.min():
            told = " and ".join(f"{n:,.0f} ({arm})" for arm, n in sizes.items())
            return replace(finding, hindrance=f"the numbers of parameters differ: {told}")
        return finding

    return found


RULES: dict[str, Rule] = {
    "k_and_o_add_little_at_equal_parameters": at_equal_parameters(
        "attention",
        "attention-qv",
        Ask("quality", AT_MOST_TWO_POINTS, "q, k, v, o − q, v at equal parameters, quality", in_points=True),
    ),
    "mlp_beats_attention": at_equal_parameters(
        "mlp", "attention", Ask("quality", ABOVE_ZERO, "mlp − attention at equal parameters, quality")
    ),
    "all_linear_beats_attention": at_equal_parameters(
        "all-linear", "attention", Ask("quality", ABOVE_ZERO, "all-linear − attention at equal parameters, quality")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
