"""The figure of rank_vs_quality: (a) quality and (b) forgetting against rank, (c) the quality–forgetting plane with its
Pareto front, (d) validation quality along the learning rate. Every point carries its 95 % interval.

In (a) and (b) the thin line is the interval of the mean; the thick line is the interval of the paired difference from full
fine-tuning, drawn around the arm's mean: where it misses the dashed line, the arm
differs from full. The thin one is wider because bases differ, which pairing takes out.
In grey the published curve of Hu 2021, normalised (analysis/claims/published.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import formatting
from analysis.figures import style, untuned
from analysis.questions.rank_vs_quality.retuning import scored
from core.measures import rise
from core.states import FAILED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.arms import Arm
    from analysis.claims.published import PublishedCurve
    from analysis.claims.tables import Tables
    from analysis.questions.rank_vs_quality.against_full import AgainstFull

WIDE, HIGH = 0.021, 0.062  # of a letter, in shares of a panel


def draw(t: Tables[AgainstFull], narrow: bool = False) -> Figure:
    """The four panels; `narrow`: below each other, for one column of print."""
    shape = (4, 1, 8.4, style.COLUMN_WIDTH) if narrow else (2, 2, 5.4, style.TEXT_WIDTH)
    figure, (quality, forgetting, plane, rates) = style.figure(*shape)
    arms = t.arm_rows[t.arm_rows["seeds"] > 0].merge(t.own.rows, on="arm")
    labels = {
        "quality": f"{formatting.readable(t.of_axis['quality'][0])} ({t.units['quality']})",
        "forgetting": f"forgetting ({t.units['forgetting']})",
    }
    _by_rank(quality, arms, "quality", next(iter(t.published), None))
    untuned.mark(quality, t.base_levels("quality"))
    quality.set_ylabel(labels["quality"])
    quality.set_title("Quality, each arm at its best learning rate")
    _by_rank(forgetting, arms, "forgetting")
    forgetting.set_ylabel(labels["forgetting"])
    forgetting.set_title(f"Forgetting: {rise(t.of_axis['forgetting'])}")
    _plane(plane, arms, t.own.front)
    untuned.mark(plane, t.base_levels("quality"))
    plane.set(xlabel=labels["forgetting"], ylabel=labels["quality"])
    _rates(rates, t)
    return figure


def label(method: str, rank: float | None) -> str:
    """An arm's name on a figure."""
    return method if method != "lora" or rank is None or math.isnan(rank) else f"r = {int(rank)}"


def _colour(arm: dict[str, object]) -> style.Colour:
    rank = arm["rank"]
    return style.colour(str(arm["method"]), int(rank) if isinstance(rank, int | float) and not math.isnan(rank) else None)


def _marker(panel: Axes, x: float, y: float, method: str, colour: style.Colour) -> None:
    panel.plot(x, y, **style.point(style.marker(method), colour, markersize=5.5, mew=0.8, zorder=4))


def _by_rank(panel: Axes, arms: pd.DataFrame, name: str, published: PublishedCurve | None = None) -> None:
    """One arm a position: ranks in order, then full fine-tuning after a gap."""
    full, lora = arms[arms["method"] == "full"], arms[arms["method"] == "lora"]
    ranks = lora["rank"].to_list()
    theirs = published.beside(ranks, lora[name].to_list()) if published else None
    panel.set_ylim(*_limits(arms, name, theirs[1] if theirs else np.empty(0)))
    if published and theirs:
        at = np.interp(np.log(theirs[0]), np.log(ranks), range(len(ranks)))
        panel.legend(handles=style.published(panel, at, theirs[1], published.name), loc="best")
    if len(full):
        panel.axhline(full[name].iloc[0], color=style.colour("full"), linewidth=0.9, dashes=(4, 3), zorder=1)
    panel.plot(range(len(lora)), lora[name], color=style.colour("lora"), linewidth=0.8, alpha=0.5, zorder=1)
    positions = [*range(len(lora)), *(len(lora) + 0.4 + i for i in range(len(full)))]
    for position, arm in zip(positions, [*lora.to_dict("records"), *full.to_dict("records")], strict=True):
        colour = _colour(arm)
        style.interval(panel, position, (arm[f"{name}_low"], arm[f"{name}_high"]), colour, linewidth=1.1)
        style.interval(panel, position, _around_the_mean(arm, name), colour, linewidth=5, alpha=0.4)
        _marker(panel, position, arm[name], str(arm["method"]), colour)
    panel.set_xticks(positions, [*(str(int(rank)) for rank in ranks), *["full"] * len(full)])
    panel.set_xlim(-0.5, positions[-1] + 0.5)
    lines = "one seed: no interval"
    if np.isfinite(arms[f"{name}_low"]).any():
        lines = "thin: mean; thick: paired difference from full" if len(full) else "lines: 95 % interval of the mean"
    panel.set_xlabel("LoRA rank" + (", and full fine-tuning" if len(full) else "") + f"\n({lines})")


