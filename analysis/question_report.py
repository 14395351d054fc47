"""A question's report: its verdicts, the table of arms, what arms differ in, the page, the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import confounds, formatting, page
from analysis.command import Make, Report
from analysis.question import Tables, View, compute
from analysis.question_fits import HEADER, Fitted, fits, legend, rows
from analysis.question_rules import STEPS_VARY, Rule, short
from analysis.verdicts import ledger, rows_as_text
from core.definitions import Experiment

Compute = Callable[["pd.DataFrame", "pd.DataFrame", Experiment, View], Tables]  # trials, items, experiment, view
BARS = "Bars at the bottom: where 95 % of the gain is reached, with the 95 % interval."


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
    few = [arm.cell for arm in t.arms if short(t, arm)]
    lines += [f"the source has fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    return lines + page.at_the_edge(t.cells)


def cautions(t: Tables) -> list[str]:
    """Everything that a reader must know before comparing arms."""
    return differences(t) + other_cautions(t)


def caption(t: Tables, found: Sequence[Fitted]) -> str:
    """What stands directly under the figure: what is drawn, the laws, what is published, what arms differ in."""
    drawn = ["Points: means; lines: 95 % intervals over seeds and items (none with one seed; an arrow: cut by the axis)."]
    if t.cells["curve"].nunique() > 1 and t.view.draw is None and t.view.scale == "log":
        drawn += ["Curves are moved aside a little along x, so that none hides another."]
    if found:
        drawn += [
            "Curves: the best law by AICc with its 95 % band over redrawn seeds; dashed: others fit as well, or not identified."
        ]
        drawn += [BARS] if any(one.best.plateau.known for one in found) else []
        drawn += [legend(found) + "."]
    drawn += [one.caption for one in t.published]
    others = confounds.lines(other_cautions(t))
    parts = [" ".join(drawn), confounds.caption(differences(t), "**"), f"**Caution:** {others}." if others else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(
    t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment, found: Sequence[Fitted], apart: Sequence[str] = ()
) -> str:
    """report.md."""
    final = t.trials[(t.trials["state"] == "finished") & (t.trials["phase"] == "final")]
    design = [
        f"- Held equal: {page.held_equal(final)}.",
        f"- Final seeds {', '.join(map(str, sorted(final['seed'].unique())))}, scored on the test split. {measured(t)}",
        "- Intervals: 95 %, over new seeds and items on these bases, where a note does not say otherwise; differences and trends "
        "are paired by seed and item.",
        *(f"- **Caution:** {line}." for line in cautions(t)),
    ]
    return "\n".join([
        f"# {experiment.question}\n", "![figure](figure.png)\n", caption(t, found),
        "## Verdicts\n", formatting.markdown(*rows_as_text(verdicts)), page.LEDGER_NOTE,
        "\n".join(f"- {row['id']}: {row['rule']}." for row in verdicts) + "\n",
        "## Arms\n", formatting.markdown(*table(t)), *apart, *t.view.sections(t), *_curves(found),
        "## Design\n", "\n".join(design) + "\n",
        "## Trials and failures\n", page.failures(t.trials), "## Provenance (MLflow run ids)\n", page.provenance(t.trials),
    ])  # fmt: skip


def _curves(found: Sequence[Fitted]) -> list[str]:
    """The section on the laws that the curves follow, if the view wants one and there are levels enough."""
    said = "Laws by AICc over level means of the common seeds; intervals from redrawn seeds (analysis/scaling.py).\n"
    return ["## Curves\n", formatting.markdown(HEADER, rows(found)), said] if found else []


def by_base(
    trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, view: View, rules: Mapping[str, Rule], compute: Compute
) -> list[str]:
    """Where seeds take turns over several bases, the section with every claim's effect on each base alone."""
    found: dict[str, dict[str, str]] = {}
    final = trials["phase"] == "final"
    for base in dict.fromkeys(map(str, experiment.with_seed.get("model.name", ()))):
        own = trials[~final | (trials["model.name"] == base)]
        if ((own["phase"] == "final") & (own["state"] == "finished")).any():
            t = compute(own, items, experiment, view)
            findings = {claim.id: rules[claim.id](t) for claim in experiment.claims}
            found[base] = {name: formatting.estimate(f.estimate, True, f.percent) for name, f in findings.items()}
    if len(found) < 2:
        return []
    body = [[claim.id, *(texts[claim.id] for texts in found.values())] for claim in experiment.claims]
    note = "Each from its own seeds alone. The verdicts take all seeds together, and what differs between bases as their noise.\n"
    return ["## Each base alone\n", formatting.markdown(["claim", *found], body), note]


def write(
    t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment, output: Path, apart: Sequence[str]
) -> list[Path]:
    """Draws the figure, writes everything below `output` and returns the files; `apart`: see `by_base`."""
    from analysis import question_figure

    draw = t.view.draw or question_figure.draw
    header, body = table(t)
    found, guard = fits(t), confounds.caption(differences(t))
    texts = {
        "table.md": formatting.markdown(header, body) + f"\n{guard}\n",
        "table.tex": formatting.latex(header, body, f"{experiment.question} {guard}", f"tab:{experiment.name.replace('_', '-')}"),
        "verdicts.json": page.verdicts_json(verdicts),
        "report.md": markdown(t, verdicts, experiment, found, apart),
    }
    frames = {"trials": t.trials, "cells": t.cells}
    return page.save(draw(t, found, False), frames, texts, output, draw(t, found, True))


def reporter(view: View, rules: Mapping[str, Rule], compute: Compute = compute) -> Make:
    """The analysis of a question, for analysis/command.py: compute, judge, draw, write."""

    def report(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, output: Path) -> Report:
        tables = compute(trials, items, experiment, view)
        verdicts = judge(tables, experiment, rules)
        files = write(tables, verdicts, experiment, output, by_base(trials, items, experiment, view, rules, compute))
        note = page.short_ledger(verdicts) + "\n" + formatting.markdown(*table(tables))
        terminal = page.terminal_text(*table(tables), measured(tables), verdicts, cautions(tables))
        return Report(files, tables.cells, verdicts, page.about(trials), page.origin(trials), note, terminal)

    return report
