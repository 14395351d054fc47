"""What does quality cost in forgetting, and does LoRA pay less than full fine-tuning? Claims 11, 12, 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.claims.rules import Rule, combination, costs, hindrance, lacks, slope_weights, untested
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import IS_ABOVE, SEEDS_ALONE, Finding
from analysis.formatting import joined
from analysis.questions.forgetting_tradeoff import plane as plane
from analysis.questions.forgetting_tradeoff.figure import draw
from analysis.questions.forgetting_tradeoff.laws import exponent, local_exponents, straightness
from analysis.questions.forgetting_tradeoff.tables import sections
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region, mean_interval
from experiments.forgetting_tradeoff import LORA_RATE

WORKING: Fields = {"method": "LoRA r=16", "train.epochs": 3.0, "train.learning_rate": LORA_RATE}
OVER_FIVE_POINTS = Region(-np.inf, -0.05)  # of accuracy lost
PUBLISHED_R2, ABOUT_015 = Region(0.94, np.inf), Region(0.0735, 0.294)  # .147 within a factor of 2


def domains_outside(t: Tables) -> Finding:
    """absent_domains_forget_more: each seed's mean over the domains that its mix does not ask about, less that over those it does."""
    effect = "rise of NLL, domains absent from the mix − present"
    arm, domains = t.arm(WORKING), [name for name in plane.DOMAINS if f"nll/{name}" in t.panels]
    if arm is None or len(domains) < len(plane.DOMAINS):
        return untested(IS_ABOVE, effect, "needs rank 16 at its working rate and the six domains of the laboratory")
    folds = plane.folds(t, arm)
    rises = {d: t.panels[f"nll/{d}"].of(list(arm.final.values())).mean(axis=1) for d in domains}
    values = [
        np.mean([rises[d][i] for d in domains if not plane.share_of_mix(d, fold)])
        - np.mean([rises[d][i] for d in domains if plane.share_of_mix(d, fold)])
        for i, fold in enumerate(folds)
    ]
    e = mean_interval(np.array(values)[:, None], n_items=sum(t.panels[f"nll/{d}"].n_items for d in domains))
    return Finding(
        e, ABOVE_ZERO, IS_ABOVE, effect, t.units["forgetting"], note=SEEDS_ALONE, hindrance=hindrance(t, "forgetting", arm)
    )


def skills_outside(t: Tables) -> Finding:
    """absent_skills_lose_more: accuracy that raw skills lose, each seed's mean over clusters outside its mix less that over clusters in it."""
    effect, measure = "accuracy lost by raw skills, clusters outside the mix − in it", "raw_accuracy/skills"
    arm = t.arm(WORKING)
    if why := lacks(t, measure) or ("" if arm else "no rank 16 at its working rate"):
        return untested(IS_ABOVE, effect, why)
    assert arm is not None
    scores = t.panels[measure]
    clusters = [plane.CLUSTER_OF.get(group) for group in scores.groups]
    if not clusters or None in clusters:
        return untested(IS_ABOVE, effect, "the raw skills are not those of the laboratory")
    values = []
    for lost_I, fold in zip(-scores.of(list(arm.final.values())), plane.folds(t, arm), strict=True):
        outside_G = np.array([cluster in plane.FOLDS[fold] for cluster in clusters])
        outside_I = outside_G[scores.strata_I]
        values.append(lost_I[outside_I].mean() - lost_I[~outside_I].mean())
    e = mean_interval(np.array(values)[:, None], n_items=scores.n_items)
    return Finding(e, ABOVE_ZERO, IS_ABOVE, effect, "accuracy", note=SEEDS_ALONE, hindrance=hindrance(t, measure, arm))


def warning(t: Tables) -> Finding:
    """raw_skills_lose_over_5_points."""
    rule = "supported: interval below −0.05; contradicted: above"
    effect = "change of raw skills, rank 16 at its working rate"
    return combination(t, [(WORKING, 1.0)], "raw_accuracy/skills", OVER_FIVE_POINTS, rule, effect, in_points=True)


def at_equal_rate(t: Tables) -> Finding:
    """lora_forgets_less_at_equal_rate: the mean over all rates that both ran at."""
    effect = "forgetting of full − LoRA rank 16 at equal steps, mean over their common rates"
    sides = [{float(str(arm.fields["train.learning_rate"])) for arm in plane.curve(t, name)} for name in ("full", "LoRA r=16")]
    rates = sorted(set.intersection(*sides))
    if not rates:
        return untested(IS_ABOVE, effect, "no rate that both ran at")
    parts: list[tuple[Fields, float]] = [
        ({"method": name, "train.epochs": 3.0, "train.learning_rate": rate}, sign / len(rates))
        for name, sign in (("full", 1.0), ("LoRA r=16", -1.0))
        for rate in rates
    ]
    found = combination(t, parts, "forgetting", ABOVE_ZERO, IS_ABOVE, effect)
    said = joined(f"{len(rates)} rates, {rates[0]:.2g} to {rates[-1]:.2g}", found.note)
    return replace(found, note=said) if found.estimate else found


