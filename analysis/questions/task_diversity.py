"""Do more tasks, or more clusters of tasks, carry over to clusters that were never trained on?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.published import PublishedCurve
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, as_trained, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = "exact_match/held_out"


def breadth(trials: pd.DataFrame) -> pd.DataFrame:
    """How many clusters or tasks a trial's examples come from, and of which the arm gives the number."""
    by_cluster = trials["data.n_clusters"].notna()
    count = trials["data.n_clusters"].where(by_cluster, trials["data.n_tasks"]).astype(float)
    return trials.assign(breadth=count, unit=np.where(by_cluster, "clusters", "tasks"))


FLAN = PublishedCurve(
    HELD_OUT, (1, 2, 3, 4, 5, 6, 7), (49.9, 55.0, 59.3, 59.2, 60.8, 61.9, 63.5), "Wei 2021, Fig. 6",
    "zero-shot average over held-out clusters, %, by clusters in tuning, 137 B", "https://arxiv.org/abs/2109.01652",
    curve="clusters",
)  # fmt: skip
VIEW = View(
    x="breadth",
    x_label="clusters or tasks trained on, at equal examples",
    measures=(HELD_OUT, "quality", "forgetting", "raw_accuracy/skills"),
    curves="unit",
    derive=breadth,
    fits={HELD_OUT: "rising"},
    published=(FLAN,),
)


def carries_over(unit: str) -> Rule:
    """The slope on the logarithm of the number of clusters or tasks: of held-out exact match, or on one's own data of the
    quality on rows that one chose for it."""

    def rule(t: Tables[None]) -> Finding:
        if HELD_OUT in t.panels or t.trials["data.eval_source"].isna().any():
            return trend(
                t, {"unit": unit}, Ask(HELD_OUT, ABOVE_ZERO, f"rise of held-out exact match with {unit}", new_clusters=True)
            )
        effect = f"rise of quality on the rows of --eval-data with {unit}"
        found = trend(t, {"unit": unit}, Ask("quality", ABOVE_ZERO, effect))
        return replace(found, hindrance=joined(found.hindrance, as_trained(t, "tasks", "cluster or task")))

    return rule


RULES: dict[str, Rule] = {
    "held_out_rises_with_clusters": carries_over("clusters"),
    "held_out_rises_with_tasks": carries_over("tasks"),
}
QUESTION: Question[None] = Question(VIEW, RULES)
