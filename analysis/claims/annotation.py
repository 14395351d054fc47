"""What the rows of an arm cost to be written, from the price of an example of each source; and which arm is best for a budget."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pandas as pd

from analysis import arms as a
from analysis.arms import Arm
from analysis.claims.tables import Tables, has
from analysis.stats.estimate import Estimate
from core import naming
from core.data import mixture
from core.errors import BadInput, nearest

OPTION = "--cost"
Prices = Mapping[str, float]  # a source's name → the price of one of its examples


def parse(text: str) -> dict[str, float]:
    """The prices of "curated=2.0,synthetic=0.01".

    Raises:
        BadInput: the text is not written so.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.rpartition("="))
        try:
            price = float(number) if number.isascii() else math.nan
        except ValueError:
            price = math.nan
        if not (equals and name and 0 <= price < math.inf):
            must = "the price of an example of each source: curated=2.0,synthetic=0.01"
            raise BadInput(f"{OPTION} {text!r}: must be {must}", field=OPTION)
        if name in found:
            raise BadInput(f"{OPTION} {text!r}: {name} has two prices; give one", field=OPTION)
        found[name] = price
    return found


@dataclass(frozen=True)
class Cost:
    """An arm, how many different rows of each source had to be written for it, and what these cost."""

    arm: Arm
    rows: Mapping[str, float]
    cost: float


@dataclass(frozen=True)
class Step:
    """The best arm from this cost on; `gain`: its quality less that of the step before, paired; None of the first."""

    at: Cost
    gain: Estimate | None = None


@dataclass(frozen=True)
class Costs:
    """All arms with final trials by their cost, and the steps that a growing budget takes."""

    arms: tuple[Cost, ...]
    steps: tuple[Step, ...]


def costs(t: Tables[Any], prices: Prices) -> Costs:
    """What the arms of a sweep cost.

    Raises:
        BadInput: a source has no price, or a price is of none of them.
    """
    rows = {arm.label: _rows_of(t, arm) for arm in t.arms if arm.final}
    sources = list(dict.fromkeys(name for own in rows.values() for name in own))
    price_of = _priced(sources, prices)
    found = [
        Cost(arm, rows[arm.label], sum(n * price_of[name] for name, n in rows[arm.label].items()))
        for arm in t.arms
        if arm.final and has(arm, t.panels["quality"])
    ]
    found.sort(key=lambda one: (one.cost, -t.means[one.arm.label]["quality"].value, one.arm.label))
    return Costs(tuple(found), tuple(_steps(t, found)))


def _steps(t: Tables[Any], found: list[Cost]) -> list[Step]:
    """Each arm whose mean quality is above that of every cheaper one."""
    steps: list[Step] = []
    for one in found:
        if not steps:
            steps.append(Step(one))
        elif _quality(t, one) > _quality(t, steps[-1].at):
            gain = a.difference(one.arm, steps[-1].at.arm, t.panels["quality"]) if _share_seeds(one, steps[-1].at) else None
            steps.append(Step(one, gain))
    return steps


def _quality(t: Tables[Any], one: Cost) -> float:
    return t.means[one.arm.label]["quality"].value


def _share_seeds(one: Cost, other: Cost) -> bool:
    return bool(a.seeds_of(one.arm, other.arm))


def _rows_of(t: Tables[Any], arm: Arm) -> dict[str, float]:
    """Different rows of each source, a mean over the arm's final trials."""
    own = t.trials[t.trials["fingerprint"].isin(arm.final.values())]
    parts = pd.DataFrame([_of_trial(row) for row in own.to_dict("records")]).fillna(0.0)
    return {str(name): float(value) for name, value in parts.mean().items()}


def _of_trial(row: Mapping[Any, Any]) -> dict[str, float]:
    """Rows that had to be written: those that are trained on, each once; where they were chosen by a score, or by what a model
    makes of them, all that they were chosen from."""
    told = row.get("rows_of_sources")
    source = str(row["data.source"])
    if isinstance(told, str):
        used = {str(name): float(distinct) for name, (_, distinct) in json.loads(told).items()}
    else:
        used = {_name(source): float(row["rows/used"])}
    chosen_from = 1.0 / float(row.get("data.best_share") or 1.0)
    if row.get("data.select", "random") != "random" and (total := sum(used.values())):
        chosen_from *= max(1.0, float(row["rows/available"]) / total)
    return {name: n * chosen_from for name, n in used.items()}


def _name(source: str) -> str:
    return (
        next(iter(naming.short(mixture.names_in(source)).values())) if not mixture.recognises(source) else mixture.label(source)
    )


def _priced(sources: list[str], prices: Prices) -> dict[str, float]:
    """The price of each source, by its name, without "lab:", or without its ending."""
    known = {alias: name for name in sources for alias in (PurePath(name).name.split(".")[0], name.removeprefix("lab:"), name)}
    for name in prices:
        if name not in known:
            raise BadInput(f"{OPTION} {name}={prices[name]:g}: no such source; {nearest(name, list(known))}", field=OPTION)
    found: dict[str, float] = {}
    for name, price in prices.items():
        if known[name] in found:
            raise BadInput(f"{OPTION} {name}={price:g}: {known[name]} has two prices; give one", field=OPTION)
        found[known[name]] = price
    if lacking := [name for name in sources if name not in found]:
        text = f"no price for {', '.join(lacking)}; give one: {OPTION} {lacking[0].removeprefix('lab:')}=1.0"
        raise BadInput(f"{OPTION}: {text}", field=OPTION)
    return found
