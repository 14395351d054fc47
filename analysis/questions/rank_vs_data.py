"""When does LoRA rank start to matter: do more data or new knowledge need more rank?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.claims.question import Question
from analysis.claims.rules import AT_MOST_TWO_POINTS, Ask, Rule, combination, difference, relative
from analysis.claims.tables import Tables, View
from analysis.claims.verdicts import Finding, direction
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO, Form, Region
from experiments.rank_vs_data import FEW, MANY

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"lab:new-facts": "with new facts"}


def of_data(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: how many examples of which kind; and the trained parameters, where full fine-tuning stands beside
    the ranks."""
    kind = [
        f"{int(n):,} {KINDS.get(source, 'elicitation')}"
        for n, source in zip(trials["rows/used"].fillna(0), trials["data.source"], strict=True)
    ]
    return trials.assign(kind=kind, parameters=trials["trainable_parameters"].groupby(trials["arm"]).transform("mean"))


VIEW = View(
    x="parameters",
    x_label="trained parameters (LoRA by rank; diamonds: full)",
    measures=("quality", "recall/taught", "forgetting", "exact_match/held_out"),
    curves="kind",
    curves_label="examples",
    derive=of_data,
)


# What more rank gives with many examples, less what it gives with few.
SIGNS = {(64, MANY): 1.0, (1, MANY): -1.0, (64, FEW): -1.0, (1, FEW): 1.0}
CORNERS = [({"adapter.rank": rank, "data.n_examples": n}, sign) for (rank, n), sign in SIGNS.items()]
TAUGHT = {"data.source": "lab:new-facts"}


WITHIN_THREE_PERCENT = Region(-0.03, 0.03, form=Form.PERCENT)


def rank_64_and_full(t: Tables[None]) -> Finding:
    """Equal within 3 %, and which is better where that is known: a verdict on a size would hide it."""
    first, second = ({**one, "data.n_examples": MANY} for one in ({"adapter.rank": 64}, {"adapter.method": "full"}))
    found = relative(t, first, second, Ask("quality", WITHIN_THREE_PERCENT, "rank 64 against full at 4,000 examples"))
    way = direction(found.estimate, 0.0, "better than full", "worse than full") if found.estimate else ""
    return replace(found, note=joined(way, found.note))


RULES: dict[str, Rule] = {
    "rank_64_equals_full_at_4000": rank_64_and_full,
    "rank_buys_more_with_more_data": lambda t: combination(
        t, CORNERS, Ask("quality", ABOVE_ZERO, "quality, (r 64 − r 1 at 4,000 examples) − (r 64 − r 1 at 250)")
    ),
    "rank_128_adds_little": lambda t: difference(
        t, {"adapter.rank": 128, "data.n_examples": MANY}, {"adapter.rank": 64, "data.n_examples": MANY},
        Ask("quality", AT_MOST_TWO_POINTS, "quality, rank 128 − 64", in_points=True),
    ),
    "rank_64_learns_facts_better": lambda t: difference(
        t, TAUGHT | {"adapter.rank": 64}, TAUGHT | {"adapter.rank": 1},
        Ask("recall/taught", ABOVE_ZERO, "recall of taught facts, rank 64 − 1"),
    ),
}  # fmt: skip
QUESTION: Question[None] = Question(VIEW, RULES)
