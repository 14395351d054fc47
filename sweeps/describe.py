"""What `--list`, `--dry-run` and `--status` print. Nothing here starts anything."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import experiments as questions
from core import preflight
from core.data.rows import is_lab
from core.experiment import DEFAULT_ARM, Experiment, LogUniform, OpenSearch
from core.fields import flatten
from core.settings import Trial
from sweeps import ledger, plan, proposals, recipes
from sweeps.progress import clock
from sweeps.resources import memory_gib, n_cores
from sweeps.search import Search
from sweeps.sweep import START_SECONDS

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


def experiments_table(experiments: list[Experiment]) -> str:
    """Every experiment with its question."""
    lines = []
    for experiment in experiments:
        tuning, final = plan.count_trials(experiment)
        lines.append(f"{experiment.name}  ({len(plan.arms(experiment))} arms, {tuning} tuning + {final} final trials)")
        lines += textwrap.wrap(experiment.question, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*lines, "", "python sweeps/run.py NAME --dry-run shows what it would do."])


def tuning(experiment: Experiment) -> list[str]:
    """What is tuned and where, or that the command line turned tuning off."""
    proposals = experiment.tune_trials - math.prod(space.grid for space in experiment.tune.values())
    lines = [
        f"tuned in each arm: {name} from {space.low:g} to {space.high:g} ({space.grid} grid points, {proposals} proposed)"
        for name, space in experiment.tune.items()
    ]
    fixed = [name for name in questions.load(experiment.name).tune if name not in experiment.tune]
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


def _rows(experiment: Experiment) -> list[tuple[str, int, int, Trial]]:
    """Label, tuning trials, final trials and a trial that shows their size: of an open search from the middle of its space."""
    found, search, base = [], experiment.search, experiment.base
    if search:
        for label, size, share in zip(search.labels(), search.sizes(), search.rungs, strict=True):
            found.append((label, size, 0, plan.overridden(base, recipes.middle(search, base, share))))
    for arm in plan.arms(experiment):
        values = recipes.middle(search, base, 1.0) if search and arm.label != DEFAULT_ARM else arm.overrides
        trial = plan.overridden(base, {**plan.seed_overrides(experiment, 0), **values})
        found.append((arm.label, experiment.tune_trials if arm.tune else 0, len(experiment.seeds), trial))
    return found


def cautions(experiment: Experiment) -> list[str]:
    """What can be run but may not be what was meant."""
    found = []
    for trial in plan.probes(experiment):
        inputs, asked = preflight.inspect(trial), trial.data.n_examples
        if not is_lab(trial.data.source) and inputs.n_eval_rows < FEW_ROWS:
            found.append(f"caution: only {inputs.n_eval_rows} evaluation rows: give more with --eval-data or data.eval_share")
        if inputs.memory_gib > memory_gib():
            found.append(f"caution: about {inputs.memory_gib:.0f} GiB a trial, this machine has {memory_gib():.0f}")
        if asked is not None and inputs.n_available < asked:
            found.append(
                f"caution: data.n_examples={asked:,}: {trial.data.source} has only {inputs.n_available:,} rows to train on"
            )
    return list(dict.fromkeys(found))


def _data_line(inputs: Inputs, lab: bool) -> str:
    left_out = " (tasks held out for evaluation left out)" if lab else ""
    scored = "the laboratory's own questions" if lab else f"{inputs.n_eval_rows} rows"
    return (
        f"  data: {inputs.n_rows:,} rows{left_out}, {inputs.n_train_examples:,} used of mean {inputs.mean_tokens:.0f} tokens "
        f"(limit {inputs.seq_len_tokens}: about {inputs.n_truncated} truncated, {inputs.n_too_long} too long), "
        f"{inputs.n_skipped_empty} without text skipped; evaluated on {scored}"
    )


def seconds_per_trial(trial: Trial, inputs: Inputs, share: Resources) -> float:
    """About: forward and backward passes at 6 operations a parameter and token, a fixed part a step, and the evaluation."""
    flops = GPU_FLOPS if share.gpus_per_trial else CPU_FLOPS_PER_THREAD * share.threads
    training = inputs.steps * STEP_SECONDS + 6 * inputs.n_parameters * inputs.tokens / flops
    evaluation = EVALUATION_SECONDS + 4 * inputs.n_parameters * inputs.n_eval_rows * inputs.mean_tokens / flops
    return training + evaluation


def dry_run(experiment: Experiment, sweep: str, directory: Path, share: Resources, notes: Sequence[str]) -> str:
    """Arms, trials, tokens, estimated time and memory, and what is worth a note."""
    rows = [("arm", "tuning", "final", "steps", "tokens/trial", "trainable", "tensors GiB", "about")]
    total = total_tokens = 0.0
    shown: tuple[preflight.Inputs, bool] | None = None
    for label, n_tuning, n_final, trial in _rows(experiment):
        inputs = preflight.inspect(trial)
        shown = shown or (inputs, is_lab(trial.data.source))
        each = seconds_per_trial(trial, inputs, share)
        total += (n_tuning + n_final) * each
        total_tokens += (n_tuning + n_final) * inputs.tokens
        counts = (f"{n_tuning}", f"{n_final}", f"{inputs.steps:,}", f"{inputs.tokens:,}", f"{inputs.trainable_parameters:,}")
        rows.append((label, *counts, f"{inputs.memory_gib:.2f}", f"{each:.0f} s"))
    assert shown is not None, "an experiment has at least one arm"
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    n_tuning, n_final = plan.count_trials(experiment)
    search = _search(experiment, sweep, directory)
    done = [outcome for job in search.jobs() if (outcome := search.outcome(job))]  # the directory may hold other arms and seeds
    measured = [outcome.seconds for outcome in done if not outcome.failed]
    at_once = share.slots if share.gpus_per_trial else min(share.slots, n_cores())  # more share the cores
    if measured:
        each = statistics.median(measured)
        left = clock(max(n_tuning + n_final - len(done) - sum(part.omitted() for part in search.parts), 0) * each / at_once)
        time = f"{left} (median of {len(measured)} finished trials: {each:.1f} s)"
    else:
        time = f"{clock(total / at_once + START_SECONDS)} (estimated from operations; no trial of this sweep has finished)"
    return "\n".join([
        f"{experiment.name} {sweep[:8]}: {experiment.question}", *lines,
        _data_line(*shown),
        *(f"  {line}" for line in notes),
        f"  {n_tuning} tuning + {n_final} final trials, {len(done)} of them finished; {total_tokens:,.0f} tokens in all; "
        f"{share}; about {time}",
    ])  # fmt: skip


def _search(experiment: Experiment, sweep: str, directory: Path) -> Search:
    """The sweep's search as far as its trials are known; nothing is written."""
    kept = proposals.Proposals(directory / proposals.FILE)
    return Search(experiment, preflight.provenance, sweep, ledger.read(directory), None, kept)


