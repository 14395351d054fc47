"""Whether the trials of a sweep fit into this machine's memory, told before any of them starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from core import base as bases
from core import measuring, memory
from core.adapters import METHODS
from core.errors import BadInput
from core.hardware import available_gib
from core.preflight import Inputs
from core.settings import Trial
from sweeps.plan import Plan
from sweeps.resources import Resources


def needs(trial: Trial, inputs: Inputs, share: Resources) -> memory.Fit:
    """How the trial fits into its share of the memory, its measures too; a cluster's machines are not known before its trials
    run there."""
    kind = share.device.kind
    base, there = bases.read(trial.model), available_gib(share.device) if share.local else math.inf
    load = memory.load(trial, base, inputs.trainable_parameters, inputs.longest_tokens, kind)
    found = memory.fit(load, trial.train, there)
    found = replace(found, peak_gib=max(found.peak_gib, measuring.peak_gib(load, trial, inputs)))
    if (pairs := inputs.pairs) is None:
        return found
    load = memory.load(trial, base, inputs.trainable_parameters, trial.prefer.sequences * pairs.longest_tokens, kind)
    second = memory.fit(load, trial.second_stage(pairs.n_used), there)
    return replace(found, peak_gib=max(found.peak_gib, second.peak_gib))


def check(plan: Plan, known: Mapping[Trial, Inputs], share: Resources) -> None:
    """Whether each trial fits into its share of this machine's memory, however small its steps are made.

    Raises:
        BadInput: one does not, with what to lower.
    """
    for trial, label in plan.probes.items():
        peak, there = needs(trial, known[trial], share).peak_gib, available_gib(share.device)
        if share.local and peak > there:
            lower = [f"data.seq_len_tokens={known[trial].longest_tokens // 2}", "--concurrency 1"][: 1 + (share.slots > 1)]
            lower += ["adapter.method=lora"] if METHODS[trial.adapter.method].changes_base else ["model.quantization=nf4"]
            text = f"a trial of {label} takes about {peak:.1f} GiB at least, its share of the memory is {there:.1f}"
            raise BadInput(f"{text}; lower it: {', '.join(lower)}, or a smaller model", field="model.name")
