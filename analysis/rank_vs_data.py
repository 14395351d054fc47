"""When does LoRA rank start to matter: does more data need more rank?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import Rule, View, combination, relative, reporter
from analysis.stats import ABOVE_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd

NAME = "rank_vs_data"
FEW, MANY = 250, 4_000


def method(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: the rank, or full fine-tuning."""
    names = [
        "full" if name == "full" else f"r = {int(rank)}"
        for name, rank in zip(trials["adapter.method"], trials["adapter.rank"], strict=True)
    ]
    return trials.assign(kind=names)


VIEW = View(
    x="data.n_examples",
    x_label="curated examples",
    measures=("quality", "exact_match/held_out", "forgetting", "raw_accuracy/skills"),
    curves="kind",
    derive=method,
)


# 16d: an interaction of two differences.
SIGNS = {(64, MANY): 1.0, (1, MANY): -1.0, (64, FEW): -1.0, (1, FEW): 1.0}
CORNERS = [({"adapter.rank": rank, "data.n_examples": n}, sign) for (rank, n), sign in SIGNS.items()]

RULES: dict[str, Rule] = {
    "16c": lambda t: relative(
        t, {"adapter.rank": 64, "data.n_examples": MANY}, {"adapter.method": "full", "data.n_examples": MANY}, "quality",
        Region(-0.03, 0.03), "supported: interval within ±3 %; contradicted: outside", "rank 64 against full at 4,000 examples",
    ),
    "16d": lambda t: combination(
        t, CORNERS, "quality", ABOVE_ZERO, "supported: interval above 0; contradicted: below 0",
        "quality, (r 64 − r 1 at 4,000 examples) − (r 64 − r 1 at 250)",
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
