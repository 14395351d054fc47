"""What `--list`, `--dry-run` and `--status` print. Nothing here starts anything."""

from __future__ import annotations

import math
import os
import statistics
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core import base as bases
from core.adapters import METHODS, resolved_targets
from core.data.kinds import Kind, kind_of
from core.experiment import FEW_ITEMS, Experiment, LogUniform, OpenSearch
from core.fields import flatten
from core.optimizers import OPTIMIZERS
from core.rates import RATE
from core.settings import Trial
from core.states import Phase
from sweeps import ledger, moved, proposals, recipes, scored, times
from sweeps.parts import Part
from sweeps.plan import Plan
from sweeps.progress import clock
from sweeps.search import Search
from sweeps.times import Row

if TYPE_CHECKING:
    from core.preflight import Inputs
    from sweeps.resources import Resources

FEW_ROWS = 20  # of which a mean says next to nothing


def experiments_table(plans: Sequence[Plan]) -> str:
    """Every experiment with its question."""
    lines = []
    for plan in plans:
        counts = f"{len(plan.arms)} arms, {plan.n_tuning} tuning + {plan.n_final} final trials"
        lines.append(f"{plan.experiment.name}  ({counts})")
        lines += textwrap.wrap(plan.experiment.question, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*lines, "", "python sweeps/run.py NAME --dry-run shows what it would do."])


def tuning(plan: Plan, asked: Experiment) -> list[str]:
    """What is tuned and where, or that the options turned the tuning off that was `asked` for."""
    experiment, n_bases = plan.experiment, plan.n_more_bases
    proposals = experiment.tune_trials - math.prod(space.grid for space in experiment.tune.values())
    again = f"; the best two again on {n_bases} more base{'s' * (n_bases != 1)}" if n_bases else ""
    lines = [
        f"tuned in each arm: {name} from {searched(experiment, name)} ({space.grid} grid points, {proposals} proposed{again})"
        for name, space in experiment.tune.items()
    ]
    fixed = [name for name in asked.tune if name not in experiment.tune]
    values = flatten(experiment.base)
    lines += _searched(experiment.search) if experiment.search else []
    return lines + [f"tuning is off: {name}={values[name]:g} in every arm" for name in fixed]


def searched(experiment: Experiment, name: str) -> str:
    """Where a tuned field is searched."""
    space = experiment.tune[name]
    return (moved.ranges(experiment) if name == RATE else "") or f"{space.low:g} to {space.high:g}"


def _searched(search: OpenSearch) -> list[str]:
    """What is searched, and how many configurations go how far."""
    shown = {
        name: f"{levels.low:g} to {levels.high:g}" if isinstance(levels, LogUniform) else ", ".join(map(str, levels))
        for name, levels in search.space.items()
    }
    rungs = ", ".join(f"{size} on {label}" for size, label in zip(search.sizes(), search.labels(), strict=True))
    return [
        *(f"searched: {name}: {values}" for name, values in shown.items()),
        f"{search.configurations} configurations, {search.startup} spread evenly, then {search.batch} proposed at a time; "
        f"{rungs} (share of a configuration's own tokens)",
    ]


def cautions(plan: Plan, known: Mapping[Trial, Inputs]) -> list[str]:
    """What can be run but may not be what was meant. `known`: of the plan's probes."""
    found = scored.cautions(plan)
    for trial in plan.probes:
        inputs, asked = known[trial], trial.data.n_examples
        found += [f"caution: {note}" for note in inputs.notes]
        found += few_rows(trial, inputs)
        found += in_32_bits(trial, inputs)
        if asked is not None and inputs.n_available < asked:
            few = trial.data.n_candidates
            has = f"data.n_candidates={few:,} leaves" if few == inputs.n_available else f"{trial.data.source} has"
            found.append(f"caution: data.n_examples={asked:,}: {has} only {_rows(inputs.n_available)} to train on")
        found += lowered(trial, inputs)
        if inputs.n_too_long:
            found.append(_too_long(trial, inputs))
    return list(dict.fromkeys(found))


def few_rows(trial: Trial, inputs: Inputs) -> list[str]:
    """That there are few rows to score on: a mean of them is uncertain, and of still fewer no claim is judged."""
    n = inputs.n_eval_rows
    if kind_of(trial.data.source).own_questions or n >= FEW_ROWS:
        return []
    none = f", and no claim can be decided with fewer than {FEW_ITEMS}" if n < FEW_ITEMS else ""
    more = (
        "more rows in --eval-data" if trial.data.eval_source else "more with --eval-data, a larger data.eval_share or more rows"
    )
    more = "more with --eval-rows" if trial.evaluation.max_rows == n else more
    return [f"caution: only {_rows(n, 'evaluation row')}{none}: give {more}"]


