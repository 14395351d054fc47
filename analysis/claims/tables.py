"""What every question is answered from: its arms with their scores on every measure, and how the question looks at them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import pandas as pd

from analysis import arms as a
from analysis import edges
from analysis.arms import Arm, Frames, Panel
from analysis.claims import alike, beside, comparable, repeated, untuned
from analysis.claims.beside import Beside
from analysis.claims.fitted import Fitted
from analysis.claims.published import PublishedCurve
from analysis.claims.repeated import Repeated
from analysis.claims.untuned import Untuned
from analysis.stats.estimate import Estimate
from core.errors import BadInput
from core.experiment import TUNED_ARM, Experiment
from core.measures import ACCURACY
from core.states import Phase, State

EVERYWHERE = ("quality", "forgetting", "accuracy/response_token", "kl/documents")  # looked at wherever there are such
Fields = Mapping[str, object]  # dotted fields → values: which arm is meant
Own = TypeVar("Own")
Scale = Literal["log", "linear", "even"]  # even: the levels side by side, whatever lies between


@dataclass(frozen=True)
class View:
    """How a question is looked at: what is on the x axis, what makes separate curves, one panel for each measure."""

    x: str  # a column of the trials: a dotted field, or a metric such as rows/used
    x_label: str
    measures: tuple[str, ...]  # "quality", "forgetting" or a measure's name
    curves: str | None = None
    curves_label: str = ""
    scale: Scale = "log"  # of x
    order: tuple[str, ...] = ()  # the levels of an x that is derived, for the experiment varies none of that name
    derive: Callable[[pd.DataFrame], pd.DataFrame] = lambda trials: trials  # adds columns that x or curves name
    fits: Mapping[str, str] = field(default_factory=dict)  # measures that laws are fitted to → "rising" or "falling"
    published: tuple[PublishedCurve, ...] = ()  # laid over our curves
    further: tuple[str, ...] = ()  # measures that rules and sections look at and the table of arms leaves out


@dataclass(frozen=True)
class Tables(Generic[Own]):
    """Everything that rules, tables, figure and report are made from. None of them computes any of it again."""

    view: View
    trials: pd.DataFrame  # one row a trial, failed ones included, with what the question derives
    as_run: pd.DataFrame  # the same without that: a question may put another value into a trial's own setting
    items: pd.DataFrame  # one row an item and measure of a finished trial, tuning trials too
    arms: list[Arm]
    panels: Mapping[str, Panel]  # measure → scores of the final trials on the test split
    means: Mapping[str, Mapping[str, Estimate]]  # arm → measure → its mean; empty for an arm without a final trial
    units: Mapping[str, str]
    arm_rows: pd.DataFrame  # one row an arm: x, curve, learning rate, counts, and name, name_low, name_high of every measure
    axes: frozenset[str]  # the fields that the experiment makes different
    tuned: bool  # whether the experiment, as it is written, tunes the learning rate inside each arm
    of_axis: Mapping[str, tuple[str, ...]]  # "quality", "forgetting" → the measures that it is the mean of
    n_bases: int = 0  # over how many base models the experiment's seeds can take turns
    order: tuple[object, ...] = ()  # the levels of x as the experiment has them, for those that are not numbers
    repeated: tuple[Repeated, ...] = ()  # arms that were not run, as they are the same runs as others
    same: Mapping[str, str] = field(default_factory=dict)  # an arm that was run → an earlier one that is the same runs
    laws: tuple[Fitted, ...] = ()  # of each curve that has levels enough
    own: Own = field(default=None)  # type: ignore[assignment]  # what the question prepares for itself

    @property
    def published(self) -> list[PublishedCurve]:
        """What is laid over the figure: a score's shape is not laid over a likelihood, which has no bounds and no zero."""
        return [
            one
            for one in self.view.published
            if one.measure in self.panels and (one.measure != "quality" or self.units["quality"] == ACCURACY)
        ]

    @property
    def frames(self) -> Frames:
        return self.trials, self.items

    @functools.cached_property
    def untuned(self) -> tuple[Untuned, ...]:
        """The bases before tuning, along x as the arms."""
        return untuned.bases(self.where({}), self.trials, self.items, list(self.panels))

    def base_of(self, arm: Arm) -> Untuned | None:
        """The base that the arm was tuned from."""
        return next((one for one in self.untuned if arm.label in one.of), None)

    def base_levels(self, measure: str) -> dict[str, float]:
        """What each untuned base scores on a measure; nothing for a change, which starts at 0."""
        return {base.label: base.means[measure].value for base in self.untuned if measure in base.means}

    def unit(self, measure: str) -> str:
        """The unit of a measure; quality's for one without a panel, which is held-out quality."""
        return self.units.get(measure, self.units["quality"])

    @functools.cached_property
    def beside(self) -> Beside:
        """What was measured beside the measures of the panels."""
        alone = (names[0] for names in self.of_axis.values() if len(names) == 1)  # shown as quality or forgetting
        return beside.means(self.frames, self.arms, self.untuned, {*self.panels, *alone})

    @property
    def shown(self) -> list[str]:
        """The measures of the table of arms."""
        return [name for name in self.panels if name not in self.view.further]

    def named(self, label: str) -> Arm | None:
        """The arm with this label."""
        return next((arm for arm in self.arms if arm.label == label), None)

    def arm(self, fields: Fields) -> Arm | None:
        """The one arm with a final trial whose fields have these values; None if there is none, or more than one."""
        found = self.where(fields)
        return found[0] if len(found) == 1 else None

    def wanted(self, fields: Fields) -> list[Arm]:
        """The arms whose fields have these values, also those without a final trial."""
        return [arm for arm in self.arms if all(arm.fields.get(name) == value for name, value in fields.items())]

    def where(self, fields: Fields) -> list[Arm]:
        """The arms with a final trial whose fields have these values, along x; words as the experiment orders them."""
        found = [arm for arm in self.wanted(fields) if arm.final]
        x = self._x

        def place(arm: Arm) -> tuple[bool, object]:
            at = x[arm.label]
            known = self.order.index(at) if at in self.order else len(self.order)
            return isinstance(at, str), (known, at) if isinstance(at, str) else at

        return sorted(found, key=place)  # type: ignore[arg-type]

    def x_of(self, arm: Arm) -> float:
        """Where the arm stands on the x axis; nan for one without a number, such as all rows."""
        return float(self._x[arm.label])  # type: ignore[arg-type]

    def on_x(self, arms: Iterable[Arm]) -> list[Arm]:
        """Those of the arms that have a place on an x axis of numbers."""
        return [arm for arm in arms if math.isfinite(self.x_of(arm))]

    @functools.cached_property
    def rows_available(self) -> dict[str, float]:
        """How many rows the source of each trial had, by its fingerprint; empty where trials do not say it."""
        name = "rows/available"
        return dict(self.trials.groupby("fingerprint")[name].min()) if name in self.trials else {}

    @functools.cached_property
    def _x(self) -> dict[str, object]:
        return dict(zip(self.arm_rows["arm"], self.arm_rows["x"], strict=True))


