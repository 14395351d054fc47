"""One trial, from top to bottom: load → adapt → measure → train → measure → save → one result.

`run` is the trial boundary: what goes wrong inside becomes a recorded row (diverged, oom, crashed), except what the user
must mend (BadInput) and Ctrl-C. result.json is written last and whole: where it exists, the trial is finished.
"""

from __future__ import annotations

import gc
import math
import random
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from core import adapters, hardware, memory, model, saved, signs, summary, tasks, train, unchanged, warm
from core import base as bases
from core.data import encode, kinds, selection
from core.data.rows import Row, rows_hash
from core.errors import BadInput, one_line
from core.fields import content_hash, flatten
from core.hardware import Device
from core.lab import corpus
from core.provenance import facts as resolved
from core.result import Result
from core.settings import Trial
from core.signs import Sign
from core.states import State
from core.tasks import drift, samples
from core.tasks.measurement import Measurement, Subject

__all__ = ["Device", "run"]

REPLAY_STREAM = 1_000_000  # replayed documents are drawn like those of pretraining, from seeds that no pretraining used


def run(trial: Trial, provenance: Mapping[str, str], output: Path, device: Device) -> Result:
    """Runs one trial and writes `output`/result.json, items.csv.gz and adapter/; returns what stands in result.json.

    Raises:
        BadInput: the trial cannot be run as asked; nothing is written.
    """
    began = time.perf_counter()
    result = Result.begun(trial, provenance)
    output.mkdir(parents=True, exist_ok=True)
    (output / "traceback.txt").unlink(missing_ok=True)  # of an earlier attempt
    gc.collect()  # what the trial before left in reference cycles goes first
    signs.show(output, Sign("loading"))
    try:
        try:
            _run_within(trial, provenance, output, device, result)
        finally:
            signs.clear(output)
    except (BadInput, KeyboardInterrupt):
        if not any(output.iterdir()):
            output.rmdir()
        raise
    except Exception as error:
        result.state = State.OOM if hardware.is_out_of_memory(error) else State.CRASHED
        result.reason = one_line(error)
        if hardware.is_lost(error):
            result.facts[hardware.FACT] = hardware.LOST
        (output / "traceback.txt").write_text(traceback.format_exc())
    failed = result.state in (State.OOM, State.CRASHED)
    if failed and hardware.FACT not in result.facts:  # a lost device can't be emptied
        warm.clear()  # here, as the error's frames held the base until now
    result.seconds = result.metrics["seconds"] = time.perf_counter() - began
    return result.write(output)


def _run_within(trial: Trial, hashes: Mapping[str, str], output: Path, device: Device, result: Result) -> None:
    """Runs the trial; where the memory does not do, which an estimate cannot rule out, again with smaller micro-batches or
    checkpointing, twice at most. The optimizer steps stay the same."""
    asked = _Asked(trial, hashes, output, device, hardware.available_gib(device))
    for left in (2, 1, 0):
        try:
            return _run(asked, result)
        except Exception as error:
            estimate = result.metrics.get("memory_estimate_gib")
            if not left or estimate is None or not hardware.is_out_of_memory(error):
                raise
            asked = replace(asked, available_gib=min(asked.available_gib, estimate / memory.HEADROOM) / 2)
        gc.collect()  # what the error's frames held
        told = f"micro-batches of {result.facts['micro_batch_size']}, checkpointing {result.facts['checkpointing']}"
        result.facts["ran_out_of_memory"] = told


@dataclass(frozen=True)
class _Asked:
    """What `run` is asked for, and the memory that may be filled."""

    trial: Trial
    hashes: Mapping[str, str]
    output: Path
    device: Device
    available_gib: float


