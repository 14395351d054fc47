"""Do 1,000 curated examples match or beat 52,000 synthetic ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.rules import AT_MOST_TWO_POINTS, NOT_WORSE, Rule, difference
from analysis.claims.tables import Fields, View
from analysis.claims.verdicts import IS_ABOVE
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Region

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
    """What makes a curve: the source's role (the curated one has fewer arms; where both have as many, it is called so),
    whether it is narrowed, and whether a synthetic arm takes the steps of 1,000 examples or its own."""
    whole = trials[(trials["data.best_share"] == 1) & trials["data.n_clusters"].isna()]
    arms = whole.groupby("data.source")["arm"].nunique()
    few = sorted(arms[arms == arms.min()].index, key=lambda source: "curated" not in source)
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


def compared(first: Fields, second: Fields, measure: str, region: Region, effect: str) -> Rule:
    """A difference between two arms against a margin of two points."""
    rule = (
        "supported: interval above −0.02; contradicted: below"
        if region is NOT_WORSE
        else "supported: below +0.02; contradicted: above"
    )
    return lambda t: difference(t, first, second, measure, region, rule, effect, in_points=True)


def better(first: Fields, second: Fields, measure: str, effect: str) -> Rule:
    """A difference between two arms against none."""
    return lambda t: difference(t, first, second, measure, ABOVE_ZERO, IS_ABOVE, effect)


RULES: dict[str, Rule] = {
    "curated_matches_all_synthetic_seen": compared(
        CURATED, WHOLE, "quality", NOT_WORSE, "curated 1,000 − all synthetic, quality"
    ),
    "curated_matches_all_synthetic_held_out": compared(
        CURATED, WHOLE, "exact_match/held_out", NOT_WORSE, "curated 1,000 − all synthetic, held-out tasks"
    ),
    "four_times_synthetic_no_gain": compared(
        LARGER, SYNTHETIC, "quality", AT_MOST_TWO_POINTS, "synthetic 4,000 − 1,000, 3 epochs each, quality"
    ),
    "curated_beats_synthetic_at_equal_size": better(CURATED, SYNTHETIC, "quality", "curated 1,000 − synthetic 1,000, quality"),
    "diverse_beats_homogeneous_held_out": better(
        CURATED, HOMOGENEOUS, "exact_match/held_out", "all clusters − two clusters, held-out tasks"
    ),
    "best_tenth_beats_all": better(CHOSEN_WHOLE, WHOLE, "quality", "best tenth (3 epochs) − all synthetic (1 epoch), quality"),
    "best_tenth_beats_random_at_equal_size": better(
        CHOSEN, SYNTHETIC, "quality", "best tenth − drawn from all, 1,000 each, quality"
    ),
}
report = reporter(VIEW, RULES)
