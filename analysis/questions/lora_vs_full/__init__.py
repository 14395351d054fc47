"""On what does it depend whether LoRA forgets less than full fine-tuning, and how far apart their best learning rates are?

The figure is analysis/questions/lora_vs_full/figure.py, the effects are analysis/questions/lora_vs_full/effects.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis import formatting
from analysis.claims.rules import Rule, hindrance
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import IS_ABOVE, Finding
from analysis.questions.lora_vs_full import effects as effects
from analysis.questions.lora_vs_full.effects import NLL, RATIO, SKILLS
from analysis.questions.lora_vs_full.figure import draw
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Estimate, Region
from experiments.lora_vs_full import BASELINE, CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


WIDENS, LOWERS, WITHIN_TWO = Region(1.0, math.inf), Region(0.0, 1.0), Region(0.5, 2.0)
FORGETS, SKILLS_LOST = "forgetting of full − LoRA at equal quality", "raw skills lost, full − LoRA at equal quality"
RATES = "best learning rate of LoRA ÷ full's"


def _finding(t: Tables, e: Estimate, region: Region, rule: str, effect: str, unit: str, *names: str) -> Finding:
    if math.isnan(e.value):
        return Finding(None, None, rule, effect, note=e.why)
    arms = [arm for name in names for side in effects.sides(t, name) for arm in side]
    measure = NLL if unit != "ratio" else "quality"
    return Finding(e, region, rule, effect, unit, hindrance=hindrance(t, measure, *arms))


def at_equal_quality(name: str) -> Rule:
    """lora_forgets_less_with_new_facts, lora_forgets_less_on_wide_base: LoRA forgets less under this condition, in NLL."""
    return lambda t: _finding(
        t, effects.level(t, name, NLL), ABOVE_ZERO, IS_ABOVE, f"{FORGETS}, {name}", t.units.get(NLL, ""), name
    )


def wider(t: Tables) -> Finding:
    """width_favours_lora: the widest base against the narrowest."""
    e = effects.shift(t, "wide base", NLL, against="narrow base")
    effect = f"({FORGETS}), wide base − narrow"
    return _finding(t, e, ABOVE_ZERO, IS_ABOVE, effect, t.units.get(NLL, ""), "wide base", "narrow base")


def ratio_moves(name: str, against: str, region: Region, rule: str) -> Rule:
    """constant_schedule_widens_rate_ratio, rate_ratio_independent_of_width, larger_alpha_lowers_rate_ratio: the ratio of best rates under one condition over that under another."""
    effect = f"({RATES}), {name} ÷ {against}"
    return lambda t: _finding(t, effects.shift(t, name, RATIO, against), region, rule, effect, "ratio", name, against)


def _side(e: Estimate, middle: float, words: tuple[str, str, str]) -> str:
    """The word for an interval below, above, or around `middle`."""
    return words[0] if e.high < middle else words[1] if e.low > middle else words[2]


def _of_ratio(e: Estimate, moved: Estimate) -> str:
    if not e.known:
        return f"the ratio of best rates is not known ({e.why})"
    against = _side(moved, 1.0, ("less than", "more than", "no difference shown to"))
    return f"LoRA's best rate is {formatting.estimate(e)} full's" + (f", {against} the baseline's" if moved.known else "")


def _of_cost(e: Estimate, moved: Estimate, measure: str) -> str:
    if not e.known:
        return f"{measure} is not known ({e.why})"
    said = f"{measure} {_side(e, 0.0, ('LoRA forgets more', 'LoRA forgets less', 'it is undecided which forgets less'))}"
    against = _side(moved, 0.0, ("moved against LoRA", "moved in favour of LoRA", "no move shown"))
    return said + (f" ({against} from the baseline)" if moved.known else "")


def sentence(name: str, found: Mapping[str, tuple[Estimate, Estimate]]) -> str:
    """What a condition does, from the intervals of `effects.of`."""
    nll, skills = _of_cost(*found[NLL], "at equal quality, by NLL"), _of_cost(*found[SKILLS], "by raw skills")
    return f"- **{name}**: {_of_ratio(*found[RATIO])}; {nll}; {skills}."


def sections(t: Tables) -> list[str]:
    """The table of conditions, each with its difference to the baseline, and a sentence on each."""
    header = [
        "condition", RATES, "÷ baseline", f"{FORGETS} ({t.units.get(NLL, '')})", "− baseline", f"{SKILLS_LOST} (accuracy)",
        "− baseline",
    ]  # fmt: skip
    found = {name: effects.of(t, name) for name in CONDITIONS}
    body = [
        [name, *(formatting.estimate(e, signed=what != RATIO) for what, pair in own.items() for e in pair)]
        for name, own in found.items()
    ]
    note = (
        "Ratio: the tops of each seed's two curves, Student's t on the logarithm. Equal quality: 80–95 % of the gain that both "
        "reach; above 0 LoRA forgets less. Differences to the baseline are paired by seed and item; the intervals are each "
        "condition's own, without a correction for their number, and so are the sentences: one thing is called less or more than "
        "another where the interval says so, at 5 % each.\n"
    )
    sentences = "\n".join(sentence(name, own) for name, own in found.items())
    return ["## What it depends on\n", formatting.markdown(header, body), note, f"{sentences}\n"]


VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", NLL, SKILLS, "exact_match/held_out", "recall/taught"),
    curves="curve",
    derive=effects.conditions,
    draw=draw,
    sections=sections,
)
RULES: dict[str, Rule] = {
    "lora_forgets_less_with_new_facts": at_equal_quality("new facts"),
    "lora_forgets_less_on_wide_base": at_equal_quality("wide base"),
    "width_favours_lora": wider,
    "constant_schedule_widens_rate_ratio": ratio_moves(
        "constant schedule", BASELINE, WIDENS, "supported: interval above 1×; contradicted: below"
    ),
    "rate_ratio_independent_of_width": ratio_moves(
        "wide base", "narrow base", WITHIN_TWO, "supported: interval within 0.5–2×; contradicted: outside"
    ),
    "larger_alpha_lowers_rate_ratio": ratio_moves(
        "alpha/rank 8", BASELINE, LOWERS, "supported: interval below 1×; contradicted: above"
    ),
}
report = reporter(VIEW, RULES)
