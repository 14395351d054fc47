"""Quality and forgetting along a training: one run gives the curve over its steps, and with `train.keep=best` the weights that
were best.

Always measured on the validation split, also in a trial that is scored on the test split: what is then scored must not choose.
Measuring changes nothing of the training: its random numbers go on where they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from core import along, measures, signs, tasks, training_state
from core.curve import Point
from core.resume import State
from core.settings import BEST
from core.signs import Sign
from core.tasks.measurement import Measurement, Subject, axes

KEPT = "kept|"  # before the names of tensors in a state


@dataclass(frozen=True)
class Best:
    """The step whose quality was the highest so far (the first of several), and the trained weights there, beside the model."""

    step: int
    quality: float
    weights: dict[str, torch.Tensor]


@dataclass
class Along:
    """Measures one training's model. `subject` is the model in training with the validation split's items, `before` the untouched
    base's scores on them, `output` the trial's folder."""

    subject: Subject
    before: Sequence[Measurement]
    output: Path
    points: list[Point] = field(default_factory=list)
    best: Best | None = None
    stops: frozenset[int] = frozenset()

    def begin(self, planned: int) -> None:
        """A training of so many steps begins; the untouched base is the curve's first point."""
        self.stops = frozenset(along.stops(self.subject.trial.evaluation.every, planned))
        self.points = [self._point(0, 0.0, self.before)]

    def due(self, step: int) -> bool:
        return step in self.stops

    def measure(self, step: int, epoch: float) -> None:
        """Measures the model as it is after `step` steps."""
        signs.show(self.output, Sign(f"measuring at step {step:,}"))
        state = training_state.generators()
        after = tasks.measure(self.subject)
        training_state.restore_generators(*state)
        self.subject.model.train()
        point = self._point(step, epoch, after)
        self.points.append(point)
        better = self.best is None or point["quality"] > self.best.quality
        if self.subject.trial.train.keep == BEST and math.isfinite(point["quality"]) and better:
            weights = {name: one.detach().cpu().clone() for name, one in training_state.trained(self.subject.model).items()}
            self.best = Best(step, point["quality"], weights)

    def _point(self, step: int, epoch: float, after: Sequence[Measurement]) -> Point:
        held_out = {one.name: one.mean for one in after if measures.measure(one.name).held_out}
        return {"step": step, "epoch": epoch, **axes(self.before, after), **held_out}

    def choose(self) -> int | None:
        """Gives the model its best weights; which step they are of, where one was to be chosen."""
        if self.best is None:
            return None
        with torch.no_grad():
            for name, parameter in training_state.trained(self.subject.model).items():
                parameter.copy_(self.best.weights[name])
        return self.best.step

    def put_into(self, state: State) -> None:
        """What it knows, for a training that goes on."""
        state.rest["along"] = {"points": self.points}
        if self.best:
            state.rest["along"]["best"] = [self.best.step, self.best.quality]
            state.tensors |= {KEPT + name: tensor for name, tensor in self.best.weights.items()}

    def take_from(self, state: State) -> None:
        known = state.rest["along"]
        self.points = known["points"]
        if "best" in known:
            weights = {name.removeprefix(KEPT): one for name, one in state.tensors.items() if name.startswith(KEPT)}
            step, quality = known["best"]
            self.best = Best(step, quality, weights)
