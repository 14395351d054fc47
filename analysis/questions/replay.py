"""How much replayed pretraining text brings back what tuning makes the model forget, and what does it cost?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis import formatting
from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, combination, costs_at_most, difference
from analysis.claims.tables import Tables, View
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, Region

if TYPE_CHECKING:
    import pandas as pd


def domains(trials: pd.DataFrame) -> pd.DataFrame:
    """From which documents: what makes a curve."""
    return trials.assign(domain=trials["data.replay_domain"].fillna("all domains"))


def shares(t: Tables[None]) -> list[str]:
    """What the shares of sequences are of the tokens and of the tokens in the loss: a document's all, a row's response."""
    done = t.trials[t.trials["fingerprint"].isin([name for arm in t.arms for name in arm.final.values()])]
    mean = done.groupby("arm")[["train/tokens", "rows/used", "rows/response_tokens", "train.epochs", "data.replay_share"]].mean()
    without = mean.loc[mean["data.replay_share"] == 0, "train/tokens"]
    if without.empty:
        return []
    rows = []
    for arm in t.where({}):
        own = mean.loc[arm.label]
        replayed = own["train/tokens"] - without.iloc[0]
        in_loss = own["rows/used"] * own["rows/response_tokens"] * own["train.epochs"]
        of = (own["data.replay_share"], replayed / own["train/tokens"], replayed / (replayed + in_loss))
        rows.append([arm.label, *(f"{max(share, 0.0):.0%}".replace("%", " %") for share in of)])
    header = ["arm", "share of the sequences", "of the tokens", "of the tokens in the loss"]
    return ["## What is replayed\n", formatting.markdown(header, rows), "Means over the arm's final trials.\n"]


LEFT = "nll_after_relearning/documents"
VIEW = View(
    x="data.replay_share",
    x_label="replayed documents, share of the sequences",
    measures=("forgetting", LEFT, "nll/code", "quality", "exact_match/held_out", "raw_accuracy/skills"),
    curves="domain",
    curves_label="documents from",
    derive=domains,
    scale="even",
)
NONE = {"data.replay_share": 0.0}
COSTS_TWO_POINTS = Region(-math.inf, -0.02)


def of_all(share: float) -> dict[str, object]:
    """The arm that replays this share from all domains."""
    return {"data.replay_share": share, "domain": "all domains"}


def of_code(share: float) -> dict[str, object]:
    """The arm that replays this share of code."""
    return {"data.replay_share": share, "domain": "code"}


RULES: dict[str, Rule] = {
    "replay_5_percent_reduces_forgetting": lambda t: difference(
        t, of_all(0.05), NONE, Ask("forgetting", BELOW_ZERO, "forgetting, 5 % replay − none")
    ),
    "replay_1_percent_halves_forgetting": lambda t: combination(
        t, [(NONE, 0.5), (of_all(0.01), -1.0)],
        Ask("forgetting", ABOVE_ZERO, "half of the forgetting without replay − that with 1 %"),
    ),
    "replay_5_percent_reduces_what_is_lost": lambda t: difference(
        t, of_all(0.05), NONE, Ask(LEFT, BELOW_ZERO, "left after relearning, 5 % replay − none")
    ),
    "replay_1_percent_costs_held_out": lambda t: difference(
        t, of_all(0.01), NONE,
        Ask("exact_match/held_out", COSTS_TWO_POINTS, "held-out tasks, 1 % replay − none", in_points=True, new_clusters=True),
    ),
    "replay_10_percent_costs_little": lambda t: difference(
        t, of_all(0.1), NONE, Ask("quality", costs_at_most(4), "quality, 10 % replay − none", in_points=True)
    ),
    "code_mix_halves_code_forgetting": lambda t: combination(
        t, [(NONE, 0.5), (of_code(0.4), -1.0)],
        Ask("nll/code", ABOVE_ZERO, "half of the forgetting on code without replay − that with 40 % code"),
    ),
}  # fmt: skip
QUESTION = Question(VIEW, RULES, sections=shares)
