"""Arms that were not run, as they are the same runs as another arm (sweeps/alike.py): the store says which, and in what fields
they were meant to differ. They have a place in what a question derives from its arms; no claim compares them with themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.load import SAME_RUNS
from core.states import Phase


@dataclass(frozen=True)
class Repeated:
    """An arm that is the same runs as the arm `of`."""

    label: str
    of: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return f"{self.label} is the same runs as {self.of}, run once"

    def fits(self, fields: Mapping[str, object]) -> bool:
        """Whether the arm is one with these fields."""
        return all(_same(self.fields.get(name), value) for name, value in fields.items())


def _same(one: object, other: object) -> bool:
    return one == other or (other is None and bool(pd.isna(one)))


def derived(trials: pd.DataFrame, derive: Callable[[pd.DataFrame], pd.DataFrame]) -> tuple[pd.DataFrame, tuple[Repeated, ...]]:
    """The trials with the columns that a question derives, and the repeated arms with theirs."""
    rows = _rows(trials)
    if not rows:
        return derive(trials), ()
    whole = derive(pd.concat([trials, *rows], ignore_index=True))
    of = [str(one["arm"].iloc[0]) for one in rows]
    meant = whole.iloc[len(trials) :]
    found = tuple(
        Repeated(str(fields["arm"]), str(json.loads(fields[SAME_RUNS])), fields)
        for _, row in meant.iterrows()
        for fields in [{str(name): value for name, value in row.items()}]
    )
    assert [one.label for one in found] == of
    return whole.iloc[: len(trials)].set_axis(trials.index), found


def _rows(trials: pd.DataFrame) -> list[pd.DataFrame]:
    """A made-up trial for each repeated arm: one of the arm that was run, with the fields that were asked for."""
    if SAME_RUNS not in trials:
        return []
    found = []
    known = trials[trials[SAME_RUNS].fillna("") != ""]
    for arm, own in known.groupby("arm", sort=False):
        final = own[own["phase"] == Phase.FINAL]
        template = (final if len(final) else own).iloc[:1]
        for one in json.loads(template[SAME_RUNS].iloc[0]):
            values = {name: [value] for name, value in one["fields"].items()}
            found.append(template.assign(**values, arm=one["arm"], **{SAME_RUNS: json.dumps(arm)}))
    return found
