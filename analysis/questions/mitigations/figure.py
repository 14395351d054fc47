"""The figure of mitigations: the plane of quality and forgetting (tasks trained on, held-out ones), what each way saves at equal
quality, and forgetting against the KL divergence on the task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures import style, untuned
from analysis.figures.told import X_LABEL, explain
from analysis.formatting import asked_on, heading
from analysis.questions.mitigations.compared import QUALITIES, Mitigations
from analysis.questions.mitigations.ways import EPOCHS, KINDS, KL, L2, PLAIN, REPLAY, SCALED, Way, kind, usual_epochs
from core.settings import PROMPTS, REPLAYED, RESPONSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.claims.tables import Tables

# Okabe and Ito's colours and a marker each, so that no way is told by its colour alone.
LOOKS = {
    PLAIN: ("#1a1a1a", "o"),
    SCALED: ("#0072B2", "d"),
    EPOCHS: ("#6b6b6b", "v"),
    REPLAY: ("#009E73", "s"),
    KL[RESPONSE]: ("#E69F00", "^"),
    KL[PROMPTS]: ("#D55E00", "P"),
    KL[REPLAYED]: ("#CC79A7", "X"),
    L2: ("#56B4E9", "*"),
}


def draw(t: Tables[Mitigations], narrow: bool = False) -> Figure:
    """Three or four panels, two in a row; `narrow`: one in a row."""
    qualities = [name for name in QUALITIES if name in t.panels]
    n = len(qualities) + 2
    rows, columns = (n, 1) if narrow else (math.ceil(n / 2), 2)
    figure, panels = style.figure(rows, columns, (2.3 if narrow else 2.75) * rows + 0.4, _width(narrow))
    for panel, name in zip(panels, qualities, strict=False):
        _plane(panel, t, name)
    _saved(panels[len(qualities)], t, qualities)
    _told(panels[len(qualities) + 1], t)
    for panel in panels[n:]:
        panel.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2 if narrow else 4, borderaxespad=0.2)
    return figure


def _width(narrow: bool) -> float:
    return style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH


def _look(method: str, of: str) -> dict[str, Any]:
    """LoRA's markers are filled, those of full fine-tuning are not."""
    colour, mark = LOOKS[of]
    inside, edge = ("white", colour) if method == "full" else (colour, "white")
    size = 8 if mark == "*" else 5  # a star's points are thin
    return {"color": colour, "marker": mark, "mfc": inside, "mec": edge, "mew": 0.8, "markersize": size}


def _plane(panel: Axes, t: Tables[Mitigations], name: str) -> None:
    for way in t.own.ways:
        x_K, y_K = _means(t, way, "forgetting"), _means(t, way, name)
        dashes = ":" if way.kind == SCALED else "-"
        panel.plot(x_K, y_K, dashes, linewidth=0.9, alpha=0.9, zorder=3, label=way.name, **_look(way.method, way.kind))
        for row in t.arm_rows[t.arm_rows["arm"].isin([arm.label for arm in way.arms])].to_dict("records"):
            colour = LOOKS[way.kind][0]
            panel.plot([row["forgetting"]] * 2, [row[f"{name}_low"], row[f"{name}_high"]], color=colour, linewidth=0.5, zorder=2)
            panel.plot([row["forgetting_low"], row["forgetting_high"]], [row[name]] * 2, color=colour, linewidth=0.5, zorder=2)
    rows = t.arm_rows[t.arm_rows["arm"].isin([arm.label for way in t.own.ways for arm in way.arms])]
    if rows[name].notna().any():
        panel.set_ylim(*style.limits(*style.ends(rows, name)))
    style.from_zero(panel, *style.ends(rows, "forgetting"))
    untuned.mark(panel, t.base_levels(name))
    panel.set_xlabel(f"forgetting ({t.units['forgetting']}), 95 % intervals")
    panel.set_ylabel(f"{heading(name)} ({t.units[name]})")
    panel.set_title(asked_on(name))


def _means(t: Tables[Mitigations], way: Way, name: str) -> np.ndarray:
    """The means of its points (K,), over the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(arm.final) for arm in way.arms)))
    found: np.ndarray = way.scores(t, seeds, name).mean(axis=(1, 2)) if seeds else np.empty(0)
    return found


def _saved(panel: Axes, t: Tables[Mitigations], qualities: list[str]) -> None:
    """What each way saves against the plain training of its method, at equal quality of both kinds."""
    ways = [way for way in t.own.ways if way.kind != PLAIN][::-1]
    for place, way in enumerate(ways):
        for number, name in enumerate(qualities):
            found = t.own.saved.get((way.name, name))
            if found is None or not math.isfinite(found.difference.value):
                continue
            e, y = found.difference, place + (0.14 if number == 0 else -0.14)
            look = _look(way.method, way.kind) | ({"alpha": 0.5} if number else {})
            if e.known:
                panel.plot([e.low, e.high], [y, y], color=LOOKS[way.kind][0], linewidth=1.0, alpha=0.5 if number else 1.0)
            panel.plot(e.value, y, linestyle="", **look)
    panel.axvline(0, color=style.MUTED, linewidth=0.7, zorder=1)
    panel.set_yticks(range(len(ways)), [way.name for way in ways])
    panel.set_ylim(-0.6, max(len(ways), 1) - 0.4)
    panel.set_xlabel(f"forgetting saved ({t.units['forgetting']})" + (", pale: held-out tasks" if len(qualities) > 1 else ""))
    panel.set_title("At equal quality, against plain")


def _told(panel: Axes, t: Tables[Mitigations]) -> None:
    """Every final trial, in the colours of its way."""
    cloud, told = t.own.cloud, t.own.told
    panel.set_xlabel(X_LABEL)
    panel.set_ylabel(f"forgetting ({t.units['forgetting']})")
    panel.set_title("Is forgetting told by KL on the task?")
    if cloud is None or told is None:
        return
    explain(panel, cloud.kl_N, cloud.forgetting_N, told)
    usual = usual_epochs(t.arms)
    ways = {arm.label: (arm.method, kind(arm.fields, usual)) for arm in t.arms}
    for of in dict.fromkeys(sorted(ways.values(), key=lambda one: KINDS.index(one[1]))):
        mine = np.array([ways.get(str(arm)) == of for arm in cloud.origin.arms_N])
        panel.plot(cloud.kl_N[mine], cloud.forgetting_N[mine], linestyle="", **_look(*of) | {"markersize": 3.5, "mew": 0.5})
