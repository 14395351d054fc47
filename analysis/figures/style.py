"""How figures look: one colour per method everywhere, ranks from light to dark, sizes and fonts of a paper."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.formatting import rate_text
from core.adapters import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.path import Path as Outline

LITTLE = 0.1  # nats a token of forgetting
TEXT_WIDTH = 6.9  # inches: two columns of a conference paper
COLUMN_WIDTH = 3.35  # one of them
UNTUNED = "untuned"  # of the names of untuned bases in a panel
INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e4e4e4"
# A method's colour and marker stand in core/adapters/table.py. The ranks of LoRA, which is blue there, go from light to dark, so
# that they keep their order in grey print.
RANK_RAMP = {"lora": ("#8CCBF2", "#56B4E9", "#2B8CC9", "#0072B2", "#004C80", "#00264D")}  # lightness falls evenly, 79 to 15
RANK_RANGE = (1, 256)  # the ends of the ramp, so that a rank has the same colour in every figure
# Curves that are not methods have neither LoRA's blues nor full fine-tuning's vermillion (Okabe & Ito, and a dark violet).
PALETTE = ("#009E73", "#CC79A7", "#E69F00", "#1a1a1a", "#6A3D9A")
MARKERS = "s^vp<"
Colour = tuple[float, float, float]


def colour(method: str, rank: int | None = None) -> Colour:
    """The colour of a method, or of a rank of a method that has a ramp."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    if rank is None or method not in RANK_RAMP:
        return to_rgb(METHODS[method].colour)
    low, high = (math.log2(r) for r in RANK_RANGE)
    share = min(max((math.log2(rank) - low) / (high - low), 0.0), 1.0)
    red, green, blue, _ = LinearSegmentedColormap.from_list("rank", RANK_RAMP[method])(share)
    return red, green, blue


def marker(method: str) -> Any:
    """The marker of a method: matplotlib's name of it, or the outline of a letter ("$F$")."""
    mark = METHODS[method].marker
    return _letter(mark.strip("$")) if mark.startswith("$") else mark


@functools.cache
def _letter(text: str) -> Outline:
    """A letter as an outline around 0: text is taken as it stands in figures here, so matplotlib would draw the dollars too."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    drawn = TextPath((0, 0), text, size=10, prop=FontProperties(weight="bold"))
    box = drawn.get_extents()
    return Outline(drawn.vertices - [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2], drawn.codes)


def point(mark: Any, colour: Colour, **look: Any) -> dict[str, Any]:
    """How a point is drawn: with a white edge, which would eat letters, so these have one of their colour."""
    edge = {"mec": "white"} if isinstance(mark, str) else {"mec": colour, "mew": 0.3}
    return {"linestyle": "", "color": colour} | look | {"marker": mark} | edge


def look(method: str | None, rank: int | None, index: int) -> tuple[Colour, Any]:
    """Colour and marker of a curve: those of its method or rank, if it is the one curve of that; else the next of the palette."""
    from matplotlib.colors import to_rgb

    if method is not None:
        return colour(method, rank), marker(method)
    return to_rgb(PALETTE[index % len(PALETTE)]), MARKERS[index % len(MARKERS)]


def ends(rows: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (N,) of arms, and the low and high ends of their intervals; of arms without a trial, none."""
    known = rows.dropna(subset=[name])
    values, low, high = (known[column].to_numpy(float) for column in (name, f"{name}_low", f"{name}_high"))
    return values, low, high


