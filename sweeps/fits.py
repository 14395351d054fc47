"""Whether the trials of a sweep fit into this machine's memory, told before any of them starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from core import base as bases
from core import memory, memory_of_measures
from core.adapters import METHODS
from core.errors import BadInput
from core.hardware import available_gib
from core.preflight import Inputs
from core.settings import Trial
from core.states import Phase
from sweeps.plan import Plan
from sweeps.resources import Resources


def needs(trial: Trial, inputs: Inputs, share: Resources) -> memory.Fit:
    """How the trial fits into its share of the memory, its measures too; a cluster's machines are not known before its trials
    run there."""
    there = available_gib(share.device) if share.local else math.inf
    load = _load(trial, inputs, inputs.longest_tokens, share)
    found = memory.fit(load, trial.train, there)
    peaks = [found.peak_gib, memory_of_measures.peak_gib(load, trial, inputs, Phase.FINAL)]
    if (pairs := inputs.pairs) is not None:
        load = _load(trial, inputs, trial.prefer.sequences * pairs.longest_tokens, share)
        peaks.append(memory.fit(load, trial.second_stage(pairs.n_used), there).peak_gib)
    return replace(found, peak_gib=max(peaks))


def _load(trial: Trial, inputs: Inputs, longest: int, share: Resources) -> memory.Load:
    return memory.load(trial, bases.read(trial.model), inputs.trainable_parameters, longest, share.device.kind)


def check(plan: Plan, known: Mapping[Trial, Inputs], share: Resources) -> None:
    """Whether each trial fits into its share of this machine's memory, however small its steps are made.

    Raises:
        BadInput: one does not, with what to lower.
    """
    if not share.local:
        return
    there = available_gib(share.device)
    for trial, label in plan.probes.items():
        peak = needs(trial, known[trial], share).peak_gib
        if peak > there:
            load = _load(trial, known[trial], known[trial].longest_tokens, share)
            measured = memory_of_measures.peak_gib(load, trial, known[trial], Phase.FINAL) >= peak
            shorter = [f"data.seq_len_tokens={known[trial].longest_tokens // 2}"]
            lower = (_of_measures(trial) if measured else []) or shorter
            lower += ["--concurrency 1"] if share.slots > 1 else []
            lower += ["adapter.method=lora"] if METHODS[trial.adapter.method].changes_base else ["model.quantization=nf4"]
            which = "what is measured in a trial" if measured else "a trial"
            text = f"{which} of {label} takes about {peak:.1f} GiB at least, its share of the memory is {there:.1f}"
            raise BadInput(f"{text}; lower it: {', '.join(lower)}, or a smaller model", field="model.name")


def _of_measures(trial: Trial) -> list[str]:
    """What makes measures take less."""
    evaluation = trial.evaluation
    sizes = {"evaluation.batch_size": evaluation.batch_size, "evaluation.max_new_tokens": evaluation.max_new_tokens or 1}
    return [f"{name}={size // 2}" for name, size in sizes.items() if size > 1]
