"""What the analyses of the questions share: arms with their scores on every measure, contrasts and trends between arms, a
table, a page. A question's own file gives its view and, for each claim, a rule that turns the tables into a finding.

All comparisons are linear contrasts of arms over the seeds that they share, paired by seed and item: a difference is
+1 −1, a trend is a least-squares slope. So one interval (analysis/stats.py) serves them all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis import formatting, page, style
from analysis.arms import Arm, Panel
from analysis.command import Report
from analysis.question_fits import HEADER, fits, rows
from analysis.stats import Estimate, Region, mean_interval
from analysis.verdicts import Finding, ledger, rows_as_text
from core.definitions import BadInput, Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Fields = Mapping[str, object]  # dotted fields → values: which arm is meant
ABOVE_ZERO, BELOW_ZERO = Region(0.0, math.inf), Region(-math.inf, 0.0)


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


@dataclass(frozen=True)
class Tables:
    """Everything the figure, the table and the verdicts are made from."""

    view: View
    trials: pd.DataFrame  # one row a trial, failed ones included
    arms: list[Arm]
    panels: Mapping[str, Panel]  # measure → scores of the final trials on the test split
    units: Mapping[str, str]
    cells: pd.DataFrame  # one row an arm: x, curve, learning rate, counts, and name, name_low, name_high of every measure
    axes: frozenset[str]  # the fields that the experiment makes different

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
    panels = {name: a.panel(items, final, name) for name in view.measures}
    first = trials[trials["state"] == "finished"].iloc[0]
    units = {name: a.unit(name, first) for name in view.measures}
    cells = pd.DataFrame([_cell(arm, trials[trials["cell"] == arm.cell], panels, view) for arm in found])
    axes = {*experiment.vary, *experiment.tune, *(name for arm in experiment.also for name in arm)}
    return Tables(view, trials, found, panels, units, cells, frozenset(axes))


def _cell(arm: Arm, own: pd.DataFrame, panels: Mapping[str, Panel], view: View) -> dict[str, object]:
    """One row of the table of cells."""
    done = own[own["fingerprint"].isin(arm.final.values())]
    row: dict[str, object] = {"cell": arm.cell, **a.counts(arm, own)}
    source = done if len(done) else own
    row |= {"x": _level(source, view.x), "curve": _level(source, view.curves) if view.curves else ""}
    for name, scores in panels.items():
        e = a.mean(arm, scores) if arm.final else None
        row |= {
            name + tail: getattr(e, what) if e else math.nan for tail, what in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
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


def difference(
    t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str, note: str = ""
) -> Finding:
    """Finding on first less second on one measure."""
    one, other = t.arm(first), t.arm(second)
    e = contrast([(one, 1.0), (other, -1.0)], t.panels[measure]) if one and other else None
    if e is None or one is None or other is None:
        lacking = "; ".join(
            ", ".join(f"{k}={v}" for k, v in f.items()) for f, arm in ((first, one), (second, other)) if arm is None
        )
        return Finding(
            None, None, rule, effect, note=f"not tested: no arm with {lacking}" if lacking else "not tested: no common seed"
        )
    return Finding(e, region, rule, effect, t.units[measure], note=note, hindrance=hindrance(t, one, other))


def relative(t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str) -> Finding:
    """Finding on (first less second) over |second| on one measure."""
    found = difference(t, first, second, measure, region, rule, effect)
    one, other = t.arm(first), t.arm(second)
    if found.estimate is None or one is None or other is None:
        return found
    return replace(found, estimate=a.relative(one, other, t.panels[measure]), unit="", percent=True)


def trend(t: Tables, fields: Fields, measure: str, region: Region, rule: str, effect: str, note: str = "") -> Finding:
    """Finding on the slope of one measure on ln x, over the arms with these fields: the rise per e-fold of x."""
    found = t.where(fields)
    if len(found) < 3:
        return Finding(None, None, rule, effect, note=f"not tested: {len(found)} arms finished, a trend needs 3")
    weights = slope_weights(np.log([t.x_of(arm) for arm in found]))
    e = contrast(list(zip(found, map(float, weights), strict=True)), t.panels[measure])
    if e is None:
        return Finding(None, None, rule, effect, note="not tested: no common seed")
    return Finding(e, region, rule, effect, f"{t.units[measure]} per e-fold", note=note, hindrance=hindrance(t, *found))


def hindrance(t: Tables, *arms: Arm) -> str:
    """Why arms that were tuned can't be compared at their best: the best rate lies at the edge of the range tried."""
    cells = t.cells.set_index("cell")
    edge = [arm.cell for arm in arms if cells.loc[arm.cell, "at_edge"]]
    return f"best learning rate at the edge of the range: {', '.join(edge)}" if edge else ""


