"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

from dataclasses import replace

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, as_trained, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO
from core.data.rows import is_lab

VIEW = View(
    x="data.n_templates",
    x_label="templates trained on (1,000 examples)",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)


def follows_unseen_phrasings(t: Tables[None]) -> Finding:
    """The rise on the logarithm of the number of templates; one's own evaluation rows must have others."""
    own = not all(map(is_lab, t.trials["data.source"].astype(str)))
    effect = (
        "rise of quality on the evaluation rows with templates"
        if own
        else "rise of exact match on unseen phrasings with templates"
    )
    found = trend(t, {}, Ask("quality", ABOVE_ZERO, effect))
    return replace(found, hindrance=joined(found.hindrance, as_trained(t, "templates", "template"))) if own else found


RULES: dict[str, Rule] = {"more_templates_follow_unseen_phrasings": follows_unseen_phrasings}
QUESTION: Question[None] = Question(VIEW, RULES)
