"""How many wrong answers do 1,000 curated examples bear?"""

from __future__ import annotations

import math
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import View
from analysis.question_report import reporter
from analysis.question_rules import Rule, difference
from analysis.stats import BELOW_ZERO, Region
from analysis.verdicts import IS_BELOW

NAME = "label_noise"
VIEW = View(
    x="data.noise_share",
    x_label="share of rows with a wrong answer",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    scale="linear",
)
RIGHT, TENTH = {"data.noise_share": 0.0}, {"data.noise_share": 0.1}
AT_MOST_FIVE_POINTS = Region(-0.05, math.inf)

RULES: dict[str, Rule] = {
    "4c": lambda t: difference(
        t, TENTH, RIGHT, "quality", BELOW_ZERO, IS_BELOW, "quality, 10 % wrong − none"
    ),
    "4d": lambda t: difference(
        t, TENTH, RIGHT, "quality", AT_MOST_FIVE_POINTS, "supported: interval above −0.05; contradicted: below",
        "quality, 10 % wrong − none", in_points=True,
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
