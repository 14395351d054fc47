"""A rule for each claim of forgetting_tradeoff."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import scores
from analysis.claims.rules import (
    Ask,
    Rule,
    combination,
    contrast,
    costs,
    costs_at_most,
    hindrance,
    labels,
    not_measured,
    over_measures,
    whose_tasks,
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
    n_items, bases_S = sum(t.panels[f"nll/{d}"].n_items for d in domains), t.panels["forgetting"].bases([arm], list(arm.final))
    e = mean_interval(np.array(values)[:, None], n_items=n_items, bases_S=bases_S)
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
    """lora_better_held_out: the rate of each base is the one that is best on the seen tasks of the others, so that no run that is
    compared has had a part in the choice."""
    ask = Ask(HELD_OUT, ABOVE_ZERO, "held-out tasks, LoRA rank 16 − full, each at its best seen", new_clusters=True)
    both = [_best_elsewhere(t, method) for method in (RANK_16, FULL)]
    few = "needs three rates of rank 16 and of full fine-tuning, on two bases or seeds"
    if why := not_measured(t, ask) or ("" if all(both) else few):
        return untested(ask.region, ask.effect, why)
    lora, full = (one for one in both if one is not None)
    e = contrast([(lora.runs, 1.0), (full.runs, -1.0)], t.panels[HELD_OUT], ask.new_clusters)
    if e is None:
        return untested(ask.region, ask.effect, "no common seed")
    arms = [*lora.of, *full.of]
    rates = ", ".join(f"{one.runs.label} {' or '.join(rate_text(arm.rate) for arm in one.of)}" for one in (lora, full))
    note = joined(f"at {rates}, each base's chosen on the others", costs(t, *arms), whose_tasks(ask, e))
    at_end = ", ".join(one.runs.label for one in (lora, full) if one.at_end)
    doubt = joined(hindrance(t, HELD_OUT, *arms), f"best learning rate at an end of the axis: {at_end}" if at_end else "")
    return Finding(e, ask.region, ask.effect, t.units[HELD_OUT], note, doubt, labels(arms))


@dataclass(frozen=True)
class Elsewhere:
    """A method's runs, each at the rate that is best on other bases; the arms that they are of, along the rate; whether the
    rate that is best on all of them is the first or the last."""

    runs: Arm
    of: Sequence[Arm]
    at_end: bool


def _best_elsewhere(t: Tables[Tradeoff], method: Method) -> Elsewhere | None:
    """By quality on seen tasks; where all seeds are on one base, on the other seeds. None with fewer than three rates."""
    arms = t.own.curves[method]
    seeds = seeds_of(*arms)
    if len(arms) < 3 or len(seeds) < 2:
        return None
    quality_KS = scores(t, arms, seeds, "quality").mean(axis=2)
    bases_S = t.panels["quality"].bases(arms, seeds)
    units_S = np.arange(len(seeds)) if bases_S is None or len(set(bases_S.tolist())) < 2 else bases_S
    best_S = best_on_others(quality_KS, units_S)
    final = {seed: arms[best].final[seed] for seed, best in zip(seeds, best_S, strict=True)}
    runs = Arm(method.name, method.adapter, method.rank, final=final)
    top = int(quality_KS.mean(axis=1).argmax())
    return Elsewhere(runs, [arms[k] for k in sorted(set(best_S.tolist()))], top in (0, len(arms) - 1))


def best_on_others(quality_KS: np.ndarray, units_S: np.ndarray) -> np.ndarray:
    """For each of S seeds which of K arms is best over the seeds of other units (S,)."""
    return np.array([quality_KS[:, units_S != unit].mean(axis=1).argmax() for unit in units_S])


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
        held_out = whose_tasks(asks[1], found.difference)
        note = joined("80–95 % of the gain that both reach", costs(t, *arms), held_out)
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
