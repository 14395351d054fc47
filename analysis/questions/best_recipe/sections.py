"""The further tables of best_recipe's report: the recipes, the search rung by rung, what decides."""

from __future__ import annotations

import math

from analysis import formatting
from analysis.claims.tables import Tables
from analysis.questions.best_recipe.importance import NOTHING, Importance
from analysis.questions.best_recipe.search import SEARCHED, Search
from core.experiment import DEFAULT_ARM, FOUND_ARMS, TUNED_ARM
from core.states import Phase

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
RECIPES = (
    "The default recipe is the usual one as it is. Tuned, its learning rate is the best of some on validation, and it takes the "
    "steps of the recipe of best quality: claims are against that. The knee is the recipe of the front that lies "
    "farthest above the line between its ends. An arm that is not listed is the same recipe as one above it, or was left out.\n"
)


def sections(t: Tables[Search]) -> list[str]:
    """The recipes, the search, what decides."""
    there = [_recipe(t, arm) for arm in (DEFAULT_ARM, TUNED_ARM, *FOUND_ARMS) if t.arm({"arm": arm})]
    return [
        "## Recipes\n",
        formatting.markdown(["arm", *map(setting, SEARCHED)], there),
        RECIPES,
        "## The search\n",
        _rungs(t),
        FIGURE,
        "## What decides\n",
        *(_deciding(t, measure) for measure in t.own.deciding),
        SHARES,
    ]


def setting(field: str) -> str:
    """A searched field in words, without the part of the trial that it belongs to."""
    return field.split(".")[-1].replace("_", " ")


def _recipe(t: Tables[Search], arm: str) -> list[str]:
    row = t.trials[(t.trials["arm"] == arm) & (t.trials["phase"] == Phase.FINAL)].iloc[0]
    return [arm, *(_value(row[name]) for name in SEARCHED)]


def _value(value: object) -> str:
    if isinstance(value, float):
        return "all" if math.isnan(value) else f"{value:.3g}"
    return "all" if value is None else str(value)


def _rungs(t: Tables[Search]) -> str:
    """A line for each rung: how many, what they cost, the best quality and the front."""
    rows = []
    for rung in t.own.rungs:
        best = rung.tried.loc[rung.tried["quality"].astype(float).idxmax()]
        at_best = f"{float(best['quality']):.3f} at {float(best['forgetting']):.2f}"
        tokens = f"{rung.tried['train/tokens'].mean():,.0f}"
        rows.append([rung.label, str(len(rung.tried)), tokens, at_best, str(len(rung.front))])
    header = ["rung", "configurations", "mean tokens", "best quality at forgetting (validation)", "on the front"]
    return formatting.markdown(header, rows) if rows else "No trial of the search is in this store.\n"


def _deciding(t: Tables[Search], measure: str) -> str:
    found = t.own.deciding[measure]
    if not isinstance(found, Importance):
        return f"{measure.capitalize()}: {found.text}.\n"
    ordered = sorted(found.whole, key=lambda name: -found.whole[name])
    return formatting.markdown(
        [f"share of {measure}'s variance", "95 % interval"],
        [[setting(name), formatting.estimate(found.of(name))] for name in ordered],
    )
