"""Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?"""

from __future__ import annotations

import numpy as np

from analysis.arms import seeds_of
from analysis.claims.curves import scores
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import RATIO, SEEDS_ALONE, Finding, untested
from analysis.stats import ABOVE_ZERO, Form, Region
from analysis.stats.optimum import log_ratios, ratio_over_seeds, spacing

VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="adapter.method",
)
ABOUT_TEN = Region(5, 20, form=Form.FACTOR)  # within a factor of 2 of 10; published: 9.8, 15 in short runs


def rises(method: str) -> Rule:
    """The slope of a method's forgetting on the logarithm of the rate."""
    ask = Ask("forgetting", ABOVE_ZERO, f"rise of forgetting with the learning rate, {method}")
    return lambda t: trend(t, {"adapter.method": method}, ask)


def ratio_of_optima(t: Tables[None]) -> Finding:
    """The tops of each seed's two curves; over the seeds, Student's t on the logarithm of their ratio."""
    effect = "best learning rate of LoRA ÷ full's, seed by seed"
    arms = {method: t.where({"adapter.method": method}) for method in ("lora", "full")}
    seeds = seeds_of(*(arm for found in arms.values() for arm in found))
    if min(map(len, arms.values())) < 3 or not seeds:
        return untested(ABOUT_TEN, effect, "needs 3 learning rates of each method with a seed in common")
    quality = t.panels["quality"]
    curves = {
        method: (np.array([t.x_of(arm) for arm in found]), scores(t, found, seeds, "quality").mean(axis=2))
        for method, found in arms.items()
    }
    logs_S, without_top = log_ratios(curves, seeds, quality.n_items)
    if without_top:
        return untested(ABOUT_TEN, effect, "; ".join(one.text for one in without_top))
    ratio = ratio_over_seeds(logs_S, [spacing(rates_K) for rates_K, _ in curves.values()], quality.n_items)
    return Finding(ratio, ABOUT_TEN, effect, RATIO, SEEDS_ALONE)


RULES: dict[str, Rule] = {
    "lower_rate_forgets_less_lora": rises("lora"),
    "lower_rate_forgets_less_full": rises("full"),
    "lora_rate_10_times_full": ratio_of_optima,
}
QUESTION: Question[None] = Question(VIEW, RULES)
