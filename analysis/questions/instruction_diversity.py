"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference, trend
from analysis.claims.tables import View
from analysis.stats import ABOVE_ZERO, Region

VIEW = View(
    x="data.n_templates",
    x_label="templates trained on (1,000 examples)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)
WITHIN_TWO_POINTS = Region(-0.02, 0.02)
RULES: dict[str, Rule] = {
    "more_templates_follow_unseen_phrasings": lambda t: trend(
        t, {}, Ask("quality", ABOVE_ZERO, "rise of exact match on unseen phrasings with templates")
    ),
    "templates_hardly_matter_held_out": lambda t: difference(
        t, {"data.n_templates": 10}, {"data.n_templates": 1},
        Ask("exact_match/held_out", WITHIN_TWO_POINTS, "held-out tasks, 10 templates − 1", in_points=True, new_clusters=True),
    ),
}  # fmt: skip
QUESTION: Question[None] = Question(VIEW, RULES)
