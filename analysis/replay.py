"""How much replayed pretraining text brings back what tuning makes the model forget, and what does it cost?"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import NOT_WORSE, Rule, View, combination, difference, reporter
from analysis.stats import ABOVE_ZERO, BELOW_ZERO

NAME = "replay"
VIEW = View(
    x="data.replay_share",
    x_label="share of replayed pretraining documents",
    measures=("forgetting", "quality", "exact_match/held_out", "raw_accuracy/skills"),
    logarithmic=False,
)
NONE = {"data.replay_share": 0.0}


RULES: dict[str, Rule] = {
    "14a": lambda t: difference(
        t, {"data.replay_share": 0.05}, NONE, "forgetting", BELOW_ZERO,
        "supported: interval below 0; contradicted: above 0", "forgetting, 5 % replay − none",
    ),
    "14b": lambda t: combination(
        t, [(NONE, 0.5), ({"data.replay_share": 0.01}, -1.0)], "forgetting", ABOVE_ZERO,
        "supported: interval above 0; contradicted: below 0", "half of the forgetting without replay − that with 1 %",
    ),
    "14c": lambda t: difference(
        t, {"data.replay_share": 0.1}, NONE, "quality", NOT_WORSE,
        "supported: interval above −0.02; contradicted: below", "quality, 10 % replay − none", in_points=True,
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
