"""Which weights a sweep keeps, and how much of the disk they take, told before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from core import memory, saved
from core.adapters import METHODS
from core.preflight import Inputs
from core.settings import Trial
from sweeps.plan import Plan
from sweeps.resources import Resources


def notes(plan: Plan, known: Mapping[Trial, Inputs], share: Resources, output: Path) -> list[str]:
    """Which arms cannot be exported, as their weights are too large to be kept unasked; or what keeping them takes."""
    each = {
        label: known[trial].n_parameters * memory.WEIGHT_BYTES[memory.dtype(trial.model, share.device.kind)]
        for trial, label in plan.probes.items()
        if METHODS[trial.adapter.method].changes_base
    }
    large = {label: size for label, size in each.items() if size > saved.FULL_WEIGHTS_BYTES}
    if not large:
        return []
    n_seeds = len(plan.experiment.seeds)
    total, names = n_seeds * sum(large.values()), ", ".join(large)
    if not share.keep_weights:
        what = f"{max(large.values()) / 1e9:.2g} GB a trial, which is measured and not kept, so that it cannot be exported"
        return [f"caution: {names}: {what}; --keep-weights keeps final trials' ({total / 1e9:.2g} GB)"]
    told = [f"weights of final trials are kept: {names}: {total / 1e9:.2g} GB"]
    free = _free(output)
    if share.local and free is not None and free < total:
        told.append(f"caution: --keep-weights: {total / 1e9:.2g} GB, and {output} has {free / 1e9:.2g} GB free")
    return told


def _free(output: Path) -> int | None:
    """Free bytes where the output directory is or will be; None where that is not known."""
    there = next((path for path in (output.absolute(), *output.absolute().parents) if path.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None
