"""The table of lora_vs_full's conditions, and a sentence on each from its intervals."""

from __future__ import annotations

from collections.abc import Mapping

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.lora_vs_full.effects import NLL, RATIO, SKILLS, Effects
from analysis.stats import Estimate
from experiments.lora_vs_full import CONDITIONS

FORGETS, SKILLS_LOST = "forgetting of full − LoRA at equal quality", "raw skills lost, full − LoRA at equal quality"
RATES = "best learning rate of LoRA ÷ full's"
NOTE = (
    "Ratio: of the tops of parabolas, with where the best rates may lie whatever the curves' shapes; its difference from the "
    "baseline's takes curves of one method to have one shape. "
    "Equal quality: 80–95 % of the gain that both "
    "reach; above 0 LoRA forgets less. Differences to the baseline are paired by seed and item where "
    "both have the same bases; narrow and wide bases are others than the baseline's, fewer than the eight, and are "
    "resampled apart from them. The intervals are each "
    "condition's own, without a correction for their number, and so are the sentences: one thing is called less or more than "
    "another where the interval says so, at 5 % each.\n"
)


def sections(t: Tables[Effects]) -> list[str]:
    """The table of conditions, each with its difference to the baseline, and a sentence on each."""
    header = [
        "condition", RATES, "÷ baseline", f"{FORGETS} ({t.units.get(NLL, '')})", "− baseline", f"{SKILLS_LOST} (accuracy)",
        "− baseline",
    ]  # fmt: skip
    found = {name: t.own.of(name) for name in CONDITIONS}
    body = [
        [name, *(formatting.estimate(e, signed=what != RATIO) for what, pair in own.items() for e in pair)]
        for name, own in found.items()
    ]
    sentences = "\n".join(sentence(name, own) for name, own in found.items())
    return ["## What it depends on\n", formatting.markdown(header, body), NOTE, f"{sentences}\n"]


def sentence(name: str, found: Mapping[str, tuple[Estimate, Estimate | None]]) -> str:
    """What a condition does, from the intervals of `Effects.of`."""
    nll, skills = _of_cost(*found[NLL], "at equal quality, by NLL"), _of_cost(*found[SKILLS], "by raw skills")
    return f"- **{name}**: {_of_ratio(*found[RATIO])}; {nll}; {skills}."


def _side(e: Estimate, middle: float, words: tuple[str, str, str]) -> str:
    """The word for an interval below, above, or around `middle`."""
    return words[0] if e.high < middle else words[1] if e.low > middle else words[2]


def _of_ratio(e: Estimate, moved: Estimate | None) -> str:
    if not e.known:
        return f"the ratio of best rates is not known ({e.why})"
    text = f"LoRA's best rate is {formatting.estimate(e)} full's"
    if moved is None or not moved.known:
        return text
    return f"{text}, {_side(moved, 1.0, ('less than', 'more than', 'no difference shown to'))} the baseline's"


def _of_cost(e: Estimate, moved: Estimate | None, measure: str) -> str:
    if not e.known:
        return f"{measure} is not known ({e.why})"
    text = f"{measure} {_side(e, 0.0, ('LoRA forgets more', 'LoRA forgets less', 'it is undecided which forgets less'))}"
    if moved is None or not moved.known:
        return text
    return f"{text} ({_side(moved, 0.0, ('moved against LoRA', 'moved in favour of LoRA', 'no move shown'))} from the baseline)"
