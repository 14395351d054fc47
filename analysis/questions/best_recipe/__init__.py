"""What is the best trade-off between quality and forgetting in this budget, and which settings decide it?

The arms are compared as in every question, on the test split with fresh seeds. Beside them stands the search: what every
configuration reached at its rung on validation, and how much each setting decides there.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.claims.question import Question
from analysis.claims.rules import NOT_WORSE, Ask, Rule, difference
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.questions.best_recipe.figure import draw
from analysis.questions.best_recipe.search import Search, prepare
from analysis.questions.best_recipe.sections import sections
from analysis.stats import ABOVE_ZERO, BELOW_ZERO
from core.experiment import DEFAULT_ARM, FOUND_ARMS

USUAL = {"arm": DEFAULT_ARM}
BEST_ARM, KNEE_ARM, _ = FOUND_ARMS


def of_knee(ask: Ask) -> Rule:
    """The knee against the usual recipe. Where the knee is the recipe of best quality, it has no arm of its own, and that arm
    stands for it; where its trials failed, none does."""

    def found(t: Tables[Search]) -> Finding:
        own = bool((t.trials["arm"] == KNEE_ARM).any())
        finding = difference(t, {"arm": KNEE_ARM if own else BEST_ARM}, USUAL, ask)
        return finding if own else replace(finding, note=joined("the arm of best quality stands for the knee", finding.note))

    return found


VIEW = View(x="arm", x_label="arm", measures=("quality", "forgetting", "exact_match/held_out", "raw_accuracy/skills"))
RULES: dict[str, Rule] = {
    "search_beats_usual_recipe": lambda t: difference(
        t, {"arm": BEST_ARM}, USUAL, Ask("quality", ABOVE_ZERO, "quality, best found − usual recipe")
    ),
    "knee_forgets_less_than_usual": of_knee(Ask("forgetting", BELOW_ZERO, "forgetting, knee − usual recipe")),
    "knee_costs_at_most_2_points": of_knee(Ask("quality", NOT_WORSE, "quality, knee − usual recipe", in_points=True)),
}
QUESTION = Question(VIEW, RULES, prepare=prepare, draw=draw, sections=sections, rules_read_own=False)
