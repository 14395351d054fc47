"""A question before any trial: which effect each claim is about, and in which region of it the claim is right.

A rule says so of tables without trials too: what it cannot test has its region all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from analysis import arms as a
from analysis.claims.question import Question, findings
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Finding
from analysis.load import ITEM_COLUMNS, field_types
from core.experiment import Experiment
from core.measures import ACCURACY

COLUMNS = ("fingerprint", "arm", "phase", "state", "quality", "forgetting", "train/steps")


def tables(question: Question[Any]) -> Tables[Any]:
    """The tables of a question that no trial has answered."""
    items = pd.DataFrame(columns=list(ITEM_COLUMNS))
    trials = pd.DataFrame(columns=list(dict.fromkeys([*COLUMNS, *field_types()])))
    empty = Tables[Any](
        view=question.view,
        trials=trials,
        as_run=trials,
        items=items,
        arms=[],
        panels={axis: a.panel(items, [], axis, trials) for axis in a.AXES},
        means={},
        units={"quality": ACCURACY, "forgetting": "nats/token"},
        arm_rows=pd.DataFrame(columns=["arm", "x", "seeds", "flat_to_the_end", *a.AXES]),
        axes=frozenset(),
        tuned=False,
        of_axis={axis: (axis,) for axis in a.AXES},
    )
    one = question.for_rules
    return replace(empty, own=one.prepare(empty))


def asked(question: Question[Any], experiment: Experiment) -> dict[str, Finding]:
    """A claim's id → its finding, which has no estimate."""
    return findings(question, tables(question), experiment)
