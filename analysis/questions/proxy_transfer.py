"""Does a small base rank recipes of data as a larger one does?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.arms import seeds_of
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, costs_at_most, difference, labels, not_measured, whose_tasks
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.figures import style
from analysis.formatting import asked_on, heading
from analysis.stats import Estimate, Region
from analysis.stats.ranks import UNIT, rank_correlation, same_order
from experiments.proxy_transfer import SIZES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.arms import Arm, Panel

HELD_OUT = "exact_match/held_out"
RANKED = ("quality", HELD_OUT)
SMALLEST, MIDDLE, LARGEST = "smallest", "middle", "largest"
ABOVE_HALF, MOST_PAIRS = Region(0.5, math.inf), Region(0.7, math.inf)
CAPTION = (
    "Each point is a recipe of data, scored on the largest base (up) and on a smaller one (across), on tasks trained on and on "
    "held-out ones. Lines are 95 % intervals over seeds. Above each panel: rank correlation, 95 % interval for new recipes."
)
# What a recipe changes, in words, by the field that it changes.
WORDS: Mapping[str, Callable[[Any], str]] = {
    "data.source": lambda value: str(value).removeprefix("lab:"),
    "data.best_share": lambda value: f"best {value:.0%}".replace("%", " %") if value < 1 else "",
    "data.n_clusters": lambda value: f"{value:.0f} clusters",
    "data.n_tasks": lambda value: f"{value:.0f} tasks",
    "data.n_templates": lambda value: f"{value:.0f} template",
    "data.select": lambda value: "" if value == "random" else str(value),
    "data.noise_share": lambda value: f"{value:.0%} wrong".replace("%", " %") if value > 0 else "",
}


def recipes(trials: pd.DataFrame) -> pd.DataFrame:
    """What each trial was trained on, in words, and which of the bases it has, by size."""
    known = trials[[name for name in WORDS if name in trials]].to_dict("records")
    said = [[WORDS[str(name)](value) for name, value in row.items() if pd.notna(value)] for row in known]
    named = [", ".join(filter(None, words)) for words in said]
    called = dict(zip(SIZES, (SMALLEST, MIDDLE, LARGEST), strict=True))  # claims name them, so none stands for another
    size = trials["model.name"].astype(str).str.rpartition("-")[0].map(called).fillna("unknown")
    return trials.assign(recipe=named, size=size)


VIEW = View(x="recipe", x_label="recipe", measures=(*RANKED, "forgetting"), curves="size", scale="even", derive=recipes)


@dataclass(frozen=True)
class Pair:
    """Recipes that two bases were trained on, and how far their rankings agree on one measure."""

    recipes: tuple[str, ...]
    proxies: tuple[Arm, ...]
    targets: tuple[Arm, ...]
    correlation: Estimate
    order: Estimate  # the share of pairs in the same order


@dataclass(frozen=True)
class Transfer:
    """By the proxy's size and the measure."""

    pairs: Mapping[tuple[str, str], Pair]


def prepare(t: Tables[Any]) -> Transfer:
    """How far each smaller base ranks as the largest."""
    sizes, measures = (SMALLEST, MIDDLE), [name for name in RANKED if name in t.panels]
    return Transfer({(size, name): pair(t, size, name) for size in sizes for name in measures})


def pair(t: Tables[Any], size: str, name: str) -> Pair:
    """The recipes of a smaller base and the largest, over the seeds that all of their arms share."""
    own, theirs = ({str(arm.fields["recipe"]): arm for arm in t.where({"size": one})} for one in (size, LARGEST))
    both = [recipe for recipe in own if recipe in theirs]
    proxies, targets = tuple(own[one] for one in both), tuple(theirs[one] for one in both)
    seeds, scores = seeds_of(*proxies, *targets) if both else [], t.panels[name]
    x_R, y_R = (np.array([_mean(scores, arm, seeds) for arm in side]) for side in (proxies, targets))
    correlation, order = (estimate(x_R, y_R, max(1, len(seeds))) for estimate in (rank_correlation, same_order))
    return Pair(tuple(both), proxies, targets, *(replace(e, n_items=scores.n_items) for e in (correlation, order)))


def _mean(scores: Panel, arm: Arm, seeds: Sequence[int]) -> float:
    return float(scores.of([arm.final[seed] for seed in seeds]).mean()) if seeds else math.nan


def agreement(size: str, name: str, region: Region, pairs: bool = False) -> Rule:
    """The rank correlation of a smaller base with the largest, or the share of pairs in the same order."""

    def rule(t: Tables[Transfer]) -> Finding:
        what = "share of pairs of recipes in the same order" if pairs else "rank correlation of recipes"
        ask = Ask(name, region, f"{what}, {size} base and largest, {heading(name)}")
        found = t.own.pairs.get((size, name))
        none = "" if found and found.recipes else f"no recipe was run on the {size} and the largest base"
        if found is None or (why := not_measured(t, ask) or none):
            return replace(untested(region, ask.effect, why if found else none), unit=UNIT)
        arms = labels((*found.proxies, *found.targets))
        e = found.order if pairs else found.correlation
        note = formatting.joined(f"{len(found.recipes)} recipes", whose_tasks(ask, e))
        return Finding(e, region, ask.effect, UNIT, note, "", arms)

    return rule


