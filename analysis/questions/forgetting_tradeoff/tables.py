"""The further tables of forgetting_tradeoff's report: the front, what a comparison at equal quality depends on, forgetting by
domain, and the laws that it follows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.forgetting_tradeoff.laws import Shape
from analysis.questions.forgetting_tradeoff.methods import FULL, LORA, Method
from analysis.questions.forgetting_tradeoff.tradeoff import COSTS, Compared, Tradeoff
from analysis.stats import Estimate
from analysis.stats.equal_quality import Matched
from core.measures import measure

SURE = 0.5  # of being on the front: more likely than not


def sections(t: Tables[Tradeoff]) -> list[str]:
    """Markdown, one part a table."""
    parts = (_front(t), _equal_quality(t), _domains(t), _laws(t))
    return [text for part in parts for text in part]


def _front(t: Tables[Tradeoff]) -> list[str]:
    probability, box = t.own.front, t.own.box
    if not probability or box is None or not t.own.volumes:
        return []
    rows = []
    for method, e in t.own.volumes.items():
        members = [arm for arm in t.where({"method": method.name}) if probability[arm.label] >= SURE]
        listed = "; ".join(f"{arm.label} ({probability[arm.label]:.2f})" for arm in members) or formatting.NONE
        rows.append([method.name, formatting.estimate(e), listed])
    note = (
        "Hypervolume: the share that a method's arms dominate of the box from the untouched base "
        f"(quality {box.quality_before:.3f}, no forgetting) to quality {box.quality_best:.3f} and forgetting "
        f"{box.forgetting_worst:.2f}; 1 would be the best quality for nothing. Probability: how often no other arm of any length "
        "is better in both, when seeds and items are resampled.\n"
    )
    header = ["method", "hypervolume [95 % interval]", "arms more likely than not on the front (probability)"]
    return ["## The front\n", formatting.markdown(header, rows), note]


def _equal_quality(t: Tables[Tradeoff]) -> list[str]:
    """Against rank, length of training and measure: what the comparison of LoRA with full fine-tuning depends on."""
    costs = [name for name in COSTS if name in t.panels]
    rows = []
    for method in LORA:
        for epochs in t.own.lengths:
            found = [t.own.at_equal_quality.get(Compared(method, epochs, name)) for name in costs]
            if any(found):
                rows.append([method.name, _size(t, method), f"{epochs:g}", *map(_pair, found)])
    if not rows:
        return []
    header = ["LoRA", "trained parameters", "epochs", *(f"{_lost(name)} ({t.units[name]})" for name in costs)]
    note = (
        "LoRA's own → full's, at 80–95 % of the gain in quality that both reach; then full − LoRA with its 95 % interval. Above "
        "0 LoRA forgets less. The columns are measures of the same models.\n"
    )
    return ["## At equal quality\n", formatting.markdown(header, rows), note]


def _size(t: Tables[Tradeoff], method: Method) -> str:
    """Trained parameters."""
    labels = [arm.label for arm in t.where({"method": method.name})]
    return f"{t.arm_rows.loc[t.arm_rows['arm'].isin(labels), 'trainable_parameters'].mean():,.0f}"


def _lost(name: str) -> str:
    """A cost in words: of an accuracy, that it is lost."""
    words = formatting.readable(name)
    return words if name == "forgetting" or not measure(name).higher_is_better else f"{words} lost"


def _less_or_more(e: Estimate) -> str:
    """Who forgets less, where the interval says so."""
    if not e.known or e.low <= 0 <= e.high:
        return ""
    return ", LoRA less" if e.low > 0 else ", LoRA more"


def _pair(found: Matched | None) -> str:
    if found is None:
        return formatting.NONE
    places = 2 if abs(found.first.value) > 0.2 else 3
    own = " → ".join(formatting.number(e.value, places) for e in (found.first, found.second))
    return f"{own}; {formatting.estimate(found.difference, signed=True)}{_less_or_more(found.difference)}"


def _domains(t: Tables[Tradeoff]) -> list[str]:
    if not t.own.domains:
        return []
    rows = []
    for one in t.own.domains:
        found = one.at_equal_quality
        both = [formatting.estimate(e) for e in (found.first, found.second)] if found else [formatting.NONE] * 2
        rows.append([one.name, f"{one.share_of_mix:.0%}", f"{one.share_of_pretraining:.0%}", *both])
    header = ["domain", "share of the mix's tasks", "share of pretraining", "LoRA r=16 (nats/token)", "full (nats/token)"]
    note = "Rise of the NLL at the quality of the table above. The share of the mix is a mean over the seeds' held-out folds.\n"
    return ["## By domain\n", formatting.markdown(header, rows), note]


def _laws(t: Tables[Tradeoff]) -> list[str]:
    rows = []
    for methods, name in ((LORA, "LoRA, all ranks"), ((FULL,), FULL.name)):
        if loss := t.own.against_loss.get(methods):
            straight = f"R² of the line {formatting.estimate(loss.straightness)}"
            rows.append([f"{name}, {len(loss.points.arms)} arms", "fine-tuning loss", _shapes(loss.shapes), straight])
    for method, steps in t.own.against_steps.items():
        power = formatting.estimate(steps.exponent) if steps.exponent else "some run did not forget"
        name = f"{method.name}, {len(steps.points.arms)} lengths"
        rows.append([name, "steps", f"AICc: {steps.conclusion}", f"exponent {power}"])
    header = ["arms", "forgetting against", "laws", "straight line, power law [95 % interval]"]
    note = (
        "Arms up to the rate that is best for quality. Laws in the loss: root mean square error (nats/token) at each arm when it "
        "is left out, and AICc above the best; the power law's noise is relative, so it has no AICc beside the others. Each "
        "number of epochs is a training of its own, with the learning rate falling to 0 at its end.\n"
    )
    return ["## Laws of forgetting\n", formatting.markdown(header, rows), note] if rows else []


def _shapes(found: Sequence[Shape]) -> str:
    best = min((one.aicc for one in found if not math.isnan(one.aicc)), default=math.nan)
    gaps = ["" if math.isnan(one.aicc) else f" (AICc +{one.aicc - best:.1f})" for one in found]
    return ", ".join(f"{one.law} {one.left_out_error:.2f}{gap}" for one, gap in zip(found, gaps, strict=True)) or formatting.NONE