def limits(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Limits that show every value, and intervals up to 1.5 times the values' range beyond them: with two seeds an
    interval can be so wide that nothing else would be seen; `interval` marks where it was cut."""
    span = max(float(np.ptp(values)), 0.5 * float(np.nanmedian(high - low)) if np.isfinite(high - low).any() else 0.0) or 0.1
    bottom = max(float(np.nanmin(np.append(low, values))), float(values.min()) - 1.5 * span)
    top = min(float(np.nanmax(np.append(high, values))), float(values.max()) + 1.5 * span)
    margin = 0.06 * (top - bottom) or 0.5 * span  # all arms alike
    return bottom - margin, top + margin


def interval(panel: Axes, x: float, ends: tuple[float, float], colour: Colour, **line: Any) -> None:
    """A vertical interval between its two ends; an arrow at the edge where the axis cuts it. The panel's limits must be set.
    `line`: linewidth and alpha."""
    from matplotlib.lines import Line2D

    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high)):
        return
    # `plot` would have the limits along x found anew each time, from all lines that are there
    panel.add_line(Line2D([x, x], [low, high], color=colour, solid_capstyle="butt", zorder=2, **line))
    bottom, top = panel.get_ylim()
    for cut, edge, mark in ((low < bottom, bottom, r"$\downarrow$"), (high > top, top, r"$\uparrow$")):
        if cut:
            panel.plot(x, edge, marker=mark, color=colour, markersize=6, mew=0, clip_on=False, zorder=3)


def step_aside(panel: Axes) -> None:
    """Names of untuned bases go from the right edge to the left one, where fewer points lie under them there."""
    canvas: Any = panel.figure.canvas
    marked = [line.get_xydata() for line in panel.lines if line.get_marker() not in (None, "None", "", " ")]
    points = [panel.transData.transform(at) for one in marked for at in np.asarray(one, dtype=float)]
    for text in [one for one in panel.texts if one.get_gid() == UNTUNED]:
        covered = []
        for x, side in ((0.99, "right"), (0.01, "left")):
            text.set(x=x, ha=side)
            box = text.get_window_extent(canvas.get_renderer()).padded(3)  # half a mark
            covered.append(sum(box.contains(*at) for at in points))
        if covered[0] <= covered[1]:
            text.set(x=0.99, ha="right")


def published(panel: Axes, x: np.ndarray, y: np.ndarray, name: str) -> list[Line2D]:
    """A published curve, in grey with open marks, over ours where both lie in one place; the handle for a legend."""
    look: dict[str, Any] = {"color": MUTED, "linestyle": (0, (1, 1.2)), "linewidth": 1.1, "marker": "o", "markersize": 3}
    return panel.plot(x, y, mfc="white", mew=0.8, label=name, zorder=4.5, **look)


def ticks(levels: Sequence[float], logarithmic: bool, room: float = 0.035) -> tuple[list[float], list[str]]:
    """The levels to mark and their labels: the first and the last, and those between that leave room for their labels.
    `room`: the width of a character as a share of the axis."""
    small = 0 < min(levels) < 0.01
    text = {x: rate_text(x) if small and x < 1 else f"{x:,.0f}" if x == round(x) else f"{x:,.3g}" for x in levels}
    at = {x: math.log(x) if logarithmic else x for x in levels}
    first, last = min(levels), max(levels)
    share = (at[last] - at[first]) or 1.0

    def clear(x: float, other: float) -> bool:
        return abs(at[x] - at[other]) / share > room * (len(text[x]) + len(text[other]) + 1) / 2

    kept = [first] if first == last else [first, last]
    for x in sorted(levels, key=lambda x: (_length(x), x)):  # round ones first
        if x not in kept and all(clear(x, other) for other in kept):
            kept.append(x)
    return sorted(kept), [text[x] for x in sorted(kept)]


def _length(x: float) -> int:
    """How long a number of three digits is without the zeros at its ends and its power of ten: round ones are short."""
    return len(f"{x:.3g}".partition("e")[0].strip("0."))


def from_zero(panel: Axes, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """The x axis of forgetting from a little below 0, with as much of the intervals as `limits` shows; logarithmic from
    LITTLE on where some arm forgets ten times as much."""
    bottom, top = 0.0, 0.0
    if len(values):
        reach = np.append(values, np.clip([low, high], *limits(values, low, high)))
        bottom, top = float(np.nanmin(reach)), float(np.nanmax(reach))
    if top > 10 * LITTLE:
        panel.set_xscale("symlog", linthresh=LITTLE, linscale=0.5)
        marks = [0.0, *round_ticks(LITTLE, 1.3 * top)[0]]
        panel.set_xticks(marks, [f"{x:g}" for x in marks])
        panel.set_xticks([], minor=True)
        panel.set_xlim(min(-0.02, 1.1 * bottom), 1.3 * top)
    elif bottom > -0.05 * top:
        panel.set_xlim(-0.03 * top, 1.08 * top)


def logarithmic(panel: Axes, *names: str) -> None:
    """The axes "x", "y" on a logarithmic scale, whose marks are written as plain text: figures read no text as a formula."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for name in names:
        getattr(panel, f"set_{name}scale")("log")
        axis = panel.xaxis if name == "x" else panel.yaxis
        axis.set_major_formatter(FuncFormatter(lambda x, _: power_text(x)))
        axis.set_minor_formatter(NullFormatter())


def power_text(x: float) -> str:
    """1, 10, 100, or with a power of ten where that is shorter: 10⁻⁴, 2×10⁻⁴."""
    if not x or 1e-2 <= abs(x) < 1e4:
        return f"{x:g}"
    mantissa, _, exponent = f"{x:.0e}".partition("e")
    ten = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ten if mantissa == "1" else f"{mantissa}×{ten}"


def round_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round numbers between low > 0 and high to mark on a logarithmic axis: 1, 2, 5, 10, ..., or evenly spaced ones where
    fewer than three of those lie between."""
    from matplotlib.ticker import MaxNLocator

    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    if sum(low <= x <= high for x in found) < 3:
        found = list(MaxNLocator(5).tick_values(low, high))
    found = [x for x in found if low <= x <= high]
    return found, [f"{x:g}" for x in found]


def text_colour(background: Colour) -> Colour:
    """The colour of a line for text beside it: light ones darkened until they can be read on white."""
    red, green, blue = background
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    share = min(1.0, 0.42 / luminance)
    return red * share, green * share, blue * share


def figure(rows: int, columns: int, height: float, width: float = TEXT_WIDTH) -> tuple[Figure, list[Axes]]:
    """An empty figure with rows × columns lettered panels; needs no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    mpl.rcParams.update(_RC)  # type: ignore[arg-type]
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.05)
    made = NewFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(made)
    panels = list(made.subplots(rows, columns, squeeze=False).flat)
    for letter, panel in zip("abcdefgh", panels, strict=False):
        panel.text(-0.01, 1.03, letter, transform=panel.transAxes, weight="bold", size=9, ha="right", va="bottom")
        panel.grid(axis="y", color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
    return made, panels


def save(made: Figure, stem: Path) -> list[Path]:
    """The figure as <stem>.png (300 dpi) and <stem>.pdf; the same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for panel in made.axes:
        step_aside(panel)
    png, dpi = stem.with_suffix(".png"), made.dpi
    made.dpi = 300
    FigureCanvasAgg(made).print_png(png, metadata={"Software": None})  # `savefig` draws twice, first for the layout
    made.dpi = dpi
    return [png, save_vector(made, stem)]


def save_vector(made: Figure, stem: Path) -> Path:
    """The figure as <stem>.pdf, fonts embedded."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    path = stem.with_suffix(".pdf")
    FigureCanvasPdf(made).print_pdf(path, metadata={"CreationDate": None, "ModDate": None})
    return path


_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure everywhere
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a name with a $ is a name
}
