"""What a trial's optimizer keeps and computes, by the files of its base. Without torch."""

from __future__ import annotations

import math

from core import adapters, targets, weights
from core.adapters import lora
from core.base import BaseFiles
from core.optimizers import OPTIMIZERS, Kind, Shape, bytes_of, operations_of
from core.settings import Lora, Trial

BF16_FASTER = {"cpu": 4.0, "cuda": 1.0}  # than training's operations (CPU: measured with AVX512-BF16, widths of 128 and 576)


def trained(trial: Trial, base: BaseFiles, n_trained: int) -> list[tuple[Kind, Shape]]:
    """What the trial trains: kinds and shapes, exact where the base's own weights are trained. What an adapter trains is taken
    for one matrix of a single row, beside one for LoRA of stacked experts: of it Adafactor keeps more than of the adapter's own
    matrices."""
    method = adapters.METHODS[trial.adapter.method]
    if not method.changes_base:
        n_stacked = lora.n_of_experts(trial.adapter, base) if isinstance(trial.adapter, Lora) else 0
        kind = Kind.MATRIX if method.trains_matrices else Kind.OTHER
        parts: list[tuple[Kind, Shape]] = [(kind, (1, n_trained - n_stacked)), (Kind.OTHER, (1, n_stacked))]
        return [part for part in parts if math.prod(part[1])]
    names = [name for name in method.resolved(trial.adapter, base) if name in base.shapes and not weights.BUFFER.search(name)]
    linear = set(targets.adaptable(base.linear, base.experts if base.has_experts else ()))
    plain = [name for name in names if not targets.is_of_an_expert(name)]
    found: list[tuple[Kind, Shape]] = [(_kind(name, linear), base.shapes[name]) for name in plain]
    found += [(Kind.OTHER, shape) for shape in _stacked(base, set(names) - set(plain))]
    return _with_new_tokens(found, n_trained - sum(math.prod(shape) for _, shape in found))


def _stacked(base: BaseFiles, names: set[str]) -> list[Shape]:
    """Experts, each a file's own matrices, as they are stacked when they are loaded."""
    blocks = {found["block"] for name in names if (found := targets.EXPERT.match(name))}
    return [shape for name, shape in base.experts.items() if name.rpartition(".")[0] in blocks] if blocks else []


def _with_new_tokens(found: list[tuple[Kind, Shape]], added: int) -> list[tuple[Kind, Shape]]:
    """Embeddings, and heads beside them, with so many numbers more in rows of new tokens."""
    most = max((shape[0] for kind, shape in found if kind is Kind.EMBEDDING), default=0)
    grown = [kind is Kind.EMBEDDING and shape[0] == most for kind, shape in found]
    each = sum(math.prod(shape[1:]) for (_, shape), grows in zip(found, grown, strict=True) if grows)
    rows = added // each if each else 0
    return [(kind, (shape[0] + rows, *shape[1:]) if grows else shape) for (kind, shape), grows in zip(found, grown, strict=True)]


def _kind(name: str, linear: set[str]) -> Kind:
    layer, _, leaf = name.rpartition(".")
    if targets.EXCLUDED.search(layer):
        return Kind.EMBEDDING
    return Kind.MATRIX if leaf == "weight" and layer in linear else Kind.OTHER


def state_bytes(trial: Trial, base: BaseFiles, n_trained: int) -> float:
    """What the optimizer keeps, beside weights and gradients."""
    return sum(bytes_of(trial.train.optimizer, kind, shape) for kind, shape in trained(trial, base, n_trained))


def step_seconds(trial: Trial, base: BaseFiles, n_trained: int, operations: float, device: str) -> float:
    """About, of an optimizer step beyond one of AdamW, at so many operations of training a second; on a GPU what is done for
    each number does not count."""
    name = trial.train.optimizer
    made = sum(operations_of(name, kind, shape) for kind, shape in trained(trial, base, n_trained))
    each = n_trained * OPTIMIZERS[name].cpu_seconds if device == "cpu" else 0.0
    return each + made / (operations * BF16_FASTER[device])
