"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import View
from analysis.question_report import reporter
from analysis.question_rules import Rule, difference, trend
from analysis.stats import ABOVE_ZERO, Region

NAME = "instruction_diversity"
VIEW = View(
    x="data.n_templates",
    x_label="templates trained on (1,000 examples)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)
RULES: dict[str, Rule] = {
    "2a": lambda t: trend(
        t, {}, "quality", ABOVE_ZERO, "supported: interval of the slope above 0; contradicted: below 0",
        "rise of exact match on unseen phrasings with templates",
    ),
    "2b": lambda t: difference(
        t, {"data.n_templates": 10}, {"data.n_templates": 1}, "exact_match/held_out", Region(-0.02, 0.02),
        "supported: interval within ±0.02; contradicted: outside", "held-out tasks, 10 templates − 1", in_points=True,
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
