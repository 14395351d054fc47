"""When does LoRA rank start to matter: does more data need more rank?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import ABOVE_ZERO, Rule, Tables, View, contrast, hindrance, relative, reporter
from analysis.stats import Region
from analysis.verdicts import Finding

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


def rank_and_data(t: Tables) -> Finding:
    """16d: an interaction of two differences."""
    rule, effect = "supported: interval above 0; contradicted: below 0", "quality, (r 64 − r 1 at 4,000) − (r 64 − r 1 at 250)"
    signs = {(64, MANY): 1.0, (1, MANY): -1.0, (64, FEW): -1.0, (1, FEW): 1.0}
    arms = {key: t.arm({"adapter.rank": key[0], "data.n_examples": key[1]}) for key in signs}
    found = [(arm, signs[key]) for key, arm in arms.items() if arm]
    e = contrast(found, t.panels["quality"]) if len(found) == len(signs) else None
    if e is None:
        return Finding(None, None, rule, effect, note="not tested: needs ranks 1 and 64 at 250 and 4,000 examples")
    return Finding(e, ABOVE_ZERO, rule, effect, t.units["quality"], hindrance=hindrance(t, *(arm for arm, _ in found)))


RULES: dict[str, Rule] = {
    "16c": lambda t: relative(
        t, {"adapter.rank": 64, "data.n_examples": MANY}, {"adapter.method": "full", "data.n_examples": MANY}, "quality",
        Region(-0.03, 0.03), "supported: interval within ±3 %; contradicted: outside", "rank 64 against full at 4,000 examples",
    ),
    "16d": rank_and_data,
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
