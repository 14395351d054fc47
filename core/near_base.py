"""What holds a training near its base: a penalty of the KL divergence, and a decay towards the base's weights.

The base that is compared with is the untouched model that a worker keeps for all trials (core/model.py). An adapter shares its
frozen weights, so nothing is held twice; beside full fine-tuning it stands as the reference anyway. It has no dropout.

- KL(base || tuned), exact over the vocabulary, in nats a token: the tuned model is to keep what the base expects. As a loss it is
  the distillation of Li & Hoiem 2016 (Learning without Forgetting).
- Decay towards the base (L2-SP of Li et al. 2018, decoupled from the gradient as AdamW's is): in each step what is trained goes
  learning rate × train.l2_to_base of its way back to where it began. Where it began is the base: of weights of the base itself,
  and of adapters too, whose start changes nothing. LoRA's B goes back to 0, which train.weight_decay does as well.

A second stage on preferences has neither: its reference is the model after the first stage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from core import head


def starts(model: nn.Module, reference: nn.Module) -> dict[str, torch.Tensor]:
    """What is trained as it is before training, by its name: the base's own tensor where it is a weight of the base, so that no
    copy is held, else a copy."""
    base = dict(reference.named_parameters())
    return {
        name: base[name].detach() if name in base else parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


class DecayToBase(TrainerCallback):
    """Before each optimizer step what is trained goes a part of its way back to its start: the step's learning rate × `decay`."""

    def __init__(self, model: nn.Module, reference: nn.Module, decay: float) -> None:
        self.model, self.decay, self.first = model, decay, starts(model, reference)

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        rates = {id(one): group["lr"] for group in kwargs["optimizer"].param_groups for one in group["params"]}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                first = self.first[name].to(parameter.device, parameter.dtype)
                parameter.lerp_(first, min(1.0, self.decay * rates[id(parameter)]))


def summed_losses(model: nn.Module, reference: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed cross-entropy of the tokens that are learnt and the summed KL(base || tuned) at the positions `kl_at` (2, m), in
    float32, from one pass of each model."""
    ids, at = inputs["input_ids"], inputs["at"]
    kl_at = inputs.get("kl_at", at[:, :0])  # none, where no row of a micro-batch has such tokens
    rows, columns = torch.cat([at, kl_at], dim=1)
    tuned, n = head.scored(model, ids, (rows, columns)), at.shape[1]
    with torch.no_grad():
        base = head.scored(reference, ids, (kl_at[0], kl_at[1]))
    loss = head.summed_cross_entropy(tuned.part(slice(0, n)), inputs["labels"])
    return loss, head.summed_divergence(base, tuned.part(slice(n, None)))
