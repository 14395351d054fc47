"""Statistics of paired runs: arrays in, estimates out. Imports numpy and scipy only, and may be used alone (README.md)."""

from analysis.stats.decision import ABOVE_ZERO, BELOW_ZERO, Decision, Form, Region, holm, verdict
from analysis.stats.estimate import LEVEL, NEEDS_SEEDS, NO_SPREAD, POWER, Estimate, Missing, Over, Why, no_interval, t_quantile
from analysis.stats.intervals import (
    bootstrap_means,
    from_draws,
    interquartile_mean,
    item_interval,
    mean_interval,
    mean_products,
    percentile_interval,
    quotient_of_estimates,
    ratio_interval,
    relative_difference,
    resampled_counts,
    variance_and_df,
)

__all__ = [
    "ABOVE_ZERO", "BELOW_ZERO", "LEVEL", "NEEDS_SEEDS", "NO_SPREAD", "POWER", "Decision", "Estimate", "Form", "Missing", "Over",
    "Region", "Why", "bootstrap_means", "from_draws", "holm",
    "interquartile_mean", "item_interval",
    "mean_interval", "mean_products", "no_interval", "percentile_interval", "quotient_of_estimates",
    "ratio_interval", "relative_difference", "resampled_counts", "t_quantile", "variance_and_df", "verdict",
]  # fmt: skip
