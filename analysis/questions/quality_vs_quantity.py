"""Do 1,000 curated examples match or beat 52,000 synthetic ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import NOT_WORSE, Ask, Rule, at_most, difference
from analysis.claims.tables import Fields, View
from analysis.stats import ABOVE_ZERO

if TYPE_CHECKING:
    import pandas as pd

CURATED: Fields = {"kind": "curated"}
HOMOGENEOUS: Fields = {"kind": "curated, few clusters"}
SYNTHETIC: Fields = {"kind": "synthetic, equal steps", "data.n_examples": 1_000}
LARGER: Fields = {"kind": "synthetic, more steps", "data.n_examples": 4_000}
WHOLE: Fields = {"kind": "synthetic, more steps", "train.epochs": 1.0}
CHOSEN: Fields = {"kind": "synthetic, best tenth", "data.n_examples": 1_000}
CHOSEN_WHOLE: Fields = {"kind": "synthetic, best tenth", "whole": True}


def kinds(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: the source's role (the curated one has fewer arms; where both have as many, it is called so, and where
    neither is, nothing says which it is), whether it is narrowed, and whether a synthetic arm takes the steps of 1,000 examples
    or its own."""
    whole = trials[(trials["data.best_share"] == 1) & trials["data.n_clusters"].isna()]
    arms = whole.groupby("data.source")["arm"].nunique()
    few = sorted(arms[arms == arms.min()].index, key=lambda source: "curated" not in source)
    if len(few) > 1 and "curated" not in few[0]:
        return trials.assign(kind=trials["data.source"], whole=trials["data.n_examples"].isna())
    alike = trials["train.steps"].notna() | (trials["data.n_examples"] == 1_000)
    synthetic = np.where(alike, "synthetic, equal steps", "synthetic, more steps")
    synthetic = np.where(trials["data.best_share"] < 1, "synthetic, best tenth", synthetic)
    curated = np.where(trials["data.n_clusters"].notna(), "curated, few clusters", "curated")
    kind = np.where(trials["data.source"] == few[0], curated, synthetic)
    return trials.assign(kind=kind, whole=trials["data.n_examples"].isna())


VIEW = View(
    x="rows/used",
    x_label="examples",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="kind",
    derive=kinds,
)


def compared(first: Fields, second: Fields, ask: Ask) -> Rule:
    """The first arm less the second."""
    return lambda t: difference(t, first, second, ask)


QUALITY, HELD_OUT = "quality", "exact_match/held_out"
RULES: dict[str, Rule] = {
    "curated_matches_all_synthetic_seen": compared(
        CURATED, WHOLE, Ask(QUALITY, NOT_WORSE, "curated 1,000 − all synthetic, quality", in_points=True)
    ),
    "curated_beats_all_synthetic_held_out": compared(
        CURATED, WHOLE, Ask(HELD_OUT, ABOVE_ZERO, "curated 1,000 − all synthetic, held-out tasks", new_clusters=True)
    ),
    "four_times_synthetic_no_gain": compared(
        LARGER, SYNTHETIC, Ask(QUALITY, at_most(3), "synthetic 4,000 − 1,000, 3 epochs each, quality", in_points=True)
    ),
    "curated_beats_synthetic_at_equal_size": compared(
        CURATED, SYNTHETIC, Ask(QUALITY, ABOVE_ZERO, "curated 1,000 − synthetic 1,000, quality")
    ),
    "diverse_beats_homogeneous_held_out": compared(
        CURATED, HOMOGENEOUS, Ask(HELD_OUT, ABOVE_ZERO, "all clusters − two clusters, held-out tasks", new_clusters=True)
    ),
    "best_tenth_beats_all": compared(
        CHOSEN_WHOLE, WHOLE, Ask(QUALITY, ABOVE_ZERO, "best tenth (3 epochs) − all synthetic (1 epoch), quality")
    ),
    "best_tenth_beats_random_at_equal_size": compared(
        CHOSEN, SYNTHETIC, Ask(QUALITY, ABOVE_ZERO, "best tenth − drawn from all, 1,000 each, quality")
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
