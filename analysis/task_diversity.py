"""Do more tasks, or more clusters of tasks, carry over to clusters that were never trained on?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.overlay import PublishedCurve
from analysis.question import View
from analysis.question_report import reporter
from analysis.question_rules import Rule, trend
from analysis.stats import ABOVE_ZERO

if TYPE_CHECKING:
    import pandas as pd

NAME = "task_diversity"


def breadth(trials: pd.DataFrame) -> pd.DataFrame:
    """How many clusters or tasks a trial's examples come from, and of which the arm gives the number."""
    by_cluster = trials["data.n_clusters"].notna()
    count = trials["data.n_clusters"].where(by_cluster, trials["data.n_tasks"]).astype(float)
    return trials.assign(breadth=count, unit=np.where(by_cluster, "clusters", "tasks"))


FLAN = PublishedCurve(
    "exact_match/held_out", (1, 2, 3, 4, 5, 6, 7), (49.9, 55.0, 59.3, 59.2, 60.8, 61.9, 63.5), "Wei 2021, Fig. 6",
    "zero-shot average over held-out clusters, %, by clusters in tuning, 137 B", "https://arxiv.org/abs/2109.01652",
    curve="clusters",
)  # fmt: skip
VIEW = View(
    x="breadth",
    x_label="clusters or tasks trained on (1,000 examples)",
    measures=("exact_match/held_out", "quality", "forgetting", "raw_accuracy/skills"),
    curves="unit",
    derive=breadth,
    fits={"exact_match/held_out": "rising"},
    published=(FLAN,),
)


def carries_over(unit: str) -> Rule:
    """1a, 1b: the slope of held-out exact match on the logarithm of the number."""
    rule = "supported: interval of the slope above 0; contradicted: below 0"
    return lambda t: trend(
        t, {"unit": unit}, "exact_match/held_out", ABOVE_ZERO, rule, f"rise of held-out exact match with {unit}"
    )


RULES: dict[str, Rule] = {"1a": carries_over("clusters"), "1b": carries_over("tasks")}
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
