"""When does LoRA rank start to matter: do more data or new knowledge need more rank?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.claims.question import Question
from analysis.claims.rules import (
    AT_MOST_TWO_POINTS,
    Ask,
    Rule,
    combination,
    costs,
    difference,
    flat_ends,
    labels,
    over_measures,
    relative,
)
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import SEEDS_ALONE, Finding, direction, untested
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO, Form, Region
from experiments.rank_vs_data import FEW, MANY, TAUGHT

if TYPE_CHECKING:
    import pandas as pd

NEW = "lab:new-facts"


def of_data(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: how many examples of which kind; whether they bring out what is there, whatever source they are of; and
    the trained parameters, where full fine-tuning stands beside the ranks."""
    elicits = trials["data.source"] != NEW
    words = elicits.map({True: "elicitation", False: "with new facts"})
    kind = [f"{int(n):,} {word}" for n, word in zip(trials["rows/used"].fillna(0), words, strict=True)]
    parameters = trials["trainable_parameters"].groupby(trials["arm"]).transform("mean")
    return trials.assign(kind=kind, elicits=elicits, parameters=parameters)


VIEW = View(
    x="parameters",
    x_label="trained parameters (LoRA by rank; diamonds: full)",
    measures=("quality", "recall/taught", "forgetting", "exact_match/held_out"),
    curves="kind",
    curves_label="examples",
    derive=of_data,
)


# What more rank gives with many examples, less what it gives with few at as many steps.
CURATED: Fields = {"elicits": True}
SIGNS = {(64, MANY): 1.0, (1, MANY): -1.0, (64, FEW): -1.0, (1, FEW): 1.0}
CORNERS: list[tuple[Fields, float]] = [
    ({**CURATED, "adapter.rank": rank, "data.n_examples": n}, sign) for (rank, n), sign in SIGNS.items()
]
NEW_FACTS: Fields = {"elicits": False}
AS_MANY_CURATED: Fields = {**CURATED, "data.n_examples": TAUGHT}  # as of new facts


WITHIN_THREE_PERCENT = Region(-0.03, 0.03, form=Form.PERCENT)


def many(**fields: object) -> Fields:
    """The arm of many examples with these fields of the adapter."""
    return {**CURATED, "data.n_examples": MANY, **{f"adapter.{name}": value for name, value in fields.items()}}


def rank_64_and_full(t: Tables[None]) -> Finding:
    """Equal within 3 %, and which is better where that is known: a verdict on a size would hide it."""
    ask = Ask("quality", WITHIN_THREE_PERCENT, "rank 64 against full at 4,000 examples")
    found = relative(t, many(rank=64), many(method="full"), ask)
    way = direction(found.estimate, 0.0, "better than full", "worse than full") if found.estimate else ""
    return replace(found, note=joined(way, found.note))


def facts_against_tasks(t: Tables[None]) -> Finding:
    """What rank 64 gives over rank 1 in recall of taught facts, less what it gives in quality on curated tasks."""
    ask = Ask(
        "recall/taught",
        ABOVE_ZERO,
        "r 64 − r 1 in recall of taught facts, less in quality (2,000 rows of each)",
        in_points=True,
    )
    facts = difference(t, {**NEW_FACTS, "adapter.rank": 64}, {**NEW_FACTS, "adapter.rank": 1}, ask)
    of_curated = replace(ask, measure="quality")
    tasks = difference(t, {**AS_MANY_CURATED, "adapter.rank": 64}, {**AS_MANY_CURATED, "adapter.rank": 1}, of_curated)
    if lost := next((one for one in (facts, tasks) if one.estimate is None), None):
        return lost
    signs = ((64, 1.0), (1, -1.0))
    of_facts = [(arm, sign) for rank, sign in signs if (arm := t.arm({**NEW_FACTS, "adapter.rank": rank}))]
    of_tasks = [(arm, -sign) for rank, sign in signs if (arm := t.arm({**AS_MANY_CURATED, "adapter.rank": rank}))]
    e = over_measures(t, [("recall/taught", of_facts), ("quality", of_tasks)])
    if e is None:
        return untested(ask.region, ask.effect, "no common seed")
    arms = [arm for arm, _ in (*of_facts, *of_tasks)]
    note, doubt = joined(costs(t, *arms), flat_ends(t, *arms), SEEDS_ALONE), joined(facts.hindrance, tasks.hindrance)
    return replace(facts, estimate=e, note=note, hindrance=doubt, arms=labels(arms))


RULES: dict[str, Rule] = {
    "rank_64_equals_full_at_4000": rank_64_and_full,
    "rank_buys_more_with_more_data": lambda t: combination(
        t, CORNERS, Ask("quality", ABOVE_ZERO, "quality, (r 64 − r 1 at 4,000 examples) − (r 64 − r 1 at 250)")
    ),
    "rank_128_adds_little": lambda t: difference(
        t, many(rank=128), many(rank=64), Ask("quality", AT_MOST_TWO_POINTS, "quality, rank 128 − 64", in_points=True)
    ),
    "rank_buys_more_with_new_facts": facts_against_tasks,
}  # fmt: skip
QUESTION: Question[None] = Question(VIEW, RULES)