def in_32_bits(trial: Trial, inputs: Inputs) -> list[str]:
    """That an adapter's tensors are mostly too small for the optimizer's 8 bits."""
    own, method = OPTIMIZERS[trial.train.optimizer], METHODS[trial.adapter.method]
    if method.changes_base or not own.least_numbers:
        return []
    n_layers = len(resolved_targets(trial.adapter, bases.read(trial.model)))
    each = inputs.trainable_parameters / (2 * max(1, n_layers))  # A and B
    if each >= own.least_numbers:
        return []
    text = f"tensors with fewer than {own.least_numbers:,} numbers keep 32 bits, and {method.label} trains some of {each:,.0f}"
    return [f"caution: train.optimizer={trial.train.optimizer}: {text} on average: it is nearly AdamW here"]


def _rows(n: int, what: str = "row") -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def in_order(notes: Sequence[str]) -> tuple[str, ...]:
    """Each note once, and what to be careful about after the others, where it is not overlooked."""
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: note.startswith("caution: ")))


def lowered(trial: Trial, inputs: Inputs) -> list[str]:
    """What is less than was asked for, as the model's context holds no more."""
    asked, name = trial.evaluation.drift_tokens, trial.model.name
    if inputs.drift_tokens >= asked or kind_of(trial.data.source).laboratory:
        return []
    return [f"caution: evaluation.drift_tokens={asked}: lowered to {inputs.drift_tokens}, which the context of {name} holds"]


def _too_long(trial: Trial, inputs: Inputs) -> str:
    """How many of the rows that were asked for are not trained on, and how to come by as many."""
    drawn, used = inputs.n_train_examples + inputs.n_too_long, inputs.n_train_examples
    more = ""
    if inputs.n_available > drawn and used:
        wanted = min(math.ceil(drawn * drawn / used), inputs.n_available)
        more = f"; {inputs.n_available:,} are there: data.n_examples={wanted} gives about {round(wanted * used / drawn):,}"
    return (
        f"caution: {trial.data.source}: about {inputs.n_too_long:,} of {drawn:,} rows are too long for {inputs.seq_len_tokens} "
        f"tokens, so about {used:,} are trained on{more}"
    )


def _data_line(inputs: Inputs, kind: Kind) -> str:
    left_out = " (tasks held out for evaluation left out)" if kind.own_questions else ""
    whose = "the laboratory's own questions" if kind.laboratory else "new questions of its generators"
    scored = whose if kind.own_questions else _rows(inputs.n_eval_rows)
    return (
        f"  data: {_rows(inputs.n_rows)}{left_out}, {inputs.n_train_examples:,} used of mean {inputs.mean_tokens:.0f} tokens "
        f"(limit {inputs.seq_len_tokens}: about {inputs.n_truncated} truncated, {inputs.n_too_long} too long), "
        f"{inputs.left_out}; evaluated on {scored}"
    )


def _pairs_line(row: Row) -> str:
    pairs, prefer = row.inputs.pairs, row.trial.prefer
    assert pairs is not None
    steps = row.trial.second_stage(pairs.n_used).n_steps(pairs.n_used)
    return f"  second stage: {prefer.source}: {pairs}; {steps:,} steps"


def _shown_row(row: Row) -> list[str]:
    """One row as the first arm's model is trained on it, what is learnt in brackets, and in colour where that can be seen."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    begin, end = ("\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}")
    if colour:
        begin, end = f"\033[32m{begin}", f"{end}\033[0m"
    text = "".join(f"{begin}{_plain(piece)}{end}" if learnt else _plain(piece) for piece, learnt in row.inputs.shown)
    whole = " (all other tokens are in the loss too)" if row.trial.train.loss_on == "all" else ""
    return [
        f"  a row as it is written, its learnt part in brackets{whole}:",
        *(f"    | {line}" for line in text.rstrip("\n").split("\n")),
    ]


def _plain(text: str) -> str:
    """Without characters that a terminal takes for more than text."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\t", "    "))


HEADER = ("arm", "tuning", "final", "steps", "tokens/trial", "trainable", "peak GiB", "about")


