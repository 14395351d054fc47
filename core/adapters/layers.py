"""Adapters on linear layers that are no low-rank updates: VeRA, (IA)³, OFT. How many parameters they take, and how PEFT builds
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from core import targets
from core.adapters.lora import linear_names
from core.adapters.method import Adapted
from core.base import BaseFiles
from core.errors import BadInput
from core.method_settings import Ia3, Oft, Vera

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST_KEY = 2**31 - 1  # of VeRA's random matrices


def resolved(adapter: Vera | Oft, base: BaseFiles) -> tuple[str, ...]:
    """The layers that the preset means on this base.

    Raises:
        BadInput: it fits none, or the base has experts, which PEFT adapts by LoRA alone.
    """
    attention_only = adapter.targets.startswith("attention")
    if isinstance(adapter, Oft) and base.model_type in targets.TRANSPOSED:
        text = f"PEFT has no rotations for layers of {base.model_type} (Conv1D); use adapter.method=lora or vera"
        raise BadInput(f"adapter.method=oft: {text}", field="adapter.method")
    if base.has_experts and not attention_only:
        _refuse_experts(adapter.method, "use adapter.targets=attention or adapter.method=lora")
    return targets.choose(adapter.targets, list(base.linear)).layers


def _refuse_experts(method: str, remedy: str) -> None:
    raise BadInput(f"adapter.method={method}: PEFT adapts a mixture's experts by LoRA only; {remedy}", field="adapter.method")


def _build(model: PreTrainedModel, names: Sequence[str], config: Callable[[list[str], bool], Any]) -> Adapted:
    """The model with the adapter of this configuration (of names, and whether matrices are stored as inputs × outputs)."""
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.pytorch_utils import Conv1D

    layers = dict(model.named_modules())
    adapted = get_peft_model(model, config(list(names), any(isinstance(layers[name], Conv1D) for name in names)))
    n_adapted = sum(isinstance(layer, BaseTunerLayer) for layer in adapted.modules())
    if n_adapted != len(names):
        text = f"of this model PEFT adapts {n_adapted} weights where {len(names)} were chosen; use adapter.method=lora"
        raise BadInput(f"adapter.method: {text}", field="adapter.method")
    return Adapted(adapted, tuple(names))


def vera_trains(adapter: Vera, base: BaseFiles) -> int:
    """Of each layer a vector over the rank and one over the outputs."""
    return sum(adapter.rank + base.sizes(name)[0] for name in resolved(adapter, base))


def vera(model: PreTrainedModel, adapter: Vera, new_tokens: Sequence[int]) -> Adapted:
    import torch
    from peft import VeraConfig

    key = int(torch.randint(LARGEST_KEY, ()))  # the shared matrices are a draw like every other
    return _build(
        model,
        targets.choose(adapter.targets, linear_names(model)).layers,
        lambda names, transposed: VeraConfig(
            r=adapter.rank,
            vera_dropout=adapter.dropout,
            projection_prng_key=key,
            target_modules=names,
            fan_in_fan_out=transposed,
            task_type="CAUSAL_LM",
        ),
    )


def oft_trains(adapter: Oft, base: BaseFiles) -> int:
    """Of each block of a layer's inputs a skew-symmetric matrix."""
    inputs = [base.sizes(name)[1] for name in resolved(adapter, base)]
    return sum(n // size * (size * (size - 1) // 2) for n in inputs for size in [block_size(n, adapter.block_size)])


def block_size(inputs: int, asked: int) -> int:
    """The divisor of a layer's inputs that is nearest to what is asked, the lower one of two (PEFT's rule)."""
    if asked >= inputs:
        return inputs
    lower = next(size for size in range(asked, 0, -1) if inputs % size == 0)
    higher = next(size for size in range(asked, inputs + 1) if inputs % size == 0)
    return lower if asked - lower <= higher - asked else higher


def oft(model: PreTrainedModel, adapter: Oft, new_tokens: Sequence[int]) -> Adapted:
    from peft import OFTConfig

    return _build(
        model,
        targets.choose(adapter.targets, linear_names(model)).layers,
        lambda names, transposed: OFTConfig(
            r=0, oft_block_size=adapter.block_size, target_modules=names, fan_in_fan_out=transposed, task_type="CAUSAL_LM"
        ),
    )


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

    attention, inner = targets.scaled(linear_names(model))
    return _build(
        model,
        [*attention, *inner],
        lambda names, transposed: IA3Config(
            target_modules=names, feedforward_modules=inner, fan_in_fan_out=transposed, task_type="CAUSAL_LM"
        ),
    )
