"""A question's report: the table of arms, what arms differ in, the page, the files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import experiments
from analysis import formatting, load, questions
from analysis.claims import comparable, frozen, looks, verdicts
from analysis.claims.annotation import Prices
from analysis.claims.choice import Choice, choose
from analysis.claims.comparable import Remark
from analysis.claims.fits import HEADER, legend, rows
from analysis.claims.frozen import NOT_RECORDED, Compared
from analysis.claims.question import Answer, Question, answer
from analysis.claims.rules import STEPS_VARY, short_of_rows
from analysis.claims.tables import Tables
from analysis.escaping import escaped
from analysis.figures import panels, style
from analysis.reports import parts, use
from analysis.reports.bases import by_base
from analysis.reports.further import Further
from core import tracking
from core.experiment import Experiment
from core.looks import WISHES, wishes_text
from core.result import whole_folder
from core.states import TUNING, Phase, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = "Bars at the bottom: where 95 % of the gain is reached, with the 95 % interval."


@dataclass(frozen=True)
class Report:
    """What a question's report gives: its files on disk, a row for each arm, and its texts."""

    files: list[Path]
    arm_rows: pd.DataFrame
    verdicts: list[verdicts.Verdict]
    note: str  # Markdown, for the parent run's description
    terminal: str
    tables: Tables[Any]
    choice: Choice
    decision: Mapping[str, Any]  # what decision.json says


@dataclass(frozen=True)
class Asked:
    """A question with what was asked and what was answered: everything that a page is made from."""

    question: Question[Any]
    experiment: Experiment
    answer: Answer[Any]
    by_base: list[str]  # the section with every claim's effect on each base alone
    further: Further = field(default_factory=Further)
    choice: Choice = field(default_factory=Choice)
    frozen: Compared = NOT_RECORDED  # the claims before the first seed against today

    @property
    def tables(self) -> Tables[Any]:
        return self.answer.tables

    @functools.cached_property
    def decision(self) -> dict[str, Any]:
        """What decision.json says."""
        return use.content(self.choice, self.tables, self.experiment)

    @functools.cached_property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table of arms."""
        return table(self.tables)

    @functools.cached_property
    def differences(self) -> list[Remark]:
        """In what arms differ beyond the question's axes."""
        return differences(self.tables)

    @functools.cached_property
    def other_cautions(self) -> list[Remark]:
        """Whether trials or seeds are missing, which source is too small, whose best rate is at the edge."""
        t = self.tables
        _, found = comparable.common_seeds(t.trials, t.arms)
        few = [arm.label for arm in t.arms if short_of_rows(t, arm)]
        found += [Remark("arms that are the same runs, run once", f": {'; '.join(map(str, t.repeated))}")] if t.repeated else []
        found += [Remark("the source has fewer rows than data.n_examples", f": {', '.join(few)}")] if few else []
        found += comparable.at_the_edge(t.arm_rows) + [Remark(line) for line in self.question.cautions(t)]
        return [*self.further.unfinished, *(Remark(line) for line in self.frozen.cautions()), *found]


def analysed(name: str, uri: str, sweep: str, directory: Path, prices: Prices | None = None) -> Report:
    """The report of one sweep of a question, written to `directory`. `prices`: of an example of each source."""
    trials = load.trials(uri, name, sweep)
    frames, further = (trials, load.items(uri, trials)), Further.read(uri, name, sweep, trials)
    made = report(questions.load(name), experiments.load(name), frames, directory, replace(further, prices=prices))
    if (taken := looks.after(further.looks, made.verdicts)) != further.looks:
        tracking.write_looks(uri, sweep, taken)
    return made


