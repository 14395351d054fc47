"""The figure of a question: one panel for each measure, its mean with the 95 % interval along x, a curve for each level of
the question's second axis. Where a law was fitted it is drawn through the points with its band (dashed: other laws fit as
well, or a parameter is not identified) and a bar where it levels off; what is published is laid over it in grey.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import formatting
from analysis.arms import AXES, is_change
from analysis.claims.fitted import Fitted, label
from analysis.figures import style
from core.measures import measure, rise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Tables

LEGEND_WIDTH = 28  # characters: about half a panel, so that there is a corner that holds it
PANELS = 4  # at least, where there are as many measures
NAMES = {"lora": "LoRA"}
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Axis:
    """Where on x the points of a figure stand. `scale`: log, linear, or even."""

    levels: list[object]
    scale: str

    @property
    def numbers(self) -> bool:
        """Whether what lies between two levels means something."""
        return all(isinstance(x, int | float) for x in self.levels)

    def at(self, values: Sequence[object], place: float) -> np.ndarray:
        """Positions of these levels. Curves are moved aside by `place` (−0.5 to 0.5 times their number), lest equal arms
        hide each other: by 2 % of a logarithmic axis a curve; on a linear one, where that would look like another level, they
        stay."""
        if self.scale == "even":
            return np.array([self.levels.index(x) + 0.12 * place for x in values])
        raw = np.array([float(str(x)) for x in values])
        if self.scale == "linear":
            return raw
        span = float(np.ptp(np.log(np.array(self.levels, float))))
        return raw * math.exp(place * 0.022 * span)


def draw(t: Tables[Any], narrow: bool = False) -> Figure:
    """One panel a measure, two in a row; `narrow`: one in a row, for one column of print."""
    names = list(t.panels)[: max(PANELS, len(t.view.measures))]
    columns = 1 if narrow else min(len(names), 2)
    rows = math.ceil(len(names) / columns)
    arm_rows = t.arm_rows[t.arm_rows["seeds"] > 0]
    curves = _ordered(arm_rows["curve"])
    crowded = len(curves) > 1 or bool(t.published)
    figure, panels = style.figure(
        rows, columns, (1.75 if narrow else 2.7) * rows + 0.3 * crowded, style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH
    )
    axis = _axis(t, arm_rows)
    handles: dict[str, Artist] = {}
    for panel, name in zip(panels, names, strict=False):
        handles |= _panel(
            panel, t, arm_rows.dropna(subset=[name]), name, axis, curves, [one for one in t.laws if one.measure == name]
        )
    for spare in panels[len(names) :]:
        spare.set_visible(False)
    if len(handles) > 1:
        _legend(figure, handles, t.view.curves_label, 60 if narrow else 125)
    return figure


def _axis(t: Tables[Any], arm_rows: pd.DataFrame) -> Axis:
    if all(isinstance(x, int | float) for x in arm_rows["x"]):
        return Axis(sorted(set(arm_rows["x"])), t.view.scale)
    there = list(dict.fromkeys(arm_rows["x"]))
    return Axis([*(x for x in t.order if x in there), *(x for x in there if x not in t.order)], "even")


def _legend(figure: Figure, handles: dict[str, Artist], title: str, width: int) -> None:
    """Above the panels, where it hides nothing; `width` in characters."""
    names = list(handles)
    fit = max(1, next((n for n in range(len(names), 0, -1) if n * (max(map(len, names)) + 9) <= width), 1))
    fit = len(names) if sum(len(name) + 9 for name in names) <= width else fit
    look = {"ncols": fit, "borderaxespad": 0.4, "borderpad": 0.2, "alignment": "left", "title_fontsize": 7}
    figure.legend(handles.values(), names, loc="outside upper left", title=title or None, **look)


def _panel(
    panel: Axes, t: Tables[Any], arm_rows: pd.DataFrame, name: str, axis: Axis, curves: list[object], found: Sequence[Fitted]
) -> dict[str, Artist]:
    """Draws one measure; the handles of its curves, by name."""
    handles: dict[str, Artist] = {}
    theirs = [one for one in t.published if one.measure == name and axis.scale != "even"]
    placed = {one: xy for one in theirs if (xy := one.beside(*_means(arm_rows, one.curve, name)))}
    values = np.concatenate([arm_rows[name].to_numpy(float), *(y for _, y in placed.values())])
    if len(arm_rows):
        panel.set_ylim(*style.limits(values, arm_rows[name + "_low"].to_numpy(float), arm_rows[name + "_high"].to_numpy(float)))
    if axis.scale == "log":
        panel.set_xscale("log")
    if axis.scale != "even" and len(axis.levels) == 1:
        middle = float(str(axis.levels[0]))
        panel.set_xlim(middle / 2, middle * 2) if middle > 0 else panel.set_xlim(middle - 1, middle + 1)
    if (is_change(name)) and panel.get_ylim()[0] < 0 < panel.get_ylim()[1]:
        panel.axhline(0, color=style.MUTED, linewidth=0.7, zorder=1)
    laws: list[Artist] = []
    for index, curve in enumerate(curves):
        own = arm_rows[arm_rows["curve"] == curve]
        fitted = next((one for one in found if one.curve == str(curve)), None)
        colour, marker = _look(t, own, curve, index, len(curves))
        at = axis.at(list(own["x"]), index - (len(curves) - 1) / 2)
        handles |= _points(panel, own.iloc[np.argsort(at)], np.sort(at), name, colour, marker, axis.numbers and fitted is None)
        laws += [_law(panel, fitted, colour, len(laws), len(curves) > 1)] if fitted else []
    for one, xy in placed.items():
        handles[one.name] = style.published(panel, *xy, one.name)[0]
    _label(panel, t, name, axis)
    if laws:
        # Above the bars at the bottom; out of the layout, which would make room for a long name by narrowing the panel.
        panel.legend(handles=laws, fontsize=6.5, handlelength=1.6, bbox_to_anchor=(0, 0.09, 1, 0.91)).set_in_layout(False)
    return handles


def _means(arm_rows: pd.DataFrame, curve: str, name: str) -> tuple[list[float], list[float]]:
    own = arm_rows[arm_rows["curve"] == curve].sort_values("x")
    return own["x"].astype(float).to_list(), own[name].astype(float).to_list()


def _look(t: Tables[Any], own: pd.DataFrame, curve: object, index: int, n_curves: int) -> tuple[Colour, str]:
    """Colour and marker: a lone curve has its method's."""
    methods = set(own["method"])
    return style.curve(t.view.curves, methods.pop() if n_curves == 1 and len(methods) == 1 else curve, index)


