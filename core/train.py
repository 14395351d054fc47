"""Training: TRL's SFTTrainer over rows that are already tokens, quiet, seeded, and stopped when the loss is not finite.

What differs from SFTTrainer as it comes, and why (measured by tests/benchmarks/step.py):
- The loss is taken from the model's own logits at the response's positions. TRL's fused head reads `lm_head.weight`
  directly, which leaves out PEFT's trained rows for new tokens where the head is tied; and it computes entropy and accuracy.
- The learning rate is above 0 from the first step on (core/schedule.py).
- Batches are made by core/batches.py, from lists, in an order that only the seed decides, or a curriculum with it.
- A training that was interrupted goes on from its state in the trial's folder (core/resume.py), through the Trainer's own way to
  resume, of which nothing but the step number is read from a file of its own.
"""

from __future__ import annotations

import gc
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerState
from trl import SFTConfig, SFTTrainer

from core import batches, head, near_base, optimizing, resume, schedule, training_state
from core.adapters import adalora
from core.training import Run, Trained
from core.watcher import Watcher

ROUTER_SETTINGS = ("output_router_logits", "router_aux_loss_coef")  # which TRL changes


def response_loss(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed cross-entropy of the response tokens, in float32."""
    rows, columns = inputs["at"]
    return head.summed_cross_entropy(head.scored(model, inputs["input_ids"], (rows, columns)), inputs["labels"])


class ResponseTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with our batches and loss; collects losses without waiting for them."""

    loss_name = "loss"  # in a training's history
    loss_is_scaled_for_ga: bool | None = True  # type: ignore[assignment]  # compute_loss divides by the tokens of the whole optimizer step

    def __init__(self, rows: Sequence[Any], pad: int, how: Run, **options: Any) -> None:
        self.rows, self.pad, self.how = rows, pad, how
        self.order = batches.SeededOrder([len(row.ids) for row in rows], how.train, how.seed, how.curriculum)
        self.losses: list[torch.Tensor] = []  # one per optimizer step
        self.token_counts: list[torch.Tensor] = []
        self.beside: dict[str, list[torch.Tensor]] = {}  # what else is told of each optimizer step
        self.kept: dict[str, torch.Tensor] = {}  # what else of this training a state has to hold
        self.resumed: resume.State | None = None  # until it is taken up
        self.n_kept_near = 1  # of an optimizer step, the tokens at which it is held near the base
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

    def create_optimizer(self, model: Any = None) -> Any:
        own: Any = self.model
        adamw, options = self.get_optimizer_cls_and_kwargs(self.args, own)
        decaying = self.get_decay_parameter_names(own)
        self.optimizer = optimizing.build(own, self.how.train, decaying, lambda groups: adamw(groups, **options))
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader:
        size = self.args.per_device_train_batch_size
        return DataLoader(self.rows, batch_size=size, sampler=self.order, collate_fn=self.collate)  # type: ignore[arg-type]

    def begin(self) -> None:
        """What is done once, before the first step."""

    def collate(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        return batches.collate(rows, self.pad)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The micro-batches of an optimizer step, and how many tokens they teach: 1 where it is none, as of replayed text alone
        that the model is only held near to its base on."""
        found, n_taught = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.n_kept_near = max(1, sum(one["kl_at"].shape[1] for one in found if "kl_at" in one))
        return found, n_taught if n_taught is None else torch.as_tensor(n_taught).clamp(min=1)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        is_first = len(self.losses) == self.state.global_step  # micro-batch of its optimizer step
        loss = self._told_loss(model, inputs, num_items_in_batch)
        apart = adalora.penalty(self.model) if is_first else None
        return loss if apart is None else loss + apart

    def _told_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], n_items: Any) -> torch.Tensor:
        """The loss, with the divergence from the base where that is a part of it."""
        if not self.how.train.kl_to_base:
            return self.noted(response_loss(model, inputs) / n_items, inputs["n_tokens"].sum())
        assert self.how.reference is not None
        summed, divergence = near_base.summed_losses(model, self.how.reference, inputs)
        kl = divergence / self.n_kept_near
        loss = self.noted(summed / n_items, inputs["n_tokens"].sum(), kl_to_base=kl)
        return loss + self.how.train.kl_to_base * kl

    def noted(self, loss: torch.Tensor, n_tokens: torch.Tensor, **beside: torch.Tensor) -> torch.Tensor:
        """The loss of a micro-batch, which with its tokens and what is told beside is added to those of its optimizer step."""
        series = [(self.losses, loss.detach()), (self.token_counts, n_tokens)]
        series += [(self.beside.setdefault(name, []), value.detach()) for name, value in beside.items()]
        for values, value in series:
            if len(values) == self.state.global_step:
                values.append(value)
            else:  # a further micro-batch of the same optimizer step
                values[-1] = values[-1] + value
        return loss

    def go_on(self, state: resume.State) -> None:
        """Trains from the state on."""
        self.resumed = state
        with tempfile.TemporaryDirectory() as folder:
            args = self.args
            same = {name: getattr(args, name) for name in ("logging_steps", "eval_steps", "save_steps")}
            position = TrainerState(global_step=state.step, train_batch_size=args.per_device_train_batch_size, **same)
            position.save_to_json(f"{folder}/trainer_state.json")
            self.order.epoch = state.step // math.ceil(len(self.rows) / self.how.train.batch_size)
            self.train(resume_from_checkpoint=folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """With the optimizer's."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.resumed is not None:
            training_state.restore(self, self.resumed)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """At the beginning of the step, after what draws numbers before."""

    def _load_scaler(self, checkpoint: str | None) -> None:
        """There is none."""


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


def fit(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Any],
    how: Run,
    kind: type[ResponseTrainer] = ResponseTrainer,
) -> Trained:
    """Trains the model in place, on what this kind of trainer learns from. A loss that is not finite ends it early and is
    reported, not raised."""
    with _config_kept(model):
        trained = _fit(model, tokenizer, rows, how, kind)
    gc.collect()  # trainer and callback hold each other, and with them the optimizer's moments: 8 bytes a parameter in AdamW
    return trained


def _fit(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Any], how: Run, kind: type[ResponseTrainer]
) -> Trained:
    began = time.perf_counter()
    trained_before = {one: one.data for one in model.parameters() if one.requires_grad} if how.after else {}
    trainer = kind(
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
        if parameter.requires_grad:  # TRL casts adapters of quantized models to bfloat16, where small steps are lost
            parameter.data = trained_before.get(parameter, parameter.data).float()
    planned, epochs = how.train.n_steps(len(rows)), how.train.n_epochs(len(rows))
    watcher = Watcher(trainer, how, planned, epochs)
    watcher.began = began
    trainer.add_callback(watcher)
    if how.train.l2_to_base:
        assert how.reference is not None
        trainer.add_callback(near_base.DecayToBase(model, how.reference, how.train.l2_to_base))
    state = how.keeper.load() if how.keeper else None
    if state and (resume.AFTER in state.rest) != (how.after is not None):
        state = None  # of the other stage
    if how.along:
        how.along.begin(planned)
    _train(trainer, watcher, state)
    trained = _summary(watcher)
    trained.resumed_at = state.step if state else 0
    if how.along and trained.diverged_at is None:
        trained.kept_step = how.along.choose()
    return trained


def _train(trainer: ResponseTrainer, watcher: Watcher, state: resume.State | None) -> None:
    """From the beginning, or from the state on; a long training's last state is kept, so that what follows it may be killed."""
    if state is None:
        trainer.begin()
        trainer.train()
    else:
        watcher.take(state)
        if state.step < watcher.planned:
            trainer.go_on(state)
        else:
            training_state.restore_weights(trainer, state)
    keeper, stopped = watcher.how.keeper, len(trainer.losses) < watcher.planned
    if keeper and not stopped and (state is None or state.step < watcher.planned) and keeper.due():
        watcher.keep()


def _summary(watcher: Watcher) -> Trained:
    done = watcher.done()
    diverged_at = next((step for step, loss in enumerate(done.losses, 1) if not math.isfinite(loss)), None)
    return Trained(
        steps=len(done.losses),
        planned_steps=done.planned,
        tokens=sum(done.tokens),
        diverged_at=diverged_at,
        seconds=watcher.seconds(),
        history=watcher.history(whole=False),
    )
