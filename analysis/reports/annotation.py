"""The section and the figure on quality against what the rows cost (`--cost`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.claims.annotation import Costs
from analysis.claims.tables import Tables
from analysis.escaping import label as shown
from analysis.figures import style
from core.measures import ACCURACY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    "Cost: price × different rows that are trained on (a row that comes again is paid once; of rows chosen by a score or by a "
    "model, all that they were chosen from). Training and tuning are not in it. Best for a budget: the arm with the highest mean "
    "quality of all that cost no more. The gain is over the step before, paired by seed and item; where its interval holds 0, "
    "the cheaper arm may be as good.\n"
)
BESIDE = ("exact_match/held_out", "accuracy/response_token", "forgetting")


def money(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def section(t: Tables[Any], found: Costs | None) -> list[str]:
    """Heading, figure, and two tables: what is best for a budget, and all arms by cost."""
    if found is None:
        return []
    unit = t.units["quality"]
    header = ["budget from", "arm", f"quality ({unit})", "gain over the step before", "cost of a further point"]
    steps = [
        [money(step.at.cost), step.at.arm.label, _mean(t, step.at.arm.label, "quality"),
         formatting.estimate(step.gain, signed=True) if step.gain else formatting.NONE, _point(t, found, i)]
        for i, step in enumerate(found.steps)
    ]  # fmt: skip
    table = formatting.markdown(header, steps)
    return ["## Quality for its cost\n", "![quality against cost](cost.png)\n", table, *_all(t, found), NOTE]


def _all(t: Tables[Any], found: Costs) -> list[str]:
    names = ["quality", *(name for name in BESIDE if name in t.panels)]
    header = ["arm", "rows paid", "cost", *(f"{formatting.heading(name)} ({t.units[name]})" for name in names)]
    body = [
        [one.arm.label, ", ".join(f"{n:,.0f} {name}" for name, n in one.rows.items() if n), money(one.cost),
         *(_mean(t, one.arm.label, name) for name in names)]
        for one in found.arms
    ]  # fmt: skip
    return [formatting.markdown(header, body)]


def _mean(t: Tables[Any], arm: str, name: str) -> str:
    return formatting.estimate(t.means[arm].get(name))


def _point(t: Tables[Any], found: Costs, i: int) -> str:
    """What a hundredth of accuracy more costs between two steps."""
    gain = found.steps[i].gain
    if gain is None or t.units["quality"] != ACCURACY or gain.value <= 0:
        return formatting.NONE
    return money((found.steps[i].at.cost - found.steps[i - 1].at.cost) / (100 * gain.value))


def frame(t: Tables[Any], found: Costs) -> pd.DataFrame:
    """cost.csv: a row an arm."""
    best = {step.at.arm.label for step in found.steps}
    rows = [
        {"arm": one.arm.label, "cost": one.cost, "best_for_its_cost": one.arm.label in best}
        | {f"rows/{name}": n for name, n in one.rows.items()}
        | {column: value for name in t.panels for column, value in _columns(t, one.arm.label, name).items()}
        for one in found.arms
    ]
    return pd.DataFrame(rows)


def _columns(t: Tables[Any], arm: str, name: str) -> dict[str, float]:
    e = t.means[arm].get(name)
    return {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high} if e else {}


def draw(t: Tables[Any], found: Costs) -> Figure:
    """Quality against cost, a step line through what is best for a budget; beside it another measure, if there is one."""
    names = ["quality", *(name for name in BESIDE if name in t.panels)][:2]
    figure, panels = style.figure(1, len(names), 2.9)
    x = np.array([one.cost for one in found.arms])
    best = {step.at.arm.label for step in found.steps}
    for panel, name in zip(panels, names, strict=True):
        points = [(one, t.means[one.arm.label][name]) for one in found.arms if name in t.means[one.arm.label]]
        ends = np.array([(e.value, e.low, e.high) for _, e in points])
        panel.set_ylim(*style.limits(*ends.T))
        for one, e in points:
            colour = style.colour(one.arm.method) if one.arm.label in best else (0.6, 0.6, 0.6)
            panel.plot(one.cost, e.value, "o", color=colour, mec="white", mew=0.7, zorder=4)
            style.interval(panel, one.cost, (e.low, e.high), colour, linewidth=0.9)
            if one.arm.label in best:
                panel.annotate(shown(one.arm.label), (one.cost, e.value), xytext=(3, 4), textcoords="offset points", fontsize=6)
        if name == "quality":
            steps = [(step.at.cost, t.means[step.at.arm.label][name].value) for step in found.steps]
            panel.step(*zip(*steps, strict=True), where="post", color=style.MUTED, linewidth=0.9, zorder=1)
        if x.min() > 0 and x.max() > 5 * x.min():
            style.logarithmic(panel, "x")
        panel.set_xlabel("cost of the rows")
        panel.set_ylabel(f"{formatting.heading(name)} ({t.units[name]})")
        low, high = panel.get_xlim()
        panel.set_xlim(low, high * 1.6 if math.isfinite(high) else high)  # room for the names
    return figure
