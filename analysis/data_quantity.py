"""How much curated data is enough, at equal epochs and at equal steps?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import ABOVE_ZERO, Rule, Tables, View, contrast, difference, hindrance, reporter
from analysis.stats import Region
from analysis.verdicts import Finding

if TYPE_CHECKING:
    import pandas as pd

NAME = "data_quantity"
ENOUGH = 0.9  # of the quality that the most data give
AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)


def matching(trials: pd.DataFrame) -> pd.DataFrame:
    """Which of the two comparisons a trial belongs to; 1,000 examples belong to both and are drawn with equal epochs."""
    return trials.assign(matching=np.where(trials["train.steps"].isna(), "equal epochs", "equal steps"))


VIEW = View(
    x="data.n_examples",
    x_label="curated examples",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="matching",
    derive=matching,
    fits={"quality": "rising", "exact_match/held_out": "rising"},
)


def no_gain(matched: str) -> Rule:
    """3a, 3b."""
    first, second = ({"data.n_examples": n, "matching": matched} for n in (8_000, 500))
    rule = "supported: interval below +0.02; contradicted: above"
    return lambda t: difference(
        t, first, second, "quality", AT_MOST_TWO_POINTS, rule, f"quality, 8,000 − 500 examples, {matched}"
    )


def share_reached(n: int, sign: float) -> Rule:
    """6a (sign 1), 6b (sign −1): quality of n examples less 90 % of that of 8,000."""

    def find(t: Tables) -> Finding:
        rule = f"supported: interval {'above' if sign > 0 else 'below'} 0; contradicted: {'below' if sign > 0 else 'above'}"
        effect = f"quality of {n} examples − 90 % of that of 8,000"
        few, most = (t.arm({"data.n_examples": size, "matching": "equal epochs"}) for size in (n, 8_000))
        e = contrast([(few, 1.0), (most, -ENOUGH)], t.panels["quality"]) if few and most else None
        if e is None or few is None or most is None:
            return Finding(None, None, rule, effect, note=f"not tested: needs {n} and 8,000 examples with a common seed")
        region = ABOVE_ZERO if sign > 0 else Region(-math.inf, 0.0)
        return Finding(e, region, rule, effect, t.units["quality"], hindrance=hindrance(t, few, most))

    return find


RULES: dict[str, Rule] = {
    "3a": no_gain("equal epochs"), "3b": no_gain("equal steps"), "6a": share_reached(500, 1), "6b": share_reached(100, -1),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
