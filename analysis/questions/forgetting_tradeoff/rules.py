"""A rule for each claim of forgetting_tradeoff."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis.arms import Arm
from analysis.claims.rules import (
    Ask,
    Rule,
    combination,
    costs,
    costs_at_most,
    difference,
    hindrance,
    labels,
    not_measured,
    over_measures,
)
from analysis.claims.tables import Fields, Tables
from analysis.claims.verdicts import SEEDS_ALONE, Finding, untested
from analysis.formatting import joined, rate_text
from analysis.questions.forgetting_tradeoff.clouds import AgainstLoss
from analysis.questions.forgetting_tradeoff.methods import EPOCHS, FULL, LORA, RANK_16, Method
from analysis.questions.forgetting_tradeoff.mix import DOMAINS, folds, measured_domains, share_of_mix
from analysis.questions.forgetting_tradeoff.tradeoff import HELD_OUT, LEFT, Compared, Tradeoff
from analysis.stats import ABOVE_ZERO, Region, mean_interval
from experiments.forgetting_tradeoff import LORA_RATE

SKILLS = "raw_accuracy/skills"
WORKING: Fields = {"method": RANK_16.name, "train.epochs": EPOCHS, "train.learning_rate": LORA_RATE}
OVER_FIVE_POINTS = Region(-math.inf, -0.05)  # of accuracy lost
PUBLISHED_R2 = Region(0.94, math.inf)


def domains_outside(t: Tables[Tradeoff]) -> Finding:
    """absent_domains_forget_more: each seed's mean over the domains that its mix does not ask about, less that over those it
    does."""
    effect = "rise of NLL, domains absent from the mix − present"
    arm, domains = t.arm(WORKING), measured_domains(t)
    if arm is None or len(domains) < len(DOMAINS):
        return untested(ABOVE_ZERO, effect, "needs rank 16 at its working rate and the six domains of the laboratory")
    rises = {d: t.panels[f"nll/{d}"].of(list(arm.final.values())).mean(axis=1) for d in domains}
    values = [
        np.mean([rises[d][i] for d in domains if not share_of_mix(d, fold)])
        - np.mean([rises[d][i] for d in domains if share_of_mix(d, fold)])
        for i, fold in enumerate(folds(t, arm))
    ]
    e = mean_interval(np.array(values)[:, None], n_items=sum(t.panels[f"nll/{d}"].n_items for d in domains))
    return Finding(e, ABOVE_ZERO, effect, t.units["forgetting"], SEEDS_ALONE, hindrance(t, "forgetting", arm), labels([arm]))


def skills_lost(t: Tables[Tradeoff]) -> Finding:
    """raw_skills_lose_over_5_points."""
    effect = "change of raw skills, rank 16 at its working rate"
    return combination(t, [(WORKING, 1.0)], Ask(SKILLS, OVER_FIVE_POINTS, effect, in_points=True))


def mostly_mode(t: Tables[Tradeoff]) -> Finding:
    """half_of_the_rise_is_mode: half of the rise less what is left of it."""
    ask = Ask(LEFT, ABOVE_ZERO, "half of the rise − what relearning leaves, rank 16 at its working rate")
    arm, why = t.arm(WORKING), not_measured(t, ask)
    if why or arm is None:
        return untested(ask.region, ask.effect, why or "no rank 16 at its working rate")
    e = over_measures(t, [("forgetting", [(arm, 0.5)]), (LEFT, [(arm, -1.0)])])
    return Finding(e, ask.region, ask.effect, t.units["forgetting"], SEEDS_ALONE, hindrance(t, "forgetting", arm), labels([arm]))


def better_held_out(t: Tables[Tradeoff]) -> Finding:
    """lora_better_held_out: the rates are chosen by quality on seen tasks, so that the held-out ones choose nothing."""
    ask = Ask(HELD_OUT, ABOVE_ZERO, "held-out tasks, LoRA rank 16 − full, each at its best seen", new_clusters=True)
    best = [_best_arm(t, method) for method in (RANK_16, FULL)]
    if why := not_measured(t, ask) or ("" if all(best) else "needs an arm of rank 16 and one of full fine-tuning"):
        return untested(ask.region, ask.effect, why)
    lora, full = ({"arm": arm.label} for arm in best if arm is not None)
    found = difference(t, lora, full, ask)
    rates = ", ".join(f"{method.label} {rate_text(arm.rate)}" for method, arm in zip((RANK_16, FULL), best, strict=True) if arm)
    return replace(found, note=joined(f"at {rates}", found.note)) if found.estimate else found


def _best_arm(t: Tables[Tradeoff], method: Method) -> Arm | None:
    return max(t.own.curves[method], key=lambda arm: t.means[arm.label]["quality"].value, default=None)


@dataclass(frozen=True)
class AtEqualQuality:
    """What full fine-tuning loses more than LoRA at equal quality, and where that supports a claim."""

    compared: Compared
    effect: str
    region: Region = ABOVE_ZERO

    def __call__(self, t: Tables[Tradeoff]) -> Finding:
        one, points = self.compared, math.isfinite(self.region.low) and self.region.low != 0
        names = (one.measure, one.quality)
        asks = [Ask(name, self.region, self.effect, in_points=points and name == one.measure) for name in names]
        if why := next((why for ask in asks if (why := not_measured(t, ask))), ""):
            return untested(self.region, self.effect, why)
        found = t.own.at_equal_quality.get(one)
        if found is None:
            return untested(self.region, self.effect, "needs two rates of each with a seed in common")
        arms = [*t.own.curves[RANK_16], *t.own.curves[FULL]]
        note = joined("80–95 % of the gain that both reach", costs(t, *arms))
        doubt = hindrance(t, one.measure, *arms)
        return Finding(found.difference, self.region, self.effect, t.units[one.measure], note, doubt, labels(arms))


def linear_in_loss(t: Tables[Tradeoff]) -> Finding:
    """forgetting_linear_in_loss: over all of LoRA's arms up to the rate that is best for quality; beyond it the loss no longer
    falls."""
    effect = "R² of forgetting falling with the fine-tuning loss (below 0: it rises), in a seed's runs"
    found = t.own.against_loss.get(LORA)
    if found is None:
        return untested(PUBLISHED_R2, effect, "needs the losses of 5 arms of LoRA with 2 seeds in common")
    arms = found.points.arms
    note = f"{len(arms)} arms; {errors_left_out(found)}; {SEEDS_ALONE}"
    return Finding(found.straightness, PUBLISHED_R2, effect, "R²", note, hindrance(t, "forgetting", *arms), labels(arms))


def errors_left_out(found: AgainstLoss) -> str:
    """Which law has the least error at arms left out, in a few words."""
    errors = ", ".join(f"{one.law} {one.left_out_error:.2f}" for one in found.shapes)
    return f"error at arms left out: {errors}" if errors else ""


RULES: dict[str, Rule] = {
    "absent_domains_forget_more": domains_outside,
    "raw_skills_lose_over_5_points": skills_lost,
    "half_of_the_rise_is_mode": mostly_mode,
    "lora_forgets_less_at_equal_quality": AtEqualQuality(Compared(), "rise of full − LoRA rank 16 at equal quality, seen tasks"),
    "lora_forgets_less_at_equal_held_out_quality": AtEqualQuality(
        Compared(quality=HELD_OUT), "rise of full − LoRA rank 16 at equal quality, held-out tasks"
    ),
    "lora_loses_less_at_equal_quality": AtEqualQuality(
        Compared(measure=LEFT), "left after relearning, full − LoRA rank 16 at equal quality, seen tasks"
    ),
    "lora_keeps_skills_at_equal_quality": AtEqualQuality(
        Compared(measure=SKILLS), "raw skills lost, full − LoRA rank 16 at equal quality, seen tasks", costs_at_most(3)
    ),
    "lora_better_held_out": better_held_out,
    "forgetting_linear_in_loss": linear_in_loss,
}
