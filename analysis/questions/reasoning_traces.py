"""Do step-by-step answers help on tasks of several steps, beyond the tokens that they cost?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from analysis.claims.question import Question
from analysis.claims.rules import Ask, Rule, difference
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import Finding
from analysis.formatting import joined
from analysis.stats import ABOVE_ZERO
from experiments.reasoning_traces import BARE, EQUAL_RESPONSE_TOKENS, EQUAL_TOKENS, TRACES

if TYPE_CHECKING:
    import pandas as pd

PLAIN: Fields = {"answers": "bare", "more_passes": False}
MORE_PASSES: Fields = {"answers": "bare", "more_passes": True}
AS_MANY: Fields = {"answers": "traces", "fewer": False}
EQUAL_WITHIN = 0.05  # of the tokens: assumption


def answers(trials: pd.DataFrame) -> pd.DataFrame:
    """Which source has the traces (the one with longer answers; where they are as long, its name says it), and which arms have
    fewer examples or more passes than others."""
    tokens = trials.groupby("data.source")["rows/response_tokens"].mean().fillna(0.0)
    traced = max(tokens.index, key=lambda source: (tokens[source], "trace" in source)) if len(tokens) > 1 else None
    return trials.assign(
        answers=np.where(trials["data.source"] == traced, "traces", "bare"),
        more_passes=trials["train.epochs"] > trials["train.epochs"].min(),
        fewer=trials["data.n_examples"] < trials["data.n_examples"].max(),
    )


VIEW = View(
    x="train/tokens",
    x_label="tokens trained on, requests included",
    measures=("quality", "exact_match/held_out", "exact_match/single", "forgetting"),
    curves="answers",
    curves_label="answers",
    scale="linear",
    derive=answers,
)


def traces_beat(measure: str, effect: str) -> Rule:
    """As many traces less bare answers, on this measure."""
    return lambda t: difference(t, AS_MANY, PLAIN, Ask(measure, ABOVE_ZERO, effect))


def at_equal_tokens(first: Fields, second: Fields, effect: str) -> Rule:
    """The first arm less the second, if they were trained on as many tokens: other data than the laboratory's may need another
    number of examples, or of passes, for that."""

    def rule(t: Tables[None]) -> Finding:
        found = difference(t, first, second, Ask("quality", ABOVE_ZERO, effect))
        one, other = t.arm(first), t.arm(second)
        if one is None or other is None:
            return found
        ratio = t.x_of(one) / t.x_of(other)
        why = f"tokens are not equal: {ratio:.2f} times" if abs(ratio - 1) > EQUAL_WITHIN else ""
        return dataclasses.replace(found, hindrance=joined(found.hindrance, why))

    return rule


def at_equal_response_tokens(t: Tables[None]) -> Finding:
    """Fewer traces, of as many response tokens as the bare answers; these are known of the laboratory's data alone."""
    fields = {"answers": "traces", "data.n_examples": EQUAL_RESPONSE_TOKENS}
    found = difference(t, fields, PLAIN, Ask("quality", ABOVE_ZERO, f"quality, traces of {EQUAL_RESPONSE_TOKENS} − bare 1,000"))
    why = "" if set(t.trials["data.source"]) <= {BARE, TRACES} else "response tokens of these data were not counted"
    return dataclasses.replace(found, hindrance=joined(found.hindrance, why))


RULES: dict[str, Rule] = {
    "traces_beat_bare_at_equal_examples": traces_beat("quality", "quality, traces − bare answers, equal examples"),
    "traces_beat_bare_at_equal_tokens": at_equal_tokens(
        {"answers": "traces", "data.n_examples": EQUAL_TOKENS}, PLAIN, f"quality, traces of {EQUAL_TOKENS} − bare 1,000"
    ),
    "traces_beat_bare_on_unseen_compositions": traces_beat(
        "exact_match/held_out", "unseen compositions, traces − bare answers, equal examples"
    ),
    "traces_beat_bare_at_equal_response_tokens": at_equal_response_tokens,
    "traces_beat_more_passes_over_bare": at_equal_tokens(
        AS_MANY, MORE_PASSES, "quality, traces − bare answers with more passes, equal tokens"
    ),
}
QUESTION: Question[None] = Question(VIEW, RULES)
