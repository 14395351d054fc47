"""The untuned bases in a panel: a line for each, and its name."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.escaping import label
from analysis.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_HEIGHT, NAME_WIDTH = 0.09, 45  # of a name in a panel: a share of the axis in the lowest panels, and characters


def mark(panel: Axes, levels: Mapping[str, float]) -> None:
    """A thin dashed line at what each untuned base scores, with its name. The limits, which must be set, are widened for it by as
    much as they span at most; of one that lies further off the edge says where. Those too near each other for a name each share
    one."""
    low, high = panel.get_ylim()
    near = [y for y in levels.values() if 2 * low - high <= y <= 2 * high - low]
    low, high = min([low, *(y - 0.04 * (high - low) for y in near)]), max([high, *(y + 0.04 * (high - low) for y in near)])
    panel.set_ylim(low, high)
    for y in {y for y in levels.values() if low <= y <= high}:
        panel.axhline(y, color=style.MUTED, linewidth=0.8, dashes=(5, 2), zorder=1)
    look: dict[str, Any] = {"size": 6, "color": style.MUTED, "ha": "right", "gid": style.UNTUNED}
    look |= {"transform": panel.get_yaxis_transform(), "zorder": 3}
    for names in _side_by_side({name: min(max(y, low), high) for name, y in levels.items()}, NAME_HEIGHT * (high - low)):
        own = [levels[name] for name in names]
        text = label(textwrap.shorten(names[0], NAME_WIDTH, placeholder="…")) if len(names) == 1 else "untuned bases"
        off = "↓" if max(own) < low else "↑" if min(own) > high else ""
        if off:
            text = f"{off} {text}: {' to '.join(dict.fromkeys(f'{y:.3g}' for y in (min(own), max(own))))}"
        panel.text(0.99, min(max(max(own), low), high), text, va="top" if max(own) > high else "bottom", **look)


def _side_by_side(places: Mapping[str, float], room: float) -> list[list[str]]:
    """The names from the lowest place up, together where they lie nearer to the one before than `room`."""
    found: list[list[str]] = []
    for name in sorted(places, key=places.__getitem__):
        if found and places[name] - places[found[-1][-1]] < room:
            found[-1].append(name)
        else:
            found.append([name])
    return found
