"""A question's report: its verdicts, the table of arms, what arms differ in, the page, the files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import experiments
from analysis import formatting, load
from analysis.claims import comparable
from analysis.claims.fits import HEADER, Fitted, fits, legend, rows
from analysis.claims.rules import STEPS_VARY, Rule, short
from analysis.claims.tables import Tables, View, compute
from analysis.claims.verdicts import ledger, rows_as_text
from analysis.reports import parts
from core.experiment import Experiment

Compute = Callable[["pd.DataFrame", "pd.DataFrame", Experiment, View], Tables]  # trials, items, experiment, view
BARS = "Bars at the bottom: where 95 % of the gain is reached, with the 95 % interval."


@dataclass(frozen=True)
class Report:
    """What a question's analysis gives: its files on disk, a row for each arm, and its texts."""

    files: list[Path]
    arm_rows: pd.DataFrame
    verdicts: list[dict[str, object]]  # the ledger: one row a claim (analysis/claims/verdicts.py)
    about: str  # sweep, models and data, in a few words
    origin: str  # commit and cost
    note: str  # Markdown, for the parent run's description
    terminal: str


Make = Callable[["pd.DataFrame", "pd.DataFrame", Experiment, Path], Report]  # trials, items, experiment, directory


def measured(t: Tables) -> str:
    """On how many items each measure stands, and what quality was before tuning."""
    items = "; ".join(f"{formatting.heading(name)}: {t.panels[name].n_items} items" for name in t.shown)
    before = parts.before(t.trials).removeprefix("; ")
    return f"{items}. Quality: {before}." if before else items + "."


def judge(t: Tables, experiment: Experiment, rules: Mapping[str, Rule]) -> list[dict[str, object]]:
    """One row a claim, in the order of the experiment's claims."""
    return ledger(experiment.claims, {claim.id: rules[claim.id](t) for claim in experiment.claims})


def table(t: Tables) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm, along x."""
    header = [
        "arm",
        "learning rate",
        *(f"{formatting.heading(name)} ({t.units[name]})" for name in t.shown),
        "seeds",
        "failed",
    ]
    body = []
    for arm in t.where({}) + [arm for arm in t.arms if not arm.final]:
        row = t.arm_rows[t.arm_rows["arm"] == arm.label].iloc[0]
        means = (formatting.estimate(t.means[arm.label].get(name)) for name in t.shown)
        body.append([arm.label, parts.rate(row), *means, str(row["seeds"]), parts.failed(row)])
    return header, body


def differences(t: Tables) -> list[str]:
    """In what arms differ beyond the question's axes, over the seeds that all share."""
    paired, _ = comparable.common_seeds(t.trials, t.arms)
    found = comparable.beyond(paired, t.axes, t.view.x == STEPS_VARY)
    return found + (comparable.not_tuned(t.arm_rows) if t.tuned else [])


def other_cautions(t: Tables) -> list[str]:
    """Which seeds are missing, which source is too small, whose best rate is at the edge."""
    _, lines = comparable.common_seeds(t.trials, t.arms)
    few = [arm.label for arm in t.arms if short(t, arm)]
    lines += [f"the source has fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    return lines + parts.at_the_edge(t.arm_rows)


def cautions(t: Tables) -> list[str]:
    """Everything that a reader must know before comparing arms."""
    return differences(t) + other_cautions(t)


def caption(t: Tables, found: Sequence[Fitted]) -> str:
    """What stands directly under the figure: what is drawn, the laws, what is published, what arms differ in."""
    drawn = ["Points: means; lines: 95 % intervals over seeds and items (none with one seed; an arrow: cut by the axis)."]
    if t.arm_rows["curve"].nunique() > 1 and t.view.draw is None and t.view.scale == "log":
        drawn += ["Curves are moved aside a little along x, so that none hides another."]
    if found:
        drawn += [
            "Curves: the best law by AICc with its 95 % band over redrawn seeds; dashed: others fit as well, or not identified."
        ]
        drawn += [BARS] if any(one.best.plateau.known for one in found) else []
        drawn += [legend(found) + "."]
    drawn += [one.caption for one in t.published]
    others = comparable.lines(other_cautions(t))
    parts = [" ".join(drawn), comparable.caption(differences(t), "**"), f"**Caution:** {others}." if others else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(
    t: Tables, verdicts: Sequence[dict[str, object]], experiment: Experiment, found: Sequence[Fitted], apart: Sequence[str] = ()
) -> str:
    """report.md."""
    final = t.trials[(t.trials["state"] == "finished") & (t.trials["phase"] == "final")]
    design = [
        f"- Held equal: {parts.held_equal(final)}.",
        f"- Final seeds {', '.join(map(str, sorted(final['seed'].unique())))}, scored on the test split. {measured(t)}",
        "- Intervals: 95 %, over new seeds and items on these bases, where a note does not say otherwise; differences and trends "
        "are paired by seed and item.",
        *(f"- **Caution:** {line}." for line in cautions(t)),
    ]
    return "\n".join([
        f"# {experiment.question}\n", "![figure](figure.png)\n", caption(t, found),
        "## Verdicts\n", formatting.markdown(*rows_as_text(verdicts)), parts.LEDGER_NOTE,
        "\n".join(f"- {row['id']}: {row['rule']}." for row in verdicts) + "\n",
        "## Arms\n", formatting.markdown(*table(t)), *apart, *t.view.sections(t), *_curves(found),
        "## Design\n", "\n".join(design) + "\n",
        "## Trials and failures\n", parts.failures(t.trials), "## Provenance (MLflow run ids)\n", parts.provenance(t.trials),
    ])  # fmt: skip


def _curves(found: Sequence[Fitted]) -> list[str]:
    """The section on the laws that the curves follow, if the view wants one and there are levels enough."""
    said = "Laws by AICc over level means of the common seeds; intervals from redrawn seeds (analysis/stats/scaling.py).\n"
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
    from analysis.figures import panels

    draw = t.view.draw or panels.draw
    header, body = table(t)
    found, guard = fits(t), comparable.caption(differences(t))
    texts = {
        "table.md": formatting.markdown(header, body) + f"\n{guard}\n",
        "table.tex": formatting.latex(header, body, f"{experiment.question} {guard}", f"tab:{experiment.name.replace('_', '-')}"),
        "verdicts.json": parts.verdicts_json(verdicts),
        "report.md": markdown(t, verdicts, experiment, found, apart),
    }
    frames = {"trials": t.trials, "arms": t.arm_rows}
    return parts.save(draw(t, found, False), frames, texts, output, draw(t, found, True))


def reporter(view: View, rules: Mapping[str, Rule], compute: Compute = compute) -> Make:
    """The analysis of a question, for analysis/report.py: compute, judge, draw, write."""

    def report(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, output: Path) -> Report:
        tables = compute(trials, items, experiment, view)
        verdicts = judge(tables, experiment, rules)
        files = write(tables, verdicts, experiment, output, by_base(trials, items, experiment, view, rules, compute))
        note = parts.short_ledger(verdicts) + "\n" + formatting.markdown(*table(tables))
        terminal = parts.terminal_text(*table(tables), measured(tables), verdicts, cautions(tables))
        return Report(files, tables.arm_rows, verdicts, parts.about(trials), parts.origin(trials), note, terminal)

    return report


def analysed(name: str, uri: str, sweep: str, directory: Path) -> Report:
    """The report of one sweep of a question, written to `directory`."""
    trials = load.trials(uri, name, sweep)
    make: Make = importlib.import_module(f"analysis.questions.{name}").report
    return make(trials, load.items(uri, trials), experiments.load(name), directory)
