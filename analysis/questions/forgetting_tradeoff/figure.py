"""The figure of forgetting_tradeoff: the plane of quality and forgetting, forgetting by domain at equal quality, against the
fine-tuning loss, and against the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.figures import style, untuned
from analysis.formatting import heading
from analysis.questions.forgetting_tradeoff.methods import FULL, LORA, METHODS, RANK_16, Method

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.arms import Arm
    from analysis.claims.fitted import Line
    from analysis.claims.tables import Tables
    from analysis.questions.forgetting_tradeoff.clouds import Cloud
    from analysis.questions.forgetting_tradeoff.tradeoff import Tradeoff

SURE = 0.5  # of being on the front
ASIDE = 1.03  # of two methods at the same steps, so that neither hides the other


def draw(t: Tables[Tradeoff], narrow: bool = False) -> Figure:
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


def _look(method: Method | Arm) -> tuple[style.Colour, str]:
    """Colour and marker of a method, or of an arm of it."""
    adapter = method.adapter if isinstance(method, Method) else method.method
    return style.colour(adapter, method.rank), style.marker(adapter)


def _cost(t: Tables[Tradeoff]) -> str:
    return f"forgetting ({t.units['forgetting']})"


def _empty(panel: Axes, why: str) -> None:
    panel.text(0.5, 0.5, why, transform=panel.transAxes, ha="center", va="center", color=style.MUTED)
    panel.set_xticks([])
    panel.set_yticks([])


def _plane(panel: Axes, t: Tables[Tradeoff]) -> None:
    """Each method along its learning rates; of the front is what is filled. The shorter training is dashed."""
    arm_rows = t.arm_rows.set_index("arm")
    for method in METHODS:
        arms = t.own.curves[method]
        if not arms:
            continue
        colour, marker = _look(method)
        own = arm_rows.loc[[arm.label for arm in arms]]
        panel.plot(own["forgetting"], own["quality"], "-", color=colour, linewidth=0.9, alpha=0.7, zorder=2)
        for row in own.itertuples():
            panel.plot([row.forgetting] * 2, [row.quality_low, row.quality_high], color=colour, linewidth=0.7, zorder=2)
            panel.plot([row.forgetting_low, row.forgetting_high], [row.quality] * 2, color=colour, linewidth=0.7, zorder=2)
            sure = t.own.front.get(str(row.Index), 0.0) >= SURE
            inside, edge = (colour, "white") if sure else ("white", colour)
            panel.plot(row.forgetting, row.quality, marker, color=colour, mfc=inside, mec=edge, mew=0.8, markersize=5, zorder=3)
        panel.plot([], [], marker + "-", color=colour, markersize=5, mec="white", label=method.label)
        _shorter(panel, t, method)
    panel.plot([], [], "o", color=style.MUTED, mfc=style.MUTED, markersize=4, label="filled: on the front")
    panel.set_xlabel(_cost(t) + ", 95 % intervals")
    panel.set_ylabel(f"{heading('quality')} ({t.units['quality']})")
    panel.set_title("Along the learning rates")
    style.from_zero(panel, *style.ends(arm_rows, "forgetting"))
    untuned.mark(panel, t.base_levels("quality"))


def _shorter(panel: Axes, t: Tables[Tradeoff], method: Method) -> None:
    """The same method with fewer epochs."""
    arm_rows, (colour, _) = t.arm_rows.set_index("arm"), _look(method)
    for epochs, arms in t.own.shorter[method].items():
        own = arm_rows.loc[[arm.label for arm in arms]]
        panel.plot(own["forgetting"], own["quality"], "--", color=colour, linewidth=0.9, zorder=1.5)
        panel.plot([], [], "--", color=colour, linewidth=0.9, label=f"{method.label}, {epochs:g} epoch")


def _domains(panel: Axes, t: Tables[Tradeoff]) -> None:
    """LoRA and full fine-tuning at equal quality, from the domain that fills most of the mix to those it lacks."""
    drawn = False
    for place, one in enumerate(t.own.domains):
        found = one.at_equal_quality
        sides = ((RANK_16, -0.13, found.first), (FULL, 0.13, found.second)) if found else ()
        for method, shift, e in sides:
            colour, marker = _look(method)
            if math.isfinite(e.value):
                drawn = True
                panel.plot([place + shift] * 2, [e.low, e.high], color=colour, linewidth=0.9)
                panel.plot(place + shift, e.value, marker, color=colour, mec="white", mew=0.7, markersize=5)
    if not drawn:
        _empty(panel, "no two curves to compare\nat equal quality by domain")
    else:
        panel.set_xticks(range(len(t.own.domains)), [f"{one.name}\n{one.share_of_mix:.0%}" for one in t.own.domains])
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.set_xlabel("domain, and its share of the tuning mix")
    panel.set_ylabel(f"rise of NLL ({t.units['forgetting']})")
    panel.set_title("At equal quality, by domain")


def _points(panel: Axes, t: Tables[Tradeoff], points: Cloud, aside: float = 1.0) -> None:
    """Means over seeds with their intervals, in the colour of their method; moved aside by this factor."""
    arm_rows = t.arm_rows.set_index("arm")
    for arm, x, y in zip(points.arms, aside * points.x_K, points.y_K, strict=True):
        colour, marker = _look(arm)
        low, high = arm_rows.loc[arm.label, ["forgetting_low", "forgetting_high"]]
        panel.plot([x, x], [max(low, 0.05 * y), high], color=colour, linewidth=0.7, zorder=2)  # above 0, for a log axis
        panel.plot(x, y, marker, color=colour, mec="white", mew=0.7, markersize=5, zorder=3)


def _law(panel: Axes, law: Line, colour: style.Colour, dashes: str, name: str) -> None:
    """A law with its band over redrawn seeds."""
    panel.fill_between(law.x, law.low, law.high, color=colour, alpha=0.14, linewidth=0, zorder=0.5)
    panel.plot(law.x, law.y, dashes, color=colour, linewidth=1.0, zorder=1, label=name)


def _loss(panel: Axes, t: Tables[Tradeoff]) -> None:
    """LoRA's straight line beside the law that misses least at arms left out."""
    for methods in ((FULL,), LORA):
        if found := t.own.against_loss.get(methods):
            _points(panel, t, found.points)
    lora = t.own.against_loss.get(LORA)
    if lora:
        colour = style.colour("lora", 16)
        for law, line in lora.lines.items():
            dashes, name = ("--", "line") if law == "line" else ("-", f"{law} (least error left out)")
            _law(panel, line, colour, dashes, name)
        style.logarithmic(panel, "x")
        panel.set_xticks(*style.round_ticks(*panel.get_xlim()))
        panel.set_xticks([], minor=True)
        panel.legend(title="LoRA", title_fontsize=7)
        panel.set_ylim(0, 1.25 * panel.get_ylim()[1])  # room for the legend
    else:
        _empty(panel, "needs the losses of 5 arms of LoRA")
    panel.set_xlabel("fine-tuning loss, last tenth of training (nats/token)")
    panel.set_ylabel(_cost(t))
    panel.set_title("Against the fine-tuning loss")


def _steps(panel: Axes, t: Tables[Tradeoff]) -> None:
    """Forgetting against steps at one rate, both axes logarithmic: a power law is straight."""
    levels: set[float] = set()
    for method, dashes, aside in ((RANK_16, "-", 1 / ASIDE), (FULL, "--", ASIDE)):
        found = t.own.against_steps.get(method)
        if found is None or found.power is None:
            continue
        levels |= set(found.points.x_K)
        _points(panel, t, found.points, aside)
        name = f"{method.label}, rate {style.rate_text(found.points.arms[0].rate)}"
        _law(panel, found.power, _look(method)[0], dashes, name)
    if levels:
        style.logarithmic(panel, "x", "y")
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
