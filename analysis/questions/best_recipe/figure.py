"""The figure of an open search: the quality–forgetting plane, what decides each of the two, and how the front grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import style
from analysis.questions.best_recipe import ARMS, NOTHING, box, configurations, deciding, front, volume

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Tables

RUNGS = ("#C9DDEB", "#7FB2D6", "#1F6AA5")  # light to dark with the share of the training
LOOKS = dict(zip(ARMS, zip((style.INK, *style.PALETTE), "s^vP", strict=False), strict=True))  # arm → colour, marker


def draw(t: Tables, narrow: bool) -> Figure:
    """Two by two panels; `narrow`: below one another, for one column of print."""
    rows, columns = (4, 1) if narrow else (2, 2)
    figure, panels = style.figure(
        rows, columns, (2.1 if narrow else 2.6) * rows, style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH
    )
    tried = configurations(t.trials)
    _plane(panels[0], t, tried)
    for panel, measure in zip(panels[1:3], ("quality", "forgetting"), strict=True):
        _deciding(panel, t, measure)
    _volume(panels[3], tried)
    return figure


def _plane(panel: Axes, t: Tables, tried: pd.DataFrame) -> None:
    """Every configuration by rung, the front of those that had the whole training, the arms with their intervals."""
    shares = sorted(tried["share"].unique())
    for share, colour in zip(shares, RUNGS[-len(shares) :] if shares else (), strict=True):
        own = tried[tried["share"] == share]
        label = f"{own['arm'].iloc[0]} ({len(own)})"
        panel.plot(own["forgetting"], own["quality"], "o", color=colour, markersize=3.2, mec="white", mew=0.3, label=label)
    if shares:
        best = front(tried[tried["share"] == shares[-1]])
        at = best["forgetting"], best["quality"]
        panel.plot(*at, color=RUNGS[-1], linewidth=0.9, drawstyle="steps-post", label="front, validation")
    for _, row in t.arm_rows[t.arm_rows["seeds"] > 0].iterrows():
        _arm(panel, row)
    style.from_zero(panel, np.append(tried["forgetting"].to_numpy(float), t.arm_rows["forgetting"].dropna().to_numpy(float)))
    panel.set_xlabel(f"forgetting ({t.units['forgetting']})")
    panel.set_ylabel(f"quality ({t.units['quality']})")
    panel.set_title("Every configuration; arms on test, 95 %")
    panel.legend(fontsize=5.5, handlelength=1.2, loc="best")


def _arm(panel: Axes, row: pd.Series) -> None:
    """An arm's means on test and their intervals along both axes."""
    colour, marker = LOOKS[str(row["arm"])]
    x, y = row["forgetting"], row["quality"]
    panel.plot([row["forgetting_low"], row["forgetting_high"]], [y, y], color=colour, linewidth=0.9)
    panel.plot([x, x], [row["quality_low"], row["quality_high"]], color=colour, linewidth=0.9)
    panel.plot(x, y, marker, color=colour, markersize=5.5, mec="white", mew=0.6, zorder=5, label=row["arm"])


def _deciding(panel: Axes, t: Tables, measure: str) -> None:
    """Each setting's share of the variance, the most important on top, the made-up one in grey at the bottom."""
    found = deciding(t, measure)
    panel.set_title(f"What decides {measure} (first rung)")
    if isinstance(found, str):
        panel.text(0.5, 0.5, found, transform=panel.transAxes, ha="center", va="center", color=style.MUTED, fontsize=6.5)
        panel.set_xticks([])
        panel.set_yticks([])
        return
    names = [NOTHING, *sorted((name for name in found.whole if name != NOTHING), key=lambda name: found.whole[name])]
    for place, name in enumerate(names):
        e, colour = found.of(name), style.MUTED if name == NOTHING else style.colour("lora")
        panel.plot([e.low, e.high], [place, place], color=colour, linewidth=1.1)
        panel.plot(e.value, place, "o", color=colour, markersize=4.5, mec="white", mew=0.6)
    panel.axvspan(0, found.of(NOTHING).high, color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
    panel.set_yticks(range(len(names)), [name.rpartition(".")[2].replace("_", " ") for name in names])
    panel.set_xlim(-0.02, 1)
    panel.set_xlabel("share of the variance, alone (fANOVA)")


def _volume(panel: Axes, tried: pd.DataFrame) -> None:
    """The hypervolume along the search, at each rung in the order in which its trials were run."""
    inside, shares = box(tried), sorted(tried["share"].unique())
    for share, colour in zip(shares, RUNGS[-len(shares) :] if shares else (), strict=True):
        own = tried[tried["share"] == share]
        if inside is not None and len(own) > 1:
            line = volume(own, inside)
            panel.plot(np.arange(1, len(line) + 1), line, color=colour, drawstyle="steps-post", label=str(own["arm"].iloc[0]))
    panel.set_title("Hypervolume along the search")
    panel.set_xlabel("configurations")
    panel.set_ylabel("share of the box")
    panel.set_ylim(0, 1)
    if panel.lines:
        panel.legend(fontsize=6.5)
