"""Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.arms import seeds_of
from analysis.claims.curves import scores
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, combination, slope_weights
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import RATIO, SEEDS_ALONE, Finding, untested
from analysis.formatting import joined, rate_text
from analysis.stats import ABOVE_ZERO, Form, Region
from analysis.stats.good_rates import good_rates, over_seeds, ratio_of_best

LEFT = "nll_after_relearning/documents"
METHODS = ("lora", "full")
VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "exact_match/held_out", "forgetting", LEFT, "raw_accuracy/skills"),
    curves="adapter.method",
)
ABOUT_TEN = Region(5, 20, form=Form.FACTOR)  # within a factor of 2 of 10; published: 9.8, 15 in short runs


def rises(measure: str, what: str) -> Rule:
    """The slope of a measure of forgetting on the logarithm of the rate, the mean of both methods."""
    ask = Ask(measure, ABOVE_ZERO, f"{what} with the learning rate, mean of LoRA and full")

    def rule(t: Tables[None]) -> Finding:
        curves = [t.where({"adapter.method": method}) for method in METHODS]
        if min(map(len, curves)) < 3:
            return untested(ask.region, ask.effect, "needs 3 learning rates of each method")
        parts: list[tuple[Fields, float]] = []
        for arms in curves:
            weights = slope_weights(np.log([t.x_of(arm) for arm in arms])) / len(curves)
            parts += [({"arm": arm.label}, float(w)) for arm, w in zip(arms, weights, strict=True)]
        found = combination(t, parts, ask)
        return replace(found, unit=f"{found.unit} per e-fold") if found.estimate else found

    return rule


def ratio_of_optima(t: Tables[None]) -> Finding:
    """Between which rates each curve has its top, whatever its shape."""
    effect = "best learning rate of LoRA ÷ full's"
    arms = {method: t.where({"adapter.method": method}) for method in METHODS}
    seeds = seeds_of(*(arm for found in arms.values() for arm in found))
    if min(map(len, arms.values())) < 3 or not seeds:
        return untested(ABOUT_TEN, effect, "needs 3 learning rates of each method with a seed in common")
    quality = t.panels["quality"]
    curves = {
        method: (np.array([t.x_of(arm) for arm in found]), scores(t, found, seeds, "quality").mean(axis=2))
        for method, found in arms.items()
    }
    bases_S = quality.bases([arm for found in arms.values() for arm in found], seeds)
    found = {method: over_seeds(rates_K, quality_KS.T, bases_S) for method, (rates_K, quality_KS) in curves.items()}
    ratio = ratio_of_best(found["lora"], found["full"], quality.n_items)
    good = {method: good_rates(one, quality.n_items) for method, one in found.items()}
    ranges = "; ".join(f"{method}: {rate_text(one.low)} to {rate_text(one.high)}" for method, one in good.items())
    return Finding(ratio, ABOUT_TEN, effect, RATIO, joined(f"within 2 points of the best, {ranges}", SEEDS_ALONE))


RULES: dict[str, Rule] = {
    "lower_rate_forgets_less": rises("forgetting", "rise of loss on ordinary old text"),
    "lower_rate_loses_less": rises(LEFT, "what is left of it after relearning"),
    "lora_rate_10_times_full": ratio_of_optima,
}
QUESTION: Question[None] = Question(VIEW, RULES)
