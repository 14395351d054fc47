"""The figure of forgetting_tradeoff: the plane of quality and forgetting, forgetting by domain at equal quality, against the
fine-tuning loss, and against the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import style
from analysis.formatting import heading
from analysis.questions.forgetting_tradeoff import plane as plane
from analysis.questions.forgetting_tradeoff.laws import band, line, shapes
from analysis.stats.scaling import seed_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.arms import Arm
    from analysis.claims.fits import Fitted
    from analysis.claims.tables import Tables

SURE = 0.5  # of being on the front
SIDES = (("LoRA r=16", -0.13), ("full", 0.13))
ASIDE = 1.03  # of two methods at the same steps, so that neither hides the other
Colour = tuple[float, float, float]


def draw(t: Tables, _: Sequence[Fitted] = (), narrow: bool = False) -> Figure:
    """Four panels, two in a row; `narrow`: one in a row."""
    rows, columns, width = (4, 1, style.COLUMN_WIDTH) if narrow else (2, 2, style.TEXT_WIDTH)
    figure, panels = style.figure(rows, columns, (2.05 if narrow else 2.65) * rows + 0.3, width)
    _plane(panels[0], t)
    _domains(panels[1], t)
    _loss(panels[2], t)
    _steps(panels[3], t)
    handles, names = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper left", ncols=2 if narrow else 4, borderaxespad=0.2)
    return figure


def _look(method: str) -> tuple[Colour, str]:
    rank = None if method == "full" else int(method.rpartition("=")[2])
    kind = "full" if method == "full" else "lora"
    return style.colour(kind, rank), style.METHOD_MARKER[kind]


def _named(method: str) -> str:
    return method.replace("r=", "r = ")


def _cost(t: Tables) -> str:
    return f"forgetting ({t.units['forgetting']})"


def _empty(panel: Axes, why: str) -> None:
    panel.text(0.5, 0.5, why, transform=panel.transAxes, ha="center", va="center", color=style.MUTED)
    panel.set_xticks([])
    panel.set_yticks([])


def _plane(panel: Axes, t: Tables) -> None:
    """Each method along its learning rates; of the front is what is filled. The shorter training is dashed."""
    probability, arm_rows = plane.on_the_front(t), t.arm_rows.set_index("arm")
    for method in plane.METHODS:
        (colour, marker), arms = _look(method), plane.curve(t, method)
        if not arms:
            continue
        own = arm_rows.loc[[arm.label for arm in arms]]
        panel.plot(own["forgetting"], own["quality"], "-", color=colour, linewidth=0.9, alpha=0.7, zorder=2)
        for row in own.itertuples():
            panel.plot([row.forgetting] * 2, [row.quality_low, row.quality_high], color=colour, linewidth=0.7, zorder=2)
            panel.plot([row.forgetting_low, row.forgetting_high], [row.quality] * 2, color=colour, linewidth=0.7, zorder=2)
            sure = probability.get(str(row.Index), 0.0) >= SURE
            inside, edge = (colour, "white") if sure else ("white", colour)
            panel.plot(row.forgetting, row.quality, marker, color=colour, mfc=inside, mec=edge, mew=0.8, markersize=5, zorder=3)
        panel.plot([], [], marker + "-", color=colour, markersize=5, mec="white", label=_named(method))
        _shorter(panel, t, method, colour)
    panel.plot([], [], "o", color=style.MUTED, mfc=style.MUTED, markersize=4, label="filled: on the front")
    panel.set_xlabel(_cost(t) + ", 95 % intervals")
    panel.set_ylabel(f"{heading('quality')} ({t.units['quality']})")
    panel.set_title("Along the learning rates")
    style.from_zero(panel, arm_rows["forgetting"].dropna().to_numpy(float))


def _shorter(panel: Axes, t: Tables, method: str, colour: Colour) -> None:
    """The same method with fewer epochs, where it has a curve of them."""
    arm_rows = t.arm_rows.set_index("arm")
    for epochs in sorted({float(str(arm.fields["train.epochs"])) for arm in t.where({"method": method})}):
        arms = plane.curve(t, method, epochs)
        if epochs >= plane.EPOCHS or len(arms) < 2:
            continue
        own = arm_rows.loc[[arm.label for arm in arms]]
        panel.plot(own["forgetting"], own["quality"], "--", color=colour, linewidth=0.9, zorder=1.5)
        panel.plot([], [], "--", color=colour, linewidth=0.9, label=f"{_named(method)}, {epochs:g} epoch")


def _domains(panel: Axes, t: Tables) -> None:
    """LoRA and full fine-tuning at equal quality, from the domain that fills most of the mix to those it lacks."""
    names = [name for name in plane.DOMAINS if f"nll/{name}" in t.panels]
    arms = t.where({})
    shares = {name: np.mean([plane.share_of_mix(name, fold) for fold in plane.folds(t, arms[0])]) for name in names}
    names = sorted(names, key=lambda name: -shares[name])
    drawn = False
    for place, name in enumerate(names):
        found = plane.matched(t, "LoRA r=16", "full", f"nll/{name}")
        for (method, shift), e in zip(SIDES, (found.first, found.second) if found else (), strict=False):
            colour, marker = _look(method)
            if math.isfinite(e.value):
                drawn = True
                panel.plot([place + shift] * 2, [e.low, e.high], color=colour, linewidth=0.9)
                panel.plot(place + shift, e.value, marker, color=colour, mec="white", mew=0.7, markersize=5)
    if not drawn:
        _empty(panel, "no two curves to compare\nat equal quality by domain")
    else:
        panel.set_xticks(range(len(names)), [f"{name}\n{shares[name]:.0%}" for name in names])
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.set_xlabel("domain, and its share of the tuning mix")
    panel.set_ylabel(f"rise of NLL ({t.units['forgetting']})")
    panel.set_title("At equal quality, by domain")


def _points(panel: Axes, t: Tables, points: plane.Cloud, aside: float = 1.0) -> None:
    """Means over seeds with their intervals, in the colour of their method; moved aside by this factor."""
    arm_rows = t.arm_rows.set_index("arm")
    for arm, x, y in zip(points.arms, aside * points.x_SK.mean(axis=0), points.y_SK.mean(axis=0), strict=True):
        colour, marker = _look(_method(arm))
        low, high = arm_rows.loc[arm.label, ["forgetting_low", "forgetting_high"]]
        panel.plot([x, x], [max(low, 0.05 * y), high], color=colour, linewidth=0.7, zorder=2)  # above 0, for a log axis
        panel.plot(x, y, marker, color=colour, mec="white", mew=0.7, markersize=5, zorder=3)


def _method(arm: Arm) -> str:
    return "full" if arm.method == "full" else f"LoRA r={arm.rank}"


def _law(panel: Axes, points: plane.Cloud, law: str, colour: Colour, dashes: str, name: str) -> None:
    """A law through the means, with its band over redrawn seeds."""
    x_K, y_K = points.x_SK.mean(axis=0), points.y_SK.mean(axis=0)
    at = np.geomspace(x_K.min(), x_K.max(), 100)
    draws_NK = seed_draws(points.y_SK, np.random.default_rng(plane.RANDOM_STATE))
    panel.fill_between(at, *band(law, x_K, draws_NK, at), color=colour, alpha=0.14, linewidth=0, zorder=0.5)
    panel.plot(at, line(law, x_K, y_K, at), dashes, color=colour, linewidth=1.0, zorder=1, label=name)


def _loss(panel: Axes, t: Tables) -> None:
    """LoRA's straight line beside the law that misses least at arms left out."""
    clouds = [points for kind in ("full", "lora") if (points := plane.loss_points(t, kind))]
    for points in clouds:
        _points(panel, t, points)
    if clouds and clouds[-1].arms[0].method == "lora":
        points = clouds[-1]
        best = shapes(points.x_SK.mean(axis=0), points.y_SK.mean(axis=0))[0].law
        colour = style.colour("lora", 16)
        _law(panel, points, "line", colour, "--", "line")
        if best != "line":
            _law(panel, points, best, colour, "-", f"{best} (least error left out)")
        panel.set_xscale("log")
        panel.set_xticks(*style.round_ticks(*panel.get_xlim()))
        panel.set_xticks([], minor=True)
        panel.legend(title="LoRA", title_fontsize=7)
        panel.set_ylim(0, 1.25 * panel.get_ylim()[1])  # room for the legend
    else:
        _empty(panel, "needs the losses of 5 arms of LoRA")
    panel.set_xlabel("fine-tuning loss, last tenth of training (nats/token)")
    panel.set_ylabel(_cost(t))
    panel.set_title("Against the fine-tuning loss")


