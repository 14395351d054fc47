"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, trend
from analysis.claims.tables import View
from analysis.stats import ABOVE_ZERO

VIEW = View(
    x="data.n_templates",
    x_label="templates trained on (1,000 examples)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)
RULES: dict[str, Rule] = {
    "more_templates_follow_unseen_phrasings": lambda t: trend(
        t, {}, Ask("quality", ABOVE_ZERO, "rise of exact match on unseen phrasings with templates")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
