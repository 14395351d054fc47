"""Training: TRL's SFTTrainer over rows that are already tokens, quiet, seeded, and stopped when the loss is not finite.

What differs from SFTTrainer as it comes, and why (measured by tests/benchmarks/step.py):
- The loss is taken from the model's own logits at the response's positions. TRL's fused head reads `lm_head.weight`
  directly, which leaves out PEFT's trained rows for new tokens where the head is tied; and it computes entropy and accuracy.
- The learning rate is above 0 from the first step on (core/schedule.py).
- Batches are made here, from lists, in an order that only the seed decides.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from core import head, schedule, signs
from core.data.encode import Encoded
from core.hardware import Device
from core.settings import Train

HISTORY_POINTS = 100  # at most, along training
GPU_LOOKS_EVERY = 20  # steps between looks at the loss on a GPU, where each look waits for it


ROUTER_SETTINGS = ("output_router_logits", "router_aux_loss_coef")  # which TRL changes


@dataclass(frozen=True)
class Run:
    """How one training goes: its settings, the seed of its order and dropout, where, in which precision, the Trainer's folder
    (nothing but signs of life is written there), and how its steps fit into the memory."""

    train: Train
    seed: int
    device: Device
    bf16: bool
    output: str
    micro_batch_size: int | None = None  # sequences of a forward pass; None: the whole batch
    checkpointing: bool = False  # layers are computed again for the backward pass instead of kept


@dataclass
class Trained:
    """What training leaves behind beside the model."""

    steps: int = 0
    planned_steps: int = 0
    tokens: int = 0  # tokens in the sequences, without padding
    diverged_at: int | None = None
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class SeededOrder(Sampler[int]):
    """A permutation for each epoch from (seed, epoch, n) alone, so that arms with one seed see one order.

    Within an optimizer step's batch the longest rows come first, so that micro-batches hold little padding; the step's
    sum over its rows is the same. Attention is quadratic: micro-batches of 4 halve the time of long, uneven rows.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.batch_size):
            yield from sorted(order[start : start + self.batch_size], key=lambda i: -self.lengths[i])

    def __len__(self) -> int:
        return len(self.lengths)


