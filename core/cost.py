"""How long a trial takes, from shapes, rows and a machine's speed, told without torch.

Operations are counted of what is computed: 2 a parameter and token forward, as much again for the backward pass through a frozen
layer and twice as much through one that is trained; the head only where a token is scored; attention by lengths. Padding is
included. A machine's speed (`Speed`) is assumed until core/probe.py has measured it with the model in question.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import adapters, along, memory, optimizer_costs, remembered, scorer, tasks
from core import base as bases
from core.architecture import EMBEDDING
from core.hardware import Device
from core.memory import Shape
from core.settings import Model, Trial
from core.states import Phase
from core.tasks import costs
from core.tasks.costs import Cost, Counts

if TYPE_CHECKING:
    from core.preflight import Inputs

# Assumed: a core of a 2025 server CPU, as measured at widths of 128 and 576 (AMD EPYC, float32: 30e9 and 60e9); a GPU of
# 400 TFLOP/s in bfloat16 of which training uses 30 %.
CPU_OPERATIONS, GPU_OPERATIONS = 84e9, 120e12  # a second, a thread or a GPU
CPU_HALF_WIDTH = 230  # of a model whose matrices are so small that a core does half of that
WRITING_SLOWER = 3  # a pass that writes one token for each row has small matrices whatever the width
CPU_BYTES, GPU_BYTES = 16e9, 1.5e12  # a second: weights are read for every token that is written
LOAD_BYTES = 5e8  # a second, of a base's files
STEP_SECONDS, LAYER_STEP_SECONDS = 6e-3, 1.5e-3  # of an optimizer step, whatever its size; a layer
PASS_SECONDS, LAYER_PASS_SECONDS = 1e-3, 4e-4  # of a forward pass
ALONG, SCORING, SCALED = "along training", "scoring rows", "at scales"  # names of what is measured there, before it, after it
PREFERENCES = "preferences"  # the name of a second stage
TRIAL_SECONDS = 0.5  # rows are selected, an adapter is made and saved


@dataclass(frozen=True)
class Speed:
    """Of one trial among those that run beside it: operations a second in training, in scoring and in writing, and seconds of
    a pass that writes one token for each row of a batch, whatever the batch."""

    training: float
    scoring: float
    writing: float
    pass_seconds: float
    measured: bool = False
    device: str = "cpu"  # its kind


@dataclass(frozen=True)
class Sizes:
    """What of a base decides how long it computes: layers, width, parameters beside embeddings and head, and the head's."""

    shape: Shape
    body: float
    head: float
    weight_bytes: float

    def read(self, tokens: float, scored: float, length: float) -> float:
        """Operations of a forward pass."""
        attention = 4 * self.shape.layers * self.shape.hidden * length
        return tokens * (2 * self.body + attention) + scored * 2 * self.head


def sizes(model: Model, device: str) -> Sizes:
    """Of a base as far as its files tell; the weights as they are held on a device of this kind."""
    base = bases.read(model)
    shape = Shape.of(base.config)
    embedded = sum(math.prod(one) for name, one in base.shapes.items() if EMBEDDING.search(name))
    head = base.vocabulary * base.width
    body = base.n_parameters - embedded - (0 if base.tied else head)
    return Sizes(shape, body, head, memory.weights_bytes(model, base, device))


def assumed(one: Sizes, device: Device) -> Speed:
    """The speed of a machine that nobody has measured."""
    on_gpu = device.kind == "cuda"
    width = one.shape.hidden
    share = device.memory_fraction or 1.0
    operations = GPU_OPERATIONS * share if on_gpu else CPU_OPERATIONS * device.threads * width / (width + CPU_HALF_WIDTH)
    read = one.weight_bytes / (GPU_BYTES * share if on_gpu else CPU_BYTES)
    return Speed(
        operations,
        operations,
        operations / WRITING_SLOWER,
        PASS_SECONDS + LAYER_PASS_SECONDS * one.shape.layers + read,
        device=device.kind,
    )


# What a probe has measured, by what it depends on


def _key(trial: Trial, device: Device, slots: int, machine: str) -> list[object]:
    base, model = bases.read(trial.model), trial.model
    where = [device.kind, device.threads, slots, machine, trial.adapter.method]
    return [
        "speed",
        base.hash,
        model.quantization,
        model.double_quantization,
        model.dtype,
        *where,
        remembered.code_hash(("cost.py", "probe.py", "train.py")),
    ]


def keep(trial: Trial, device: Device, slots: int, machine: str, speed: Speed) -> None:
    """Keeps what was measured with a model and method on this machine, with so many trials at a time."""
    remembered.keep(_key(trial, device, slots, machine), dataclasses.asdict(speed))


def speed(trial: Trial, device: Device, slots: int, machine: str) -> Speed:
    """The measured speed of this machine with the trial's base and method, else an assumed one."""
    known = remembered.recall(_key(trial, device, slots, machine))
    try:
        return Speed(**(known or {}))
    except TypeError:  # nothing, or of another version
        return assumed(sizes(trial.model, device.kind), device)


# A trial's parts


@dataclass(frozen=True)
class Parts:
    """About, in seconds: what every trial takes (loading without the base, training, each evaluation by its name), and what a
    worker does once for all trials that share a base and a split."""

    loading: float
    training: float
    evaluations: dict[str, float]
    once: float

    @property
    def seconds(self) -> float:
        return self.loading + self.training + sum(self.evaluations.values())

    def named(self) -> dict[str, float]:
        return {"loading": self.loading, "training": self.training, **self.evaluations}


