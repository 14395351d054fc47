"""One trial, from top to bottom: load → adapt → measure → train → measure → save → one result.

`run` is the trial boundary: what goes wrong inside becomes a recorded row (diverged, oom, crashed), except what the user
must mend (BadInput) and Ctrl-C. result.json is written last and whole: where it exists, the trial is finished.
"""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core import (
    adapters,
    hardware,
    memory,
    memory_of_measures,
    model,
    preference,
    resume,
    saved,
    scaled,
    signs,
    summary,
    tasks,
    train,
    training_state,
    trial_pairs,
    trial_rows,
    warm,
)
from core import base as bases
from core.along import on_validation
from core.batches import Curriculum
from core.data.choices import ORDERS, reads_scorer
from core.data.encode import EncodedPair
from core.errors import BadInput, one_line
from core.fields import content_hash
from core.hardware import Device
from core.provenance import facts as resolved
from core.provenance import versions
from core.result import Result
from core.row_scores import Scoring
from core.settings import Train, Trial
from core.signs import Sign
from core.states import Phase, State
from core.tasks import drift, own_texts, samples
from core.tasks.along import Along
from core.tasks.measurement import Measurement, Subject, shared
from core.training import Trained
from core.trial_rows import Tokens

__all__ = ["Device", "run"]


def run(trial: Trial, provenance: Mapping[str, str], output: Path, device: Device) -> Result:
    """Runs one trial and writes `output`/result.json, items.csv.gz, if it is final adapter/; returns what the first holds.

    Raises:
        BadInput: the trial cannot be run as asked; nothing is written.
    """
    began = time.perf_counter()
    result = Result.begun(trial, provenance)
    output.mkdir(parents=True, exist_ok=True)
    for name in ("traceback.txt", saved.REMOVED):  # of an earlier attempt
        (output / name).unlink(missing_ok=True)
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
    result.seconds += time.perf_counter() - began
    result.metrics["seconds"] = result.seconds
    written = result.write(output)
    if not failed:  # one that failed may be run again, and goes on
        resume.clear(output)
    return written


def _run_within(trial: Trial, hashes: Mapping[str, str], output: Path, device: Device, result: Result) -> None:
    """Runs the trial; where the memory does not do, which an estimate cannot rule out, again with smaller micro-batches or
    checkpointing, twice at most. The optimizer steps stay the same."""
    mark = {"fingerprint": result.fingerprint, **versions(), "device": hardware.exact_name(device)}
    keeper = resume.Keeper(output, mark, device.checkpoint_seconds)
    asked = _Asked(trial, hashes, output, device, hardware.available_gib(device), keeper)
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
    keeper: resume.Keeper

    @property
    def mixed(self) -> bool:
        """Whether it computes in bfloat16."""
        return memory.dtype(self.trial.model, self.device.kind) == "bfloat16"

    def scoring(self, base: model.Base, seq_len: int) -> Scoring:
        """What scores the trial's rows. From here on what the base tells is shared with the sweep's other trials."""
        trial = self.trial
        if content := self.hashes.get("model"):
            own_texts.share(base.model, self.output, [asdict(trial.model), content])
        if reads_scorer(trial.data.select, trial.data.order):
            signs.show(self.output, Sign("scoring rows"))
        told = self.hashes.get("model" if trial.data.scorer is None else "scorer", "")
        return Scoring(trial, base, self.device, seq_len, told)


