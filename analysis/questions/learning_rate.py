"""Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?"""

from __future__ import annotations

import numpy as np

from analysis.arms import seeds_of
from analysis.claims.curves import scores
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import RATIO, SEEDS_ALONE, Finding, untested
from analysis.formatting import joined, rate_text
from analysis.stats import ABOVE_ZERO, Form, Region
from analysis.stats.good_rates import Rated, good_rates, ratio_of_best

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
    """Between which rates each curve has its top, whatever its shape."""
    effect = "best learning rate of LoRA ÷ full's"
    arms = {method: t.where({"adapter.method": method}) for method in ("lora", "full")}
    seeds = seeds_of(*(arm for found in arms.values() for arm in found))
    if min(map(len, arms.values())) < 3 or not seeds:
        return untested(ABOUT_TEN, effect, "needs 3 learning rates of each method with a seed in common")
    quality = t.panels["quality"]
    curves = {
        method: (np.array([t.x_of(arm) for arm in found]), scores(t, found, seeds, "quality").mean(axis=2))
        for method, found in arms.items()
    }
    found = {method: Rated(rates_K, quality_KS.T) for method, (rates_K, quality_KS) in curves.items()}
    ratio = ratio_of_best(found["lora"], found["full"], quality.n_items)
    good = {method: good_rates(one, quality.n_items) for method, one in found.items()}
    ranges = "; ".join(f"{method}: {rate_text(one.low)} to {rate_text(one.high)}" for method, one in good.items())
    return Finding(ratio, ABOUT_TEN, effect, RATIO, joined(f"within 2 points of the best, {ranges}", SEEDS_ALONE))


RULES: dict[str, Rule] = {
    "lower_rate_forgets_less_lora": rises("lora"),
    "lower_rate_forgets_less_full": rises("full"),
    "lora_rate_10_times_full": ratio_of_optima,
}
QUESTION: Question[None] = Question(VIEW, RULES)
