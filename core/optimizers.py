"""Optimizers: one table from a name to what is known of it and what makes it. Imports in milliseconds; torch and the libraries
are imported where an optimizer is made (core/optimizing.py does that, and says which parameters an optimizer gets).

All implementations are the libraries' own. `train.learning_rate` is each optimizer's own rate: one of AdamW means nothing to Lion
or SGD. To add an optimizer: its entry in OPTIMIZERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

ADAMW = "adamw"
MOMENT_BYTES = 4  # a number in float32
LEAST_8_BIT, BLOCK = 4_096, 256  # bitsandbytes: smaller tensors keep 32 bits; so many numbers share a scale
NEWTON_SCHULZ_STEPS = 5  # of torch.optim.Muon

Shape = Sequence[int]
Groups = list[dict[str, Any]]  # "params", "lr", "weight_decay" of each


class Kind(StrEnum):
    """What a trained parameter is: the matrix of a linear layer (LoRA's A and B are such), embedding or output head, or any
    other: norms, biases, scales, virtual tokens, the stacked experts of a mixture and LoRA on them."""

    MATRIX = "matrix"
    EMBEDDING = "embedding"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What is known of an optimizer.

    `rate_times`: its usual best learning rate over AdamW's, by `rate_source`; ranges of rates are moved by it. It trains the
    parameters of `kinds`, and AdamW the others. `state_bytes` are of a trained tensor of this shape, beside weight and gradient.
    """

    label: str
    make: Callable[[Groups], TorchOptimizer] | None  # None: AdamW as the Trainer makes it
    state_bytes: Callable[[Shape], float]
    rate_times: float = 1.0
    rate_source: str
    kinds: tuple[Kind, ...] = tuple(Kind)
    least_numbers: int = 0  # a tensor with fewer is kept as AdamW keeps it
    # That a step takes beyond one of AdamW, a trained number: measured with one thread at widths of 128 and 576 (AMD EPYC, 2025).
    cpu_seconds: float = 0.0
    operations: Callable[[Shape], float] = lambda shape: 0.0  # of a step, on a tensor, in bfloat16


def usual_rates() -> dict[str, float]:
    """Each optimizer's usual best learning rate over AdamW's."""
    return {name: one.rate_times for name, one in OPTIMIZERS.items()}


def bytes_of(name: str, kind: Kind, shape: Shape) -> float:
    """What the optimizer keeps of a trained tensor of this kind."""
    own = OPTIMIZERS[name]
    return (own if kind in own.kinds else OPTIMIZERS[ADAMW]).state_bytes(shape)


def operations_of(name: str, kind: Kind, shape: Shape) -> float:
    own = OPTIMIZERS[name]
    return own.operations(shape) if kind in own.kinds else 0.0


def _numbers(each: float) -> Callable[[Shape], float]:
    return lambda shape: each * math.prod(shape)


def _rows_and_columns(shape: Shape) -> float:
    """Adafactor: of a matrix one number a row and one a column; of stacked ones each; of a vector all."""
    if len(shape) < 2:
        return MOMENT_BYTES * math.prod(shape)
    *stacked, rows, columns = shape
    return MOMENT_BYTES * math.prod(stacked) * (rows + columns)


def _in_8_bits(shape: Shape) -> float:
    """Two moments of a byte each, with the scales of their blocks; of a small tensor in float32."""
    n = math.prod(shape)
    return 2 * MOMENT_BYTES * n if n < LEAST_8_BIT else 2 * (n + MOMENT_BYTES * math.ceil(n / BLOCK))


def _newton_schulz(shape: Shape) -> float:
    """Operations that orthogonalize a matrix."""
    if len(shape) != 2:
        return 0.0
    short, long = sorted(shape)
    return NEWTON_SCHULZ_STEPS * (4 * short**2 * long + 2 * short**3)


def _adafactor(groups: Groups) -> TorchOptimizer:
    """With the learning rate as it is given, as the Trainer's `adafactor`: its own schedule and scaling by the size of a
    parameter would hardly move LoRA's B, which begins at 0."""
    from transformers.optimization import Adafactor

    return Adafactor(groups, scale_parameter=False, relative_step=False)


def _lion(groups: Groups) -> TorchOptimizer:
    from bitsandbytes.optim import Lion

    made: TorchOptimizer = Lion(groups, betas=(0.9, 0.99))
    return made


def _adamw_8bit(groups: Groups) -> TorchOptimizer:
    from bitsandbytes.optim import AdamW8bit

    made: TorchOptimizer = AdamW8bit(groups, min_8bit_size=LEAST_8_BIT)
    return made


def _muon(groups: Groups) -> TorchOptimizer:
    from torch.optim import Muon

    return Muon(groups, ns_steps=NEWTON_SCHULZ_STEPS, adjust_lr_fn="match_rms_adamw")


def _sgd(groups: Groups) -> TorchOptimizer:
    from torch.optim import SGD

    return SGD(groups, momentum=0.9)


OPTIMIZERS: dict[str, Optimizer] = {
    # Loshchilov & Hutter 2019; betas of 0.9 and 0.999.
    ADAMW: Optimizer(
        label="AdamW", make=None, state_bytes=_numbers(2 * MOMENT_BYTES), rate_source="by definition"
    ),
    # Dettmers et al. 2022, as the Trainer's `adamw_8bit`: embeddings and head keep moments of 32 bits.
    "adamw-8bit": Optimizer(
        label="8-bit AdamW", make=_adamw_8bit, state_bytes=_in_8_bits, cpu_seconds=20e-9, kinds=(Kind.MATRIX, Kind.OTHER),
        least_numbers=LEAST_8_BIT,
        rate_source="Dettmers 2022: the settings of AdamW",
    ),
    # Shazeer & Stern 2018, without momentum.
    "adafactor": Optimizer(
        label="Adafactor", make=_adafactor, state_bytes=_rows_and_columns, cpu_seconds=2e-9,
        rate_source="none found for a given rate; updates as large as AdamW's or up to 5 times (clipped at an RMS of 1)",
    ),
    # Chen et al. 2023; betas of 0.9 and 0.99.
    "lion": Optimizer(
        label="Lion", make=_lion, state_bytes=_numbers(MOMENT_BYTES), cpu_seconds=1e-9, rate_times=0.2,
        rate_source="Chen 2023: 3 to 10 times lower than AdamW's",
    ),
    # Jordan et al. 2024: momentum whose update is made orthogonal, a matrix at a time, with the size of AdamW's updates late in
    # pretraining (Liu et al. 2025). Of LoRA each of A and B is a matrix of its own: the update of A is orthogonal and that of B,
    # but not that of the weight B A. Embeddings, head and what is no matrix of a linear layer are AdamW's, at the same rate.
    "muon": Optimizer(
        label="Muon", make=_muon, state_bytes=_numbers(MOMENT_BYTES), kinds=(Kind.MATRIX,),
        operations=_newton_schulz, rate_times=3.0,
        rate_source="its updates have an RMS of 0.2, AdamW's of 0.2 (Liu 2025: late in pretraining) to 1 (first steps)",
    ),
    # Momentum of 0.9. The gradient's norm is at most train.max_grad_norm, so a step is no longer than ten times that and the
    # rate, whatever the number of parameters, while AdamW's grows with its root: no ratio holds for bases of all sizes.
    "sgd": Optimizer(
        label="SGD", make=_sgd, state_bytes=_numbers(MOMENT_BYTES), rate_times=100.0,
        rate_source="steps as long as AdamW's on a base of 1 M parameters; grows with their number",
    ),
}  # fmt: skip
