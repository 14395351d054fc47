"""What the analyses of the questions share: arms with their scores on every measure, contrasts and trends between arms, a
table, a page. A question's own file gives its view and, for each claim, a rule that turns the tables into a finding.

All comparisons are linear contrasts of arms over the seeds that they share, paired by seed and item: a difference is
+1 −1, a trend is a least-squares slope. So one interval (analysis/stats.py) serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis import confounds, formatting, page
from analysis.arms import Arm, Panel
from analysis.command import Report
from analysis.overlay import PublishedCurve
from analysis.question_fits import HEADER, Fitted, fits, legend, rows
from analysis.stats import Estimate, Region, mean_interval
from analysis.verdicts import Finding, ledger, rows_as_text
from core.definitions import BadInput, Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS_VARY = "train.epochs"  # a question whose x this is varies steps and tokens themselves
EVERYWHERE = ("quality", "forgetting", "accuracy/response_token", "kl/drift")  # looked at wherever there are such
Fields = Mapping[str, object]  # dotted fields → values: which arm is meant
AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)  # of accuracy: "no gain"
NOT_WORSE = Region(-0.02, math.inf)  # "costs nothing"
BARS = "Bars at the bottom: where 95 % of the gain is reached, with the 95 % interval."


@dataclass(frozen=True)
class View:
    """How a question is looked at: what is on the x axis, what makes separate curves, one panel for each measure."""

    x: str  # a column of the trials: a dotted field, or a metric such as rows/used
    x_label: str
    measures: tuple[str, ...]  # "quality", "forgetting" or a measure's name
    curves: str | None = None
    curves_label: str = ""
    logarithmic: bool = True
    derive: Callable[[pd.DataFrame], pd.DataFrame] = lambda trials: trials  # adds columns that x or curves name
    fits: Mapping[str, str] = field(default_factory=dict)  # measures that laws are fitted to → "rising" or "falling"
    published: tuple[PublishedCurve, ...] = ()  # laid over our curves
    behind: tuple[str, ...] = ()  # measures that rules and sections look at and the table of arms leaves out
    draw: Callable[[Tables, Sequence[Fitted], bool], Figure] | None = None  # (tables, laws, narrow): a figure of its own
    sections: Callable[[Tables], list[str]] = lambda t: []  # of its own, for report.md, after the arms


@dataclass(frozen=True)
class Tables:
    """Everything the figure, the table and the verdicts are made from."""

    view: View
    trials: pd.DataFrame  # one row a trial, failed ones included
    arms: list[Arm]
    panels: Mapping[str, Panel]  # measure → scores of the final trials on the test split
    means: Mapping[str, Mapping[str, Estimate]]  # cell → measure → its mean; empty for an arm without a final trial
    units: Mapping[str, str]
    cells: pd.DataFrame  # one row an arm: x, curve, learning rate, counts, and name, name_low, name_high of every measure
    axes: frozenset[str]  # the fields that the experiment makes different
    tuned: bool  # whether the experiment, as it is written, tunes the learning rate inside each arm
    order: tuple[object, ...] = ()  # the levels of x as the experiment has them, for those that are not numbers

    @property
    def shown(self) -> list[str]:
        """The measures of the table of arms."""
        return [name for name in self.panels if name not in self.view.behind]

    def arm(self, fields: Fields) -> Arm | None:
        """The one arm with a final trial whose fields have these values; None if there is none, or more than one."""
        found = self.where(fields)
        return found[0] if len(found) == 1 else None

    def where(self, fields: Fields) -> list[Arm]:
        """The arms with a final trial whose fields have these values, along x."""
        found = [arm for arm in self.arms if arm.final and all(arm.fields.get(name) == value for name, value in fields.items())]
        x = dict(zip(self.cells["cell"], self.cells["x"], strict=True))
        return sorted(found, key=lambda arm: (isinstance(x[arm.cell], str), x[arm.cell]))

    def x_of(self, arm: Arm) -> float:
        """Where the arm stands on the x axis."""
        return float(self.cells.loc[self.cells["cell"] == arm.cell, "x"].iloc[0])


Rule = Callable[[Tables], Finding]


def compute(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, view: View) -> Tables:
    """Arms, scores and estimates from the frames of analysis/load.py. Pure.

    Raises:
        BadInput: no final trial has finished.
    """
    trials = view.derive(trials)
    found = a.arms(trials)
    final = [name for arm in found for name in arm.final.values()]
    if not final:
        raise BadInput(f"{experiment.name}: no final trial has finished {page.n_failed(trials)}")
    there = {"quality", "forgetting", *items["measure"]}
    panels = {
        name: a.panel(items, _measured(items, final, name), name)
        for name in dict.fromkeys((*view.measures, *EVERYWHERE, *view.behind)) if name in there
    }  # fmt: skip
    first = trials[trials["state"] == "finished"].iloc[0]
    units = {name: a.unit(name, first) for name in panels}
    means = {arm.cell: {name: a.mean(arm, scores) for name, scores in panels.items() if has(arm, scores)} for arm in found}
    cells = pd.DataFrame([_cell(arm, trials[trials["cell"] == arm.cell], panels, means[arm.cell], view) for arm in found])
    axes = {*experiment.vary, *experiment.tune, *(name for arm in experiment.also for name in arm)}
    order = tuple(experiment.vary.get(view.x, ()))
    return Tables(view, trials, found, panels, means, units, cells, frozenset(axes), bool(experiment.tune), order)


def _measured(items: pd.DataFrame, final: list[str], name: str) -> list[str]:
    """The final trials that have a measure: not every kind of data is asked everything."""
    if name in ("quality", "forgetting"):
        return final
    having = set(items.loc[items["measure"] == name, "fingerprint"])
    return [fingerprint for fingerprint in final if fingerprint in having]


def has(arm: Arm, scores: Panel) -> bool:
    """Whether the arm's final trials, one at least, were all scored on this measure."""
    return bool(arm.final) and set(arm.final.values()) <= scores.rows.keys()