def collate(rows: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids` (b, l), and of the n tokens that are learnt: `at` (2, n), the row and column of the position that
    predicts each, and `labels` (n,), its id. `n_tokens` (b,): without padding. A row's first token is predicted by nothing."""
    width = max(len(row.ids) for row in rows)
    learnt = [(i, at - 1, row.ids[at]) for i, row in enumerate(rows) for at in range(1, len(row.ids)) if row.mask[at]]
    found = torch.tensor(learnt).reshape(-1, 3)
    return {
        "input_ids": torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows]),
        "at": found[:, :2].T,
        "labels": found[:, 2],
        "n_tokens": torch.tensor([len(row.ids) for row in rows]),
    }


def response_loss(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed cross-entropy of the response tokens, in float32."""
    rows, columns = inputs["at"]
    return head.summed_cross_entropy(head.scored(model, inputs["input_ids"], (rows, columns)), inputs["labels"])


class ResponseTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with our batches and loss; collects losses without waiting for them."""

    loss_is_scaled_for_ga: bool | None = True  # type: ignore[assignment]  # compute_loss divides by the tokens of the whole optimizer step

    def __init__(self, rows: Sequence[Encoded], pad: int, how: Run, **options: Any) -> None:
        self.rows, self.pad, self.how = rows, pad, how
        self.order = SeededOrder([len(row.ids) for row in rows], how.train.batch_size, how.seed)
        self.losses: list[torch.Tensor] = []  # one per optimizer step
        self.token_counts: list[torch.Tensor] = []
        super().__init__(**options)
        self.model_accepts_loss_kwargs = True  # so that the Trainer counts the response tokens of an optimizer step
        self._loss_shifts_labels = False  # ours hold the predicted tokens alone

    def _send_telemetry(self) -> None:
        """TRL reports each trainer to its makers; a sweep of hundreds of trials must not, nor wait for a network."""

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # unused, and counting walks over every parameter at every step

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        train, steps = self.how.train, num_training_steps
        warmup = schedule.warmup_steps(train.warmup_share, steps)
        share = partial(schedule.rate_share, train.schedule, warmup=warmup, steps=steps)
        self.lr_scheduler = made = LambdaLR(optimizer or self.optimizer, share)  # type: ignore[arg-type]
        return made

    def get_train_dataloader(self) -> DataLoader:
        size = self.args.per_device_train_batch_size
        return DataLoader(self.rows, batch_size=size, sampler=self.order, collate_fn=lambda rows: collate(rows, self.pad))  # type: ignore[arg-type]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        loss = response_loss(model, inputs) / num_items_in_batch
        if len(self.losses) == self.state.global_step:
            self.losses.append(loss.detach())
            self.token_counts.append(inputs["n_tokens"].sum())
        else:  # a further micro-batch of the same optimizer step
            self.losses[-1] = self.losses[-1] + loss.detach()
            self.token_counts[-1] = self.token_counts[-1] + inputs["n_tokens"].sum()
        return loss


class _StopWhenDiverged(TrainerCallback):
    def __init__(self, trainer: ResponseTrainer, every: int, shown: signs.Steps) -> None:
        self.trainer, self.every, self.shown = trainer, every, shown
        self.rates: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer.lr_scheduler is not None
        self.rates.append(float(self.trainer.lr_scheduler.get_last_lr()[0]))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0 and not torch.isfinite(self.trainer.losses[-1]):
            control.should_training_stop = True
        if self.shown.due():
            self.shown.at(state.global_step, float(self.trainer.losses[-1]))


def _config(how: Run) -> SFTConfig:
    train = how.train
    micro = how.micro_batch_size or train.batch_size
    return SFTConfig(
        output_dir=how.output,
        use_cpu=how.device.kind == "cpu",
        bf16=how.bf16,
        seed=how.seed,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=train.batch_size // micro,
        num_train_epochs=train.epochs,
        max_steps=train.steps or -1,  # -1: the epochs decide
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=how.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        max_length=None,  # rows are cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
    )


@contextmanager
def _config_kept(model: nn.Module) -> Iterator[None]:
    """TRL makes a mixture of experts return its routers' logits, for a loss that ours is without; with them left on, nothing can
    be generated, here or from what is saved."""
    outer: Any = model.config
    config = outer.get_text_config()
    kept = {name: getattr(config, name) for name in ROUTER_SETTINGS if hasattr(config, name)}
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(config, name, value)


def fit(model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Encoded], how: Run) -> Trained:
    """Trains the model in place. A loss that is not finite ends it early and is reported, not raised."""
    with _config_kept(model):
        trained = _fit(model, tokenizer, rows, how)
    gc.collect()  # trainer and callback hold each other, and with them Adam's moments: 8 bytes a parameter
    return trained


def _fit(model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Encoded], how: Run) -> Trained:
    began = time.perf_counter()
    trainer = ResponseTrainer(
        rows,
        tokenizer.pad_token_id,
        how,
        model=model,
        args=_config(how),
        # SFTTrainer wants a Dataset; the batches come from `rows` themselves, which is 0.1 ms a row quicker.
        train_dataset=Dataset.from_dict({"input_ids": [rows[0].ids], "labels": [rows[0].ids]}),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in model.parameters():
        if parameter.requires_grad:  # TRL casts adapters of quantized models to bfloat16, where AdamW's small steps are lost
            parameter.data = parameter.data.float()
    shown = signs.Steps(Path(how.output), how.train.n_steps(len(rows)))
    watcher = _StopWhenDiverged(trainer, 1 if how.device.kind == "cpu" else GPU_LOOKS_EVERY, shown)
    trainer.add_callback(watcher)
    trainer.train()
    trained = _summary(trainer, watcher.rates, how.train.n_steps(len(rows)), how.train.n_epochs(len(rows)))
    trained.seconds = time.perf_counter() - began
    return trained


def _summary(trainer: ResponseTrainer, rates: list[float], planned: int, epochs: float) -> Trained:
    losses = torch.stack(trainer.losses).double().tolist()
    counts = torch.stack(trainer.token_counts).tolist()
    diverged_at = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
    every = max(1, math.ceil(len(losses) / HISTORY_POINTS))
    history, seen = [], 0
    for start in range(0, len(losses), every):
        window, seen = losses[start : start + every], seen + sum(counts[start : start + every])
        step = start + len(window)
        history.append(
            {
                "step": step,
                "epoch": step * epochs / planned,
                "loss": sum(window) / len(window),
                "learning_rate": rates[step - 1],
                "tokens": seen,
            }
        )
    return Trained(len(losses), planned, seen, diverged_at, history=history)
