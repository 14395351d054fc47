"""On what does it depend whether LoRA forgets less than full fine-tuning, and how far apart their best learning rates are?"""

from __future__ import annotations

import math

from analysis.claims.question import Question
from analysis.claims.rules import Rule, hindrance, labels
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.questions.lora_vs_full.effects import NARROW, NLL, RATIO, SKILLS, WIDE, Effects, conditions, prepare, sides
from analysis.questions.lora_vs_full.figure import draw
from analysis.questions.lora_vs_full.sections import FORGETS, RATES, sections
from analysis.stats import ABOVE_ZERO, Estimate, Form, Region
from experiments.lora_vs_full import BASELINE

LOWERS = Region(-math.inf, 1.0, form=Form.FACTOR)


def _finding(t: Tables[Effects], e: Estimate, region: Region, effect: str, *names: str) -> Finding:
    """On an effect between these conditions: a ratio of learning rates has a logarithmic scale, forgetting has not."""
    if math.isnan(e.value):
        return untested(region, effect, e.why)
    arms = [arm for name in names for side in sides(t, name) for arm in side]
    measure, unit = ("quality", "ratio") if region.form is Form.FACTOR else (NLL, t.units[NLL])
    return Finding(e, region, effect, unit, hindrance=hindrance(t, measure, *arms), arms=labels(arms))


def at_equal_quality(name: str) -> Rule:
    """LoRA forgets less under this condition, in NLL."""
    return lambda t: _finding(t, t.own.level(name, NLL), ABOVE_ZERO, f"{FORGETS}, {name}", name)


def wider(t: Tables[Effects]) -> Finding:
    """width_favours_lora: the widest base against the narrowest."""
    effect = f"({FORGETS}), wide base − narrow"
    return _finding(t, t.own.shift(WIDE, NLL, NARROW), ABOVE_ZERO, effect, WIDE, NARROW)


def ratio_moves(name: str, against: str, region: Region) -> Rule:
    """The ratio of best rates under one condition over that under another."""
    effect = f"({RATES}), {name} ÷ {against}"
    return lambda t: _finding(t, t.own.shift(name, RATIO, against), region, effect, name, against)


VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", NLL, SKILLS, "exact_match/held_out", "recall/taught"),
    curves="curve",
    derive=conditions,
)
RULES: dict[str, Rule] = {
    "lora_forgets_less_with_new_facts": at_equal_quality("new facts"),
    "lora_forgets_less_on_wide_base": at_equal_quality(WIDE),
    "width_favours_lora": wider,
    "larger_alpha_lowers_rate_ratio": ratio_moves("alpha/rank 8", BASELINE, LOWERS),
}
QUESTION = Question(VIEW, RULES, prepare=prepare, draw=draw, sections=sections)
