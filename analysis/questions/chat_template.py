"""Does the template of the questions have to match that of training, and do prompts belong in the loss?"""

from __future__ import annotations

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference
from analysis.claims.tables import View
from analysis.stats import ABOVE_ZERO

VIEW = View(
    x="evaluation.chat",
    x_label="how questions are put (training: template)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="train.loss_on",
    curves_label="loss on",
)


def matching_beats(chat: str) -> Rule:
    """Questions in the template of training are answered better than those put as `chat`, with the loss on responses."""
    right, wrong = ({"evaluation.chat": form, "train.loss_on": "response"} for form in ("template", chat))
    ask = Ask("quality", ABOVE_ZERO, f"quality, training's template − {chat}")
    return lambda t: difference(t, right, wrong, ask)


RESPONSES, ALL_TOKENS = ({"evaluation.chat": "template", "train.loss_on": tokens} for tokens in ("response", "all"))


RULES: dict[str, Rule] = {
    "no_template_is_answered_worse": matching_beats("plain"),
    "another_template_is_answered_worse": matching_beats("other"),
    "response_loss_beats_full_loss": lambda t: difference(
        t, RESPONSES, ALL_TOKENS, Ask("quality", ABOVE_ZERO, "quality, loss on responses − on all tokens")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
