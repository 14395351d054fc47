"""The figure of lora_vs_full: one row a condition, with 95 % intervals; the ratio of best learning rates, and what LoRA and full
fine-tuning forget at equal quality, by NLL and by raw skills."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import style
from analysis.questions.lora_vs_full.effects import NLL, RATIO, SKILLS
from analysis.stats import Why
from experiments.lora_vs_full import BASELINE, CONDITIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Tables
    from analysis.questions.lora_vs_full.effects import Effects
    from analysis.stats import Estimate

PUBLISHED_RATIO = 9.8  # Schulman 2025
TICKS = (0.5, 1, 2, 3, 5, 10, 20, 50)


def draw(t: Tables[Effects], narrow: bool = False) -> Figure:
    """Three panels beside each other; `narrow`: below each other."""
    rows, columns, width = (3, 1, style.COLUMN_WIDTH) if narrow else (1, 3, style.TEXT_WIDTH)
    figure, panels = style.figure(rows, columns, 2.3 * rows + 0.2, width)
    labels = {
        RATIO: ("Best learning rates", "LoRA's ÷ full's"),
        NLL: ("Forgetting, equal quality", f"full − LoRA ({t.units.get(NLL, '')})\nright: LoRA forgets less"),
        SKILLS: ("Raw skills lost, equal quality", "full − LoRA (accuracy)\nright: LoRA loses less"),
    }
    for panel, (what, (title, label)) in zip(panels, labels.items(), strict=True):
        _panel(panel, [t.own.level(name, what) for name in CONDITIONS], what == RATIO)
        panel.set_title(title)
        panel.set_xlabel(label)
        if panel is not panels[0] and not narrow:
            panel.tick_params(axis="y", labelleft=False)
    return figure


def _panel(panel: Axes, found: list[Estimate], ratio: bool) -> None:
    """One estimate a row, the first on top; the published ratio, or the line where both forget alike."""
    panel.set_yticks(range(len(CONDITIONS)), list(CONDITIONS))
    panel.set_ylim(len(CONDITIONS) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    panel.grid(axis="x", color=style.GRID, linewidth=0.6)
    if ratio:
        style.logarithmic(panel, "x")
    panel.set_xlim(*_limits(found, ratio))
    if ratio:
        panel.axvline(PUBLISHED_RATIO, color=style.MUTED, linestyle=(0, (1, 1.2)), linewidth=1.1, zorder=1)
        panel.text(
            PUBLISHED_RATIO, -0.52, f"published {PUBLISHED_RATIO:g}  ", color=style.MUTED, fontsize=6.5, ha="right", va="top"
        )
        low, high = panel.get_xlim()
        panel.set_xticks([x for x in TICKS if low <= x <= high], [f"{x:g}" for x in TICKS if low <= x <= high])
        panel.set_xticks([], minor=True)
    else:
        panel.locator_params(axis="x", nbins=5)
        panel.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    for row, (name, e) in enumerate(zip(CONDITIONS, found, strict=True)):
        _row(panel, row, e, (style.MUTED, "s") if name == BASELINE else (style.colour("lora"), style.marker("lora")))


def _limits(found: list[Estimate], ratio: bool) -> tuple[float, float]:
    """Limits that show every value with the line it is read against, and intervals as far as `style.limits` has them."""
    scale, line = (math.log, PUBLISHED_RATIO) if ratio else (float, 0.0)
    known = [e for e in found if math.isfinite(e.value)]
    ends = (
        [e.value for e in known],
        [e.low if e.known else e.value for e in known],
        [e.high if e.known else e.value for e in known],
    )
    values, low, high = (np.array([scale(x) for x in [*own, line]]) for own in ends)
    bottom, top = style.limits(values, low, high)
    return (math.exp(bottom), math.exp(top)) if ratio else (bottom, top)


def _row(panel: Axes, row: int, e: Estimate, look: tuple[style.Colour | str, str]) -> None:
    """One condition's estimate, in this colour and with this marker; why there is none where it has no value."""
    colour, marker = look
    left, right = panel.get_xlim()
    if not math.isfinite(e.value):
        why = Why.NOT_BRACKETED.value if e.missing and e.missing.kind is Why.NOT_BRACKETED else "not known"
        panel.text(0.03, row, why, transform=panel.get_yaxis_transform(), color=style.MUTED, va="center", fontsize=6.5)
        return
    if e.known:
        panel.plot([e.low, e.high], [row, row], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=2)
        for cut, edge, mark in ((e.low < left, left, "<"), (e.high > right, right, ">")):
            if cut:
                panel.plot(edge, row, mark, color=colour, markersize=4, clip_on=False, zorder=3)
    panel.plot(e.value, row, marker, color=colour, mec="white", mew=0.7, markersize=5.5, zorder=4)
