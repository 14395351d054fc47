"""The figure of a question: one panel for each measure, its mean with the 95 % interval along x, a curve for each level of
the question's second axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis import style
from analysis.formatting import heading, readable, rise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.question import Tables


PANELS = 4


def draw(t: Tables) -> Figure:
    """One panel a measure, two in a row."""
    names = list(t.panels)[:PANELS]
    n = len(names)
    figure, panels = style.figure(math.ceil(n / 2), min(n, 2), 2.7 * math.ceil(n / 2))
    cells = t.cells[t.cells["seeds"] > 0]
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, t, cells, name)
    for spare in panels[n:]:
        spare.set_visible(False)
    return figure


def _panel(panel: Axes, t: Tables, cells: pd.DataFrame, name: str) -> None:
    numeric = all(isinstance(x, int | float) for x in cells["x"])
    levels = list(dict.fromkeys(cells["x"] if not numeric else sorted(cells["x"])))
    curves = _ordered(cells["curve"])
    for index, curve in enumerate(curves):
        own = cells[cells["curve"] == curve].assign(at=lambda rows: [x if numeric else levels.index(x) for x in rows["x"]])
        own = own.sort_values("at")
        shift = 1.0 + 0.03 * (index - (len(curves) - 1) / 2)  # so that intervals beside each other can be told apart
        at = own["at"].to_numpy(float) * shift if numeric and t.view.logarithmic else own["at"].to_numpy(float) + (shift - 1) * 3
        colour, marker = style.curve(t.view.curves, curve, index)
        panel.plot(
            at, own[name], marker + ("-" if numeric else ""), color=colour, mec="white", mew=0.7, markersize=5, label=str(curve)
        )
        panel.vlines(at, own[name + "_low"], own[name + "_high"], color=colour, linewidth=0.9)
    if numeric and t.view.logarithmic:
        panel.set_xscale("log")
        _ticks(panel, levels)
    elif not numeric:
        panel.set_xticks(range(len(levels)), [str(level) for level in levels], rotation=20 if len(levels) > 4 else 0)
    panel.set_xlabel(t.view.x_label)
    panel.set_ylabel(f"{heading(name)} ({t.units[name]})")
    panel.set_title(_title(t, name))
    if len(curves) > 1 and name == next(iter(t.panels)):  # once, in the first panel
        panel.legend(title=t.view.curves_label or None, title_fontsize=7)


def _ordered(values: pd.Series) -> list[object]:
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(v, int | float) for v in found) else sorted(found, key=str)


def _ticks(panel: Axes, levels: list[float]) -> None:
    """The levels themselves, as many as fit."""
    step = math.ceil(len(levels) / 6)
    shown = levels[::-1][::step][::-1]
    panel.set_xticks(shown, [f"{level:,.3g}" if level < 1 or level != round(level) else f"{level:,.0f}" for level in shown])
    panel.set_xticks(np.array([]), minor=True)


def _title(t: Tables, name: str) -> str:
    first = t.trials[t.trials["state"] == "finished"].iloc[0]
    if name == "quality":
        return f"Quality: {readable(str(first['quality_measure']))}"
    if name == "forgetting":
        return f"Forgetting: {rise(str(first['forgetting_measures']))}"
    return readable(name).capitalize() + (" (change)" if name.startswith("raw_accuracy") else "")
