"""The tuned model at a share of its way from the base: what training changed is scaled by λ, from 0 (the base) to 1, or beyond.

One training gives a curve through the plane of quality and forgetting so, without another. Weights of the base that were trained
are interpolated (WiSE-FT, Wortsman et al. 2022), and so is whatever else was trained and began where it changes nothing. Where an
update is a product of which one factor began at 0, that factor alone is scaled: LoRA's and VeRA's updates are then λ times as
large. Of methods whose effect is no straight line in what is trained (DoRA, PiSSA, OFT) the curve is a path from base to tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from core import measures, near_base, tasks
from core.tasks.measurement import Measurement, Subject, axes, shared

# Parts of the names of factors that stay as they are trained: A of LoRA and its relatives, and VeRA's d. The other began at 0.
# Not of PiSSA, neither of whose factors did.
FACTORS = ("lora_A", "vera_lambda_d")


@dataclass
class Route:
    """Where a model's training began, and where it ended. Made before training; `ended` is called after it."""

    model: nn.Module
    first: dict[str, torch.Tensor]
    last: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, reference: nn.Module) -> Route:
        return cls(model, near_base.starts(model, reference))

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: one for name, one in self.model.named_parameters() if name in self.first}

    def ended(self) -> None:
        """Training is over; before the weights are rounded to the base's type."""
        self.last = {name: one.detach().clone() for name, one in self._trained().items()}

    @contextmanager
    def at(self, share: float) -> Iterator[None]:
        """Within it the model is at this share of its way; afterwards as before."""
        trained = self._trained()
        kept = {name: one.data for name, one in trained.items()}
        apart = {name for name in trained if _is_factor(name) and _other_is_zero(name, self.first)}
        try:
            for name, one in trained.items():
                if name not in apart:
                    first, last = self.first[name].to(one.device, torch.float32), self.last[name].float()
                    one.data = torch.lerp(first, last, share).to(one.dtype)
            yield
        finally:
            for name, one in trained.items():
                one.data = kept[name]

    def measured(self, tuned: Subject, before: list[Measurement]) -> Further:
        """The scores at the shares that the trial asks for; `before`: the base's."""
        found = Further()
        for share in tuned.trial.evaluation.shares:
            with self.at(share):
                old, new, _ = shared(before, tasks.measure(tuned))
            found.add(share, old, new)
        return found


def _is_factor(name: str) -> bool:
    return any(factor in name for factor in FACTORS)


def _other_is_zero(name: str, first: dict[str, torch.Tensor]) -> bool:
    """Whether the factor that is multiplied with this one began at 0."""
    other = name.replace("lora_A", "lora_B").replace("vera_lambda_d", "vera_lambda_b")
    return other in first and not first[other].any()


@dataclass
class Further:
    """What a model scores at shares of its way, and the base's scores beside it, under names that say so: none of them is the
    trial's quality or forgetting. Those stand in `metrics`, with their standard errors."""

    before: list[Measurement] = field(default_factory=list)
    after: list[Measurement] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, share: float, before: Sequence[Measurement], after: Sequence[Measurement]) -> None:
        for own, found in ((self.before, before), (self.after, after)):
            own += [replace(one, name=measures.scaled(share, one.name), axis="other") for one in found]
        self.metrics |= {f"{measures.SCALED}{share:g}/{name}": value for name, value in axes(before, after).items()}
