"""How much replayed pretraining text brings back what tuning makes the model forget, and what does it cost?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import command
from analysis.question import View
from analysis.question_report import reporter
from analysis.question_rules import NOT_WORSE, Rule, combination, difference
from analysis.stats import ABOVE_ZERO, BELOW_ZERO
from analysis.verdicts import IS_ABOVE, IS_BELOW

if TYPE_CHECKING:
    import pandas as pd

NAME = "replay"


def domains(trials: pd.DataFrame) -> pd.DataFrame:
    """From which documents: what makes a curve."""
    return trials.assign(domain=trials["data.replay_domain"].fillna("all domains"))


VIEW = View(
    x="data.replay_share",
    x_label="share of replayed pretraining documents",
    measures=("forgetting", "nll/code", "quality", "exact_match/held_out", "raw_accuracy/skills"),
    curves="domain",
    curves_label="documents from",
    derive=domains,
    scale="even",
)
NONE = {"data.replay_share": 0.0}


def of_all(share: float) -> dict[str, object]:
    """The arm that replays this share from all domains."""
    return {"data.replay_share": share, "domain": "all domains"}


def of_code(share: float) -> dict[str, object]:
    """The arm that replays this share of code."""
    return {"data.replay_share": share, "domain": "code"}


RULES: dict[str, Rule] = {
    "14a": lambda t: difference(
        t, of_all(0.05), NONE, "forgetting", BELOW_ZERO,
        IS_BELOW, "forgetting, 5 % replay − none",
    ),
    "14b": lambda t: combination(
        t, [(NONE, 0.5), (of_all(0.01), -1.0)], "forgetting", ABOVE_ZERO,
        IS_ABOVE, "half of the forgetting without replay − that with 1 %",
    ),
    "14c": lambda t: difference(
        t, of_all(0.1), NONE, "quality", NOT_WORSE,
        "supported: interval above −0.02; contradicted: below", "quality, 10 % replay − none", in_points=True,
    ),
    "14d": lambda t: combination(
        t, [(NONE, 0.5), (of_code(0.4), -1.0)], "nll/code", ABOVE_ZERO, IS_ABOVE,
        "half of the forgetting on code without replay − that with 40 % code",
    ),
    "14e": lambda t: difference(
        t, of_code(0.25), of_all(0.25), "forgetting", ABOVE_ZERO, IS_ABOVE,
        "forgetting over all domains, 25 % code − 25 % of all domains",
    ),
}  # fmt: skip
report = reporter(VIEW, RULES)

if __name__ == "__main__":
    sys.exit(command.main(NAME, report))
