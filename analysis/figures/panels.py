"""The figure of a question: one panel for each measure, its mean with the 95 % interval along x, a curve for each level of
the question's second axis. Where a law was fitted it is drawn through the points with its band (dashed: other laws fit as
well, or a parameter is not identified) and a bar where it levels off; what is published is laid over it in grey.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.arms import AXES, is_change
from analysis.claims.fitted import Fitted, label
from analysis.escaping import label as shown
from analysis.figures import style, untuned
from analysis.figures.style import Colour
from core.adapters import METHODS
from core.measures import measure, rise

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Scale, Tables

LEGEND_WIDTH = 28  # characters: about half a panel, so that there is a corner that holds it
LEVEL_WIDTH = 12  # characters of a line of a level's name under the axis
PANELS = 4  # at least, where there are as many measures


@dataclass(frozen=True)
class Axis:
    """Where on x the points of a figure stand."""

    levels: list[object]
    scale: Scale

    @property
    def numbers(self) -> bool:
        """Whether what lies between two levels means something."""
        return all(isinstance(x, int | float) for x in self.levels)

    def at(self, values: Sequence[object], place: float) -> np.ndarray:
        """Positions of these levels. Curves are moved aside by `place` (−0.5 to 0.5 times their number), so that equal arms hide
        no other: by 2 % of a logarithmic axis a curve. On a linear one they stay, as it would look like another level."""
        if self.scale == "even":
            return np.array([self.levels.index(x) + 0.12 * place for x in values])
        raw = np.array([float(str(x)) for x in values])
        if self.scale == "linear":
            return raw
        span = float(np.ptp(np.log(np.array(self.levels, float))))
        return raw * math.exp(place * 0.022 * span)


@dataclass(frozen=True)
class Series:
    """One curve of the figure: its level of the question's second axis, its arms, how it looks, and how far it is moved aside
    along x."""

    level: object
    arm_rows: pd.DataFrame
    colour: Colour
    marker: Any  # as style.marker gives it
    place: float


@dataclass(frozen=True)
class Layout:
    """What all panels of a figure share."""

    tables: Tables[Any]
    axis: Axis
    series: tuple[Series, ...]


def draw(t: Tables[Any], narrow: bool = False) -> Figure:
    """One panel a measure, two in a row; `narrow`: one in a row, for one column of print."""
    names = list(t.panels)[: max(PANELS, len(t.view.measures))]
    columns = 1 if narrow else min(len(names), 2)
    rows = math.ceil(len(names) / columns)
    layout = _layout(t)
    crowded = len(layout.series) > 1 or bool(t.published)
    height = (1.75 if narrow else 2.7) * rows + 0.3 * crowded
    figure, panels = style.figure(rows, columns, height, style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH)
    handles: dict[str, Artist] = {}
    for panel, name in zip(panels, names, strict=False):
        handles |= _panel(panel, layout, name)
    for spare in panels[len(names) :]:
        spare.set_visible(False)
    if len(handles) > 1:
        _legend(figure, handles, t.view.curves_label, 60 if narrow else 125)
    return figure


def _layout(t: Tables[Any]) -> Layout:
    arm_rows = t.arm_rows[t.arm_rows["seeds"] > 0]
    curves = {level: arm_rows[arm_rows["curve"] == level] for level in _ordered(arm_rows["curve"])}
    middle = (len(curves) - 1) / 2
    looks = [style.look(*_method_of(level, curves), index) for index, level in enumerate(curves)]
    series = (Series(level, own, *looks[i], i - middle) for i, (level, own) in enumerate(curves.items()))
    return Layout(t, _axis(t, arm_rows), tuple(series))


def _method_of(level: object, curves: dict[object, pd.DataFrame]) -> tuple[str | None, int | None]:
    """Whose look a curve has: its method's, if all its arms are of one method and no other curve has arms of that; its rank's,
    if all curves of the method have one rank each and no two the same; else nobody's."""
    methods = {other: set(own["method"]) for other, own in curves.items()}
    if len(methods[level]) != 1:
        return None, None
    (method,) = methods[level]
    alike = [other for other, found in methods.items() if method in found]
    if len(alike) == 1:
        return method, None
    ranks = [set(curves[other]["rank"].dropna()) for other in alike]
    if any(len(one) != 1 for one in ranks) or len(set.union(*ranks)) < len(alike):
        return None, None
    return method, int(ranks[alike.index(level)].pop())


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


