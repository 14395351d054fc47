"""What `--list`, `--dry-run` and `--status` print. Nothing here starts anything."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import preflight
from core.data.kinds import Kind, kind_of
from core.experiment import DEFAULT_ARM, Experiment, LogUniform, OpenSearch
from core.fields import flatten
from core.settings import Trial
from core.states import Phase
from sweeps import fits, ledger, proposals, recipes, scored
from sweeps.parts import Part
from sweeps.plan import Plan, overridden
from sweeps.progress import clock
from sweeps.resources import START_SECONDS, n_cores
from sweeps.search import Search

if TYPE_CHECKING:
    from core.preflight import Inputs
    from sweeps.resources import Resources

# For estimates before any trial of the sweep has finished. Measured with the laboratory's base on one core of a 2025 server
# CPU (31.6 ms a step of 16 x 16 tokens, 2.4 s of evaluation); the GPU's is an assumption: 30 % of 400 TFLOP/s in bfloat16.
STEP_SECONDS = 0.025
CPU_FLOPS_PER_THREAD = 30e9
GPU_FLOPS = 120e12
EVALUATION_SECONDS = 3.0
FEW_ROWS = 20  # of which a mean says next to nothing


def experiments_table(plans: Sequence[Plan]) -> str:
    """Every experiment with its question."""
    lines = []
    for plan in plans:
        counts = f"{len(plan.arms)} arms, {plan.n_tuning} tuning + {plan.n_final} final trials"
        lines.append(f"{plan.experiment.name}  ({counts})")
        lines += textwrap.wrap(plan.experiment.question, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*lines, "", "python sweeps/run.py NAME --dry-run shows what it would do."])


def tuning(experiment: Experiment, asked: Experiment) -> list[str]:
    """What is tuned and where, or that the options turned the tuning off that was `asked` for."""
    proposals = experiment.tune_trials - math.prod(space.grid for space in experiment.tune.values())
    lines = [
        f"tuned in each arm: {name} from {space.low:g} to {space.high:g} ({space.grid} grid points, {proposals} proposed)"
        for name, space in experiment.tune.items()
    ]
    fixed = [name for name in asked.tune if name not in experiment.tune]
    values = flatten(experiment.base)
    lines += _searched(experiment.search) if experiment.search else []
    return lines + [f"tuning is off: {name}={values[name]:g} in every arm" for name in fixed]


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
        if not kind_of(trial.data.source).own_questions and inputs.n_eval_rows < FEW_ROWS:
            found.append(f"caution: only {inputs.n_eval_rows} evaluation rows: give more with --eval-data or data.eval_share")
        if asked is not None and inputs.n_available < asked:
            found.append(
                f"caution: data.n_examples={asked:,}: {trial.data.source} has only {inputs.n_available:,} rows to train on"
            )
        found += lowered(trial, inputs)
        if inputs.n_too_long:
            found.append(_too_long(trial, inputs))
    return list(dict.fromkeys(found))


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
    scored = whose if kind.own_questions else f"{inputs.n_eval_rows} rows"
    return (
        f"  data: {inputs.n_rows:,} rows{left_out}, {inputs.n_train_examples:,} used of mean {inputs.mean_tokens:.0f} tokens "
        f"(limit {inputs.seq_len_tokens}: about {inputs.n_truncated} truncated, {inputs.n_too_long} too long), "
        f"{inputs.left_out}; evaluated on {scored}"
    )


def seconds_per_trial(trial: Trial, inputs: Inputs, share: Resources) -> float:
    """About: forward and backward passes at 6 operations a parameter and token, a fixed part a step, and the evaluation."""
    flops = GPU_FLOPS if share.gpus_per_trial else CPU_FLOPS_PER_THREAD * share.threads
    training = inputs.steps * STEP_SECONDS + 6 * inputs.n_parameters * inputs.tokens / flops
    evaluation = EVALUATION_SECONDS + 4 * inputs.n_parameters * inputs.n_eval_rows * inputs.mean_tokens / flops
    return training + evaluation


@dataclass(frozen=True)
class _Row:
    """An arm, or a rung of an open search: how many trials it has, and what one of them costs."""

    label: str
    n_tuning: int
    n_final: int
    trial: Trial  # shows the size; of an open search from the middle of its space
    inputs: Inputs
    seconds: float
    peak_gib: float

    @property
    def n_trials(self) -> int:
        return self.n_tuning + self.n_final

    def cells(self) -> tuple[str, ...]:
        counts = (self.n_tuning, self.n_final, self.inputs.steps, self.inputs.tokens, self.inputs.trainable_parameters)
        return (self.label, *(f"{count:,}" for count in counts), f"{self.peak_gib:.2f}", f"{self.seconds:.0f} s")


HEADER = ("arm", "tuning", "final", "steps", "tokens/trial", "trainable", "peak GiB", "about")


def _rows(plan: Plan, share: Resources) -> list[_Row]:
    experiment, search = plan.experiment, plan.experiment.search
    sizes: list[tuple[str, int, int, Trial]] = []
    if search:
        for label, size, rung in zip(search.labels(), search.sizes(), search.rungs, strict=True):
            sizes.append((label, size, 0, overridden(experiment.base, recipes.middle(search, experiment.base, rung))))
    for arm in plan.arms:
        middle = search is not None and arm.label != DEFAULT_ARM
        values = recipes.middle(search, experiment.base, 1.0) if search and middle else arm.overrides
        sizes.append((arm.label, experiment.tune_trials if arm.tune else 0, len(experiment.seeds), plan.trial(0, values)))
    inspected = [(*size, preflight.inspect(size[-1])) for size in sizes]
    return [_Row(*row, seconds_per_trial(*row[-2:], share), fits.needs(*row[-2:], share).peak_gib) for row in inspected]


def dry_run(plan: Plan, directory: Path, share: Resources, notes: Sequence[str]) -> str:
    """Arms, trials, tokens, estimated time and memory, and what is worth a note."""
    rows = _rows(plan, share)
    cells = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    lines = ["  " + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    search = replayed(plan, directory)
    n_tokens = sum(row.n_trials * row.inputs.tokens for row in rows)
    return "\n".join([
        f"{plan.experiment.name} {plan.sweep[:8]}: {plan.experiment.question}", *lines,
        _data_line(rows[0].inputs, kind_of(rows[0].trial.data.source)),
        *(f"  {line}" for line in notes),
        f"  {plan.n_tuning} tuning + {plan.n_final} final trials, {len(search.done())} of them finished; "
        f"{n_tokens:,} tokens in all; {share}; about {_time_left(search, rows, share)}",
    ])  # fmt: skip


def _time_left(search: Search, rows: Sequence[_Row], share: Resources) -> str:
    """How long what is missing will take, and how that is known."""
    done = [outcome for _, outcome in search.done()]
    at_once = share.slots if share.gpus_per_trial else min(share.slots, n_cores())  # more share the cores
    measured = [outcome.seconds for outcome in done if not outcome.failed]
    if not measured:
        total = sum(row.n_trials * row.seconds for row in rows)
        return f"{clock(total / at_once + START_SECONDS)} (estimated from operations; no trial of this sweep has finished)"
    each = statistics.median(measured)
    left = clock(max(search.n_planned() - len(done), 0) * each / at_once)
    return f"{left} (median of {len(measured)} finished trials: {each:.1f} s)"


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
    counts = f"{phases.count(Phase.TUNE)}/{part.n_tune} tuning, {phases.count(Phase.FINAL)}/{part.n_final} final"
    counts += " (another arm or the rung has fewer)" if part.n_not_run() else ""
    chosen = recipes.as_text((part.best() if part.tuned() else None) or {})
    return f"  {part.arm.label:<16} {counts}" + (f", chosen: {chosen}" if chosen else "")
