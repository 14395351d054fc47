"""Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.optimum import learning_rate_optimum
from analysis.question import ABOVE_ZERO, Rule, Tables, View, reporter, trend
from analysis.stats import Region, no_interval, quotient_of_estimates
from analysis.verdicts import Finding

NAME = "learning_rate"
VIEW = View(
    x="train.learning_rate",
    x_label="learning rate",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="adapter.method",
)
ABOUT_TEN = Region(5, 20)  # within a factor of 2 of 10; published: 9.8, 15 in short runs


def rises(method: str) -> Rule:
    """13a, 13b: the slope of forgetting on the logarithm of the rate."""
    rule = "supported: interval of the slope above 0; contradicted: below 0"
    return lambda t: trend(
        t, {"adapter.method": method}, "forgetting", ABOVE_ZERO, rule, f"rise of forgetting with the learning rate, {method}"
    )


def ratio_of_optima(t: Tables) -> Finding:
    """18c: the tops of the two curves of mean quality."""
    rule, effect = "supported: interval within 5–20×; contradicted: outside", "best learning rate of LoRA ÷ full's"
    curves = {}
    for method in ("lora", "full"):
        found = t.where({"adapter.method": method})
        quality = [float(t.cells.loc[t.cells["cell"] == arm.cell, "quality"].iloc[0]) for arm in found]
        curves[method] = (np.array([t.x_of(arm) for arm in found]), np.array(quality))
    if min(len(rates) for rates, _ in curves.values()) < 3:
        return Finding(None, None, rule, effect, note="not tested: fewer than 3 learning rates of a method finished")
    optima = learning_rate_optimum(curves, t.panels["quality"].n_items)
    lost = "; ".join(f"{method} {e.why}" for method, e in optima.items() if math.isnan(e.value))
    if lost:
        return Finding(no_interval(math.nan, 1, t.panels["quality"].n_items, lost, "log"), ABOUT_TEN, rule, effect, "ratio")
    return Finding(quotient_of_estimates(optima["lora"], optima["full"]), ABOUT_TEN, rule, effect, "ratio")


RULES: dict[str, Rule] = {"13a": rises("lora"), "13b": rises("full"), "18c": ratio_of_optima}
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
