"""Does the template of the questions have to match that of training, and do prompts belong in the loss?"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import View
from analysis.question_report import reporter
from analysis.question_rules import Rule, difference
from analysis.stats import ABOVE_ZERO
from analysis.verdicts import IS_ABOVE

NAME = "chat_template"
VIEW = View(
    x="evaluation.chat",
    x_label="how questions are put (training: template)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="train.loss_on",
    curves_label="loss on",
)


def matching_beats(chat: str) -> Rule:
    """8a, 8b: with the loss on responses."""
    right, wrong = ({"evaluation.chat": form, "train.loss_on": "response"} for form in ("template", chat))
    return lambda t: difference(t, right, wrong, "quality", ABOVE_ZERO, IS_ABOVE, f"quality, training's template − {chat}")


RULES: dict[str, Rule] = {
    "8a": matching_beats("plain"),
    "8b": matching_beats("other"),
    "9": lambda t: difference(
        t, {"evaluation.chat": "template", "train.loss_on": "response"}, {"evaluation.chat": "template", "train.loss_on": "all"},
        "quality", ABOVE_ZERO, IS_ABOVE, "quality, loss on responses − on all tokens",
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