def _run(asked: _Asked, result: Result) -> None:
    trial, hashes, output, device = asked.trial, asked.hashes, asked.output, asked.device
    metrics, facts = result.metrics, result.facts
    method = adapters.method_of(trial)
    place = hardware.prepare(device)
    base = model.load(trial.model, device, hashes.get("model", ""))
    seq_len = model.seq_len_tokens(base, trial.data.seq_len_tokens, method.virtual_tokens(trial.adapter))
    scoring = asked.scoring(base, seq_len)
    chosen = trial_rows.chosen_for(trial, base, scoring.means())
    trial_rows.check_unchanged(trial, base, chosen, hashes)
    data = trial_rows.encoded(scoring, result, chosen)
    both = trial_pairs.encoded(trial, base, seq_len, hashes, result) if trial.prefer.on else []

    text = hashes.get("base_text", "")
    untouched = Subject(base.model, base.tokenizer, trial, data.held_out, base.model, seq_len, text, chosen.evaluation)
    before = _before(asked, base, untouched)  # before there is a second copy of the weights
    training_state.seed(trial.seed)  # before the adapter is created: its initial weights are random
    adapted = adapters.build(model.trial_copy(base, method.changes_base), trial.adapter, base.new_tokens)
    hardware.reset_peak_memory(device)  # the base is loaded and measured by a worker's first trial alone
    facts |= resolved(trial, base, adapted, device, seq_len) | {"tasks": ", ".join(tasks.chosen(trial))}
    if any(one.name == drift.DRIFT for one in before):
        facts["drift_texts"] = content_hash(drift.texts(untouched))
    metrics["trainable_parameters"] = adapters.trainable_parameters(adapted.model)
    metrics["total_parameters"] = base.model.num_parameters()
    route = scaled.Route.of(adapted.model, base.model) if trial.evaluation.shares and trial.evaluation.split == "test" else None

    tuned = replace(untouched, model=adapted.model)
    first = _train(asked, base, tuned, data, result)
    if both and result.state is State.FINISHED:
        _prefer(asked, tuned, first, both, result)
    metrics["peak_memory_gib"] = hardware.peak_memory_gib(device)
    if result.state is not State.FINISHED:
        return
    adapted.model.to(place).eval()
    _ended(asked, adapted.model, route)

    scored = _score(tuned, before, route, output, result)
    metrics["peak_memory_gib"] = hardware.peak_memory_gib(device)
    if scored:
        facts["adapter"] = saved.save_trial(adapted.model, base.tokenizer, output, trial, device)


def _ended(asked: _Asked, tuned: nn.Module, route: scaled.Route | None) -> None:
    """The model is trained, and measured as it would be shipped, like the base."""
    if route:
        route.ended()
    method = adapters.method_of(asked.trial)
    if asked.mixed and (method.changes_base or method.rounded):
        model.round_parameters(tuned, torch.bfloat16)


def _train(asked: _Asked, base: model.Base, tuned: Subject, data: Tokens, result: Result) -> Trained:
    """Trains the model in place, from where an earlier attempt got to; what came of it is in the result too."""
    trial, output, device, facts, keeper = asked.trial, asked.output, asked.device, result.facts, asked.keeper
    way, load = _way(asked, max(len(row.ids) for row in data.train), trial.train, result.metrics)
    keeper.made = {"micro_batch_size": str(way.micro_batch_size), "checkpointing": "on" if way.checkpointing else "off"}
    facts |= keeper.made
    trained = preference.begun(keeper) if trial.prefer.on else None
    if trained is None:
        along = _along(asked, base, tuned)
        memories = way.micro_batch_size, way.checkpointing
        curriculum = Curriculum(data.difficulties, ORDERS[trial.data.order]) if data.difficulties else None
        beside: dict[str, Any] = {"curriculum": curriculum, "reference": tuned.reference}
        how = train.Run(trial.train, trial.seed, device, asked.mixed, str(output), *memories, keeper, along, **beside)
        trained = train.fit(tuned.model, tuned.tokenizer, data.train, how)
    phase = Phase.FINAL if trial.evaluation.split == "test" else Phase.TUNE
    measured = memory_of_measures.peak_gib(load, trial, data.counted, phase)
    result.metrics["memory_estimate_gib"] = max(way.peak_gib, measured)
    summary.add_training(result, trained)
    result.seconds = keeper.earlier_seconds or 0.0  # `run` adds those of this process
    if keeper.trouble:
        facts["training_state"] = keeper.trouble
    return trained


