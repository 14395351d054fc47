"""What happens between the steps of a training: its states are kept, signs are given, the model is measured along the way, and
what has diverged is stopped."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from core import curve, resume, signs, training_state
from core.adapters import adalora
from core.training import Run
from core.training_state import Trainer

GPU_LOOKS_EVERY = 20  # steps between looks at the loss on a GPU, where each look waits for it


class Watcher(TrainerCallback):
    """Called by the Trainer at each step. `planned` steps are `epochs` passes over the rows."""

    def __init__(self, trainer: Trainer, how: Run, planned: int, epochs: float) -> None:
        self.trainer, self.how, self.planned, self.epochs = trainer, how, planned, epochs
        self.looks_every = 1 if how.device.kind == "cpu" else GPU_LOOKS_EVERY
        self.shown = signs.Steps(Path(how.output), planned)
        self.rates: list[float] = []
        self.began, self.earlier = time.perf_counter(), 0.0
        self.budget = adalora.Budget.of(trainer.model, planned, again=how.after is not None)

    def seconds(self) -> float:
        """Of this attempt and those before, without what was measured along the way."""
        return self.earlier + time.perf_counter() - self.began

    def done(self) -> curve.Steps:
        losses = torch.stack(self.trainer.losses).double().tolist() if self.trainer.losses else []
        counts = torch.stack(self.trainer.token_counts).tolist() if self.trainer.losses else []
        beside = {name: torch.stack(values).double().tolist() for name, values in self.trainer.beside.items()}
        after, name = self.how.after, self.trainer.loss_name
        earlier = (after.steps, after.tokens) if after else (0, 0)
        return curve.Steps(losses, counts, self.rates, self.planned, self.epochs, name, beside, *earlier)

    def history(self, whole: bool) -> list[curve.Point]:
        found = (self.how.after.history if self.how.after else []) + curve.points(self.done(), whole)
        return sorted(found + (self.how.along.points if self.how.along else []), key=lambda point: point["step"])

    def keep(self) -> None:
        state = training_state.captured(self.trainer, self.rates, self.seconds())
        if self.how.along:
            self.how.along.put_into(state)
        if self.how.after:
            state.rest[resume.AFTER] = asdict(self.how.after)
        assert self.how.keeper is not None
        self.how.keeper.save(state)

    def take(self, state: resume.State) -> None:
        """Goes on from a state."""
        self.rates = state.rest["rates"]
        self.earlier = state.rest["seconds"]
        self.shown.first = state.step
        if self.budget:
            self.budget.take(training_state.kept(state))
        if self.how.along:
            self.how.along.take_from(state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.resumed is not None:
            training_state.restore_generators(self.trainer.resumed.tensors, self.trainer.resumed.rest)
            self.trainer.resumed = None
        elif state.global_step and self.how.keeper and self.how.keeper.due():
            self.keep()
        assert self.trainer.lr_scheduler is not None
        self.rates.append(float(self.trainer.lr_scheduler.get_last_lr()[0]))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.budget:
            self.budget.step(state.global_step, self.trainer.kept)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step: int = state.global_step
        if step % self.looks_every == 0 and not torch.isfinite(self.trainer.losses[-1]):
            control.should_training_stop = True
        elif self.how.along and self.how.along.due(step):
            began = time.perf_counter()
            self.how.along.measure(step, self.done().epoch(step))
            self.began += time.perf_counter() - began
        if self.shown.due():
            self.shown.at(step, float(self.trainer.losses[-1]), self.history(whole=True))