def _run(asked: _Asked, result: Result) -> None:
    trial, hashes, output, device = asked.trial, asked.hashes, asked.output, asked.device
    metrics, facts = result.metrics, result.facts
    method = adapters.method_of(trial)
    place = hardware.prepare(device)
    base = model.load(trial.model, device, hashes.get("model", ""))
    seq_len = model.seq_len_tokens(base, trial.data.seq_len_tokens)
    chosen = selection.select(trial.data, trial.evaluation, trial.seed)
    _check_unchanged(trial, base, chosen, hashes)
    data = _encode(trial, base, seq_len, result, chosen)

    text = hashes.get("base_text", "")
    untouched = Subject(base.model, base.tokenizer, trial, data.held_out, base.model, seq_len, text, chosen.evaluation)
    before = _before(asked, base, untouched)  # before there is a second copy of the weights
    _seed_generators(trial.seed)  # before the adapter is created: its initial weights are random
    adapted = adapters.build(model.trial_copy(base, method.changes_base), trial.adapter, base.new_tokens)
    hardware.reset_peak_memory(device)  # the base is loaded and measured by a worker's first trial alone
    facts |= resolved(trial, base, adapted, device, seq_len) | {"tasks": ", ".join(tasks.chosen(trial))}
    if any(one.name == drift.DRIFT for one in before):
        facts["drift_texts"] = content_hash(drift.texts(untouched))
    metrics["trainable_parameters"] = adapters.trainable_parameters(adapted.model)
    metrics["total_parameters"] = base.model.num_parameters()

    mixed = model.resolved_dtype(trial.model, device) == torch.bfloat16
    way = _way(asked, data, metrics)
    facts |= {"micro_batch_size": str(way.micro_batch_size), "checkpointing": "on" if way.checkpointing else "off"}
    how = train.Run(trial.train, trial.seed, device, mixed, str(output), way.micro_batch_size, way.checkpointing)
    trained = train.fit(adapted.model, base.tokenizer, data.train, how)
    summary.add_training(result, trained)
    metrics["peak_memory_gib"] = hardware.peak_memory_gib(device)
    if trained.diverged_at is not None:
        return
    adapted.model.to(place).eval()
    if mixed and method.changes_base:
        model.round_parameters(adapted.model, torch.bfloat16)  # measured as it would be shipped, like the base

    scored = _score(replace(untouched, model=adapted.model), before, output, result)
    metrics["peak_memory_gib"] = hardware.peak_memory_gib(device)
    if scored:
        facts["adapter"] = saved.save(adapted.model, base.tokenizer, str(output / "adapter"), _most_bytes(trial, device))


def _most_bytes(trial: Trial, device: Device) -> int:
    """Of fully tuned weights that are kept: any number of a final trial where that was asked for."""
    return sys.maxsize if device.keep_weights and trial.evaluation.split == "test" else saved.FULL_WEIGHTS_BYTES


def _score(tuned: Subject, before: list[Measurement], output: Path, result: Result) -> bool:
    """The trained model's scores, in the result and in items.csv.gz; whether all of them are finite, else it has diverged."""
    signs.show(output, Sign("measuring"))
    started = time.perf_counter()
    after = tasks.measure(tuned)
    result.metrics["eval/seconds"] = time.perf_counter() - started
    if not all(math.isfinite(one.mean) for one in after):
        result.state, result.reason = State.DIVERGED, "a measurement after training is not finite"
        return False
    summary.add_measurements(result, before, after)
    summary.write_items(output, before, after)
    samples.write(output, tuned)
    return True


def _way(asked: _Asked, data: _Encoded, metrics: dict[str, float]) -> memory.Fit:
    """How the optimizer steps are made to fit into the trial's share of the memory."""
    longest = max(len(row.ids) for row in data.train)
    files, trainable = bases.read(asked.trial.model), int(metrics["trainable_parameters"])
    load = memory.load(asked.trial, files, trainable, longest, asked.device.kind)
    way = memory.fit(load, asked.trial.train, asked.available_gib)
    metrics["memory_estimate_gib"] = way.peak_gib
    return way


def _seed_generators(seed: int) -> None:
    """All generators of this process. TRL and PEFT seed too late or not at all."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the libraries underneath draw from the global generator
    torch.manual_seed(seed)


@dataclass(frozen=True)
class _Encoded:
    """The trial's rows as tokens."""

    train: tuple[encode.Encoded, ...]
    held_out: tuple[encode.Encoded, ...]


def _check_unchanged(trial: Trial, base: model.Base, chosen: selection.Selection, hashes: Mapping[str, str]) -> None:
    """The rows come from the bytes that the plan has hashed, and the chat template is the one that it has."""
    template = content_hash(base.tokenizer.chat_template)
    unchanged.check("model.chat_template", trial.model.chat_template, hashes.get("chat_template"), template)
    for name, loaded in {"data": chosen.source, "eval_data": chosen.eval_source}.items():
        field = {"data": "data.source", "eval_data": "data.eval_source"}[name]
        source = str(flatten(trial)[field])
        if loaded is not None and hashes.get(name):
            read = loaded.content or kinds.kind_of(source).content_hash(field, source)
            unchanged.check(field, source, hashes[name], read)