def tabulate(as_run: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, view: View) -> Tables[Any]:
    """Arms, scores and estimates from the frames of analysis/load.py; of an open search of its final trials and tuned arm. Pure.

    Raises:
        BadInput: no final trial has finished.
    """
    trials, same = repeated.derived(as_run, view.derive)
    in_arms = trials[(trials["phase"] == Phase.FINAL) | (trials["arm"] == TUNED_ARM)] if experiment.search else trials
    found = a.arms(in_arms)
    final = [name for arm in found for name in arm.final.values()]
    if not final:
        raise BadInput(f"{experiment.name}: no final trial has finished {comparable.n_failed(trials)}")
    first = in_arms[in_arms["state"] == State.FINISHED].iloc[0]
    of_axis = a.measures_of_axes(items[items["fingerprint"] == first["fingerprint"]])
    # Quality, or forgetting where it is one measure, under its own name would stand there twice.
    there = {"quality", "forgetting", *items["measure"].unique()} - {names[0] for names in of_axis.values() if len(names) == 1}
    wanted = dict.fromkeys((*view.measures, *EVERYWHERE, *view.further))
    panels = _panels(in_arms, items, final, [name for name in wanted if name in there])
    means = {arm.label: {name: a.mean(arm, scores) for name, scores in panels.items() if has(arm, scores)} for arm in found}
    own = dict(list(a.narrow(in_arms, view.x, view.curves or view.x).groupby("arm", sort=False)))
    ends = edges.ends(found, in_arms, items)
    each = {arm.label: _arm_row(arm, own[arm.label], view, ends[arm.label], experiment.tune) for arm in found}
    return Tables(
        view=view,
        trials=trials,
        as_run=as_run,
        items=items,
        arms=found,
        panels=panels,
        means=means,
        units={name: a.unit(name, first) for name in panels},
        arm_rows=pd.DataFrame([row | _mean_columns(panels, means[label]) for label, row in each.items()]),
        axes=_axes(experiment),
        tuned=bool(experiment.tune),
        of_axis=of_axis,
        n_bases=experiment.n_bases,
        order=view.order or tuple(experiment.vary.get(view.x, ())),
        repeated=same,
        same=alike.same_runs(in_arms, found),
    )


def _panels(trials: pd.DataFrame, items: pd.DataFrame, final: list[str], names: Iterable[str]) -> dict[str, Panel]:
    """The scores of the final trials on these measures."""
    return {name: a.panel(items, _measured(items, final, name), name, trials) for name in names}


def _axes(experiment: Experiment) -> frozenset[str]:
    """The fields that the experiment makes different; the recipes that a search finds also differ in their steps."""
    searched = {*experiment.search.space, "train.steps"} if experiment.search else set()
    return frozenset({*experiment.vary, *experiment.tune, *(name for arm in experiment.also for name in arm), *searched})


def _measured(items: pd.DataFrame, final: list[str], name: str) -> list[str]:
    """The final trials that have a measure: not every kind of data is asked everything."""
    if name in ("quality", "forgetting"):
        return final
    having = set(items.loc[items["measure"] == name, "fingerprint"].unique())
    return [fingerprint for fingerprint in final if fingerprint in having]


def has(arm: Arm, scores: Panel) -> bool:
    """Whether the arm's final trials, one at least, were all scored on this measure."""
    return bool(arm.final) and set(arm.final.values()) <= scores.rows.keys()


def _arm_row(arm: Arm, own: pd.DataFrame, view: View, end: Mapping[str, bool], tune: Iterable[str]) -> dict[str, object]:
    """One row of the table of arms, without its means."""
    done = own[own["fingerprint"].isin(arm.final.values())]
    row: dict[str, object] = {"arm": arm.label, **a.counts(arm, own, end), "tunable": comparable.tunable(tune, arm)}
    source = done if len(done) else own
    return row | {"x": _level(source, view.x), "curve": _level(source, view.curves) if view.curves else ""}


def _mean_columns(measures: Iterable[str], means: Mapping[str, Estimate]) -> dict[str, float]:
    """Every measure's mean with its limits as columns."""
    return {column: value for name in measures for column, value in a.columns(name, means.get(name)).items()}


def _level(rows: pd.DataFrame, column: str) -> object:
    """The value of a column in these trials; the mean where it is a metric that differs between seeds."""
    values = rows[column]
    return float(values.mean()) if pd.api.types.is_numeric_dtype(values) else values.iloc[0]
