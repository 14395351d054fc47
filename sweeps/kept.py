"""Which weights a sweep keeps, and how much of the disk they take, told before it starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from core import base as bases
from core import memory, saved
from core.adapters import METHODS
from core.errors import BadInput
from core.preflight import Inputs
from core.result import write_whole
from core.settings import Trial
from sweeps import disk
from sweeps.disk import in_words
from sweeps.plan import Plan
from sweeps.resources import Resources

TOKENIZER = ("tokenizer*", "vocab*", "merges*", "spiece*", "*.jinja")  # files that are saved beside weights
SMALL_BYTES = 16_000  # of the other files beside them
LARGE_BYTES = 10**9  # of a sweep, to be told unasked
LEAST_FREE_BYTES = 1 << 20  # in the output directory, for a sweep to start: tables and results, without models
ADAPTER_BYTES = 4  # adapters are saved in float32


def sizes(plan: Plan, known: Mapping[Trial, Inputs], share: Resources) -> dict[str, int]:
    """Bytes that a final trial of each arm keeps, estimated; 0 where its weights are too large to be kept unasked."""
    found: dict[str, int] = {}
    for trial, label in plan.probes.items():
        n_bytes = _adapter_bytes(trial, known[trial])
        if METHODS[trial.adapter.method].changes_base:
            n_bytes = _full_bytes(trial, known[trial], share)
            n_bytes = 0 if n_bytes > saved.FULL_WEIGHTS_BYTES and not share.keep_weights else n_bytes
        beside = n_bytes and _beside_bytes(trial)
        found[label] = max(found.get(label, 0), n_bytes + beside)
    if plan.experiment.search:  # what its arms will be is not known yet
        return {arm.label: max(found.values()) for arm in plan.arms}
    return found


def _adapter_bytes(trial: Trial, inputs: Inputs) -> int:
    n = inputs.trainable_parameters
    if trial.adapter.method == "pissa":  # as LoRA of twice the rank
        n *= 2
    if trial.adapter.method == "vera":  # with the matrices that its layers share
        shapes = [shape for shape in bases.read(trial.model).shapes.values() if len(shape) == 2]
        n += int(getattr(trial.adapter, "rank", 0)) * 2 * max(max(shape) for shape in shapes)
    return n * ADAPTER_BYTES


def _full_bytes(trial: Trial, inputs: Inputs, share: Resources) -> int:
    return inputs.n_parameters * memory.WEIGHT_BYTES[memory.dtype(trial.model, share.device.kind)]


def _beside_bytes(trial: Trial) -> int:
    directory = bases.read(trial.model).directory
    files = {path for pattern in TOKENIZER for path in directory.glob(pattern) if path.is_file()}
    return SMALL_BYTES + sum(path.stat().st_size for path in files)


def notes(plan: Plan, known: Mapping[Trial, Inputs], share: Resources, output: Path) -> list[str]:
    """Which arms cannot be exported, as their weights are too large to be kept unasked; what all kept weights come to, and
    whether the budget and the disk hold it.

    Raises:
        BadInput: the budget does not hold what trials keep while they run.
    """
    large = {
        label: size
        for trial, label in plan.probes.items()
        if METHODS[trial.adapter.method].changes_base
        and (size := _full_bytes(trial, known[trial], share)) > saved.FULL_WEIGHTS_BYTES
    }
    told, n_seeds = [], plan.most_seeds or len(plan.experiment.seeds)
    if large and not share.keep_weights:
        what = f"{max(large.values()) / 1e9:.2g} GB a trial, which is measured and not kept, so that it cannot be exported"
        all_of = f"{n_seeds * sum(large.values()) / 1e9:.2g} GB"
        told.append(f"caution: {', '.join(large)}: {what}; --keep-weights keeps final trials' ({all_of})")
    each = sizes(plan, known, share)
    total = n_seeds * sum(each.values())
    if share.disk_bytes is not None:
        _check_budget(each, n_seeds, share)
        told.append(_held(each, n_seeds, share.slots, share.disk_bytes))
    elif (large and share.keep_weights) or total >= LARGE_BYTES:
        told.append(f"weights of final trials are kept: {in_words(total)}; {disk.OPTION} SIZE keeps those that can win")
    if share.disk_bytes is not None and not share.local:
        told.append(f"caution: {disk.OPTION}: counts what lies in {output}, not what nodes keep that don't see it")
    takes, free = min(total, share.disk_bytes or total), _free(output)
    if share.local and free is not None and free < takes:
        told.append(f"caution: kept weights come to {in_words(takes)}, and {output} has {in_words(free)} free")
    return told


def _held(each: Mapping[str, int], n_seeds: int, at_once: int, limit: int) -> str:
    """Whether the budget holds what is kept, and if not, one seed of each arm beside trials that run, so that each arm can be
    exported."""
    total, one_each = n_seeds * sum(each.values()), sum(each.values()) + at_once * max(each.values())
    come = f"weights of final trials come to {in_words(total)}, and {disk.OPTION} {in_words(limit, 6)}"
    if total <= limit:
        return f"{come} holds them"
    if one_each <= limit:
        return f"{come} holds part of them, at least one seed of each arm"
    return f"caution: {come} may not hold one seed of each arm, which takes {disk.at_least(one_each)}"


def _check_budget(each: Mapping[str, int], n_seeds: int, share: Resources) -> None:
    """There is room for the trials that run at a time beside one that was the best so far."""
    assert share.disk_bytes is not None
    label, size = max(each.items(), key=lambda item: item[1])
    most = sum(sorted([*each.values()] * n_seeds, reverse=True)[: share.slots + 1])
    if share.disk_bytes < most:
        lower = ", or lower --concurrency" if share.slots > 1 else ""
        without = ", or leave out --keep-weights" if share.keep_weights and size > saved.FULL_WEIGHTS_BYTES else ""
        needs = f"{label} keeps {in_words(size)} a trial, and as many as run at a time must fit beside the best so far"
        given = f"give at least {disk.at_least(most)}{lower}{without}"
        text = f"{disk.OPTION} {in_words(share.disk_bytes, 6)}: {needs}: {given}"
        raise BadInput(text, field=disk.OPTION)


def nearest_there(output: Path) -> Path:
    """The output directory, or the nearest one above it that is there."""
    return next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())


def _free(output: Path) -> int | None:
    """Free bytes where the output directory is or will be; None where that is not known."""
    there = nearest_there(output)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def prepare_output(output: Path) -> Path:
    """The output directory, made and tried.

    Raises:
        BadInput: it can't be written to.
    """
    probe = output / f".probe.{os.getpid()}"
    try:
        str(output).encode()  # the store's URI can't hold other names
        output.mkdir(parents=True, exist_ok=True)
        write_whole(probe, bytes(LEAST_FREE_BYTES))
        probe.unlink()
    except UnicodeEncodeError:
        raise BadInput(f"--output {str(output)!a}: not a name in UTF-8; give another one", field="--output") from None
    except OSError as error:
        raise BadInput(f"--output {output}: cannot be written to ({error.strerror})", field="--output") from None
    return output.resolve()
