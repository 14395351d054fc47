"""What is the best trade-off between quality and forgetting in this budget, and which settings decide it?

The arms are compared as in every question, on the test split with fresh seeds. Beside them stands the search: what every
configuration reached at its rung on validation, and how much each setting decides there.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.formatting import joined
from analysis.questions.best_recipe.figure import draw
from analysis.questions.best_recipe.search import Search, has_knee, prepare
from analysis.questions.best_recipe.sections import sections
from analysis.stats import ABOVE_ZERO, BELOW_ZERO
from core.experiment import FOUND_ARMS, TUNED_ARM

USUAL = {"arm": TUNED_ARM}
BEST_ARM, KNEE_ARM, _ = FOUND_ARMS


def of_knee(ask: Ask) -> Rule:
    """The knee against the usual recipe tuned, each at its own steps: the usual one has those of the best found recipe. Where the
    knee is the recipe of best quality, it has no arm of its own, and that arm stands for it; where its trials failed, or it was
    left out, none does."""

    def found(t: Tables[Search]) -> Finding:
        own = bool((t.trials["arm"] == KNEE_ARM).any())
        if not own and has_knee(t.trials):
            return replace(untested(ask.region, ask.effect, "the knee was left out"), unit=t.units[ask.measure])
        finding = difference(t, {"arm": KNEE_ARM if own else BEST_ARM}, USUAL, ask)
        return finding if own else replace(finding, note=joined("the arm of best quality stands for the knee", finding.note))

    return found


VIEW = View(x="arm", x_label="arm", measures=("quality", "forgetting", "exact_match/held_out", "raw_accuracy/skills"))
HELD_OUT = "exact_match/held_out"
RULES: dict[str, Rule] = {
    "search_beats_tuned_usual_recipe": lambda t: difference(
        t, {"arm": BEST_ARM}, USUAL, Ask("quality", ABOVE_ZERO, "quality, best found − usual recipe tuned")
    ),
    "search_beats_tuned_usual_recipe_held_out": lambda t: difference(
        t,
        {"arm": BEST_ARM},
        USUAL,
        Ask(HELD_OUT, ABOVE_ZERO, "held-out tasks, best found − usual tuned", new_clusters=True),
    ),
    "knee_forgets_less_than_tuned_usual": of_knee(
        Ask("forgetting", BELOW_ZERO, "forgetting, knee − usual tuned, each at its steps")
    ),
}
QUESTION = Question(VIEW, RULES, prepare=prepare, draw=draw, sections=sections, rules_read_own=False)