def _steps(panel: Axes, t: Tables) -> None:
    """Forgetting against steps at one rate, both axes logarithmic: a power law is straight."""
    levels: set[float] = set()
    for method, dashes, aside in (("LoRA r=16", "-", 1 / ASIDE), ("full", "--", ASIDE)):
        points = plane.step_points(t, method)
        if points is None or points.y_SK.min() <= 0:
            continue
        levels |= set(points.x_SK.mean(axis=0))
        _points(panel, t, points, aside)
        name = f"{_named(method)}, rate {style.rate_text(points.arms[0].rate)}"
        _law(panel, points, "power", _look(method)[0], dashes, name)
    if levels:
        panel.set_xscale("log")
        panel.set_yscale("log")
        _plain_ticks(panel, levels)
        panel.legend(title="power law", title_fontsize=7)
    else:
        _empty(panel, "needs 3 numbers of epochs at one rate")
    panel.set_xlabel("optimizer steps")
    panel.set_ylabel(_cost(t))
    panel.set_title("Against the steps, at one rate")


def _plain_ticks(panel: Axes, steps: set[float]) -> None:
    """The numbers of steps themselves, and round numbers of forgetting."""
    panel.set_xticks(*style.ticks(sorted(steps), True))
    panel.set_yticks(*style.round_ticks(*panel.get_ylim()))
    panel.set_xticks([], minor=True)
    panel.set_yticks([], minor=True)
