"""The figure over shares: a curve (two sources), a triangle (three), or traces through the best mixture (four)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.escaping import label as shown
from analysis.figures import panels, style
from analysis.questions.mixture.surfaces import Fitted, Mixtures
from analysis.stats.mixtures import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Marks: means of mixtures. Lines and colours: the response surface; a band: its 95 % limits over redrawn seeds; in the title "
    "its kind and its error on mixtures left out. Star: the best mixture on it; small dots: where redrawn surfaces have theirs."
)
CORNERS = np.array([[0.5, math.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])  # of a triangle: of the first source at the top
TRIANGLE_PARTS = 40


def draw(t: Tables[Mixtures], narrow: bool = False) -> Figure:
    """A panel for each measure; of three and four sources for each amount too."""
    n_sources = len(t.own.names)
    found = list(t.own.surfaces.items())
    if not found:
        return panels.draw(t, narrow)
    names = list(dict.fromkeys(name for (name, _), _ in found))
    asked = [(name, "") for name in names] if n_sources == 2 else [key for key, _ in found]
    columns = 1 if narrow else min(2, len(asked))
    rows = math.ceil(len(asked) / columns)
    width = style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH
    figure, axes = style.figure(rows, columns, (2.6 if n_sources == 3 else 2.3) * rows, width)
    for panel, (name, amount) in zip(axes, asked, strict=False):
        if n_sources == 2:
            _curves(panel, t, name)
        elif n_sources == 3:
            _triangle(figure, panel, t, (name, amount))
        else:
            _traces(panel, t, (name, amount))
    for spare in axes[len(asked) :]:
        spare.set_visible(False)
    return figure


def _title(t: Tables[Mixtures], name: str, found: Fitted, amount: str = "") -> str:
    what = {"quality": f"Quality: {formatting.readable(t.of_axis['quality'][0])}", "forgetting": "Forgetting"}
    several = f", equal {amount}" if amount and len(t.own.amounts) > 1 else ""
    kind, error = found.surface.kind, formatting.number(found.surface.error.value)
    return f"{what.get(name, formatting.title(formatting.readable(name)))}{several}\n{kind}, error {error}"


def _curves(panel: Axes, t: Tables[Mixtures], name: str) -> None:
    """Along the share of the second source, a curve for each amount."""
    rows = t.arm_rows.set_index("arm")
    for index, amount in enumerate(t.own.amounts):
        found = t.own.surfaces.get((name, amount))
        if found is None:
            continue
        colour, marker = style.look(None, None, index)
        fine = grid(2)
        low, high = found.surface.band(fine)
        panel.fill_between(fine[:, 1], low, high, color=colour, alpha=0.16, linewidth=0)
        told = f"equal {amount}" if len(t.own.amounts) > 1 else None
        panel.plot(fine[:, 1], found.surface.predict(fine), "-", color=colour, linewidth=1.0, label=told)
        own = rows.loc[[point.arm.label for point in found.points]]
        x = [point.shares[1] for point in found.points]
        panel.plot(x, own[name], marker, color=colour, mec="white", mew=0.7, markersize=5)
        panel.vlines(x, own[f"{name}_low"], own[f"{name}_high"], color=colour, linewidth=0.9)
        best = found.surface.best
        if found.surface.kind != "constant":
            panel.plot(best.at_Q[1], best.value.value, "*", color=colour, mec=style.INK, mew=0.6, markersize=10, zorder=5)
        where = panel.get_xaxis_transform()
        panel.plot(
            [best.shares[1].low, best.shares[1].high], [0.02 + 0.03 * index] * 2, color=colour, linewidth=2, transform=where
        )
    panel.set_xlabel(f"share of {shown(t.own.names[1])} (rest: {shown(t.own.names[0])})")
    panel.set_ylabel(f"{formatting.heading(name)} ({t.units[name]})")
    panel.set_title(_title(t, name, t.own.surfaces.get((name, t.own.amount)) or next(iter(t.own.surfaces.values()))))
    if len(t.own.amounts) > 1:
        panel.legend()


def _triangle(figure: Figure, panel: Axes, t: Tables[Mixtures], key: tuple[str, str]) -> None:
    """The simplex of three sources, coloured by the surface, marks by what was measured."""
    found, name = t.own.surfaces[key], key[0]
    fine = grid(3, TRIANGLE_PARTS)
    values, measured = found.surface.predict(fine), found.surface.y_K
    low, high = (float(end(np.concatenate([values, measured]))) for end in (np.min, np.max))
    look: dict[str, Any] = {"cmap": "viridis" if name != "forgetting" else "viridis_r", "vmin": low, "vmax": high or 1.0}
    steps = np.linspace(low, high, 13) if high > low else 2
    x, y = (fine @ CORNERS).T
    panel.tricontourf(x, y, values, steps, **look)
    panel.plot(*CORNERS[[0, 1, 2, 0]].T, color=style.INK, linewidth=0.8)
    x, y = (found.surface.x_KQ @ CORNERS).T
    marks = panel.scatter(x, y, c=measured, s=34, edgecolors="white", linewidths=0.9, zorder=4, **look)
    best = found.surface.best
    if found.surface.kind != "constant":
        x, y = (best.places_NQ @ CORNERS).T
        panel.scatter(x, y, s=4, c="white", edgecolors=style.INK, linewidths=0.3, alpha=0.6, zorder=3)
        panel.plot(*(best.at_Q @ CORNERS), "*", color="#E69F00", mec=style.INK, mew=0.7, markersize=12, zorder=5)
    for corner, source, (ha, va, dy) in zip(
        CORNERS, t.own.names, (("center", "bottom", 0.03), ("center", "top", -0.04), ("center", "top", -0.04)), strict=True
    ):
        panel.text(corner[0], corner[1] + dy, shown(source), ha=ha, va=va)
    panel.set_aspect("equal")
    panel.set_axis_off()
    panel.set_xlim(-0.12, 1.12)
    panel.set_ylim(-0.14, 0.98)
    panel.set_title(_title(t, name, found, key[1]))
    figure.colorbar(marks, ax=panel, shrink=0.8, label=f"{formatting.heading(name)} ({t.units[name]})")


def _traces(panel: Axes, t: Tables[Mixtures], key: tuple[str, str]) -> None:
    """The surface along each source's share, the others in the proportions of the best mixture (of equal shares where that has
    none of them)."""
    found, name = t.own.surfaces[key], key[0]
    at = found.surface.best.at_Q
    for index, source in enumerate(t.own.names):
        others = np.delete(at, index)
        others = others / others.sum() if others.sum() > 0 else np.full(len(others), 1 / len(others))
        share = np.linspace(0, 1, 60)
        line = np.insert((1 - share)[:, None] * others, index, share, axis=1)
        colour, marker = style.look(None, None, index)
        panel.plot(share, found.surface.predict(line), color=colour, label=shown(source))
        low, high = found.surface.band(line)
        panel.fill_between(share, low, high, color=colour, alpha=0.1, linewidth=0)
        panel.plot(at[index], found.surface.predict(at[None, :])[0], marker, color=colour, mec="white", zorder=4)
    panel.set_xlabel("share of one source, the others as in the best mixture")
    panel.set_ylabel(f"{formatting.heading(name)} ({t.units[name]})")
    panel.set_title(_title(t, name, found, key[1]))
    panel.legend()
