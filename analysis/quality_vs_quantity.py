"""Do 1,000 curated examples match or beat 52,000 synthetic ones?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import AT_MOST_TWO_POINTS, NOT_WORSE, Fields, Rule, View, difference, reporter
from analysis.stats import Region

if TYPE_CHECKING:
    import pandas as pd

NAME = "quality_vs_quantity"
CURATED: Fields = {"role": "curated"}
SYNTHETIC: Fields = {"role": "synthetic", "data.n_examples": 1_000}
LARGER: Fields = {"role": "synthetic", "data.n_examples": 4_000, "kind": "synthetic, more steps"}
WHOLE: Fields = {"role": "synthetic", "train.epochs": 1.0}


def kinds(trials: pd.DataFrame) -> pd.DataFrame:
    """The source's role (the synthetic one has several arms; where both have one, the curated one is called so), and what
    makes a curve: whether a synthetic arm takes the steps of 1,000 examples or its own."""
    arms = trials.groupby("data.source")["cell"].nunique()
    few = sorted(arms[arms == arms.min()].index, key=lambda source: "curated" not in source)
    role = np.where(trials["data.source"] == few[0], "curated", "synthetic")
    alike = trials["train.steps"].notna() | (trials["data.n_examples"] == 1_000)
    kind = np.where(alike, "synthetic, equal steps", "synthetic, more steps")
    return trials.assign(role=role, kind=np.where(role == "curated", "curated", kind))


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


RULES: dict[str, Rule] = {
    "3c": compared(CURATED, SYNTHETIC, "quality", NOT_WORSE, "curated 1,000 − synthetic 1,000, quality"),
    "3d": compared(CURATED, WHOLE, "quality", NOT_WORSE, "curated 1,000 − all synthetic, quality"),
    "3e": compared(CURATED, WHOLE, "exact_match/held_out", NOT_WORSE, "curated 1,000 − all synthetic, held-out tasks"),
    "3f": compared(LARGER, SYNTHETIC, "quality", AT_MOST_TWO_POINTS, "synthetic 4,000 − 1,000, 3 epochs each, quality"),
}
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
