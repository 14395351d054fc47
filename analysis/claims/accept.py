"""`--accept 'quality>=base+0.02,forgetting<=0.05'`: whether what is chosen, or a named arm, is good enough.

    conditions = condition {"," condition}
    condition  = measure (">=" | "<=") (number | "base" [("+" | "-") number])  |  "arm=" label

A condition is accepted where the whole interval satisfies it, rejected where none of it does, and else undecided. All must be
accepted, so that no correction is needed over conditions. An arm that is not named was chosen by the data: its intervals
then hold
for all compared arms at once (Bonferroni).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from analysis import arms as a
from analysis import formatting
from analysis.arms import Arm
from analysis.claims import untuned
from analysis.claims.choice import Choice
from analysis.claims.tables import Tables, has
from analysis.claims.untuned import Untuned
from analysis.claims.verdicts import few_items
from analysis.escaping import printable
from analysis.stats.decision import Decision, Region, verdict
from analysis.stats.estimate import LEVEL, Estimate, at_level
from analysis.stats.intervals import mean_interval
from core.errors import BadInput, nearest

OPTION = "--accept"
EXAMPLE = "write MEASURE>=NUMBER or MEASURE<=base+NUMBER, with commas between: 'quality>=base+0.02,forgetting<=0.05'"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CONDITION = re.compile(rf"([\w./-]+)\s*(>=|<=)\s*(?:(base)(?:\s*([+-])\s*({_NUMBER}))?|([+-]?{_NUMBER}))", re.ASCII)
_STARTS = re.compile(r",(?=\s*(?:[\w./-]+\s*[<>]=|arm\s*=))", re.ASCII)  # a comma elsewhere belongs to an arm's label


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


OUTCOMES = {
    Decision.SUPPORTED: Outcome.ACCEPTED,
    Decision.CONTRADICTED: Outcome.REJECTED,
    Decision.UNDECIDED: Outcome.UNDECIDED,
}
EXIT = {Outcome.ACCEPTED: 0, Outcome.REJECTED: 1, Outcome.UNDECIDED: 3}


@dataclass(frozen=True)
class Condition:
    """A measure's level or change, or (`base`) its level less the untuned base's, must be at least (`least`) or at most this."""

    text: str
    measure: str
    least: bool
    base: bool
    number: float


@dataclass(frozen=True)
class Asked:
    """What must hold, and of which arm ("": of the one that is chosen)."""

    conditions: tuple[Condition, ...]
    arm: str = ""


@dataclass(frozen=True)
class Judged:
    """The outcome of one condition, what it was judged by, and why it is undecided where there is no interval, or what its
    interval is for."""

    condition: Condition
    arm: str
    outcome: Outcome
    estimate: Estimate | None = None
    why: str = ""


def parse(text: str) -> Asked:
    """The conditions of `--accept`.

    Raises:
        BadInput: one cannot be read, or one stands there twice; none is given.
    """
    conditions: list[Condition] = []
    arm = ""
    for part in map(str.strip, _STARTS.split(text)):
        head, equals, label = part.partition("=")
        if equals and head.strip() == "arm":
            if arm or not label.strip():
                raise BadInput(f"{OPTION} {part!r}: give one arm, as its label: arm=full", OPTION)
            arm = label.strip()
            continue
        one = _condition(part)
        if any((one.measure, one.least, one.base) == (other.measure, other.least, other.base) for other in conditions):
            raise BadInput(f"{OPTION} {part!r}: {one.measure} is limited twice on this side; keep one", OPTION)
        conditions.append(one)
    if not conditions:
        raise BadInput(f"{OPTION} {text!r}: has no condition; {EXAMPLE}", OPTION)
    return Asked(tuple(conditions), arm)


def _condition(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if not found:
        raise BadInput(f"{OPTION} {text!r}: cannot be read; {EXAMPLE}", OPTION)
    measure, side, base, sign, beyond, level = found.groups()
    number = float(level or f"{sign or ''}{beyond or 0}")
    if not math.isfinite(number):
        raise BadInput(f"{OPTION} {text!r}: the number is too large", OPTION)
    return Condition(text, measure, side == ">=", bool(base), number)


def judge(t: Tables[Any], choice: Choice, asked: Asked) -> list[Judged]:
    """An outcome for each condition, in their order.

    Raises:
        BadInput: these data have no such measure, or the sweep no such arm.
    """
    for one in asked.conditions:
        if one.measure not in t.panels:
            raise BadInput(f"{OPTION} {one.text!r}: {nearest(one.measure, list(t.panels))}", OPTION)
    labels = [*(arm.label for arm in t.arms if arm.final), *(base.label for base in t.untuned)]
    if asked.arm and asked.arm not in labels:
        raise BadInput(f"{OPTION} arm={asked.arm}: {nearest(asked.arm, labels)}", OPTION)
    label = asked.arm or choice.chosen
    if not label:
        return [Judged(one, "", Outcome.UNDECIDED, why=f"nothing is chosen: {choice.why}") for one in asked.conditions]
    n_tests = 1 if asked.arm else max(choice.n_arms, 1)
    return [_judged(t, one, label, n_tests) for one in asked.conditions]


def _judged(t: Tables[Any], condition: Condition, label: str, n_tests: int) -> Judged:
    base = next((one for one in t.untuned if one.label == label), None)
    if base and (condition.base or a.is_change(condition.measure)):  # the base less itself
        holds = condition.number <= 0 if condition.least else condition.number >= 0
        return Judged(condition, label, Outcome.ACCEPTED if holds else Outcome.REJECTED, why="it is the base itself")
    e = base.means.get(condition.measure) if base else _of_arm(t, condition, t.named(label))
    if e is None:
        what = "the base's or the arm's scores were" if condition.base else "this was"
        return Judged(condition, label, Outcome.UNDECIDED, why=f"{what} not measured")
    if why := few_items(e.n_items) or (e.why if not e.known else ""):
        return Judged(condition, label, Outcome.UNDECIDED, e, why)
    wide = at_level(e, (1 - LEVEL) / n_tests)  # holds for all tests at once
    region = Region(condition.number, math.inf) if condition.least else Region(-math.inf, condition.number)
    why = f"95 % for {n_tests} arms at once, of which the best was chosen: wider than in the report" if n_tests > 1 else ""
    return Judged(condition, label, OUTCOMES[verdict(wide, region)[0]], wide, why)


def _of_arm(t: Tables[Any], condition: Condition, arm: Arm | None) -> Estimate | None:
    """What the condition limits, of an arm. A change starts from the base, whose own change is 0."""
    if arm is None or not has(arm, t.panels[condition.measure]):
        return None
    if not condition.base or a.is_change(condition.measure):
        return t.means[arm.label].get(condition.measure)
    base = t.base_of(arm)
    return _gain(t, condition.measure, arm, base) if base else None


def _gain(t: Tables[Any], measure: str, arm: Arm, base: Untuned) -> Estimate | None:
    """The arm less its base, paired by seed and item."""
    panel, seeds = t.panels[measure], sorted(arm.final)
    own = untuned.scores(base, t.frames, panel, measure, seeds)
    if own is None:
        return None
    gain_SI, bases_S = panel.of([arm.final[s] for s in seeds]) - own, panel.bases([arm], seeds)
    return mean_interval(gain_SI, panel.strata_I, panel.n_items, bases_S=bases_S)


def overall(judged: Sequence[Judged]) -> Outcome:
    """Rejected where one is, accepted where all are."""
    outcomes = {one.outcome for one in judged}
    if Outcome.REJECTED in outcomes:
        return Outcome.REJECTED
    return Outcome.UNDECIDED if Outcome.UNDECIDED in outcomes else Outcome.ACCEPTED


def line(one: Judged) -> str:
    """One line for scripts: outcome, condition, arm and what it was judged by, with tabs between."""
    by = formatting.joined(formatting.estimate(one.estimate, signed=one.condition.base) if one.estimate else "", one.why)
    return "\t".join((one.outcome, one.condition.text, printable(one.arm) or formatting.NONE, by))
