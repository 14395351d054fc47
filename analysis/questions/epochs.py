"""When does more training on the same examples stop paying, and what does it cost in forgetting?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import AT_MOST_TWO_POINTS, Ask, Rule, combination, difference, slope_weights
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO
from core.states import Phase, State

FEW, MANY = 3.0, 15.0
VIEW = View(
    x="train.epochs",
    x_label="epochs",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    fits={"quality": "rising", "forgetting": "rising"},
)


def speeds_up(t: Tables[None]) -> Finding:
    """The slope of forgetting on epochs from 3 on, less that up to 3."""
    ask = Ask("forgetting", ABOVE_ZERO, "forgetting per epoch, from 3 epochs on less up to 3")
    early, late = ([arm for arm in t.where({}) if keep(t.x_of(arm))] for keep in (lambda x: x <= FEW, lambda x: x >= FEW))
    if min(len(early), len(late)) < 2:
        return untested(ask.region, ask.effect, "needs two arms up to 3 epochs and two from 3 on")
    parts = [
        ({"train.epochs": t.x_of(arm)}, sign * float(w)) for group, sign in ((late, 1.0), (early, -1.0))
        for arm, w in zip(group, slope_weights(np.array([t.x_of(arm) for arm in group])), strict=True)
    ]  # fmt: skip
    return replace(combination(t, parts, ask), unit=f"{t.units['forgetting']} per epoch")


def loss_without_quality(t: Tables[None]) -> Finding:
    """The change in quality decides, if the training loss falls in every seed that finished both."""
    effect = "quality on seen tasks, 15 epochs − 3, while the training loss falls"
    ask = Ask("quality", AT_MOST_TWO_POINTS, effect, in_points=True)
    found = difference(t, {"train.epochs": MANY}, {"train.epochs": FEW}, ask)
    if found.estimate is None:
        return found
    final = t.trials[(t.trials["phase"] == Phase.FINAL) & (t.trials["state"] == State.FINISHED)]
    both = final.pivot_table(index="seed", columns="train.epochs", values="train/loss_last_tenth")[[FEW, MANY]].dropna()
    if len(both) and (both[MANY] < both[FEW]).all():
        return replace(found, note=joined(f"training loss {both[FEW].mean():.3f} → {both[MANY].mean():.3f}", found.note))
    return untested(ask.region, ask.effect, "the training loss does not fall in every seed")


RULES: dict[str, Rule] = {"forgetting_speeds_up_past_3_epochs": speeds_up, "loss_falls_without_quality": loss_without_quality}
QUESTION: Question[None] = Question(VIEW, RULES)