def _prefer(asked: _Asked, tuned: Subject, first: Trained, pairs: Sequence[EncodedPair], result: Result) -> None:
    """The second stage, in place, from where an earlier attempt got to."""
    trial, keeper = asked.trial, asked.keeper
    own = trial.second_stage(len(pairs))
    longest = trial.prefer.sequences * max(len(one.ids) for pair in pairs for one in (pair.chosen, pair.rejected))
    first_gib = result.metrics["memory_estimate_gib"]
    way, _ = _way(asked, longest, own, result.metrics)  # until this stage has ended the estimate is of it alone
    keeper.made = {"prefer_micro_batch_size": str(way.micro_batch_size)}
    result.facts |= keeper.made
    memories = way.micro_batch_size, way.checkpointing
    of_stage: dict[str, Any] = {"prefer": trial.prefer, "after": first}
    how = train.Run(own, trial.seed, asked.device, asked.mixed, str(asked.output), *memories, keeper, **of_stage)
    trained = preference.fit(tuned.model, tuned.tokenizer, pairs, how)
    if keeper.trouble:
        result.facts["training_state"] = keeper.trouble
    result.metrics["memory_estimate_gib"] = max(way.peak_gib, first_gib)
    summary.add_preference(result, trained, first)


def _along(asked: _Asked, base: model.Base, tuned: Subject) -> Along | None:
    """What measures the model along its training on the validation split, if that is asked for."""
    if asked.trial.evaluation.every is None:
        return None
    if asked.trial.evaluation.split != "validation":
        trial = on_validation(asked.trial)
        chosen = trial_rows.chosen_for(trial, base, asked.scoring(base, tuned.seq_len).means())
        trial_rows.check_unchanged(trial, base, chosen, asked.hashes)
        rows = trial_rows.held_out(trial, base, chosen, tuned.seq_len).rows
        tuned = replace(tuned, trial=trial, rows=rows, asked=chosen.evaluation)
    return Along(tuned, _before(asked, base, replace(tuned, model=base.model)), asked.output)


def _score(tuned: Subject, before: list[Measurement], route: scaled.Route | None, output: Path, result: Result) -> bool:
    """The trained model's scores, in the result and in items.csv.gz, those at shares of its way too; whether all are finite,
    else it has diverged."""
    signs.show(output, Sign("measuring"))
    started = time.perf_counter()
    after = tasks.measure(tuned)
    result.metrics["eval/seconds"] = time.perf_counter() - started
    if not all(math.isfinite(one.mean) for one in after):
        result.state, result.reason = State.DIVERGED, "a measurement after training is not finite"
        return False
    before, after, apart = shared(before, after)
    if apart:
        result.facts["measures_left_out"] = f"{', '.join(apart)}: not between 0 and 1 both before and after training"
    if route:
        further = route.measured(tuned, before)
        result.metrics |= further.metrics
        before, after = [*before, *further.before], [*after, *further.after]
    summary.add_measurements(result, before, after)
    summary.write_items(output, before, after)
    samples.write(output, tuned)
    return True


def _way(asked: _Asked, longest: int, how: Train, metrics: dict[str, float]) -> tuple[memory.Fit, memory.Load]:
    """How optimizer steps over rows of at most so many tokens are made to fit into the trial's share of the memory."""
    trainable = int(metrics["trainable_parameters"])
    load = memory.load(asked.trial, bases.read(asked.trial.model), trainable, longest, asked.device.kind)
    way = memory.fit(load, how, asked.available_gib)
    metrics["memory_estimate_gib"], metrics["memory_base_gib"] = way.peak_gib, load.base_bytes / memory.GIB
    return way, load


def _before(asked: _Asked, base: model.Base, untouched: Subject) -> list[Measurement]:
    """The untouched base's scores; the same for every trial of a base and an evaluation, so measured once."""
    trial, hashes = untouched.trial, asked.hashes
    signs.show(asked.output, Sign("measuring the base"))
    rows_key = tuple(row.id for row in untouched.rows)
    fold = tasks.fold_of(trial.data)  # where the questions themselves are the same for all folds, so are the answers
    data_key = (trial.data.source, fold, tuple(sorted(hashes.items())), rows_key)
    key = (base.key, trial.evaluation, data_key, untouched.seq_len, trial.train.loss_on == "last")
    found: list[Measurement] = warm.BEFORE.get(key, lambda: tasks.measure(untouched))
    if damaged := [one.name for one in found if not math.isfinite(one.mean)]:
        text = f"{damaged[0]} of the untouched base is not finite; its weights or config.json are damaged: fetch the model again"
        raise BadInput(f"model.name={trial.model.name}: {text}", field="model.name")
    return tasks.in_fold(found, trial.data)