def report(
    question: Question[Any],
    experiment: Experiment,
    frames: tuple[pd.DataFrame, pd.DataFrame],
    directory: Path,
    further: Further | None = None,
) -> Report:
    """Answers the question from the frames (trials, items), draws, and writes everything below `directory`."""
    further = further or Further()
    compared = frozen.against(further.claims, question, experiment)
    answered = compared.noted(answer(question, *frames, experiment, further.looks))
    bases = by_base(question, experiment, frames, answered.tables.arms)
    further = further.with_costs(answered.tables)
    asked = Asked(question, experiment, answered, bases, further, choose(answered.tables), compared)
    t, judged = asked.tables, asked.answer.verdicts
    with whole_folder(directory) as temporary:
        files = [directory / path.name for path in write(asked, temporary)]
    note = f"**{escaped(use.headline(asked.choice))}.**\n\n{parts.short_ledger(judged)}\n{formatting.markdown(*asked.table)}"
    small = smoke(t)
    terminal = small + "\n" * bool(small) + parts.terminal_text(asked.table, measured(t), judged, cautions(asked))
    last = use.terminal(asked.choice, t, asked.decision["command"] or "")
    return Report(
        files=files, arm_rows=t.arm_rows, verdicts=judged, note=note, terminal=terminal + last, tables=t,
        choice=asked.choice, decision=asked.decision,
    )  # fmt: skip


def smoke(t: Tables[Any]) -> str:
    """What stands at the top of a report of a sweep whose sizes are too small; "" where they are not."""
    return parts.too_small(t.arm_rows, t.panels["quality"].n_items)


def measured(t: Tables[Any]) -> str:
    """On how many items each measure stands, and what quality was before tuning."""
    items = "; ".join(f"{formatting.heading(name)}: {t.panels[name].n_items} items" for name in t.shown)
    before = parts.before(t.trials)
    return f"{items}. Quality: {before}." if before else items + "."


def table(t: Tables[Any]) -> tuple[list[str], list[list[str]]]:
    """Header and one row an arm, along x, then the untuned base; what it has not is a change, which starts from it."""
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
    return header, body + [parts.untuned_row(base, t.shown) for base in t.untuned]


def differences(t: Tables[Any]) -> list[Remark]:
    """In what arms differ beyond the question's axes, over the seeds that all share."""
    paired, _ = comparable.common_seeds(t.trials, t.arms)
    found = comparable.beyond(paired, t.axes, t.view.x == STEPS_VARY)
    return found + (comparable.not_tuned(t.arm_rows) if t.tuned else [])


def cautions(asked: Asked) -> list[str]:
    """Everything that a reader must know before comparing arms."""
    return [str(remark) for remark in (*asked.differences, *asked.other_cautions)]


def caption(asked: Asked) -> str:
    """What stands directly under the figure: what is drawn, the laws, what is published, what arms differ in."""
    others = escaped("; ".join(remark.short for remark in asked.other_cautions))
    differs = comparable.caption(asked.differences, "**")
    found = [" ".join(drawn(asked)), differs, f"**Caution:** {others}." if others else ""]
    return "\n\n".join(part for part in found if part) + "\n"


def drawn(asked: Asked) -> list[str]:
    """What the figure shows, a sentence each."""
    t = asked.tables
    published = [one.caption for one in t.published]
    if asked.question.caption:
        return [asked.question.caption, *published]
    lines = ["Points: means; lines: 95 % intervals over seeds and items (none with one seed; an arrow: cut by the axis)."]
    if t.arm_rows["curve"].nunique() > 1 and asked.question.draw is None and t.view.scale == "log":
        lines += ["Curves are moved aside a little along x, so that none hides another."]
    if t.laws:
        lines += [
            "Curves: the best law by AICc with its 95 % band over redrawn seeds; dashed: others fit as well, or not identified."
        ]
        lines += [BARS] if any(one.best.plateau.known for one in t.laws) else []
        lines += [escaped(legend(t.laws)) + "."]
    return lines + published