def at_equal_quality(measure: str, effect: str, unit: str) -> Rule:
    """lora_forgets_less_at_equal_quality, lora_keeps_skills_at_equal_quality."""

    def rule(t: Tables) -> Finding:
        if why := lacks(t, measure):
            return untested(IS_ABOVE, effect, why)
        found = plane.matched(t, "LoRA r=16", "full", measure)
        if found is None:
            return untested(IS_ABOVE, effect, "needs two rates of each with a seed in common")
        arms = [*plane.curve(t, "LoRA r=16"), *plane.curve(t, "full")]
        said = f"80–95 % of the gain that both reach; {costs(t, *arms)}".removesuffix("; ")
        unit_here = unit or t.units["forgetting"]
        return Finding(
            found.difference, ABOVE_ZERO, IS_ABOVE, effect, unit_here, note=said, hindrance=hindrance(t, measure, *arms)
        )

    return rule


def rises_with_rate(t: Tables) -> Finding:
    """lower_rate_forgets_less_all_methods: the least-squares slope on the logarithm of the rate, averaged over methods."""
    effect = "rise of forgetting with the learning rate, mean over methods"
    curves = [arms for name in plane.METHODS if len(arms := plane.curve(t, name)) > 2]
    if not curves:
        return untested(IS_ABOVE, effect, "needs three rates of a method")
    parts: list[tuple[Fields, float]] = []
    for arms in curves:
        weights = slope_weights(np.log([t.x_of(arm) for arm in arms])) / len(curves)
        parts += [({"arm": arm.label}, float(w)) for arm, w in zip(arms, weights, strict=True)]
    found = combination(t, parts, "forgetting", ABOVE_ZERO, IS_ABOVE, effect)
    return replace(found, unit=f"{t.units['forgetting']} per e-fold")


def linear_in_loss(t: Tables) -> Finding:
    """forgetting_linear_in_loss: over all of LoRA's arms up to the rate that is best for quality; beyond it the loss no longer falls."""
    rule, effect = (
        "supported: interval of R² above .94; contradicted: below",
        "R² of forgetting falling with the fine-tuning loss (below 0: it rises), in a seed's runs",
    )
    points = plane.loss_points(t, "lora")
    if points is None:
        return untested(rule, effect, "needs the losses of 5 arms of LoRA with 2 seeds in common")
    e = straightness(points.x_SK, points.y_SK, t.panels["forgetting"].n_items)
    note = f"{points.x_SK.shape[1]} arms; {plane.said_of_shapes(points)}; {SEEDS_ALONE}"
    return Finding(e, PUBLISHED_R2, rule, effect, "R²", note=note, hindrance=hindrance(t, "forgetting", *points.arms))


def power_of_steps(t: Tables) -> Finding:
    """forgetting_power_of_steps."""
    rule = "supported: interval within 0.07–0.29 (a factor of 2); contradicted: outside"
    effect = "exponent of forgetting in the steps, LoRA rank 16"
    points = plane.step_points(t, "LoRA r=16")
    if points is None:
        return untested(rule, effect, "needs 3 numbers of epochs at one rate with 2 seeds in common")
    e = exponent(points.x_SK.mean(axis=0), points.y_SK, t.panels["forgetting"].n_items)
    if e is None:
        return untested(rule, effect, "a run did not forget")
    note = joined(local_exponents(points.x_SK.mean(axis=0), points.y_SK.mean(axis=0)), SEEDS_ALONE)
    return Finding(e, ABOUT_015, rule, effect, "exponent", note=note, hindrance=hindrance(t, "forgetting", *points.arms))


VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "forgetting", "raw_accuracy/skills", "raw_accuracy/facts", "exact_match/held_out"),
    curves="method",
    derive=plane.methods,
    behind=tuple(f"nll/{name}" for name in plane.DOMAINS),
    draw=draw,
    sections=sections,
)
RULES: Mapping[str, Rule] = {
    "absent_domains_forget_more": domains_outside,
    "absent_skills_lose_more": skills_outside,
    "raw_skills_lose_over_5_points": warning,
    "lora_forgets_less_at_equal_rate": at_equal_rate,
    "lora_forgets_less_at_equal_quality": at_equal_quality(
        "forgetting", "forgetting of full − LoRA rank 16 at equal quality", ""
    ),
    "lora_keeps_skills_at_equal_quality": at_equal_quality(
        "raw_accuracy/skills", "raw skills lost, full − LoRA rank 16 at equal quality", "accuracy"
    ),
    "lower_rate_forgets_less_all_methods": rises_with_rate,
    "forgetting_linear_in_loss": linear_in_loss,
    "forgetting_power_of_steps": power_of_steps,
}
report = reporter(VIEW, RULES)
