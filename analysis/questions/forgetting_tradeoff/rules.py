"""A rule for each claim of forgetting_tradeoff."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from analysis.claims.rules import Ask, Rule, combination, costs, hindrance, labels, not_measured, slope_weights
from analysis.claims.tables import Fields, Tables
from analysis.claims.verdicts import SEEDS_ALONE, Finding, untested
from analysis.formatting import joined
from analysis.questions.forgetting_tradeoff.clouds import AgainstLoss
from analysis.questions.forgetting_tradeoff.methods import EPOCHS, FULL, LORA, RANK_16
from analysis.questions.forgetting_tradeoff.mix import CLUSTER_OF, DOMAINS, FOLDS, folds, measured_domains, share_of_mix
from analysis.questions.forgetting_tradeoff.tradeoff import Compared, Tradeoff
from analysis.stats import ABOVE_ZERO, Region, mean_interval
from core.measures import ACCURACY
from experiments.forgetting_tradeoff import LORA_RATE

SKILLS = "raw_accuracy/skills"
WORKING: Fields = {"method": RANK_16.name, "train.epochs": EPOCHS, "train.learning_rate": LORA_RATE}
OVER_FIVE_POINTS = Region(-math.inf, -0.05)  # of accuracy lost
PUBLISHED_R2, ABOUT_015 = Region(0.94, math.inf), Region(0.0735, 0.294)  # .147 within a factor of 2


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


def skills_outside(t: Tables[Tradeoff]) -> Finding:
    """absent_skills_lose_more: accuracy that raw skills lose, each seed's mean over clusters outside its mix less that over
    clusters in it."""
    effect = "accuracy lost by raw skills, clusters outside the mix − in it"
    arm = t.arm(WORKING)
    why = not_measured(t, Ask(SKILLS, ABOVE_ZERO, effect))
    if why or arm is None:
        return untested(ABOVE_ZERO, effect, why or "no rank 16 at its working rate")
    scores = t.panels[SKILLS]
    clusters = [CLUSTER_OF.get(group) for group in scores.groups]
    if not clusters or None in clusters:
        return untested(ABOVE_ZERO, effect, "the raw skills are not those of the laboratory")
    values = []
    for lost_I, fold in zip(-scores.of(list(arm.final.values())), folds(t, arm), strict=True):
        outside_G = np.array([cluster in FOLDS[fold] for cluster in clusters])
        outside_I = outside_G[scores.strata_I]
        values.append(lost_I[outside_I].mean() - lost_I[~outside_I].mean())
    e = mean_interval(np.array(values)[:, None], n_items=scores.n_items)
    return Finding(e, ABOVE_ZERO, effect, ACCURACY, SEEDS_ALONE, hindrance(t, SKILLS, arm), labels([arm]))


def skills_lost(t: Tables[Tradeoff]) -> Finding:
    """raw_skills_lose_over_5_points."""
    effect = "change of raw skills, rank 16 at its working rate"
    return combination(t, [(WORKING, 1.0)], Ask(SKILLS, OVER_FIVE_POINTS, effect, in_points=True))


def at_equal_rate(t: Tables[Tradeoff]) -> Finding:
    """lora_forgets_less_at_equal_rate: the mean over all rates that both ran at."""
    effect = "forgetting of full − LoRA rank 16 at equal steps, mean over their common rates"
    sides = [{float(str(arm.fields["train.learning_rate"])) for arm in t.own.curves[method]} for method in (FULL, RANK_16)]
    rates = sorted(set.intersection(*sides))
    if not rates:
        return untested(ABOVE_ZERO, effect, "no rate that both ran at")
    parts: list[tuple[Fields, float]] = [
        ({"method": method.name, "train.epochs": EPOCHS, "train.learning_rate": rate}, sign / len(rates))
        for method, sign in ((FULL, 1.0), (RANK_16, -1.0))
        for rate in rates
    ]
    found = combination(t, parts, Ask("forgetting", ABOVE_ZERO, effect))
    note = joined(f"{len(rates)} rates, {rates[0]:.2g} to {rates[-1]:.2g}", found.note)
    return replace(found, note=note) if found.estimate else found


def at_equal_quality(measure: str, effect: str) -> Callable[[Tables[Tradeoff]], Finding]:
    """lora_forgets_less_at_equal_quality, lora_keeps_skills_at_equal_quality."""

    def rule(t: Tables[Tradeoff]) -> Finding:
        if why := not_measured(t, Ask(measure, ABOVE_ZERO, effect)):
            return untested(ABOVE_ZERO, effect, why)
        found = t.own.at_equal_quality.get(Compared(measure=measure))
        if found is None:
            return untested(ABOVE_ZERO, effect, "needs two rates of each with a seed in common")
        arms = [*t.own.curves[RANK_16], *t.own.curves[FULL]]
        note = joined("80–95 % of the gain that both reach", costs(t, *arms))
        doubt = hindrance(t, measure, *arms)
        return Finding(found.difference, ABOVE_ZERO, effect, t.units[measure], note, doubt, labels(arms))

    return rule


def rises_with_rate(t: Tables[Tradeoff]) -> Finding:
    """lower_rate_forgets_less_all_methods: the least-squares slope on the logarithm of the rate, averaged over methods."""
    effect = "rise of forgetting with the learning rate, mean over methods"
    curves = [arms for arms in t.own.curves.values() if len(arms) > 2]
    if not curves:
        return untested(ABOVE_ZERO, effect, "needs three rates of a method")
    parts: list[tuple[Fields, float]] = []
    for arms in curves:
        weights = slope_weights(np.log([t.x_of(arm) for arm in arms])) / len(curves)
        parts += [({"arm": arm.label}, float(w)) for arm, w in zip(arms, weights, strict=True)]
    found = combination(t, parts, Ask("forgetting", ABOVE_ZERO, effect))
    return replace(found, unit=f"{t.units['forgetting']} per e-fold")


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


def power_of_steps(t: Tables[Tradeoff]) -> Finding:
    """forgetting_power_of_steps."""
    effect = "exponent of forgetting in the steps, LoRA rank 16"
    found = t.own.against_steps.get(RANK_16)
    if found is None:
        return untested(ABOUT_015, effect, "needs 3 numbers of epochs at one rate with 2 seeds in common")
    if found.exponent is None:
        return untested(ABOUT_015, effect, "a run did not forget")
    note = joined(found.between_neighbours, SEEDS_ALONE)
    arms = found.points.arms
    return Finding(found.exponent, ABOUT_015, effect, "exponent", note, hindrance(t, "forgetting", *arms), labels(arms))


RULES: dict[str, Rule] = {
    "absent_domains_forget_more": domains_outside,
    "absent_skills_lose_more": skills_outside,
    "raw_skills_lose_over_5_points": skills_lost,
    "lora_forgets_less_at_equal_rate": at_equal_rate,
    "lora_forgets_less_at_equal_quality": at_equal_quality("forgetting", "forgetting of full − LoRA rank 16 at equal quality"),
    "lora_keeps_skills_at_equal_quality": at_equal_quality(SKILLS, "raw skills lost, full − LoRA rank 16 at equal quality"),
    "lower_rate_forgets_less_all_methods": rises_with_rate,
    "forgetting_linear_in_loss": linear_in_loss,
    "forgetting_power_of_steps": power_of_steps,
}