def pick(t: Tables[Transfer]) -> Finding:
    """The recipe that the smallest base finds best, on the largest base, less the best other one there."""
    effect = "quality of the largest bases, recipe that the smallest find best − best other one"
    ask = Ask("quality", costs_at_most(6), effect, in_points=True)
    found = t.own.pairs.get((SMALLEST, "quality"))
    if found is None or len(found.recipes) < 2:
        return untested(ask.region, ask.effect, "fewer than two recipes were run on the smallest and the largest base")
    best = max(found.proxies, key=lambda arm: t.means[arm.label]["quality"].value).fields["recipe"]
    others = [arm for arm in found.targets if arm.fields["recipe"] != best]
    other = max(others, key=lambda arm: t.means[arm.label]["quality"].value).fields["recipe"]
    finding = difference(t, {"size": LARGEST, "recipe": best}, {"size": LARGEST, "recipe": other}, ask)
    return replace(finding, note=formatting.joined(f"{best} − {other}, both chosen by what they scored", finding.note))


def sections(t: Tables[Transfer]) -> list[str]:
    """How far the rankings agree, on each measure."""
    rows = []
    for (size, name), one in t.own.pairs.items():
        shown = [formatting.estimate(e) if e.known else e.why for e in (one.correlation, one.order)]
        rows.append([f"{size} → largest", heading(name), str(len(one.recipes)), *shown])
    header = ["bases", "ranked by", "recipes", "rank correlation", "pairs in the same order"]
    return ["## How far rankings agree\n", formatting.markdown(header, rows), "Intervals are for new recipes of these kinds.\n"]


def draw(t: Tables[Transfer], narrow: bool = False) -> Figure:
    """A panel for each smaller base and measure, a point for each recipe."""
    shown = {key: one for key, one in t.own.pairs.items() if one.recipes}
    columns = 1 if narrow else 2
    rows = math.ceil(len(shown) / columns)
    figure, panels = style.figure(rows, columns, 2.6 * rows + 1.0, style.COLUMN_WIDTH if narrow else style.TEXT_WIDTH)
    order = list(dict.fromkeys(recipe for one in shown.values() for recipe in one.recipes))
    for panel, ((size, name), one) in zip(panels, shown.items(), strict=False):
        _points(panel, t, name, one, order)
        e = one.correlation
        panel.set_title(f"{asked_on(name)}: {formatting.estimate(e) if e.known else e.why}")
        panel.set_xlabel(f"{heading(name)}, {_parameters(t, size)}")
        panel.set_ylabel(f"{heading(name)}, {_parameters(t, LARGEST)}")
    handles, words = panels[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper left", ncols=2 if narrow else 4, borderaxespad=0.2)
    return figure


def _parameters(t: Tables[Any], size: str) -> str:
    n = t.trials.loc[t.trials["size"] == size, "total_parameters"].max()
    return f"{n / 1e6:.1f} M" if n == n else size


def _points(panel: Axes, t: Tables[Any], name: str, one: Pair, order: list[str]) -> None:
    for recipe, proxy, target in zip(one.recipes, one.proxies, one.targets, strict=True):
        index, round_ = order.index(recipe), order.index(recipe) // len(style.MARKERS)
        colour, mark = style.look(None, None, index)[0], style.look(None, None, index + round_)[1]  # another pair in each round
        across, up = t.means[proxy.label][name], t.means[target.label][name]
        panel.plot([across.low, across.high], [up.value, up.value], color=colour, linewidth=0.8, zorder=2)
        panel.plot([across.value, across.value], [up.low, up.high], color=colour, linewidth=0.8, zorder=2)
        panel.plot(across.value, up.value, mark, color=colour, markersize=6.5, linestyle="", zorder=3, label=recipe)


RULES: dict[str, Rule] = {
    "smallest_base_ranks_recipes_as_largest": agreement(SMALLEST, "quality", ABOVE_HALF),
    "smallest_base_ranks_recipes_as_largest_held_out": agreement(SMALLEST, HELD_OUT, ABOVE_HALF),
    "middle_base_ranks_recipes_as_largest": agreement(MIDDLE, "quality", ABOVE_HALF),
    "smallest_base_decides_pairs_of_recipes": agreement(SMALLEST, "quality", MOST_PAIRS, pairs=True),
    "smallest_bases_pick_costs_largest_little": pick,
}
QUESTION = Question(VIEW, RULES, prepare, draw=draw, caption=CAPTION, sections=sections, fitted=False)
