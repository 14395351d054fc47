"""How long a sweep will take: each arm's trials by their parts, what a worker does once, and what to lower first."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import cost, hardware, memory, preflight, tasks
from core import probe as prober
from core.cost import Parts, Speed
from core.data.rows import is_lab
from core.errors import BadInput
from core.experiment import DEFAULT_ARM
from core.preflight import Inputs
from core.settings import Trial
from core.states import Phase
from sweeps import fits, recipes
from sweeps.plan import Plan, overridden
from sweeps.progress import clock
from sweeps.resources import START_SECONDS, Resources, n_cores

LONG_SECONDS = 2 * 3600  # of a sweep: beyond it, it is said what to lower
LATER = "--trial-timeout"
# What lowers a part of a trial's time that is no task, by the part's name.
LOWERS = {
    "training": "data.n_examples or train.epochs",
    "loading": "the model's size",
    cost.PREFERENCES: "prefer.n_pairs",
    cost.ALONG: "how often evaluation.every measures",
    cost.SCORING: "data.n_candidates",
    "drift": "evaluation.drift_samples",
    "base text": "evaluation.max_rows",
    "generations": "evaluation.generations",
}


@dataclass(frozen=True)
class Row:
    """An arm, or a rung of an open search: how many trials it has, and what one of them costs."""

    label: str
    n_tuning: int
    n_final: int
    trial: Trial  # shows the size; of an open search from the middle of its space
    inputs: Inputs
    fit: memory.Fit
    speed: Speed
    tuning: Parts
    final: Parts

    @property
    def n_trials(self) -> int:
        return self.n_tuning + self.n_final

    @property
    def seconds(self) -> float:
        """Of all its trials."""
        return self.n_tuning * self.tuning.seconds + self.n_final * self.final.seconds

    def of(self, phase: Phase) -> float:
        return (self.final if phase is Phase.FINAL else self.tuning).seconds


def machine() -> str:
    """What a measured speed belongs to, beside the model: this computer."""
    return f"{platform.node()} {platform.machine()} {n_cores()}"


def rows(plan: Plan, share: Resources, known: Mapping[Trial, Inputs] | None = None) -> list[Row]:
    """Every arm of the plan, and every rung of an open search. `known`: what has been found out of some of its trials."""
    experiment, search = plan.experiment, plan.experiment.search
    known = known or {}
    found: list[tuple[str, int, int, Trial]] = []
    if search:
        for label, size, rung in zip(search.labels(), search.sizes(), search.rungs, strict=True):
            found.append((label, size, 0, overridden(experiment.base, recipes.middle(search, experiment.base, rung))))
    for arm in plan.arms:
        middle = search is not None and arm.label != DEFAULT_ARM
        values = recipes.middle(search, experiment.base, 1.0) if search and middle else arm.overrides
        found.append((arm.label, plan.n_tuning_of(arm) + plan.n_again_of(arm), plan.n_seeds(arm), plan.trial(0, values)))
    return [_row(size, known.get(size[-1]) or preflight.inspect(size[-1]), share) for size in found]


def _row(size: tuple[str, int, int, Trial], inputs: Inputs, share: Resources) -> Row:
    trial, device = size[-1], share.device
    fit, speed = fits.needs(trial, inputs, share), cost.speed(trial, device, share.slots, machine())
    both = [cost.parts(trial, inputs, speed, fit, phase) for phase in (Phase.TUNE, Phase.FINAL)]
    return Row(*size, inputs, fit, speed, *both)


def at_once(share: Resources) -> int:
    """How many trials go on side by side without slowing each other down."""
    return share.slots if share.gpus_per_trial or not share.local else min(share.slots, n_cores())


def once(plan: Plan, found: Sequence[Row]) -> float:
    """Seconds in which each worker loads and measures every base, on each split."""
    by_model = {row.trial.model: row for row in found}
    measured = {(label, trial.model, tasks.fold_of(trial.data)) for trial, label in plan.probes.items()}
    splits = max(Counter(label for label, _, _ in measured).values()) + (1 if plan.n_tuning else 0)
    return sum(row.final.once for row in by_model.values()) * splits


def total(plan: Plan, share: Resources, found: Sequence[Row]) -> float:
    """Seconds from the start of the sweep to its end, about."""
    return START_SECONDS + once(plan, found) + max(sum(row.seconds for row in found) / at_once(share), least(plan, found))


def least(plan: Plan, found: Sequence[Row]) -> float:
    """Seconds of trials that wait for one another, which no number of slots makes less: the rungs of an open search; of an arm
    the grid, each proposal, the choice on further bases, and the seeds."""
    rungs = len(plan.experiment.search.rungs) if plan.experiment.search else 0
    each = []
    for arm, row in zip(plan.arms, found[rungs:], strict=True):
        in_turn = bool(arm.grid) + plan.n_tuning_of(arm) - len(arm.grid) + bool(plan.n_again_of(arm))
        each.append(in_turn * row.tuning.seconds + bool(row.n_final) * row.final.seconds)
    return sum(row.tuning.seconds for row in found[:rungs]) + max(each, default=0.0)


def beyond(plan: Plan, share: Resources, found: Sequence[Row]) -> float:
    """Seconds of a tuning trial more in each arm, for best rates that are an end; an arm may have two, most have none."""
    one_each = [row.tuning.seconds for row in found if row.n_tuning] if plan.n_beyond else []
    return max(sum(one_each) / at_once(share), *one_each, 0.0)


def first(row: Row) -> float:
    """Seconds of a worker's first trial, which measures the base too."""
    phase = row.tuning if row.n_tuning else row.final
    return row.final.once + max(phase.seconds, row.final.seconds if row.n_final else 0)


