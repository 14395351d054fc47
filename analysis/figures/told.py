"""Forgetting against the KL divergence on the tuning task, a panel for each way that forgetting was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.told import Cloud
from analysis.figures import style
from analysis.stats.explained import quadratic
from core.adapters import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from analysis.stats import Estimate

POINTS_OF_LINE = 100
MOST_PANELS = 6
MOST_NAMED, NAMES_A_ROW = 8, 7  # methods in a panel's own legend; more stand above the panels
X_LABEL = "KL(base || tuned) on the task (nats/token)"
TITLE_WIDTH = 44


def draw(clouds: Mapping[str, Mapping[str, Cloud]], r_squared: Mapping[str, Estimate]) -> Figure:
    """`clouds`: how forgetting was measured → method → its runs; `r_squared` of all runs together."""
    names = list(clouds)[:MOST_PANELS]
    methods = dict.fromkeys(method for name in names for method in clouds[name])
    many = len(methods) > MOST_NAMED
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    height = 2.8 * rows + 0.3 + many * 0.16 * -(-len(methods) // NAMES_A_ROW)
    made, panels = style.figure(rows, columns, height, style.TEXT_WIDTH if columns > 1 or many else 4.6)
    points: dict[str, Line2D] = {}
    for panel, name in zip(panels, names, strict=False):
        for method, own in clouds[name].items():
            called = METHODS[method].label
            look = style.point(style.marker(method), style.colour(method), mew=0.4, markersize=4)
            (points[called],) = panel.plot(own.kl_N, own.forgetting_N, **look, label="" if many else called)
        kl_N, forgetting_N = (
            np.concatenate([getattr(one, of) for one in clouds[name].values()]) for of in ("kl_N", "forgetting_N")
        )
        explain(panel, kl_N, forgetting_N, r_squared[name])
        panel.set_xlabel(X_LABEL)
        panel.set_ylabel("forgetting (nats/token)")
        panel.set_title(textwrap.fill(name, TITLE_WIDTH))
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    if many:
        made.legend(list(points.values()), list(points), loc="outside upper left", ncols=NAMES_A_ROW, fontsize=6)
    return made


def explain(panel: Axes, kl_N: np.ndarray, forgetting_N: np.ndarray, e: Estimate) -> None:
    """The quadratic through all runs, and a legend with its R² and what was drawn before."""
    if len(set(kl_N)) > 2:
        at = np.linspace(kl_N.min(), kl_N.max(), POINTS_OF_LINE)
        low, high = (round(one, 2) + 0.0 for one in (e.low, e.high))  # no −0.00
        ends = f" [{low:.2f}, {high:.2f}]" if e.known else ""
        name = f"quadratic, R² {e.value:.2f}{ends}"
        panel.plot(at, quadratic(kl_N, forgetting_N, at), color=style.MUTED, linewidth=1.0, zorder=1, label=name)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=6)