def _panel(panel: Axes, layout: Layout, name: str) -> dict[str, Artist]:
    """Draws one measure; the handles of its curves, by name."""
    axis, t = layout.axis, layout.tables
    series = [replace(one, arm_rows=one.arm_rows.dropna(subset=[name])) for one in layout.series]
    laid_over = [one for one in t.published if one.measure == name and axis.scale != "even"]
    rows_of = {str(one.level): one.arm_rows for one in series}
    placed = {one: xy for one in laid_over if one.curve in rows_of and (xy := one.beside(*_means(rows_of[one.curve], name)))}
    _limits(panel, axis, name, pd.concat([one.arm_rows for one in series]), [y for _, y in placed.values()])
    untuned.mark(panel, t.base_levels(name))
    handles: dict[str, Artist] = {}
    laws: list[Artist] = []
    for one in series:
        fitted = next((law for law in t.laws if law.measure == name and law.curve == str(one.level)), None)
        handles |= _points(panel, one, layout, name, joined=axis.numbers and fitted is None)
        laws += [_law(panel, fitted, one.colour, len(laws), len(series) > 1)] if fitted else []
    for published, xy in placed.items():
        handles[published.name] = style.published(panel, *xy, published.name)[0]
    _label(panel, t, name, axis)
    if laws:
        # Above the bars at the bottom; out of the layout, which would make room for a long name by narrowing the panel.
        panel.legend(handles=laws, fontsize=6.5, handlelength=1.6, bbox_to_anchor=(0, 0.09, 1, 0.91)).set_in_layout(False)
    return handles


def _limits(panel: Axes, axis: Axis, name: str, arm_rows: pd.DataFrame, published: Sequence[np.ndarray]) -> None:
    """The limits and scales of a panel, and a line at 0 through changes that lie on either side of it."""
    if len(arm_rows):
        values = np.concatenate([arm_rows[name].to_numpy(float), *published])
        panel.set_ylim(*style.limits(values, *(arm_rows[f"{name}_{end}"].to_numpy(float) for end in ("low", "high"))))
    if axis.scale == "log":
        style.logarithmic(panel, "x")
    if axis.scale != "even" and len(axis.levels) == 1:
        middle = float(str(axis.levels[0]))
        panel.set_xlim(middle / 2, middle * 2) if middle > 0 else panel.set_xlim(middle - 1, middle + 1)
    if is_change(name) and panel.get_ylim()[0] < 0 < panel.get_ylim()[1]:
        panel.axhline(0, color=style.MUTED, linewidth=0.7, zorder=1)


def _means(arm_rows: pd.DataFrame, name: str) -> tuple[list[float], list[float]]:
    own = arm_rows.sort_values("x")
    return own["x"].astype(float).to_list(), own[name].astype(float).to_list()


def _colours(one: Series, own: pd.DataFrame, layout: Layout) -> list[Colour]:
    """The curve's colour, or each point its method's, where methods stand side by side on x and no curve has one's look."""
    several = own["method"].nunique() > 1 and layout.axis.scale == "even" and len(layout.series) == 1
    return [style.colour(str(method)) if several else one.colour for method in own["method"]]


def _points(panel: Axes, one: Series, layout: Layout, name: str, joined: bool) -> dict[str, Artist]:
    """Means and intervals of one curve; its handle for the legend. Arms without a rank have their method's marker and stand apart
    from those with one: their number of parameters is no rank."""
    if one.arm_rows.empty:
        return {}
    at = layout.axis.at(list(one.arm_rows["x"]), one.place)
    own, at = one.arm_rows.iloc[np.argsort(at)], np.sort(at)
    apart = own["rank"].isna().to_numpy() & (own["method"].nunique() > 1)
    look: dict[str, Any] = {"mew": 0.7, "markersize": 5, "zorder": 4}
    own_look = style.point(one.marker, one.colour, **look) | {"linestyle": "-" if joined else ""}
    (line,) = panel.plot(at[~apart], own.loc[~apart, name], **own_look)
    colours = _colours(one, own, layout)
    for x, y, method, own_colour in zip(at, own[name], own["method"], colours, strict=True):
        if own_colour != one.colour or method in set(own.loc[apart, "method"]):
            panel.plot(x, y, **style.point(style.marker(method), own_colour, **look))
    for x, low, high, own_colour in zip(at, own[name + "_low"], own[name + "_high"], colours, strict=True):
        style.interval(panel, x, (low, high), own_colour, linewidth=0.9)
    if not one.level:
        return {"here": line}
    return {METHODS[str(one.level)].label if layout.tables.view.curves == "adapter.method" else shown(one.level): line}


def _law(panel: Axes, one: Fitted, colour: Colour, order: int, named: bool) -> Artist:
    """The law with its band, and at the bottom where it levels off; its handle for the legend."""
    line = one.line
    panel.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0, zorder=0.5)
    text = textwrap.fill(f"{shown(one.curve)}: {label(one)}" if named else label(one), LEGEND_WIDTH)
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
        names = [f"{x:g}" if axis.numbers else _level(t, x) for x in axis.levels]
        crowded = len(names) > 4 and not axis.numbers
        slanted: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        wrapped = [textwrap.fill(one, LEVEL_WIDTH, break_long_words=False, break_on_hyphens=False) for one in names]
        panel.set_xticks(range(len(names)), wrapped, **slanted)
        panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set_xlabel(t.view.x_label)
    short = formatting.heading(name) if name in AXES or not is_change(name) else "rise" if measure(name).text else "change"
    panel.set_ylabel(f"{short} ({t.units[name]})")
    panel.set_title(_title(t, name))


def _level(t: Tables[Any], level: object) -> str:
    """A level that is a word as an axis shows it: a method by its label."""
    return METHODS[str(level)].label if t.view.x == "adapter.method" and str(level) in METHODS else shown(level)


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
    return formatting.title(own.words) + (" (change)" if own.change else "")