def _encode(trial: Trial, base: model.Base, seq_len: int, result: Result, chosen: selection.Selection) -> _Encoded:
    metrics, facts = result.metrics, result.facts
    asked = "data.eval_source" if trial.data.eval_source else "data.source"
    training = _tokenized(trial, base, chosen.train, seq_len, "data.source")
    held_out = _tokenized(trial, base, chosen.evaluation, seq_len, asked)
    if not training.rows:
        raise BadInput(
            f"data.source={trial.data.source}: all {len(chosen.train)} rows are too long: prompts alone fill {seq_len} tokens",
            field="data.source",
        )
    if chosen.evaluation and not held_out.rows:
        raise BadInput(
            f"data.eval_source: all {len(chosen.evaluation)} evaluation rows are too long for {seq_len} tokens",
            field="data.eval_source",
        )
    metrics |= {
        "rows/available": chosen.n_available,
        "rows/used": len(training.rows),
        "rows/response_tokens": sum(sum(row.mask) for row in training.rows) / len(training.rows),  # a row
        "rows/truncated": training.n_truncated,
        "rows/skipped_too_long": training.n_too_long,
        "rows/skipped_empty": chosen.source.n_empty,
        "rows/skipped_bad": chosen.n_bad,
        "rows/skipped_in_evaluation": chosen.n_in_evaluation,
        "rows/template_dropped_text": training.n_dropped,
        "rows/evaluated_template_dropped_text": held_out.n_dropped,
        "rows/evaluated": len(held_out.rows),
        "rows/evaluated_truncated": held_out.n_truncated,
        "rows/evaluated_skipped_too_long": held_out.n_too_long,
    }
    if chosen.n_of_trained_tasks is not None:
        metrics["rows/evaluated_of_trained_tasks"] = chosen.n_of_trained_tasks
    facts |= {
        "train_rows_hash": rows_hash(chosen.train),
        "evaluation_rows_hash": rows_hash(chosen.evaluation),
        "data_shapes": ", ".join(chosen.source.shapes),
        "template_leaves_out": ", ".join(f"{kind} ({n} rows)" for kind, n in sorted(training.dropped.items())) or "nothing",
    }
    return _Encoded(_taught(trial, base, training.rows, metrics), held_out.rows)


def _taught(
    trial: Trial, base: model.Base, encoded: tuple[encode.Encoded, ...], metrics: dict[str, float]
) -> tuple[encode.Encoded, ...]:
    """The training sequences: the rows, prompts in the loss too if asked, and pretraining documents that are replayed."""
    if trial.train.loss_on == "all":
        encoded = tuple(replace(row, mask=[1] * len(row.ids)) for row in encoded)
    n_replayed = selection.n_replayed(trial.data, len(encoded))
    metrics["rows/replayed"] = n_replayed
    if not n_replayed:
        return encoded
    stream = corpus.stream(REPLAY_STREAM + trial.seed, trial.data.replay_domain)  # preflight: the base was pretrained on it
    return encoded + encode.documents(base.tokenizer, list(islice(stream, n_replayed)))


def _tokenized(trial: Trial, base: model.Base, chosen: tuple[Row, ...], seq_len: int, field: str) -> encode.Batch:
    """The rows' tokens; arms of a sweep that share base, rows and length share them."""
    try:
        last_only = trial.train.loss_on == "last"
        key = (base.key, rows_hash(chosen), seq_len, last_only)
        batch: encode.Batch = warm.TOKENS.get(key, lambda: encode.encode_all(base.tokenizer, chosen, seq_len, last_only))
    except BadInput as error:
        raise BadInput(
            f"{flatten(trial)[field]}: {error}", field=field if error.field == "data.source" else error.field
        ) from None
    return batch


def _before(asked: _Asked, base: model.Base, subject: Subject) -> list[Measurement]:
    """The untouched base's scores; the same for every trial of a base and an evaluation, so measured once."""
    trial, hashes = asked.trial, asked.hashes
    signs.show(asked.output, Sign("measuring the base"))
    rows_key = tuple(row.id for row in subject.rows)
    data_key = (trial.data.source, trial.data.held_out_fold, tuple(sorted(hashes.items())), rows_key)
    key = (base.key, trial.evaluation, data_key, subject.seq_len, trial.train.loss_on == "last")
    found: list[Measurement] = warm.BEFORE.get(key, lambda: tasks.measure(subject))
    if damaged := [one.name for one in found if not math.isfinite(one.mean)]:
        text = f"{damaged[0]} of the untouched base is not finite; its weights or config.json are damaged: fetch the model again"
        raise BadInput(f"model.name={trial.model.name}: {text}", field="model.name")
    return found
