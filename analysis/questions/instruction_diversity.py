"""Do paraphrase templates keep the model from fitting trigger phrases, at equal examples?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO
from core.data.rows import is_lab

if TYPE_CHECKING:
    import pandas as pd

OF_TRAINED = "rows/evaluated_of_trained_templates"
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
    return replace(found, hindrance=joined(found.hindrance, _not_unseen(t.trials))) if own else found


def _not_unseen(trials: pd.DataFrame) -> str:
    """Why the evaluation rows are phrased as those trained on; nothing where they are not."""
    if OF_TRAINED not in trials or trials[OF_TRAINED].isna().any():
        return "the evaluation rows name no template, so that nothing says that these are unseen; give --eval-data with others"
    n = int(trials[OF_TRAINED].max())
    return f"{n} evaluation rows are of templates that --data has; give --eval-data with others" if n else ""


RULES: dict[str, Rule] = {"more_templates_follow_unseen_phrasings": follows_unseen_phrasings}
QUESTION: Question[None] = Question(VIEW, RULES)