def parts(trial: Trial, inputs: Inputs, how: Speed, way: memory.Fit, phase: Phase) -> Parts:
    """A trial's time, run with micro-batches of `way`."""
    one, evaluation = sizes(trial.model, how.device), trial.evaluation
    taken = {name: seconds(cost, one, how, evaluation.batch_size) for name, cost in of_measures(trial, inputs, phase).items()}
    once = each = sum(taken.values())
    measured = len(along.stops(evaluation.every, inputs.steps)) * each
    if measured and phase is Phase.FINAL:
        once += each  # the base on the validation split too
    once += seconds(costs.drift_sampling(trial, inputs), one, how, evaluation.batch_size) + one.weight_bytes / LOAD_BYTES
    if phase is Phase.FINAL:
        taken["generations"] = shown = seconds(costs.generations(trial, inputs), one, how, evaluation.batch_size)
        once += shown
        taken[SCALED] = len(evaluation.shares) * each
    scoring = seconds(scorer.cost(trial, inputs), sizes(scorer.model_of(trial), how.device), how, evaluation.batch_size)
    taken |= {ALONG: measured, SCORING: scoring if scorer.scores_each_seed(trial.data) else 0.0}
    once += scoring - taken[SCORING]
    changed = adapters.METHODS[trial.adapter.method].changes_base
    loading = TRIAL_SECONDS + (one.weight_bytes / LOAD_BYTES if changed else 0)
    taken |= {PREFERENCES: preferring(trial, inputs, one, how, way)}
    return Parts(loading, training(trial, inputs, one, how, way), {name: n for name, n in taken.items() if n}, once)


def of_measures(trial: Trial, inputs: Counts, phase: Phase) -> dict[str, Cost]:
    """What each of a trial's measures reads and writes, by its name."""
    asked = [name for name in tasks.chosen(trial) if phase is Phase.FINAL or not tasks.TASKS[name].final_only]
    of_tasks: dict[str, Cost] = {name: tasks.TASKS[name].cost(trial, inputs) for name in asked}
    return of_tasks | {"base text": costs.base_text(trial, inputs), "drift": costs.drift(trial, inputs)}


def training(trial: Trial, inputs: Inputs, one: Sizes, how: Speed, way: memory.Fit) -> float:
    """Seconds of the optimizer steps, padding included where rows go through with it."""
    changed = adapters.METHODS[trial.adapter.method].changes_base
    beside = trial.train.kl_to_base > 0  # the base reads it all too
    passes = (3 if changed else 2) + way.checkpointing + beside  # in forward passes
    share = inputs.tokens / max(1.0, inputs.mean_tokens)  # rows that are seen, all epochs together
    packed = how.device == "cpu" and not way.checkpointing  # core/packing.py; not under methods with tokens of their own
    size = inputs.mean_tokens if packed else padded(inputs.lengths, trial.train.batch_size, way.micro_batch_size)
    read = share * size
    operations = passes * one.read(read, share * inputs.mean_taught, inputs.mean_tokens)
    return inputs.steps * _step(trial, inputs, one, how, way) + operations / how.training


def _step(trial: Trial, inputs: Inputs, one: Sizes, how: Speed, way: memory.Fit) -> float:
    """Seconds of an optimizer step, whatever its rows."""
    pieces = math.ceil(trial.train.batch_size / way.micro_batch_size)
    each = STEP_SECONDS + LAYER_STEP_SECONDS * one.shape.layers * pieces
    return each + optimizer_costs.step_seconds(
        trial, bases.read(trial.model), inputs.trainable_parameters, how.training, how.device
    )


def preferring(trial: Trial, inputs: Inputs, one: Sizes, how: Speed, way: memory.Fit) -> float:
    """Seconds of a second stage: its optimizer steps, and once the reference."""
    if (pairs := inputs.pairs) is None:
        return 0.0
    train, changed = trial.second_stage(pairs.n_used), adapters.METHODS[trial.adapter.method].changes_base
    passes = (3 if changed else 2) + way.checkpointing
    seen = passes * train.n_epochs(pairs.n_used) * pairs.n_used * trial.prefer.sequences / 2  # pairs, in forward passes
    seen += pairs.n_used if trial.prefer.sequences == 2 else 0
    read = seen * one.read(pairs.mean_tokens, pairs.mean_taught, pairs.mean_tokens / 2)
    return train.n_steps(pairs.n_used) * _step(trial, inputs, one, how, way) + read / how.training


def padded(lengths: Sequence[int], batch_size: int, micro: int) -> float:
    """Tokens a row, padding included: an optimizer step's rows go through the model longest first, `micro` at a time."""
    total = 0
    for start in range(0, len(lengths), batch_size):
        batch = sorted(lengths[start : start + batch_size], reverse=True)
        total += sum(batch[at] * len(batch[at : at + micro]) for at in range(0, len(batch), micro))
    return total / max(1, len(lengths))


def seconds(cost: Cost, one: Sizes, how: Speed, batch_size: int) -> float:
    """Of answering a task once."""
    read = one.read(cost.read, cost.scored, cost.length) * (2 if cost.both else 1)
    batches = math.ceil(cost.read / max(1.0, cost.length) / batch_size)
    passing = batches * (PASS_SECONDS + LAYER_PASS_SECONDS * one.shape.layers)
    written = one.read(cost.written, cost.written, cost.length) / how.writing
    return read / how.scoring + passing + written + cost.passes * how.pass_seconds
