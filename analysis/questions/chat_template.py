"""Does the template of the questions have to match that of training, and do prompts belong in the loss?"""

from __future__ import annotations

from analysis.claims.rules import Rule, difference
from analysis.claims.tables import View
from analysis.claims.verdicts import IS_ABOVE
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO

VIEW = View(
    x="evaluation.chat",
    x_label="how questions are put (training: template)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="train.loss_on",
    curves_label="loss on",
)


def matching_beats(chat: str) -> Rule:
    """no_template_is_answered_worse, another_template_is_answered_worse: with the loss on responses."""
    right, wrong = ({"evaluation.chat": form, "train.loss_on": "response"} for form in ("template", chat))
    return lambda t: difference(t, right, wrong, "quality", ABOVE_ZERO, IS_ABOVE, f"quality, training's template − {chat}")


RULES: dict[str, Rule] = {
    "no_template_is_answered_worse": matching_beats("plain"),
    "another_template_is_answered_worse": matching_beats("other"),
    "response_loss_beats_full_loss": lambda t: difference(
        t, {"evaluation.chat": "template", "train.loss_on": "response"}, {"evaluation.chat": "template", "train.loss_on": "all"},
        "quality", ABOVE_ZERO, IS_ABOVE, "quality, loss on responses − on all tokens",
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)
