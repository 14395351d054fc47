"""Quality and forgetting along trainings: a thin line a seed, a thick one for an arm's mean over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.colors import to_rgb

from analysis.arms import Arm
from analysis.escaping import label as shown
from analysis.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("quality", "forgetting")
MOST_NAMED = 12  # arms in a legend


def draw(found: pd.DataFrame, arms: Sequence[Arm], units: Mapping[str, str]) -> Figure:
    """One panel for each measure, over epochs."""
    made, panels = style.figure(1, 2, 2.6)
    named = [arm for arm in arms if arm.label in set(found["arm"])]
    alone = len({(arm.method, arm.rank) for arm in named}) == len(named)  # each has a colour of its own
    for panel, measure in zip(panels, MEASURES, strict=True):
        for number, arm in enumerate(named):
            _curve(panel, found[found["arm"] == arm.label], measure, _look(arm, number, alone))
        panel.set_title(f"{measure} ({units.get(measure, '')}), validation")
        panel.set_xlabel("epochs")
    if len(named) > 1:
        panels[0].legend(fontsize=6, ncols=2 if len(named) > MOST_NAMED // 2 else 1)
    return made


def _look(arm: Arm, number: int, alone: bool) -> tuple[style.Colour, str, str]:
    """Colour, marker, name."""
    if alone:
        return style.colour(arm.method, arm.rank), style.marker(arm.method), shown(arm.label)
    colour = to_rgb(style.PALETTE[number % len(style.PALETTE)])
    return colour, style.MARKERS[number % len(style.MARKERS)], shown(arm.label)


def _curve(panel: Axes, of_arm: pd.DataFrame, measure: str, look: tuple[style.Colour, str, str]) -> None:
    colour, marker, name = look
    for _, one in of_arm.groupby("seed"):
        panel.plot(one["epoch"], one[measure], color=colour, linewidth=0.6, alpha=0.4)
    mean = of_arm.groupby("step")[["epoch", measure]].mean()
    panel.plot(mean["epoch"], mean[measure], color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=name)
