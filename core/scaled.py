"""The tuned model at a share of its way from the base: what training changed is scaled by λ, from 0 (the base) to 1, or beyond.

One training gives a curve through the plane of quality and forgetting so, without another. Weights of the base that were trained
are interpolated (WiSE-FT, Wortsman et al. 2022), and so is whatever else was trained and began where it changes nothing. Where an
update is a product of which one factor began at 0 (FACTORS), that factor alone is scaled, and the update is λ times as large: of
LoRA and its relatives, VeRA and others. Where the effect is no straight line in what is trained (DoRA, PiSSA, OFT, DeLoRA) the
curve is a path from base to tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from core import measures, near_base, tasks
from core.tasks.measurement import Measurement, Subject, axes, shared

# Of products, by parts of PEFT's names: a factor that stays as it was trained, and the one that began at 0 and is scaled.
# GraLoRA's names contain LoRA's. Not of PiSSA, none of whose factors began at 0.
FACTORS = (
    ("lora_A", "lora_B"),
    ("lora_A", "lora_E"),  # AdaLoRA's singular values
    ("lora_B", "lora_E"),
    ("hira_A", "hira_B"),
    ("vera_lambda_d", "vera_lambda_b"),
    ("randlora_gamma", "randlora_lambda"),
    ("hada_w1_a", "hada_w2_b"),
    ("hada_w1_b", "hada_w2_b"),
    ("hada_w2_a", "hada_w2_b"),
    ("lokr_w2", "lokr_w1"),
    ("lokr_w2_a", "lokr_w1"),
    ("lokr_w2_b", "lokr_w1"),
)


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
        apart = {name for name in trained if _stays(name, self.first)}
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


def _stays(name: str, first: dict[str, torch.Tensor]) -> bool:
    """Whether it is a factor of a product, another one of which began at 0."""
    others = (name.replace(factor, other) for factor, other in FACTORS if f"{factor}." in name)
    return any(other in first and not first[other].any() for other in others)


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
