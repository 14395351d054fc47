"""Adapters on linear layers that are not of LoRA's family: what RECIPES holds, and (IA)³. How many parameters they take, and how
PEFT builds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core import targets
from core.adapters.lora import linear_names
from core.adapters.method import Adapted
from core.adapters.recipes import RECIPES, Layers
from core.base import BaseFiles
from core.errors import BadInput
from core.method_settings import Ia3, OnLayers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST_KEY = 2**31 - 1  # of random choices


def resolved(adapter: OnLayers, base: BaseFiles) -> tuple[str, ...]:
    """The layers that the preset means on this base.

    Raises:
        BadInput: it fits none, the settings do not fit them, or the base has experts, which PEFT adapts by LoRA alone.
    """
    return tuple(_layers(adapter, base))


def n_trained(adapter: OnLayers, base: BaseFiles) -> int:
    return RECIPES[adapter.method].n_trained(adapter, _layers(adapter, base))


def _layers(adapter: OnLayers, base: BaseFiles) -> Layers:
    recipe = RECIPES[adapter.method]
    if not recipe.transposed and base.model_type in targets.TRANSPOSED:
        text = f"PEFT has it not for layers of {base.model_type}; use adapter.method=lora or vera"
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    if base.has_experts and not adapter.targets.startswith("attention"):
        _refuse_experts(adapter.method, "use adapter.targets=attention or adapter.method=lora")
    layers = {name: base.sizes(name) for name in targets.choose(adapter.targets, list(base.linear)).layers}
    for field, most in (recipe.most or {}).items():
        name, largest = min(((name, most(*size)) for name, size in layers.items()), key=lambda found: found[1])
        if getattr(adapter, field) > largest:
            rows, columns = layers[name]
            text = f"at most {largest:,} for the layers of this base, of which {name} has {columns} inputs and {rows} outputs"
            raise BadInput(f"adapter.{field}={getattr(adapter, field):,}: {text}", field=f"adapter.{field}")
    recipe.check(adapter, layers)
    return layers


def kept(adapter: OnLayers, base: BaseFiles, bf16: bool, packed: bool) -> float:
    recipe = RECIPES[adapter.method]
    return sum(recipe.kept(adapter, rows, columns, bf16, packed) for rows, columns in _layers(adapter, base).values())


def _refuse_experts(method: str, remedy: str) -> None:
    raise BadInput(f"adapter.method={method}: PEFT adapts a mixture's experts by LoRA only; {remedy}", field="adapter.method")


def build(model: PreTrainedModel, adapter: OnLayers, new_tokens: Sequence[int]) -> Adapted:
    """The model with the adapter that its recipe says."""
    import peft
    import torch
    from transformers.pytorch_utils import Conv1D

    recipe, found = RECIPES[adapter.method], dict(model.named_modules())
    names = targets.choose(adapter.targets, linear_names(model)).layers
    layers = {name: _size(found[name]) for name in names}
    options = recipe.options(adapter, layers)
    if recipe.key:
        options[recipe.key] = int(torch.randint(LARGEST_KEY, ()))
    if any(isinstance(found[name], Conv1D) for name in names):
        options["fan_in_fan_out"] = True
    return _build(model, names, getattr(peft, recipe.config)(target_modules=list(names), task_type="CAUSAL_LM", **options))


def _size(layer: Any) -> tuple[int, int]:
    """Outputs and inputs, of a Conv1D too, and of quantized layers, whose weights are packed."""
    if hasattr(layer, "out_features"):
        return layer.out_features, layer.in_features
    rows, columns = layer.weight.shape
    return columns, rows


def _build(model: PreTrainedModel, names: Sequence[str], config: Any) -> Adapted:
    """The model with the adapter of this configuration.

    Raises:
        BadInput: PEFT adapts more or fewer layers than were chosen.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = get_peft_model(model, config)
    n_adapted = sum(isinstance(layer, BaseTunerLayer) for layer in adapted.modules())
    if n_adapted != len(names):
        text = f"of this model PEFT adapts {n_adapted} weights where {len(names)} were chosen; use adapter.method=lora"
        raise BadInput(f"adapter.method: {text}", field="adapter.method")
    return Adapted(adapted, tuple(names))


def ia3_resolved(adapter: Ia3, base: BaseFiles) -> tuple[str, ...]:
    if base.has_experts:
        _refuse_experts(adapter.method, "use adapter.method=lora")
    attention, inner = targets.scaled(base.linear)
    return (*attention, *inner)


def ia3_trains(adapter: Ia3, base: BaseFiles) -> int:
    """A scale of each key and value, and of each input of the feed-forward part's last matrix."""
    ia3_resolved(adapter, base)
    attention, inner = targets.scaled(base.linear)
    return sum(base.sizes(name)[0] for name in attention) + sum(base.sizes(name)[1] for name in inner)


def ia3(model: PreTrainedModel, adapter: Ia3, new_tokens: Sequence[int]) -> Adapted:
    from peft import IA3Config
    from transformers.pytorch_utils import Conv1D

    attention, inner = targets.scaled(linear_names(model))
    found, names = dict(model.named_modules()), [*attention, *inner]
    transposed = any(isinstance(found[name], Conv1D) for name in names)
    options: dict[str, Any] = {"feedforward_modules": inner, "fan_in_fan_out": transposed, "task_type": "CAUSAL_LM"}
    return _build(model, names, IA3Config(target_modules=names, **options))
