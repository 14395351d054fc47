"""The further tables of forgetting_tradeoff's report: the front, what a comparison at equal quality depends on, forgetting by
domain, and the laws that it follows."""

from __future__ import annotations

import math

import numpy as np

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.forgetting_tradeoff import plane as plane
from analysis.questions.forgetting_tradeoff.laws import exponent, shapes, straightness
from analysis.stats import Estimate
from analysis.stats.equal_quality import Matched
from analysis.stats.scaling import compare, from_seeds

COSTS = ("forgetting", "raw_accuracy/skills", "raw_accuracy/facts")
LORA = tuple(method for method in plane.METHODS if method != "full")
SURE = 0.5  # of being on the front: more likely than not


def sections(t: Tables) -> list[str]:
    """Markdown, one part a table."""
    parts = (_front(t), _equal_quality(t), _domains(t), _laws(t))
    return [text for part in parts for text in part]


def _front(t: Tables) -> list[str]:
    probability, volumes = plane.on_the_front(t), plane.hypervolumes(t)
    if not probability or not volumes:
        return []
    rows = []
    for method, e in volumes.items():
        members = [arm for arm in t.where({"method": method}) if probability[arm.label] >= SURE]
        said = "; ".join(f"{arm.label} ({probability[arm.label]:.2f})" for arm in members) or formatting.NONE
        rows.append([method, formatting.estimate(e), said])
    box = plane.box(t)
    note = (
        "Hypervolume: the share that a method's arms dominate of the box from the untouched base "
        f"(quality {box.quality_before:.3f}, no forgetting) to quality {box.quality_best:.3f} and forgetting "
        f"{box.forgetting_worst:.2f}; 1 would be the best quality for nothing. Probability: how often no other arm of any length "
        "is better in both, when seeds and items are resampled.\n"
    )
    header = ["method", "hypervolume [95 % interval]", "arms more likely than not on the front (probability)"]
    return ["## The front\n", formatting.markdown(header, rows), note]


def _verdict(e: Estimate) -> str:
    """Who forgets less, where the interval says so."""
    if not e.known or e.low <= 0 <= e.high:
        return ""
    return ", LoRA less" if e.low > 0 else ", LoRA more"


def _equal_quality(t: Tables) -> list[str]:
    """Against rank, length of training and measure: what the comparison of LoRA with full fine-tuning depends on."""
    costs = [name for name in COSTS if name in t.panels]
    lengths = sorted({float(str(arm.fields["train.epochs"])) for arm in t.where({"method": "full"})}, reverse=True)
    rows = []
    for method in LORA:
        for epochs in lengths:
            found = [plane.matched(t, method, "full", name, epochs) for name in costs]
            if any(found):
                rows.append([method, _size(t, method), f"{epochs:g}", *map(_pair, found)])
    if not rows:
        return []
    header = ["LoRA", "trained parameters", "epochs", *(f"{_lost(name)} ({t.units[name]})" for name in costs)]
    note = (
        "LoRA's own → full's, at 80–95 % of the gain in quality that both reach; then full − LoRA with its 95 % interval. Above "
        "0 LoRA forgets less. The columns are measures of the same models.\n"
    )
    return ["## At equal quality\n", formatting.markdown(header, rows), note]


def _size(t: Tables, method: str) -> str:
    """Trained parameters."""
    labels = [arm.label for arm in t.where({"method": method})]
    return f"{t.arm_rows.loc[t.arm_rows['arm'].isin(labels), 'trainable_parameters'].mean():,.0f}"


def _lost(name: str) -> str:
    return f"{formatting.readable(name)} lost" if name.startswith("raw_accuracy") else formatting.readable(name)


def _pair(found: Matched | None) -> str:
    if found is None:
        return formatting.NONE
    places = 2 if abs(found.first.value) > 0.2 else 3
    own = " → ".join(formatting.number(e.value, places) for e in (found.first, found.second))
    return f"{own}; {formatting.estimate(found.difference, signed=True)}{_verdict(found.difference)}"


def _domains(t: Tables) -> list[str]:
    domains = [name for name in plane.DOMAINS if f"nll/{name}" in t.panels]
    arms = t.where({})
    if not domains or not arms:
        return []
    seen = plane.folds(t, arms[0])
    rows = []
    for name in sorted(domains, key=lambda one: -np.mean([plane.share_of_mix(one, fold) for fold in seen])):
        found = plane.matched(t, "LoRA r=16", "full", f"nll/{name}")
        shares = [plane.share_of_mix(name, fold) for fold in seen]
        both = [formatting.estimate(e) for e in (found.first, found.second)] if found else [formatting.NONE] * 2
        rows.append([name, f"{np.mean(shares):.0%}", f"{plane.DOMAIN_SHARES[name]:.0%}", *both])
    header = ["domain", "share of the mix's tasks", "share of pretraining", "LoRA r=16 (nats/token)", "full (nats/token)"]
    note = "Rise of the NLL at the quality of the table above. The share of the mix is a mean over the seeds' held-out folds.\n"
    return ["## By domain\n", formatting.markdown(header, rows), note]


def _laws(t: Tables) -> list[str]:
    rows = []
    for kind, name in (("lora", "LoRA, all ranks"), ("full", "full")):
        if points := plane.loss_points(t, kind):
            e = straightness(points.x_SK, points.y_SK, t.panels["forgetting"].n_items)
            straight = f"R² of the line {formatting.estimate(e)}"
            rows.append([f"{name}, {len(points.arms)} arms", "fine-tuning loss", _shapes(points), straight])
    for method in ("LoRA r=16", "full"):
        if points := plane.step_points(t, method):
            found = exponent(points.x_SK.mean(axis=0), points.y_SK, t.panels["forgetting"].n_items)
            said = compare(from_seeds(points.x_SK.mean(axis=0), points.y_SK, "rising")).conclusion()
            shown = formatting.estimate(found) if found else "some run did not forget"
            rows.append([f"{method}, {len(points.arms)} lengths", "steps", f"AICc: {said}", f"exponent {shown}"])
    header = ["arms", "forgetting against", "laws", "straight line, power law [95 % interval]"]
    note = (
        "Arms up to the rate that is best for quality. Laws in the loss: root mean square error (nats/token) at each arm when it "
        "is left out, and AICc above the best; the power law's noise is relative, so it has no AICc beside the others. Each "
        "number of epochs is a training of its own, with the learning rate falling to 0 at its end.\n"
    )
    return ["## Laws of forgetting\n", formatting.markdown(header, rows), note] if rows else []


def _shapes(points: plane.Cloud) -> str:
    found = shapes(points.x_SK.mean(axis=0), points.y_SK.mean(axis=0))
    best = min((one.aicc for one in found if not math.isnan(one.aicc)), default=math.nan)
    gaps = ["" if math.isnan(one.aicc) else f" (AICc +{one.aicc - best:.1f})" for one in found]
    return ", ".join(f"{one.law} {one.left_out_error:.2f}{gap}" for one, gap in zip(found, gaps, strict=True)) or formatting.NONE