def _points(
    panel: Axes, own: pd.DataFrame, at: np.ndarray, name: str, colour: Colour, marker: str, joined: bool
) -> dict[str, Artist]:
    """Means and intervals of one curve; its handle for the legend. Where it is LoRA's and full fine-tuning's, full has its own
    marker and stands apart: its number of parameters is no rank."""
    if own.empty:
        return {}
    apart = (own["method"] == "full").to_numpy() & (own["method"].nunique() > 1)
    look: dict[str, Any] = {"color": colour, "mec": "white", "mew": 0.7, "markersize": 5, "zorder": 4}
    (line,) = panel.plot(at[~apart], own.loc[~apart, name], marker + ("-" if joined else ""), **look)
    panel.plot(at[apart], own.loc[apart, name], style.METHOD_MARKER["full"], **look)
    for x, low, high in zip(at, own[name + "_low"], own[name + "_high"], strict=True):
        style.interval(panel, x, low, high, colour, 0.9)
    curve = str(own["curve"].iloc[0])
    return {NAMES.get(curve, curve): line} if curve else {"here": line}


def _law(panel: Axes, one: Fitted, colour: Colour, order: int, named: bool) -> Artist:
    """The law with its band, and at the bottom where it levels off; its handle for the legend."""
    line = one.line
    panel.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0, zorder=0.5)
    text = f"{one.curve}: {label(one)}" if named else label(one)
    text = textwrap.fill(text, LEGEND_WIDTH)
    dashes = "--" if one.in_doubt else "-"
    (handle,) = panel.plot(line.x, line.y, color=colour, linewidth=1.0, linestyle=dashes, label=text, zorder=3)
    e = one.best.plateau
    if e.known:
        height, where = 0.02 + 0.03 * order, panel.get_xaxis_transform()
        panel.plot([e.low, e.high], [height] * 2, color=colour, linewidth=2, solid_capstyle="butt", transform=where)
        panel.plot(e.value, height, "|", color=colour, markersize=6, mew=1.4, transform=where)
    return handle


def _label(panel: Axes, t: Tables[Any], name: str, axis: Axis) -> None:
    if axis.scale == "log":
        panel.set_xticks(*style.ticks(axis.levels, True))  # type: ignore[arg-type]
        panel.set_xticks(np.array([]), minor=True)
    elif axis.scale == "linear":
        panel.xaxis.set_major_formatter("{x:,g}")
    else:
        names = [f"{x:g}" if axis.numbers else str(x) for x in axis.levels]
        panel.set_xticks(range(len(names)), names, rotation=20 if len(names) > 4 and not axis.numbers else 0)
        panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set_xlabel(t.view.x_label)
    short = formatting.heading(name) if name in AXES or not is_change(name) else "rise" if measure(name).text else "change"
    panel.set_ylabel(f"{short} ({t.units[name]})")
    panel.set_title(_title(t, name))


def _ordered(values: pd.Series) -> list[object]:
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(v, int | float) for v in found) else sorted(found, key=_natural)


def _natural(level: object) -> list[str | float]:
    """Numbers in a name count as numbers: 125 before 2,000."""
    parts = re.split(r"(\d[\d,]*)", str(level))
    return [float(part.replace(",", "")) if i % 2 else part for i, part in enumerate(parts)]


def _title(t: Tables[Any], name: str) -> str:
    if name == "quality":
        return f"Quality: {formatting.readable(t.of_axis[name][0])}"
    if name == "forgetting":
        return f"Forgetting: {rise(t.of_axis[name])}"
    own = measure(name)
    if own.text:
        return f"Forgetting: {rise([name])}"
    return own.words.capitalize() + (" (change)" if own.change else "")