def _cell(arm: Arm, own: pd.DataFrame, measures: Iterable[str], means: Mapping[str, Estimate], view: View) -> dict[str, object]:
    """One row of the table of cells."""
    done = own[own["fingerprint"].isin(arm.final.values())]
    row: dict[str, object] = {"cell": arm.cell, **a.counts(arm, own)}
    source = done if len(done) else own
    row |= {"x": _level(source, view.x), "curve": _level(source, view.curves) if view.curves else ""}
    for name in measures:
        row |= a.columns(name, means.get(name))
    return row


def _level(rows: pd.DataFrame, column: str) -> object:
    """The value of a column in these trials; the mean where it is a metric that differs between seeds."""
    values = rows[column]
    return float(values.mean()) if pd.api.types.is_numeric_dtype(values) else values.iloc[0]


def contrast(weights: Sequence[tuple[Arm, float]], scores: Panel) -> Estimate | None:
    """Σ weight × the arm's mean over the seeds that all of them share; None without a common seed."""
    seeds = sorted(set.intersection(*(set(arm.final) for arm, _ in weights)))
    if not seeds:
        return None
    combined = sum(weight * scores.of([arm.final[seed] for seed in seeds]) for arm, weight in weights)
    return mean_interval(np.asarray(combined), scores.strata_I, scores.n_items)


def slope_weights(x_K: np.ndarray) -> np.ndarray:
    """Weights that give the least-squares slope of K means on x: they sum to 0, and to 1 times x."""
    centred = x_K - x_K.mean()
    weights: np.ndarray = centred / np.sum(centred**2)
    return weights


def _untested(rule: str, effect: str, why: str) -> Finding:
    return Finding(None, None, rule, effect, note=f"{why}")


def combination(
    t: Tables,
    parts: Sequence[tuple[Fields, float]],
    measure: str,
    region: Region,
    rule: str,
    effect: str,
    in_points: bool = False,
) -> Finding:
    """Finding on a linear contrast: Σ weight × the mean of the arm with these fields. `in_points`: the claim's margin, or its
    share of a quality, is one of accuracy."""
    arms = [(t.arm(fields), weight) for fields, weight in parts]
    lacking = [shown(fields) for (fields, _), (arm, _) in zip(parts, arms, strict=True) if arm is None]
    if why := lacks(t, measure, in_points) or "; ".join(f"no arm with {which}" for which in lacking):
        return _untested(rule, effect, why)
    found = [(arm, weight) for arm, weight in arms if arm is not None]
    if without := [arm.cell for arm, _ in found if not has(arm, t.panels[measure])]:
        return _untested(rule, effect, f"no {formatting.readable(measure)} of {', '.join(without)}")
    e = contrast(found, t.panels[measure])
    if e is None:
        return _untested(rule, effect, "no common seed")
    sides = [arm for arm, _ in found]
    return Finding(e, region, rule, effect, t.units[measure], note=costs(t, *sides), hindrance=hindrance(t, measure, *sides))


def difference(
    t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str, in_points: bool = False
) -> Finding:
    """Finding on first less second on one measure."""
    return combination(t, [(first, 1.0), (second, -1.0)], measure, region, rule, effect, in_points)


