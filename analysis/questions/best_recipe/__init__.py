"""What is the best trade-off between quality and forgetting in this budget, and which settings decide it?

The arms are compared as in every question, on the test split with fresh seeds. Beside them stands the search: what every
configuration reached at its rung on validation, and how much each setting decides there (importance.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.claims import tables
from analysis.claims.rules import NOT_WORSE, Rule, difference
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import IS_ABOVE, IS_BELOW, Finding
from analysis.formatting import joined
from analysis.questions.best_recipe.importance import NOTHING, Importance, importance
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Region
from analysis.stats.front import Box, hypervolume, on_front
from core.experiment import DEFAULT_ARM, FOUND_ARMS, Experiment, OpenSearch
from experiments.best_recipe import EXPERIMENT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RANDOM_STATE = 20_250_701
DRAWS = 50  # of configurations and forests; 0.1 to 0.2 s each
SEARCHED = tuple(EXPERIMENT.search.space) if EXPERIMENT.search else ()
ARMS = (DEFAULT_ARM, *FOUND_ARMS)
USUAL = {"arm": DEFAULT_ARM}


def configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """The search's finished trials, one row each: `share` of the training, the settings as they were searched (the epochs of the
    whole training), quality and forgetting on validation."""
    found = trials[(trials["phase"] == "tune") & (trials["state"] == "finished") & ~trials["arm"].isin(ARMS)]
    found = found.assign(share=[OpenSearch.share(str(label)) for label in found["arm"]])
    epochs = found["train.epochs"].astype(float) / found["share"].astype(float)
    return found.assign(**{"train.epochs": [float(f"{value:.3g}") for value in epochs]})


def deciding(t: Tables, measure: str) -> Importance | str:
    """How much each setting decides of a measure at the first rung, where all configurations are; or why that is not known."""
    tried = configurations(t.trials)
    first = tried[tried["share"] == tried["share"].min()]
    settings = first[[name for name in SEARCHED if first[name].nunique(dropna=False) > 1]]
    values_K = first[measure].to_numpy(float) if len(first) else np.empty(0)
    return importance(settings, values_K, RANDOM_STATE, DRAWS)


def box(tried: pd.DataFrame) -> Box | None:
    """What hypervolumes are shares of: up to the best quality and the largest forgetting of all trials; None without a gain."""
    if tried.empty:
        return None
    before = float(tried["quality_before"].mean())
    found = Box(before, float(tried["quality"].max()), float(tried["forgetting"].max()))
    return found if found.quality_best > before and found.forgetting_worst > 0 else None


def volume(tried: pd.DataFrame, inside: Box) -> np.ndarray:
    """The hypervolume of the first 1, 2, … of these trials."""
    quality, forgetting = tried["quality"].to_numpy(float), tried["forgetting"].to_numpy(float)
    return np.array([hypervolume(quality[:k], forgetting[:k], inside) for k in range(1, len(quality) + 1)])


def front(tried: pd.DataFrame) -> pd.DataFrame:
    """Those that no other beats in both, along forgetting."""
    kept = on_front(tried["quality"].to_numpy(float), tried["forgetting"].to_numpy(float))
    return tried[kept].sort_values("forgetting")


def of_knee(measure: str, region: Region, rule: str, in_points: bool = False) -> Rule:
    """16h, 16i. Where the knee is the recipe of best quality, it has no arm of its own, and that arm stands for it; where its
    trials failed, none does."""

    def found(t: Tables) -> Finding:
        own = bool((t.trials["arm"] == "knee").any())
        arm = {"arm": "knee" if own else "best quality"}
        finding = difference(t, arm, USUAL, measure, region, rule, f"{measure}, knee − usual recipe", in_points)
        return finding if own else replace(finding, note=joined("the arm of best quality stands for the knee", finding.note))

    return found


RULES: dict[str, Rule] = {
    "search_beats_usual_recipe": lambda t: difference(
        t, {"arm": "best quality"}, USUAL, "quality", ABOVE_ZERO, IS_ABOVE,
        "quality, best found − usual recipe",
    ),
    "knee_forgets_less_than_usual": of_knee("forgetting", BELOW_ZERO, IS_BELOW),
    "knee_costs_at_most_2_points": of_knee("quality", NOT_WORSE, "supported: interval above −0.02; contradicted: below", in_points=True),
}  # fmt: skip


FIGURE = (
    "Figure: a, the trials of the search on validation by rung (its share of a configuration's own tokens), arms on test; b, c, "
    "below; d, what the trials of a rung dominate, in the order in which they started: the share of the box from the untouched "
    "base to the best quality and the largest forgetting of all trials.\n"
)
SHARES = (
    "Share of the variance at the first rung that a setting explains alone (fANOVA), over the range of the trials; the rest is "
    "interaction. Intervals: 95 %, over redrawn configurations and forests; other seeds of training are not in them. "
    f"{NOTHING}: a made-up setting, so what is not above it decides nothing that this many configurations can show. The whole "
    "training may be decided by other settings than its first rung.\n"
)


def sections(t: Tables) -> list[str]:
    """The recipes, the search, what decides."""
    there = [_recipe(t, arm) for arm in ARMS if t.arm({"arm": arm})]
    return [
        "## Recipes\n",
        formatting.markdown(["arm", *map(_short, SEARCHED)], there),
        "The default recipe is the usual one: neither searched for nor tuned, its learning rate included, so that part of what "
        "a found recipe gains may be the rate. The knee is the recipe of the front that lies farthest above the line between its "
        "ends. An arm that is not listed is the same recipe as one above it, or was left out.\n",
        "## The search\n",
        _rungs(t),
        FIGURE,
        "## What decides\n",
        *(_deciding(t, measure) for measure in ("quality", "forgetting")),
        SHARES,
    ]


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _recipe(t: Tables, arm: str) -> list[str]:
    row = t.trials[(t.trials["arm"] == arm) & (t.trials["phase"] == "final")].iloc[0]
    return [arm, *(_value(row[name]) for name in SEARCHED)]


def _value(value: object) -> str:
    if isinstance(value, float):
        return "all" if math.isnan(value) else f"{value:.3g}"
    return "all" if value is None else str(value)


def _rungs(t: Tables) -> str:
    """A line for each rung: how many, what they cost, the best quality and the front."""
    rows = []
    for _, own in configurations(t.trials).groupby("share"):
        best = own.loc[own["quality"].astype(float).idxmax()]
        at_best = f"{float(best['quality']):.3f} at {float(best['forgetting']):.2f}"
        rows.append([str(best["arm"]), str(len(own)), f"{own['train/tokens'].mean():,.0f}", at_best, str(len(front(own)))])
    header = ["rung", "configurations", "mean tokens", "best quality at forgetting (validation)", "on the front"]
    return formatting.markdown(header, rows) if rows else "No trial of the search is in this store.\n"


def _deciding(t: Tables, measure: str) -> str:
    found = deciding(t, measure)
    if isinstance(found, str):
        return f"{measure.capitalize()}: {found}.\n"
    ordered = sorted(found.whole, key=lambda name: -found.whole[name])
    return formatting.markdown(
        [f"share of {measure}'s variance", "95 % interval"],
        [[_short(name), formatting.estimate(found.of(name))] for name in ordered],
    )


def draw(t: Tables, found: object, narrow: bool) -> Figure:
    """The figure (analysis/questions/best_recipe/figure.py)."""
    from analysis.questions.best_recipe.figure import draw as drawn

    return drawn(t, narrow)


VIEW = View(x="arm", x_label="arm", measures=("quality", "forgetting", "exact_match/held_out", "raw_accuracy/skills"),
            draw=draw, sections=sections)  # fmt: skip


def compute(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, view: View) -> Tables:
    """As of every question, but that the search's trials are in no arm."""
    found = tables.compute(trials[trials["phase"] == "final"], items, experiment, view)
    return replace(found, trials=trials, axes=frozenset({*SEARCHED, "train.steps"}))


report = reporter(VIEW, RULES, compute)