def judge(t: Tables, experiment: Experiment, rules: Mapping[str, Rule]) -> list[dict[str, object]]:
    """One row a claim, in the order of the experiment's claims."""
    return ledger(experiment.claims, {claim.id: rules[claim.id](t) for claim in experiment.claims})


def table(t: Tables) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm, along x."""
    header = [
        "cell",
        "learning rate",
        *(f"{formatting.readable(name)} ({t.units[name]})" for name in t.view.measures),
        "seeds",
        "failed",
    ]
    body = []
    for arm in t.where({}) + [arm for arm in t.arms if not arm.final]:
        row = t.cells[t.cells["cell"] == arm.cell].iloc[0]
        rate = formatting.NONE if math.isnan(arm.rate) else style.rate_text(arm.rate) + (" (edge)" if row["at_edge"] else "")
        means = [a.mean(arm, t.panels[name]) if arm.final else None for name in t.view.measures]
        failed, seeds = int(row["final_failed"] + row["tune_failed"]), int(row["seeds"])
        tried = f"{failed} of {failed + seeds + int(row['tuned'])}"
        body.append([arm.cell, rate, *map(formatting.estimate, means), str(seeds), tried])
    return header, body


def cautions(t: Tables) -> list[str]:
    """In what arms differ beyond the question's axes, which seeds are missing, whose best rate is at the edge."""
    paired, lines = page.common_seeds(t.trials, t.arms)
    lines += page.differing_fields(paired, set(t.axes)) + page.differing_costs(paired, set(t.axes))
    return lines + page.at_the_edge(t.cells)


def markdown(t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment) -> str:
    """report.md."""
    final = t.trials[(t.trials["state"] == "finished") & (t.trials["phase"] == "final")]
    items = "; ".join(f"{formatting.readable(name)}: {scores.n_items} items" for name, scores in t.panels.items())
    design = [
        f"- Held equal: {page.held_equal(final)}.",
        f"- Final seeds {', '.join(map(str, sorted(final['seed'].unique())))}, scored on the test split; {items}.",
        "- Intervals: 95 %, over new seeds and items on these bases; differences and trends are paired by seed and item.",
        *(f"- **Caution:** {line}." for line in cautions(t)),
    ]
    return "\n".join([
        f"# {experiment.question}\n", "![figure](figure.png)\n", "Points: means; lines: 95 % intervals over seeds and items.\n",
        "## Verdicts\n", formatting.markdown(*rows_as_text(verdicts)), page.LEDGER_NOTE,
        "\n".join(f"- {row['id']}: {row['rule']}." for row in verdicts) + "\n",
        "## Arms\n", formatting.markdown(*table(t)), *_curves(t), "## Design\n", "\n".join(design) + "\n",
        "## Trials and failures\n", page.failures(t.trials), "## Provenance (MLflow run ids)\n", page.provenance(t.trials),
    ])  # fmt: skip


def _curves(t: Tables) -> list[str]:
    """The section on the laws that the curves follow, if the view wants one and there are levels enough."""
    found = fits(t)
    said = "Laws by AICc over level means of the common seeds; intervals from redrawn seeds (analysis/scaling.py).\n"
    return ["## Curves\n", formatting.markdown(HEADER, rows(found)), said] if found else []


def write(t: Tables, verdicts: Sequence[dict[str, object]], figure: Figure, experiment: Experiment, output: Path) -> list[Path]:
    """Writes everything below `output` and returns the files."""
    output.mkdir(parents=True, exist_ok=True)
    files = style.save(figure, output / "figure")
    for name in ("trials", "cells"):
        files.append(output / f"{name}.csv")
        getattr(t, name).to_csv(files[-1], index=False)
    header, rows = table(t)
    texts = {
        "table.md": formatting.markdown(header, rows),
        "table.tex": formatting.latex(header, rows, experiment.question, f"tab:{experiment.name.replace('_', '-')}"),
        "verdicts.json": json.dumps(list(verdicts), indent=1, ensure_ascii=False) + "\n",
        "report.md": markdown(t, verdicts, experiment),
    }
    for name, text in texts.items():
        files.append(output / name)
        files[-1].write_text(text, encoding="utf-8")
    return files


def reporter(view: View, rules: Mapping[str, Rule]) -> Callable[[pd.DataFrame, pd.DataFrame, Experiment, Path], Report]:
    """The analysis of a question, for analysis/command.py: compute, judge, draw, write."""

    def report(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, output: Path) -> Report:
        from analysis.question_figure import draw

        tables = compute(trials, items, experiment, view)
        verdicts = judge(tables, experiment, rules)
        files = write(tables, verdicts, draw(tables), experiment, output)
        note = page.short_ledger(verdicts) + "\n" + formatting.markdown(*table(tables))
        return Report(files, tables.cells, verdicts, note, page.terminal_text(*table(tables), "", verdicts, cautions(tables)))

    return report