def markdown(asked: Asked) -> str:
    """report.md."""
    t, judged = asked.tables, asked.answer.verdicts
    return "\n".join([
        f"# {asked.experiment.question}\n", *(f"**{small}.**\n" for small in [smoke(t)] if small),
        "![figure](figure.png)\n", f"**{escaped(use.headline(asked.choice))}.** Why, and its settings: at the end.\n",
        caption(asked),
        "## Verdicts\n", formatting.markdown(*verdicts.as_text(judged)), parts.LEDGER_NOTE,
        "\n".join(f"- {one.id}: {one.rule}." for one in judged) + "\n",
        "## Arms\n", formatting.markdown(*asked.table), *parts.beside(t), *asked.by_base,
        *asked.question.sections(t), *_curves(t), *asked.further.sections(t), *asked.frozen.section(),
        "## Design\n", "\n".join(design(asked)) + "\n",
        "## Trials and failures\n", parts.failures(t.trials), "## Provenance (MLflow run ids)\n", parts.provenance(t.trials),
        *use.section(asked.choice, t, asked.experiment),
    ])  # fmt: skip


def design(asked: Asked) -> list[str]:
    """What was held equal, on which seeds and items it stands, what to be careful about: a line each."""
    t = asked.tables
    done = t.trials[t.trials["state"] == State.FINISHED]
    final = done[done["phase"] == Phase.FINAL]
    seeds = ", ".join(map(str, sorted(final["seed"].unique())))
    return [
        f"- Held equal: {escaped(parts.held_equal(final))}.",
        *(f"- {escaped(line)}." for line in [parts.tuning(done[done["phase"].isin(TUNING)])] if line),
        f"- Final seeds {seeds}, scored on the test split. {measured(t)}",
        f"- Intervals: 95 %, {parts.speak_for(t, final)}, where a note does not say otherwise; differences "
        "and trends are paired by seed and item.",
        f"- {escaped(asked.frozen.told())}.",
        *(f"- **Caution:** {escaped(line)}." for line in cautions(asked)),
    ]


def _curves(t: Tables[Any]) -> list[str]:
    """The section on the laws that the curves follow, if the view wants one and there are levels enough."""
    note = "Laws by AICc over level means of the common seeds; intervals from redrawn seeds (analysis/stats/scaling.py).\n"
    return ["## Curves\n", formatting.markdown(HEADER, rows(t.laws)), note] if t.laws else []


def write(asked: Asked, output: Path) -> list[Path]:
    """Draws the figure, writes everything below `output` and returns the files."""
    t, experiment = asked.tables, asked.experiment
    header, body = asked.table
    differs = comparable.caption(asked.differences)
    label = f"tab:{experiment.name.replace('_', '-')}"
    texts = {
        "table.md": formatting.markdown(header, body) + f"\n{differs}\n",
        "table.tex": formatting.latex(header, body, f"{experiment.question} {differs}", label),
        "verdicts.json": verdicts.to_json(asked.answer.verdicts),
        WISHES: wishes_text(verdicts.wishes(asked.answer.verdicts)),
        "decision.json": use.to_json(asked.decision),
        "report.md": markdown(asked),
    }
    trials = t.trials.assign(**{str(name): column for name, column in t.as_run.items()})
    frames = {"trials": trials, "arms": t.arm_rows, **asked.question.extra_frames(t), **asked.further.frames(t)}
    return [*_figures(asked, output), *_save(frames, texts, output)]


def _figures(asked: Asked, output: Path) -> list[Path]:
    """The figure for a page, as PNG and PDF, and for one column of print."""
    draw = asked.question.draw or panels.draw
    output.mkdir(parents=True, exist_ok=True)
    page: Figure = draw(asked.tables, False)
    files = [*style.save(page, output / "figure"), style.save_vector(draw(asked.tables, True), output / "figure_column")]
    return [*files, *asked.further.figures(asked.tables, output)]


OF_THIS_MACHINE = ["artifacts", "model_path"]  # columns that MLflow keeps


def _save(frames: Mapping[str, pd.DataFrame], texts: Mapping[str, str], output: Path) -> list[Path]:
    """Frames as CSV, and texts."""
    files: list[Path] = []
    for name, frame in frames.items():
        files.append(output / f"{name}.csv")
        frame.drop(columns=OF_THIS_MACHINE, errors="ignore").to_csv(files[-1], index=False)
    for name, text in texts.items():
        files.append(output / name)
        files[-1].write_text(text, encoding="utf-8")
    return files
