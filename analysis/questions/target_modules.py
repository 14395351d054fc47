"""Which layers should LoRA adapt, at equal rank and at equal numbers of parameters?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.rules import Rule, difference, relative
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import IS_ABOVE, Finding
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd

EQUAL_RANK = 16
EQUAL_PARAMETERS = {"attention-qv": 19, "attention": 10, "mlp": 7, "all-linear": 4}
ABOUT_FIVE = Region(0.02, 0.08)  # "about 5 %"


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


def more_attention(t: Tables) -> Finding:
    """k_and_o_add_5_percent."""
    first, second = ({"adapter.targets": name, "adapter.rank": EQUAL_RANK} for name in ("attention", "attention-qv"))
    rule = "supported: interval within 2–8 %; contradicted: outside"
    return relative(t, first, second, "quality", ABOUT_FIVE, rule, "q, k, v, o against q, v at rank 16, quality, relative")


def beats_attention(targets: str) -> Rule:
    """mlp_beats_attention, all_linear_beats_attention."""
    first, second = ({"adapter.targets": name, "adapter.rank": EQUAL_PARAMETERS[name]} for name in (targets, "attention"))
    rule = IS_ABOVE
    return lambda t: difference(
        t, first, second, "quality", ABOVE_ZERO, rule, f"{targets} − attention at equal parameters, quality"
    )


RULES: dict[str, Rule] = {
    "k_and_o_add_5_percent": more_attention,
    "mlp_beats_attention": beats_attention("mlp"),
    "all_linear_beats_attention": beats_attention("all-linear"),
}
report = reporter(VIEW, RULES)
