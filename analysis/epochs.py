"""When does more training on the same examples stop paying, and what does it cost in forgetting?"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import ABOVE_ZERO, Rule, Tables, View, contrast, difference, reporter, slope_weights
from analysis.stats import Region
from analysis.verdicts import Finding

NAME = "epochs"
FEW, MANY = 3.0, 15.0
AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)
VIEW = View(
    x="train.epochs",
    x_label="epochs",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "forgetting": "rising"},
)


def speeds_up(t: Tables) -> Finding:
    """13c: slope of forgetting on ln epochs from 3 on, less the slope up to 3."""
    rule = "supported: interval of the difference of slopes above 0; contradicted: below 0"
    effect = "slope of forgetting on ln epochs, from 3 on less up to 3"
    early, late = ([arm for arm in t.where({}) if keep(t.x_of(arm))] for keep in (lambda x: x <= FEW, lambda x: x >= FEW))
    if min(len(early), len(late)) < 2:
        return Finding(None, None, rule, effect, note="not tested: needs two arms up to 3 epochs and two from 3 on")
    parts = [(late, 1.0), (early, -1.0)]
    weights = [
        (arm, sign * float(w)) for group, sign in parts
        for arm, w in zip(group, slope_weights(np.log([t.x_of(arm) for arm in group])), strict=True)
    ]  # fmt: skip
    e = contrast(weights, t.panels["forgetting"])
    if e is None:
        return Finding(None, None, rule, effect, note="not tested: no common seed")
    return Finding(e, ABOVE_ZERO, rule, effect, f"{t.units['forgetting']} per e-fold")


def flattens(t: Tables) -> Finding:
    """13d."""
    rule = "supported: interval below +0.02; contradicted: above"
    first, second = {"train.epochs": MANY}, {"train.epochs": FEW}
    return difference(t, first, second, "quality", AT_MOST_TWO_POINTS, rule, "quality, 15 epochs − 3")


def loss_without_quality(t: Tables) -> Finding:
    """22: the loss must fall in every seed; then the sign of the change in quality decides."""
    rule = "supported: the loss falls and the interval of quality's change lies below 0; contradicted: above 0"
    effect = "quality, 15 epochs − 3, while the training loss falls"
    found = difference(t, {"train.epochs": MANY}, {"train.epochs": FEW}, "quality", Region(-math.inf, 0.0), rule, effect)
    final = t.trials[(t.trials["phase"] == "final") & (t.trials["state"] == "finished")]
    loss = final.pivot_table(index="seed", columns="train.epochs", values="train/loss_final")
    if found.estimate is None or (loss[MANY] < loss[FEW]).all():
        return found
    return Finding(None, None, rule, effect, note="not tested: the training loss does not fall in every seed")


RULES: dict[str, Rule] = {"13c": speeds_up, "13d": flattens, "22": loss_without_quality}
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
