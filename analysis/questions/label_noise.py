"""How many wrong answers do 1,000 curated examples bear?"""

from __future__ import annotations

import math

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference
from analysis.claims.tables import View
from analysis.stats import Region

VIEW = View(
    x="data.noise_share",
    x_label="share of rows with a wrong answer",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    scale="linear",
)
RIGHT, TENTH = {"data.noise_share": 0.0}, {"data.noise_share": 0.1}
EFFECT = "quality, 10 % wrong − none"
AT_MOST_FIVE_POINTS = Region(-0.05, math.inf)

RULES: dict[str, Rule] = {
    "wrong_answers_cost_at_most_5_points": lambda t: difference(
        t, TENTH, RIGHT, Ask("quality", AT_MOST_FIVE_POINTS, EFFECT, in_points=True)
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