def _around_the_mean(arms: Any, name: str) -> tuple[Any, Any]:
    """The limits of the paired difference from full fine-tuning, drawn around the mean: of one arm, or of a frame of them."""
    level = arms[name] - arms[f"{name}_vs_full"]  # full's
    return level + arms[f"{name}_vs_full_low"], level + arms[f"{name}_vs_full_high"]


def _limits(arms: pd.DataFrame, name: str, published: np.ndarray) -> tuple[float, float]:
    """Limits that show the means and what is published, and both intervals of each arm as far as `style.limits` has them."""
    low, high = _around_the_mean(arms, name)
    ends = np.fmin(arms[f"{name}_low"], low).to_numpy(float), np.fmax(arms[f"{name}_high"], high).to_numpy(float)
    return style.limits(np.append(arms[name].to_numpy(float), published), *ends)


def _plane(panel: Axes, arms: pd.DataFrame, front: Sequence[str]) -> None:
    """Quality against forgetting; better is up and to the left."""
    axes = ("forgetting", "quality")
    limits = [style.limits(*(arms[name + suffix].to_numpy(float) for suffix in ("", "_low", "_high"))) for name in axes]
    panel.set(xlim=limits[0], ylim=limits[1])
    panel.grid(axis="x", color=style.GRID, linewidth=0.6)
    for arm in arms.to_dict("records"):
        colour = _colour(arm)
        panel.plot([arm["forgetting_low"], arm["forgetting_high"]], [arm["quality"]] * 2, color=colour, linewidth=0.8, zorder=2)
        panel.plot([arm["forgetting"]] * 2, [arm["quality_low"], arm["quality_high"]], color=colour, linewidth=0.8, zorder=2)
        _marker(panel, arm["forgetting"], arm["quality"], str(arm["method"]), colour)
    _direct_labels(panel, arms)
    x, y = (arms.set_index("arm").loc[list(front), name].to_numpy(float) for name in axes)
    steps = np.r_[x[0], x, panel.get_xlim()[1]], np.r_[panel.get_ylim()[0], y, y[-1]]
    panel.plot(*steps, color=style.MUTED, linewidth=1.1, linestyle=(0, (1, 1.6)), drawstyle="steps-post", zorder=1)
    panel.set_title("Quality against forgetting (dotted: Pareto front)")