def _cells(row: Row) -> tuple[str, ...]:
    sizes = (row.n_tuning, row.n_final, row.inputs.steps, row.inputs.tokens, row.inputs.trainable_parameters)
    seconds = row.final.seconds if row.n_final else row.tuning.seconds
    return (row.label, *(f"{count:,}" for count in sizes), f"{row.fit.peak_gib:.2f}", clock(seconds))


def counts(plan: Plan, n_done: int) -> str:
    """How many trials a plan has, and how many of them are there."""
    beyond = f"; at most {plan.n_beyond} more where a best rate is an end of its range" if plan.n_beyond else ""
    return f"{plan.n_tuning} tuning + {plan.n_final} final trials, {n_done} of them finished{beyond}"


def dry_run(plan: Plan, directory: Path, share: Resources, notes: Sequence[str], rows: Sequence[Row]) -> str:
    """Arms, trials, tokens, estimated time and memory, and what is worth a note."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    lines = ["  " + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    search = replayed(plan, directory)
    n_tokens = sum(row.n_trials * row.inputs.tokens for row in rows)
    return "\n".join([
        f"{plan.experiment.name} {plan.sweep[:8]}: {plan.experiment.question}", *lines,
        _data_line(rows[0].inputs, kind_of(rows[0].trial.data.source)),
        *(f"    {line}" for line in rows[0].inputs.by_source),
        *dict.fromkeys(_pairs_line(row) for row in rows if row.inputs.pairs),
        *_shown_row(rows[0]),
        *(f"  {line}" for line in [*notes, *times.lines(plan, share, rows)]),
        f"  {counts(plan, len(search.done()))}; "
        f"{n_tokens:,} tokens in all; {share}; about {_time_left(search, rows, share)}",
    ])  # fmt: skip


def _time_left(search: Search, rows: Sequence[Row], share: Resources) -> str:
    """How long what is missing will take, and how that is known: the estimate, corrected by the trials that have finished."""
    measured: dict[tuple[str, Phase], list[float]] = {}
    left = sum(row.seconds for row in rows)
    by_label = {row.label: row for row in rows}
    for job, outcome in search.done():
        left -= by_label[job.arm].of(job.phase) if job.arm in by_label else 0
        if not outcome.failed:
            measured.setdefault((job.arm, job.phase), []).append(outcome.seconds)
    if not measured:
        return f"{clock(times.total(search.plan, share, rows))} (estimated from operations; no trial of this sweep has finished)"
    seconds = [one for several in measured.values() for one in several]
    n_left = search.n_planned() - len(search.done())
    left *= times.corrected(rows, measured) / max(min(times.at_once(share), n_left), 1) if n_left > 0 else 0
    return f"{clock(max(left, 0))} (from {len(seconds)} finished trials: median {statistics.median(seconds):.1f} s)"


def replayed(plan: Plan, directory: Path) -> Search:
    """The sweep's search as far as its trials are known; nothing is written."""
    return Search(plan, ledger.read(directory), proposals.Proposals(directory / proposals.FILE))


def status(plan: Plan, directory: Path) -> str:
    """What is done, what failed and why, and who runs it at present."""
    search = replayed(plan, directory)
    done = search.done()
    failed = [(job, outcome) for job, outcome in done if outcome.failed]
    holder = ledger.holder(directory)
    running = f"running now ({holder})" if holder else "not running"
    lines = [
        f"{plan.experiment.name} {plan.sweep[:8]} in {directory}",
        f"  {len(done)}/{search.n_planned()} trials done, {len(failed)} failed; {running}",
        *(_part_line(part) for part in search.parts),
    ]
    return "\n".join(lines + [f"  failed: {job.name}: {outcome.state}: {outcome.reason}" for job, outcome in failed])


def _part_line(part: Part) -> str:
    """How far an arm or a rung is, and the setting that it chose."""
    phases = [job.phase for job in part.known_jobs() if job.key in part.outcomes]
    again = f", {phases.count(Phase.AGAIN)}/{part.n_again} again" if part.n_again else ""
    done = f"{phases.count(Phase.TUNE)}/{part.n_tune} tuning{again}, {phases.count(Phase.FINAL)}/{part.n_final} final"
    done += " (another arm or the rung has fewer)" if part.n_not_run() else ""
    chosen = recipes.as_text((part.best() if part.tuned() else None) or {})
    return f"  {part.arm.label:<16} {done}" + (f", chosen: {chosen}" if chosen else "")
