"""Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?"""

from __future__ import annotations

import numpy as np

from analysis.arms import seeds_of
from analysis.claims.rules import Rule, trend
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import SEEDS_ALONE, Finding
from analysis.questions.forgetting_tradeoff.plane import scores
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region
from analysis.stats.optimum import log_ratios, ratio_over_seeds, spacing

VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="adapter.method",
)
ABOUT_TEN = Region(5, 20)  # within a factor of 2 of 10; published: 9.8, 15 in short runs


def rises(method: str) -> Rule:
    """lower_rate_forgets_less_lora, lower_rate_forgets_less_full: the slope of forgetting on the logarithm of the rate."""
    rule = "supported: interval of the slope above 0; contradicted: below 0"
    return lambda t: trend(
        t, {"adapter.method": method}, "forgetting", ABOVE_ZERO, rule, f"rise of forgetting with the learning rate, {method}"
    )


def ratio_of_optima(t: Tables) -> Finding:
    """lora_rate_10_times_full: the top of each seed's two curves; over the seeds, Student's t on the logarithm of their ratio."""
    rule, effect = "supported: interval within 5–20×; contradicted: outside", "best learning rate of LoRA ÷ full's, seed by seed"
    arms = {method: t.where({"adapter.method": method}) for method in ("lora", "full")}
    seeds = seeds_of(*(arm for found in arms.values() for arm in found))
    if min(map(len, arms.values())) < 3 or not seeds:
        return Finding(None, None, rule, effect, note="needs 3 learning rates of each method with a seed in common")
    quality = t.panels["quality"]
    curves = {
        method: (np.array([t.x_of(arm) for arm in found]), scores(t, found, seeds, "quality").mean(axis=2))
        for method, found in arms.items()
    }
    logs_S, lost = log_ratios(curves, seeds, quality.n_items)
    if lost:
        return Finding(None, None, rule, effect, note="; ".join(lost))
    ratio = ratio_over_seeds(logs_S, [spacing(rates_K) for rates_K, _ in curves.values()], quality.n_items)
    return Finding(ratio, ABOUT_TEN, rule, effect, "ratio", note=SEEDS_ALONE)


RULES: dict[str, Rule] = {
    "lower_rate_forgets_less_lora": rises("lora"),
    "lower_rate_forgets_less_full": rises("full"),
    "lora_rate_10_times_full": ratio_of_optima,
}
report = reporter(VIEW, RULES)
