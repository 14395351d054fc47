"""The figure of an open search: the quality–forgetting plane, what decides each of the two, and how the front grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import style, untuned
from analysis.questions.best_recipe.importance import NOTHING, Importance
from analysis.questions.best_recipe.sections import setting
from core.experiment import DEFAULT_ARM, FOUND_ARMS, TUNED_ARM

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Tables
    from analysis.questions.best_recipe.search import Rung, Search
    from analysis.stats import Missing

RUNGS = ("#C9DDEB", "#7FB2D6", "#1F6AA5")  # light to dark with the share of the training
LOOKS = dict(
    zip((DEFAULT_ARM, TUNED_ARM, *FOUND_ARMS), zip((style.MUTED, style.INK, *style.PALETTE), "sD^vP", strict=False), strict=True)
)  # arm → colour, marker


def draw(t: Tables[Search], narrow: bool = False) -> Figure:
    """Two by two panels; `narrow`: below one another, for one column of print."""
    rows, columns = (4, 1) if narrow else (2, 2)
    figure, panels = style.figure(
        rows, columns, (2.1 if narrow else 2.6) * rows, style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH
    )
    _plane(panels[0], t)
    for panel, (measure, found) in zip(panels[1:3], t.own.deciding.items(), strict=True):
        panel.set_title(f"What decides {measure} (first rung)")
        _deciding(panel, found)
    _volume(panels[3], t.own.rungs)
    return figure


def _coloured(rungs: Sequence[Rung]) -> list[tuple[Rung, str]]:
    """Each rung with its colour: the whole training has the darkest."""
    return list(zip(rungs, RUNGS[-len(rungs) :] if rungs else (), strict=True))


def _plane(panel: Axes, t: Tables[Search]) -> None:
    """Every configuration by rung, the front of those that had the whole training, the arms with their intervals."""
    rungs = t.own.rungs
    for rung, colour in _coloured(rungs):
        label = f"{rung.label} ({len(rung.tried)})"
        at = rung.tried["forgetting"], rung.tried["quality"]
        panel.plot(*at, "o", color=colour, markersize=3.2, mec="white", mew=0.3, label=label)
    if rungs:
        at = rungs[-1].front["forgetting"], rungs[-1].front["quality"]
        panel.plot(*at, color=RUNGS[-1], linewidth=0.9, drawstyle="steps-post", label="front, validation")
    for _, row in t.arm_rows[t.arm_rows["seeds"] > 0].iterrows():
        _arm(panel, row)
    tried = [rung.tried["forgetting"].to_numpy(float) for rung in rungs]  # without intervals
    style.from_zero(panel, *(np.concatenate([*tried, end]) for end in style.ends(t.arm_rows, "forgetting")))
    untuned.mark(panel, t.base_levels("quality"))
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


def _deciding(panel: Axes, found: Importance | Missing) -> None:
    """Each setting's share of the variance, the most important on top, the made-up one in grey at the bottom."""
    if not isinstance(found, Importance):
        panel.text(0.5, 0.5, found.text, transform=panel.transAxes, ha="center", va="center", color=style.MUTED, fontsize=6.5)
        panel.set_xticks([])
        panel.set_yticks([])
        return
    names = [NOTHING, *sorted((name for name in found.whole if name != NOTHING), key=lambda name: found.whole[name])]
    for place, name in enumerate(names):
        e, colour = found.of(name), style.MUTED if name == NOTHING else style.colour("lora")
        panel.plot([e.low, e.high], [place, place], color=colour, linewidth=1.1)
        panel.plot(e.value, place, "o", color=colour, markersize=4.5, mec="white", mew=0.6)
    nothing = found.of(NOTHING)
    panel.axvspan(0, nothing.high if nothing.known else nothing.value, color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
    panel.set_yticks(range(len(names)), [setting(name) for name in names])
    panel.set_xlim(-0.02, 1)
    panel.set_xlabel("share of the variance, alone (fANOVA)")


def _volume(panel: Axes, rungs: Sequence[Rung]) -> None:
    """The hypervolume along the search, at each rung in the order in which its trials were run."""
    for rung, colour in _coloured(rungs):
        if len(rung.volume_K) > 1:
            at = np.arange(1, len(rung.volume_K) + 1)
            panel.plot(at, rung.volume_K, color=colour, drawstyle="steps-post", label=rung.label)
    panel.set_title("Hypervolume along the search")
    panel.set_xlabel("configurations")
    panel.set_ylabel("share of the box")
    panel.set_ylim(0, 1)
    if panel.lines:
        panel.legend(fontsize=6.5)