def timeout_trouble(share: Resources, found: Sequence[Row]) -> str:
    """Why the time limit would end every trial of an arm, and what to do; "" where it would not."""
    longest = max(found, key=first)
    needed, limit = first(longest), share.trial_timeout_seconds
    if limit >= needed:
        return ""
    text = f"a trial of {longest.label} takes about {clock(needed)} ({known(found)}) and would be ended"
    more = f"give {LATER} {2 * needed:.0f} or more, or lower {advice(_shares([longest]))} with --set"
    return f"{LATER} {limit:g}: {text}; {more}"


def _shares(found: Sequence[Row]) -> dict[str, float]:
    """Seconds of all trials together, by the names of their parts."""
    sums: dict[str, float] = {}
    for row in found:
        for n, parts in ((row.n_tuning, row.tuning), (row.n_final, row.final)):
            for name, seconds in parts.named().items():
                sums[name] = sums.get(name, 0) + n * seconds
    return sums


def advice(shares: Mapping[str, float]) -> str:
    """The fields that lower the largest part."""
    largest = max(shares, key=lambda name: shares[name])
    return tasks.TASKS[largest].lowered_by if largest in tasks.TASKS else LOWERS[largest]


def probe(plan: Plan, share: Resources) -> None:
    """Measures this machine's speed with each model and method of the plan, and keeps it for every later estimate.

    Raises:
        BadInput: the trials run elsewhere, or a model cannot be loaded.
    """
    if not share.local:
        raise BadInput("--probe: measures this machine, and the trials run on a cluster; leave it out", field="--probe")
    kinds = {(trial.model, trial.adapter.method): trial for trial in plan.probes}
    for (model, method), trial in kinds.items():
        inputs, device = preflight.inspect(trial), share.device
        asked = prober.Asked.of(trial, inputs, fits.needs(trial, inputs, share), device)
        print(f"probing {model.name}, {method}: {asked.rows} × {asked.tokens} tokens", flush=True)
        cost.keep(trial, device, share.slots, machine(), prober.measure(trial, asked, device, at_once(share)))


def known(found: Sequence[Row]) -> str:
    """How the speed is known."""
    return "speed measured" if all(row.speed.measured for row in found) else "speed assumed; --probe measures it"


def lines(plan: Plan, share: Resources, found: Sequence[Row]) -> list[str]:
    """What a trial's time goes into, and what to lower first where the sweep is long."""
    shares = _shares(found)
    n, whole = sum(row.n_trials for row in found), sum(shares.values())
    each = ", ".join(f"{name} {_short(seconds / n)}" for name, seconds in shares.items() if seconds >= 0.01 * whole)
    told = [f"a trial: {each}; each worker once: {_short(once(plan, found))} ({known(found)})"]
    if (needed := total(plan, share, found)) > LONG_SECONDS:
        largest = max(shares, key=lambda name: shares[name])
        text = f"{largest} takes {shares[largest] / whole:.0%}"
        told.append(f"long: {clock(needed)}; {text}: lower {advice(shares)} first; --budget 2h chooses what to lower")
    return told + in_bfloat16(plan, share) + busy(share)


def in_bfloat16(plan: Plan, share: Resources) -> list[str]:
    """That this machine's CPU would be quicker in bfloat16, where a model that is large enough computes in float32 on it."""
    slow = [trial for trial in plan.probes if not is_lab(trial.model.name) and memory.dtype(trial.model, "cpu") == "float32"]
    unit = "" if share.gpus_per_trial or not share.local or not slow else hardware.bfloat16_unit()
    text = f"this CPU has instructions for bfloat16 ({unit}), in which SmolLM2-135M takes 0.4 of the time"
    return [f"note: {text}: --set model.dtype=bfloat16"] if unit else []


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else clock(seconds)


def busy(share: Resources) -> list[str]:
    """Whether other work takes the cores that trials are meant to have."""
    if share.gpus_per_trial or not share.local or not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], n_cores()
    return [f"note: this machine is busy (load {load:.1f} on {cores} cores): trials take longer"] if load > cores else []


def corrected(found: Sequence[Row], measured: Mapping[tuple[str, Phase], Sequence[float]]) -> float:
    """By which factor finished trials took longer than estimated; `measured`: their seconds by arm and phase."""
    by_label = {row.label: row for row in found}
    ratios = [
        seconds / by_label[label].of(phase)
        for (label, phase), several in measured.items()
        if label in by_label
        for seconds in several
    ]
    return statistics.median(ratios) if ratios else 1.0
