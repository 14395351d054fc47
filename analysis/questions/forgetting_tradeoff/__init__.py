"""What does quality cost in forgetting, and does LoRA pay less than full fine-tuning?"""

from __future__ import annotations

from analysis.claims.question import Question
from analysis.claims.tables import View
from analysis.questions.forgetting_tradeoff.figure import draw
from analysis.questions.forgetting_tradeoff.methods import with_method
from analysis.questions.forgetting_tradeoff.mix import DOMAINS
from analysis.questions.forgetting_tradeoff.rules import RULES
from analysis.questions.forgetting_tradeoff.tables import sections
from analysis.questions.forgetting_tradeoff.tradeoff import LEFT, prepare

VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "forgetting", "raw_accuracy/skills", "raw_accuracy/facts", "exact_match/held_out"),
    curves="method",
    derive=with_method,
    further=(LEFT, *(f"nll/{name}" for name in DOMAINS)),
)
QUESTION = Question(VIEW, RULES, prepare=prepare, draw=draw, sections=sections)
