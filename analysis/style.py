"""How figures look: one colour per method everywhere, ranks from light to dark, sizes and fonts of a paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_WIDTH = 6.9  # inches: two columns of a conference paper
# Okabe & Ito (2008), safe for colour-blind readers. LoRA is blue: its ranks go from light to dark, so that they keep
# their order in grey print; full fine-tuning is vermillion with another marker.
INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e4e4e4"
METHOD_COLOUR = {"full": "#D55E00", "lora": "#0072B2", "base": "#6b6b6b"}
METHOD_MARKER = {"full": "D", "lora": "o", "base": "s"}
RANK_RAMP = ("#8CCBF2", "#56B4E9", "#2B8CC9", "#0072B2", "#004C80", "#00264D")  # lightness falls evenly, 79 to 15
RANK_RANGE = (1, 256)  # the ends of the ramp, so that a rank has the same colour in every figure


def colour(method: str, rank: int | None = None) -> tuple[float, float, float]:
    """The colour of a method, or of a rank of LoRA."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    if rank is None or method != "lora":
        return to_rgb(METHOD_COLOUR[method])
    low, high = (math.log2(r) for r in RANK_RANGE)
    share = min(max((math.log2(rank) - low) / (high - low), 0.0), 1.0)
    red, green, blue, _ = LinearSegmentedColormap.from_list("rank", RANK_RAMP)(share)
    return red, green, blue


PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1a1a1a")  # Okabe & Ito
MARKERS = "oDs^vPX"


def curve(field: str | None, level: object, index: int) -> tuple[tuple[float, float, float], str]:
    """Colour and marker of one curve: a method's or rank's own where the curves are that, else the next of the palette."""
    from matplotlib.colors import to_rgb

    if field == "adapter.method":
        return colour(str(level)), METHOD_MARKER[str(level)]
    if field == "adapter.rank" and isinstance(level, int | float):
        return colour("lora", int(level)), METHOD_MARKER["lora"]
    return to_rgb(PALETTE[index % len(PALETTE)]), MARKERS[index % len(MARKERS)]


def text_colour(background: tuple[float, float, float]) -> tuple[float, float, float]:
    """The colour of a line for text beside it: light ones darkened until they can be read on white."""
    red, green, blue = background
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    share = min(1.0, 0.42 / luminance)
    return red * share, green * share, blue * share


def figure(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """An empty figure of text width with rows × columns lettered panels; needs no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    mpl.rcParams.update(_RC)  # type: ignore[arg-type]
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.05)
    made = NewFigure(figsize=(TEXT_WIDTH, height), layout=layout)
    FigureCanvasAgg(made)
    panels = list(made.subplots(rows, columns, squeeze=False).flat)
    for letter, panel in zip("abcdefgh", panels, strict=False):
        panel.text(-0.01, 1.03, letter, transform=panel.transAxes, weight="bold", size=9, ha="right", va="bottom")
        panel.grid(axis="y", color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
    return made, panels


def save(made: Figure, stem: Path) -> list[Path]:
    """The figure as <stem>.png (300 dpi) and <stem>.pdf (vector, fonts embedded); the same bytes for the same figure."""
    paths = [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    made.savefig(paths[0], dpi=300, metadata={"Software": None})
    made.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


def rate_text(rate: float) -> str:
    """A learning rate as people write it: 3.2e-3."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


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
}
