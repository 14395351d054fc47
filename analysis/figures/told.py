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

    from analysis.stats import Estimate

POINTS_OF_LINE = 100
MOST_PANELS = 6
X_LABEL = "KL(base || tuned) on the task (nats/token)"
TITLE_WIDTH = 44


def draw(clouds: Mapping[str, Mapping[str, Cloud]], r_squared: Mapping[str, Estimate]) -> Figure:
    """`clouds`: how forgetting was measured → method → its runs; `r_squared` of all runs together."""
    names = list(clouds)[:MOST_PANELS]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    made, panels = style.figure(rows, columns, 2.8 * rows + 0.3, style.TEXT_WIDTH if columns > 1 else 4.6)
    for panel, name in zip(panels, names, strict=False):
        for method, own in clouds[name].items():
            mark = style.marker(method)
            look = style.point(mark, style.colour(method), mew=0.4, markersize=4, label=METHODS[method].label)
            panel.plot(own.kl_N, own.forgetting_N, **look)
        kl_N, forgetting_N = (
            np.concatenate([getattr(one, of) for one in clouds[name].values()]) for of in ("kl_N", "forgetting_N")
        )
        explain(panel, kl_N, forgetting_N, r_squared[name])
        panel.set_xlabel(X_LABEL)
        panel.set_ylabel("forgetting (nats/token)")
        panel.set_title(textwrap.fill(name, TITLE_WIDTH))
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    return made


def explain(panel: Axes, kl_N: np.ndarray, forgetting_N: np.ndarray, e: Estimate) -> None:
    """The quadratic through all runs, and a legend with its R² and what was drawn before."""
    if len(set(kl_N)) > 2:
        at = np.linspace(kl_N.min(), kl_N.max(), POINTS_OF_LINE)
        ends = f" [{e.low:.2f}, {e.high:.2f}]" if e.known else ""
        name = f"quadratic, R² {e.value:.2f}{ends}"
        panel.plot(at, quadratic(kl_N, forgetting_N, at), color=style.MUTED, linewidth=1.0, zorder=1, label=name)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=6)