def shown(fields: Fields) -> str:
    """Fields as people read them."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def lacks(t: Tables, measure: str, in_points: bool = False) -> str:
    """Why a rule can't be applied to this measure: the data do not have it, or not as an accuracy."""
    if measure not in t.panels:
        return f"these data have no {formatting.readable(measure)}"
    return (
        f"its margin is in points of accuracy, {measure} is in {t.units[measure]}"
        if in_points and t.units[measure] != "accuracy"
        else ""
    )


def relative(t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str) -> Finding:
    """Finding on (first less second) over |second| on one measure."""
    found = difference(t, first, second, measure, region, rule, effect)
    one, other = t.arm(first), t.arm(second)
    if found.estimate is None or one is None or other is None:
        return found
    note = formatting.joined(found.note, page.per_cent_of(t.units[measure]))
    return replace(found, estimate=a.relative(one, other, t.panels[measure]), unit="", percent=True, note=note)


def trend(t: Tables, fields: Fields, measure: str, region: Region, rule: str, effect: str) -> Finding:
    """Finding on the slope of one measure on ln x, over the arms with these fields: the rise per e-fold of x. An arm with
    fewer than half of the others' seeds is left out, and the note names the arms that are missing."""
    if why := lacks(t, measure):
        return _untested(rule, effect, why)
    wanted = [arm for arm in t.arms if all(arm.fields.get(name) == value for name, value in fields.items())]
    most = max((len(arm.final) for arm in wanted), default=0)
    found = [arm for arm in t.where(fields) if 2 * len(arm.final) >= most and has(arm, t.panels[measure])]
    if len(found) < 3:
        return _untested(rule, effect, f"{len(found)} arms finished, a trend needs 3")
    weights = slope_weights(np.log([t.x_of(arm) for arm in found]))
    e = contrast(list(zip(found, map(float, weights), strict=True)), t.panels[measure])
    if e is None:
        return _untested(rule, effect, "no common seed")
    missing = ", ".join(arm.cell for arm in wanted if arm not in found)
    note = formatting.joined(f"without {missing}" if missing else "", costs(t, *found))
    return Finding(e, region, rule, effect, f"{t.units[measure]} per e-fold", note=note, hindrance=hindrance(t, measure, *found))


def costs(t: Tables, *arms: Arm) -> str:
    """In how many steps these arms differ, where that is not what the question varies."""
    if "train/steps" not in t.trials or t.view.x == STEPS_VARY:
        return ""
    final = t.trials[t.trials["fingerprint"].isin([name for arm in arms for name in arm.final.values()])]
    steps = final.groupby("cell")["train/steps"].mean()
    return f"{steps.min():,.0f} to {steps.max():,.0f} steps" if steps.max() > 1.01 * steps.min() else ""


