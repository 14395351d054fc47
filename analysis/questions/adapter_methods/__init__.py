"""Which method gives the most quality for its forgetting, each at its own best learning rate?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, costs_at_most, difference
from analysis.claims.tables import Tables, View
from analysis.escaping import label
from analysis.figures import style, untuned
from analysis.formatting import asked_on, heading
from analysis.questions.adapter_methods.peft import prepare
from analysis.questions.adapter_methods.sections import frame, sections
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Region
from core.adapters import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HELD_OUT, LEFT = "exact_match/held_out", "nll_after_relearning/documents"
VIEW = View(
    x="adapter.method",
    x_label="method",
    measures=("quality", HELD_OUT, "forgetting", LEFT, "raw_accuracy/skills"),
    scale="even",
)
CAPTION = (
    "Each method at its best learning rate: quality on the tasks trained on, and on held-out ones, against forgetting; below by "
    "method, the best on top. Lines are 95 % intervals. Colours are of kinds of methods, markers of single ones."
)


def draw(t: Tables[Any], narrow: bool = False) -> Figure:
    """The plane of quality and forgetting, of tasks trained on and of held-out ones where there are such; and each by method."""
    names = [name for name in ("quality", HELD_OUT) if name in t.panels]
    n_panels, height = len(names) + 2, 2.9 + 0.05 * len(t.arms)
    shape = (n_panels, 1, height * n_panels, style.COLUMN_WIDTH) if narrow else (2, 2, 2 * height, style.TEXT_WIDTH)
    figure, panels = style.figure(*shape)
    for panel, name in zip(panels, names, strict=False):
        _plane(panel, t, name)
    handles, labels = panels[0].get_legend_handles_labels()
    for spare in panels[len(names) : -2]:
        spare.set_visible(False)
    _by_method(panels[-2], t, names)
    _by_method(panels[-1], t, ["forgetting"])
    figure.legend(handles, labels, loc="outside upper left", ncols=3 if narrow else 7, borderaxespad=0.2)
    return figure


def _by_method(panel: Axes, t: Tables[Any], names: Sequence[str]) -> None:
    """Measures of the methods, a line each, in the order of their quality; the second measure with open marks."""
    rows = t.arm_rows[t.arm_rows["seeds"] > 0].dropna(subset=["quality", "forgetting"]).sort_values("quality")
    for y, row in enumerate(rows.to_dict("records")):
        colour, mark = style.colour(str(row["method"])), style.marker(str(row["method"]))
        for nth, name in enumerate(names):
            at = y + 0.36 * (0.5 * (len(names) - 1) - nth)
            panel.plot([row[f"{name}_low"], row[f"{name}_high"]], [at, at], color=colour, linewidth=0.8, zorder=2)
            look = style.point(mark if nth == 0 else "o", colour, markersize=4 - nth, zorder=3)
            panel.plot(row[name], at, **look | ({"mfc": "white", "mec": colour, "mew": 0.7} if nth else {}))
    alone = rows["method"].is_unique
    labels = [
        METHODS[str(method)].label if alone else label(str(arm)) for method, arm in zip(rows["method"], rows["arm"], strict=True)
    ]
    panel.set_yticks(range(len(rows)), labels, fontsize=5.5)
    panel.set_ylim(-0.7, len(rows) - 0.3)
    panel.grid(axis="x", color=style.GRID, linewidth=0.6)
    panel.set_xlabel(f"{heading(names[0])} ({t.units[names[0]]})")
    panel.set_title("By method" + ", open: held-out tasks" * (len(names) > 1))


def _plane(panel: Axes, t: Tables[Any], name: str) -> None:
    rows = t.arm_rows[t.arm_rows["seeds"] > 0].dropna(subset=[name, "forgetting"])
    for row in rows.to_dict("records"):
        colour, mark = style.colour(str(row["method"])), style.marker(str(row["method"]))
        x, y = row["forgetting"], row[name]
        panel.plot([x, x], [row[f"{name}_low"], row[f"{name}_high"]], color=colour, linewidth=0.8, zorder=2)
        panel.plot([row["forgetting_low"], row["forgetting_high"]], [y, y], color=colour, linewidth=0.8, zorder=2)
        called = METHODS[str(row["method"])].label
        panel.plot(x, y, **style.point(mark, colour, mew=0.6, markersize=6.5, zorder=3, label=called))
    panel.set_ylim(*style.limits(*style.ends(rows, name)))
    style.from_zero(panel, *style.ends(rows, "forgetting"))
    untuned.mark(panel, t.base_levels(name))
    panel.set_xlabel(f"forgetting ({t.units['forgetting']})")
    panel.set_ylabel(f"{heading(name)} ({t.units[name]})")
    panel.set_title(asked_on(name))


def against_lora(method: str, region: Region, name: str = "quality", in_points: bool = False) -> Rule:
    """A method less LoRA."""
    ask = Ask(name, region, f"{METHODS[method].label} − LoRA, {name}", in_points=in_points)
    return lambda t: difference(t, {"adapter.method": method}, {"adapter.method": "lora"}, ask)


RULES: dict[str, Rule] = {
    "prompt_tuning_falls_behind_lora": against_lora("prompt", BELOW_ZERO),
    "dora_beats_lora": against_lora("dora", ABOVE_ZERO),
    "pissa_beats_lora": against_lora("pissa", ABOVE_ZERO),
    "lora_plus_beats_lora": against_lora("lora-plus", ABOVE_ZERO),
    "vera_at_most_6_points_below_lora": against_lora("vera", costs_at_most(6), in_points=True),
    "scales_forget_less_than_lora": against_lora("ia3", BELOW_ZERO, "forgetting"),
    "hira_beats_lora": against_lora("hira", ABOVE_ZERO),
    "sparse_updates_beat_lora": against_lora("shira", ABOVE_ZERO),
    "orthogonal_subspaces_forget_less_than_lora": against_lora("osf", BELOW_ZERO, "forgetting"),
    "shared_matrix_forgets_more_than_lora": against_lora("miss", ABOVE_ZERO, "forgetting"),
}
QUESTION = Question(
    VIEW, RULES, prepare=prepare, draw=draw, caption=CAPTION, sections=sections, rules_read_own=False,
    extra_frames=lambda t: {"beside_peft": frame(t)} if len(t.own.methods) > 1 else {},
)  # fmt: skip
