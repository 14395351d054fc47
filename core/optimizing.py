"""The optimizer of a training: which parameters go to which part of it, with which learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from core import targets
from core.optimizers import OPTIMIZERS, Groups, Kind
from core.settings import Train

VIRTUAL_TOKENS = "prompt_encoder."  # PEFT's name of what holds them


class Joined(torch.optim.Optimizer):
    """Several optimizers as one: their groups, in their order, and one state for all."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        for part in parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: Any) -> None:
        """Each part takes its own: torch's way to load would turn numbers of 8 bits into floats."""
        groups, self.param_groups = list(state_dict["param_groups"]), []
        self.state.clear()
        for part in self.parts:
            own, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            names = {name for group in own for name in group["params"]}
            state = {name: held for name, held in state_dict["state"].items() if name in names}
            part.load_state_dict({"state": state, "param_groups": own})
            self.param_groups += part.param_groups
            self.state.update(part.state)
            part.state = self.state


def kind_of(name: str, layer: nn.Module) -> Kind:
    """What the parameter of this name in this layer is."""
    where, _, leaf = name.rpartition(".")
    if targets.EXCLUDED.search(where) and VIRTUAL_TOKENS not in name:
        return Kind.EMBEDDING
    return Kind.MATRIX if leaf == "weight" and isinstance(layer, nn.Linear | Conv1D) else Kind.OTHER


def kinds(model: nn.Module) -> dict[str, Kind]:
    """Of what is trained, by its name; tied tensors once. LoRA of stacked experts has those of all experts in one layer, which is
    no matrix of its own."""
    layers = dict(model.named_modules())
    wrapped = [layer for layer in layers.values() if isinstance(layer, ParamWrapper) and layer.num_experts > 1]
    stacked = {part for layer in wrapped for part in (*layer.lora_A.values(), *layer.lora_B.values())}
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    of = {name: layers[name.rpartition(".")[0]] for name in trained}
    return {name: Kind.OTHER if layer in stacked else kind_of(name, layer) for name, layer in of.items()}


def groups(model: nn.Module, train: Train, decaying: Collection[str]) -> tuple[Groups, Groups]:
    """Groups of trained parameters with rate and weight decay: of the trial's optimizer, and those that AdamW trains beside it.
    `decaying`: the names of those that weight decay is for. A parameter's `rate_ratio` is its rate over the trial's (LoRA+)."""
    own = OPTIMIZERS[train.optimizer]
    parameters, of = dict(model.named_parameters()), kinds(model)
    made: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for name, kind in of.items():
        ratio, decays = getattr(parameters[name], "rate_ratio", 1.0), name in decaying
        rates = {"lr": train.learning_rate * ratio, "weight_decay": train.weight_decay if decays else 0.0}
        group = made.setdefault((kind in own.kinds, ratio, decays), {"params": [], **rates})
        group["params"].append(parameters[name])
    first, beside = ([group for key, group in made.items() if key[0] is taken] for taken in (True, False))
    return first, beside


def build(
    model: nn.Module, train: Train, decaying: Collection[str], adamw: Callable[[Groups], torch.optim.Optimizer]
) -> torch.optim.Optimizer:
    """The optimizer of a training. `adamw` makes AdamW."""
    own, (first, beside) = OPTIMIZERS[train.optimizer], groups(model, train, decaying)
    parts = [make(made) for make, made in ((own.make or adamw, first), (adamw, beside)) if made]
    return parts[0] if len(parts) == 1 else Joined(parts)
