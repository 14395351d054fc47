"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

from analysis.claims.rules import Rule, difference, trend
from analysis.claims.tables import View
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region

VIEW = View(
    x="data.n_templates",
    x_label="templates trained on (1,000 examples)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)
RULES: dict[str, Rule] = {
    "more_templates_follow_unseen_phrasings": lambda t: trend(
        t, {}, "quality", ABOVE_ZERO, "supported: interval of the slope above 0; contradicted: below 0",
        "rise of exact match on unseen phrasings with templates",
    ),
    "templates_hardly_matter_held_out": lambda t: difference(
        t, {"data.n_templates": 10}, {"data.n_templates": 1}, "exact_match/held_out", Region(-0.02, 0.02),
        "supported: interval within ±0.02; contradicted: outside", "held-out tasks, 10 templates − 1", in_points=True,
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)