def status(experiment: Experiment, sweep: str, directory: Path) -> str:
    """What is done, what failed and why, and who runs it at present."""
    search = _search(experiment, sweep, directory)
    done = [(job, outcome) for job in search.jobs() if (outcome := search.outcome(job))]
    failed = [(job, outcome) for job, outcome in done if outcome.failed]
    holder = ledger.holder(directory)
    running = f"running now ({holder})" if holder else "not running"
    total = sum(plan.count_trials(experiment)) - sum(part.omitted() for part in search.parts)
    lines = [
        f"{experiment.name} {sweep[:8]} in {directory}",
        f"  {len(done)}/{total} trials done, {len(failed)} failed; {running}",
    ]
    for part in search.parts:
        phases = [job.phase for job, _ in done if job.arm == part.arm.label]
        counts = f"{phases.count('tune')}/{part.n_tune} tuning, {phases.count('final')}/{len(experiment.seeds)} final"
        counts += " (another arm or the rung has fewer)" if part.omitted() else ""
        chosen = (part.best() if part.tuned() else None) or {}
        values = recipes.said(chosen)
        lines.append(f"  {part.arm.label:<16} {counts}" + (f", chosen: {values}" if values else ""))
    return "\n".join(lines + [f"  failed: {job.name}: {outcome.state}: {outcome.reason}" for job, outcome in failed])
