"""A question of the analysis: how it is looked at, what it prepares, a rule for each claim, its own figure and sections.

    question = Question(VIEW, RULES)                      # most need no more
    answer(question, trials, items, experiment)           # → tables and verdicts

`prepare` makes what a question needs beyond the tables (fits, comparisons at equal quality, …) once, as its own frozen
dataclass; rules, sections and figure find it in `tables.own` and compute nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

import pandas as pd

from analysis.claims.fits import fits
from analysis.claims.rules import Rule
from analysis.claims.tables import Own, Tables, View, tabulate
from analysis.claims.verdicts import NO_LOOKS, Finding, Verdict, ledger
from core.experiment import Experiment
from core.looks import Looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Question(Generic[Own]):
    """How the trials of an experiment are analysed."""

    view: View
    rules: Mapping[str, Rule]  # a claim's id → its rule
    prepare: Callable[[Tables[Any]], Own] = lambda t: None  # type: ignore[assignment,return-value]
    draw: Callable[[Tables[Own], bool], Figure] | None = None  # (tables, narrow) → a figure of its own
    caption: str = ""  # of a figure of its own
    sections: Callable[[Tables[Own]], list[str]] = lambda t: []  # for report.md, after the arms
    extra_frames: Callable[[Tables[Own]], Mapping[str, pd.DataFrame]] = lambda t: {}  # name → a CSV file of the report
    cautions: Callable[[Tables[Own]], list[str]] = lambda t: []  # what a reader must know, beside what all questions check
    fitted: bool = True  # whether laws are fitted, which no rule reads
    rules_read_own: bool = True  # False: what is prepared is for the page alone

    @property
    def for_rules(self) -> Question[Own]:
        """The same without what only the page needs."""
        one = replace(self, fitted=False)
        return one if self.rules_read_own else replace(one, prepare=lambda t: None)  # type: ignore[arg-type,return-value]


@dataclass(frozen=True)
class Answer(Generic[Own]):
    """What the trials say: the tables, and a verdict for each claim in the experiment's order."""

    tables: Tables[Own]
    verdicts: list[Verdict]


def tables_of(question: Question[Own], trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment) -> Tables[Own]:
    """Arms and scores, then the laws of curves, then what the question prepares for itself. Pure.

    Raises:
        BadInput: no final trial has finished.
    """
    tables = tabulate(trials, items, experiment, question.view)
    tables = replace(tables, laws=fits(tables)) if question.fitted else tables
    return replace(tables, own=question.prepare(tables))


def findings(question: Question[Own], tables: Tables[Own], experiment: Experiment) -> dict[str, Finding]:
    """A claim's id → what the tables say about it."""
    return {claim.id: question.rules[claim.id](tables) for claim in experiment.claims}


def answer(
    question: Question[Own], trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, before: Looks = NO_LOOKS
) -> Answer[Own]:
    """The tables of a sweep's frames (analysis/load.py) and the verdicts on the experiment's claims, as a look after those
    `before`."""
    tables = tables_of(question, trials, items, experiment)
    found = findings(question, tables, experiment)
    known = {claim: replace(one, estimate=one.estimate.on_bases(tables.n_bases)) for claim, one in found.items() if one.estimate}
    return Answer(tables, ledger(experiment.claims, found | known, before))