def hindrance(t: Tables, measure: str, *arms: Arm) -> str:
    """What keeps any effect between these arms from deciding a claim."""
    few = [arm.cell for arm in arms if _short(t, arm)]
    parts = [page.hindrance(t.cells, arms, t.tuned)]
    parts += [f"fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    parts += [page.not_forgetting(t.cells, arms, measure)] if measure.startswith(("forgetting", "nll/")) else []
    return formatting.joined(*parts)


def _short(t: Tables, arm: Arm) -> bool:
    """Whether the source had fewer rows than the arm asks for."""
    wanted, own = arm.fields.get("data.n_examples"), t.trials[t.trials["fingerprint"].isin(arm.final.values())]
    known = isinstance(wanted, Real) and not pd.isna(wanted) and "rows/available" in own
    return bool(known and own["rows/available"].min() < float(str(wanted)))


def measured(t: Tables) -> str:
    """On how many items each measure stands, and what quality was before tuning."""
    items = "; ".join(f"{formatting.heading(name)}: {t.panels[name].n_items} items" for name in t.shown)
    before = page.before(t.trials).removeprefix("; ")
    return f"{items}. Quality: {before}." if before else items + "."


def judge(t: Tables, experiment: Experiment, rules: Mapping[str, Rule]) -> list[dict[str, object]]:
    """One row a claim, in the order of the experiment's claims."""
    return ledger(experiment.claims, {claim.id: rules[claim.id](t) for claim in experiment.claims})


def table(t: Tables) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm, along x."""
    header = [
        "cell",
        "learning rate",
        *(f"{formatting.heading(name)} ({t.units[name]})" for name in t.shown),
        "seeds",
        "failed",
    ]
    body = []
    for arm in t.where({}) + [arm for arm in t.arms if not arm.final]:
        row = t.cells[t.cells["cell"] == arm.cell].iloc[0]
        means = (formatting.estimate(t.means[arm.cell].get(name)) for name in t.shown)
        body.append([arm.cell, page.rate(row), *means, str(row["seeds"]), page.failed(row)])
    return header, body


def differences(t: Tables) -> list[str]:
    """In what arms differ beyond the question's axes, over the seeds that all share."""
    paired, _ = confounds.common_seeds(t.trials, t.arms)
    found = confounds.beyond(paired, t.axes, t.view.x == STEPS_VARY)
    return found + (confounds.not_tuned(t.cells) if t.tuned else [])


def other_cautions(t: Tables) -> list[str]:
    """Which seeds are missing, which source is too small, whose best rate is at the edge."""
    _, lines = confounds.common_seeds(t.trials, t.arms)
    few = [arm.cell for arm in t.arms if _short(t, arm)]
    lines += [f"the source has fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    return lines + page.at_the_edge(t.cells)


def cautions(t: Tables) -> list[str]:
    """Everything that a reader must know before comparing arms."""
    return differences(t) + other_cautions(t)


def caption(t: Tables, found: Sequence[Fitted]) -> str:
    """What stands directly under the figure: what is drawn, the laws, what is published, what arms differ in."""
    drawn = ["Points: means; lines: 95 % intervals over seeds and items (none with one seed; a triangle: cut by the axis)."]
    if found:
        drawn += ["Curves: the best law by AICc with its 95 % band over redrawn seeds; dashed: not identified."]
        drawn += [BARS] if any(one.best.plateau.known for one in found) else []
        drawn += [legend(found) + "."]
    drawn += [one.caption for one in t.view.published if one.measure in t.panels]
    others = confounds.lines(other_cautions(t))
    parts = [" ".join(drawn), confounds.caption(differences(t), "**"), f"**Caution:** {others}." if others else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment, found: Sequence[Fitted]) -> str:
    """report.md."""
    final = t.trials[(t.trials["state"] == "finished") & (t.trials["phase"] == "final")]
    design = [
        f"- Held equal: {page.held_equal(final)}.",
        f"- Final seeds {', '.join(map(str, sorted(final['seed'].unique())))}, scored on the test split. {measured(t)}",
        "- Intervals: 95 %, over new seeds and items on these bases; differences and trends are paired by seed and item.",
        *(f"- **Caution:** {line}." for line in cautions(t)),
    ]
    return "\n".join([
        f"# {experiment.question}\n", "![figure](figure.png)\n", caption(t, found),
        "## Verdicts\n", formatting.markdown(*rows_as_text(verdicts)), page.LEDGER_NOTE,
        "\n".join(f"- {row['id']}: {row['rule']}." for row in verdicts) + "\n",
        "## Arms\n", formatting.markdown(*table(t)), *t.view.sections(t), *_curves(found),
        "## Design\n", "\n".join(design) + "\n",
        "## Trials and failures\n", page.failures(t.trials), "## Provenance (MLflow run ids)\n", page.provenance(t.trials),
    ])  # fmt: skip


def _curves(found: Sequence[Fitted]) -> list[str]:
    """The section on the laws that the curves follow, if the view wants one and there are levels enough."""
    said = "Laws by AICc over level means of the common seeds; intervals from redrawn seeds (analysis/scaling.py).\n"
    return ["## Curves\n", formatting.markdown(HEADER, rows(found)), said] if found else []


def write(t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment, output: Path) -> list[Path]:
    """Draws the figure, writes everything below `output` and returns the files."""
    from analysis import question_figure

    draw = t.view.draw or question_figure.draw
    header, body = table(t)
    found, guard = fits(t), confounds.caption(differences(t))
    texts = {
        "table.md": formatting.markdown(header, body) + f"\n{guard}\n",
        "table.tex": formatting.latex(header, body, f"{experiment.question} {guard}", f"tab:{experiment.name.replace('_', '-')}"),
        "verdicts.json": page.verdicts_json(verdicts),
        "report.md": markdown(t, verdicts, experiment, found),
    }
    frames = {"trials": t.trials, "cells": t.cells}
    return page.save(draw(t, found, False), frames, texts, output, draw(t, found, True))


def reporter(view: View, rules: Mapping[str, Rule]) -> Callable[[pd.DataFrame, pd.DataFrame, Experiment, Path], Report]:
    """The analysis of a question, for analysis/command.py: compute, judge, draw, write."""

    def report(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, output: Path) -> Report:
        tables = compute(trials, items, experiment, view)
        verdicts = judge(tables, experiment, rules)
        files = write(tables, verdicts, experiment, output)
        note = page.short_ledger(verdicts) + "\n" + formatting.markdown(*table(tables))
        terminal = page.terminal_text(*table(tables), measured(tables), verdicts, cautions(tables))
        return Report(files, tables.cells, verdicts, page.about(trials), note, terminal)

    return report