def _direct_labels(panel: Axes, arms: pd.DataFrame) -> None:
    """Names beside the points, on either side, above or below: where they cover no point and no other name, and as few lines as
    can be. Boxes and distances are in shares of the panel, whose size is about the same in every figure."""
    from matplotlib.patheffects import withStroke

    points = np.array([_at(panel, x, y) for x, y in zip(arms["forgetting"], arms["quality"], strict=True)])
    taken: list[tuple[float, float, float]] = []  # middles of names, and half of their widths
    for index, arm in enumerate(arms.to_dict("records")):
        name = label(str(arm["method"]), arm["rank"])
        half = len(name) * WIDE / 2
        spots = [
            (points[index, 0] + sign * (half + 0.022 + 0.03 * far), points[index, 1] + HIGH * (0.6 + 0.55 * step) * up)
            for step in range(9) for far in (0, 1) for sign in (1, -1) for up in (1, -1)
        ]  # fmt: skip
        costs = [
            _covered(spot, half, points, taken) + 3.0 * _nearer_to_another(spot, half, points, index) + 0.01 * place
            for place, spot in enumerate(spots)
        ]
        spot = spots[int(np.argmin(costs))]
        taken.append((*spot, half))
        far_off = abs(spot[1] - points[index, 1]) > 1.2 * HIGH
        line = {"arrowstyle": "-", "color": _colour(arm), "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
        panel.annotate(
            name, (float(arm["forgetting"]), float(arm["quality"])), spot, textcoords="axes fraction", size=7, va="center",
            ha="center", zorder=5, color=style.text_colour(_colour(arm)), arrowprops=line if far_off else None,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _at(panel: Axes, x: float, y: float) -> tuple[float, float]:
    """A point in shares of the panel."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    return (x - left) / (right - left), (y - low) / (high - low)


def _nearer_to_another(spot: tuple[float, float], half: float, points: np.ndarray, own: int) -> bool:
    """Whether a name would stand nearer to another arm's point than to its own."""
    distances = np.hypot(np.maximum(abs(points[:, 0] - spot[0]) - half, 0), points[:, 1] - spot[1])
    return bool(np.delete(distances, own).min(initial=np.inf) < distances[own])


def _covered(spot: tuple[float, float], half: float, points: np.ndarray, taken: Sequence[tuple[float, float, float]]) -> float:
    """How bad a place for a name is: points and names that it would cover, the panel's edges, and lines through points."""
    x, y = spot
    over = int(((abs(points[:, 0] - x) < half + 0.018) & (abs(points[:, 1] - y) < HIGH / 2 + 0.022)).sum())
    over += sum(abs(a - x) < half + size and abs(b - y) < HIGH for a, b, size in taken)
    outside = not (half <= x <= 1 - half and HIGH <= y <= 1 - HIGH / 2)
    lines = int((abs(points[:, 0] - x) < half).sum() + (abs(points[:, 1] - y) < HIGH / 2).sum())
    return 10.0 * over + 10.0 * outside + 0.15 * lines


def _rates(panel: Axes, t: Tables[AgainstFull]) -> None:
    """Validation quality along the learning rate; rings mark the rates that were chosen, bars above the optima."""
    tuned = scored(t.own.tuning)
    panel.set_title("Retuning: one run a point")
    panel.set_ylabel(f"validation quality ({t.units['quality']})")
    panel.set_xlabel("learning rate (ring: chosen; bars: optimum, 95 %)")
    if tuned.empty:
        panel.text(0.5, 0.5, "the learning rate was not tuned", transform=panel.transAxes, ha="center", va="center")
        panel.set(xticks=[], yticks=[])
        return
    drawn = [arm for arm in t.arms if arm.label in set(tuned["arm"])]
    low, high = _rate_limits(tuned)
    span = max(high - low, 1e-3)
    for index, arm in enumerate(drawn):
        _curve(panel, tuned[tuned["arm"] == arm.label], arm, low - 0.1 * span)
        _optimum(panel, t, arm, high + 0.075 * span * (len(drawn) - index + 0.3))
    _failed(panel, t.own.tuning, low - 0.1 * span)
    style.logarithmic(panel, "x")
    ticks = [tick for tick in panel.get_yticks() if low - 0.15 * span <= tick <= high]
    panel.set_ylim(low - 0.17 * span, high + 0.075 * span * (len(drawn) + 1.2))
    panel.set_yticks(ticks)


def _failed(panel: Axes, tuning: pd.DataFrame, height: float) -> None:
    """Crosses at the rates of the trials that failed."""
    lost = tuning[tuning["state"].isin(FAILED)]
    if lost.empty:
        return
    panel.plot(lost["train.learning_rate"], np.full(len(lost), height), "x", color=style.INK, markersize=4.5, mew=1)
    rightmost = (float(lost["train.learning_rate"].max()), height)
    panel.annotate("failed", rightmost, (-6, 0), textcoords="offset points", size=6.5, ha="right", va="center")


def _rate_limits(tuned: pd.DataFrame) -> tuple[float, float]:
    """Quality from the base's before tuning (or the lowest seen, if higher) to the highest: how far a run fell below
    the untuned base is of no interest, and would flatten every curve."""
    low, high = float(tuned["quality"].min()), float(tuned["quality_high"].fillna(tuned["quality"]).max())
    before = float(tuned["quality_before"].mean())
    return (max(low, before) if before < high else low), high


def _curve(panel: Axes, own: pd.DataFrame, arm: Arm, bottom: float) -> None:
    """One arm's curve with its intervals; points below the axis become triangles at its lower end."""
    colour = style.colour(arm.method, arm.rank)
    look: dict[str, Any] = {"markersize": 3, "linewidth": 1.1, "elinewidth": 0.6, "zorder": 3}
    error = [own["quality"] - own["quality_low"], own["quality_high"] - own["quality"]]
    rates = own["train.learning_rate"].astype(float)
    panel.errorbar(rates, own["quality"], error, marker=style.marker(arm.method), linestyle="-", color=colour, **look)
    below = own["quality"] < bottom
    panel.plot(rates[below], np.full(int(below.sum()), bottom), "v", color=colour, markersize=4, zorder=4)
    chosen = own[own["chosen"]]
    panel.plot(chosen["train.learning_rate"], chosen["quality"], "o", markersize=8, mfc="none", mec=colour, mew=1.1, zorder=4)


def _optimum(panel: Axes, t: Tables[AgainstFull], arm: Arm, height: float) -> None:
    """The fitted optimum with its interval, as a bar above the curves; the reason where there is none."""
    e, name, colour = t.own.optima[arm.label], label(arm.method, arm.rank), style.colour(arm.method, arm.rank)
    tuning = t.own.tuning
    rates = tuning["train.learning_rate"].astype(float)
    own = rates[tuning["arm"] == arm.label]  # methods have ranges of their own
    low, high = own.min(), own.max()
    look: dict[str, Any] = {"size": 6.5, "color": style.text_colour(colour), "va": "center"}
    if not e.known:
        panel.text(rates.min(), height, f"{name}: {e.missing.short if e.missing else formatting.NONE}", **look)
        return
    panel.plot([max(e.low, low), min(e.high, high)], [height] * 2, color=colour, linewidth=2, solid_capstyle="butt")
    for cut, edge, mark in ((e.low < low, low, "<"), (e.high > high, high, ">")):
        if cut:  # the interval goes on beyond the rates tried
            panel.plot(edge, height, mark, color=colour, markersize=4.5, zorder=4)
    panel.plot(min(max(e.value, low), high), height, "|", color=colour, markersize=6, mew=1.4)
    panel.annotate(name, (max(e.low, low), height), (-3, 0), textcoords="offset points", ha="right", **look)
