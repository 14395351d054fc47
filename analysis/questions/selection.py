"""Does selecting rows by a model's scores beat random ones, at equal tokens?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, at_most, costs_at_most, difference
from analysis.claims.tables import Fields, Tables, View
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd

ITSELF, OTHER = "the base itself", "another model"


def scorers(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: who scores the rows."""
    return trials.assign(scored_by=trials["data.scorer"].isna().map({True: ITSELF, False: OTHER}))


VIEW = View(
    x="data.select",
    x_label="rows selected by",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="scored_by",
    curves_label="scored by",
    scale="even",
    derive=scorers,
)


def taken(t: Tables[Any]) -> list[str]:
    """How many rows, tokens and tokens of answers each selection has, a pass."""
    final = {name: arm.label for arm in t.arms for name in arm.final.values()}
    done = t.trials[t.trials["fingerprint"].isin(final)]
    rows = []
    for arm in t.where({}):
        own = done[done["arm"] == arm.label]
        passes = own["train/tokens"] / own["train.epochs"]
        numbers = (own["rows/used"].mean(), passes.mean(), (own["rows/used"] * own["rows/response_tokens"]).mean())
        rows.append([arm.label, *(f"{number:,.0f}" for number in numbers)])
    header = ["arm", "rows", "tokens", "tokens of answers"]
    told = "Means over the arm's final trials, of one pass over the rows.\n"
    return ["## What is selected\n", formatting.markdown(header, rows), told]


def by(select: str, scored_by: str = ITSELF) -> Fields:
    """The arm that selects so."""
    return {"data.select": select, "scored_by": scored_by}


def against_random(select: str, region: Region, in_points: bool = False) -> Rule:
    """Quality of rows selected so less that of random ones."""
    ask = Ask("quality", region, f"quality, {select} − random rows, equal tokens", in_points=in_points)
    return lambda t: difference(t, by(select), by("random"), ask)


RULES: dict[str, Rule] = {
    "high_ifd_beats_random_rows": against_random("high-ifd", ABOVE_ZERO),
    "long_answers_beat_random_rows": against_random("long", ABOVE_ZERO),
    "low_perplexity_gains_at_most_3_points": against_random("low-perplexity", at_most(3), in_points=True),
    "high_perplexity_falls_behind_random_rows": against_random("high-perplexity", BELOW_ZERO),
    "k_centre_beats_random_rows": against_random("k-centre", ABOVE_ZERO),
    "smaller_scorer_selects_as_well": lambda t: difference(
        t, by("high-ifd", OTHER), by("high-ifd"),
        Ask("quality", costs_at_most(3), "quality, IFD of a smaller base − of the base itself", in_points=True),
    ),
}  # fmt: skip
QUESTION: Question[None] = Question(VIEW, RULES, sections=taken)
