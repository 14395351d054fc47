"""Methods of tuning: one table from a method's name to what is known of it and what builds it on a base model.

Preflight, plans and figures read the facts, so this imports in milliseconds; torch, PEFT and transformers are imported where a
model is built. A builder gets a module tree of the trial's own (core/model.py) and returns the model to train, its random
initialisation drawn from torch's global generator, which the trial seeds first. To add a method: its settings in
core/settings.py, its entry in METHODS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core import checkpoint, targets
from core.base import BaseFiles
from core.errors import BadInput, nearest
from core.quantized import KINDS
from core.settings import ADAPTERS, Adapter, Full, Lora, Trial

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Adapted:
    """The model to train and the layers (and experts' parameters) that the adapter is on (empty: all of them)."""

    model: nn.Module
    target_modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of a method.

    `changes_base`: its builder gets a float32 copy of the base whose parameters are all trainable, the tuned model is rounded to
    the base's type before it is measured, and it is saved whole. Otherwise the builder gets frozen weights that all trials share.
    A base without a chat template gets new tokens: `build` is given their ids and has to train their rows. `n_trained` counts the
    parameters that it trains on a base, and `resolved` names the weights; both raise BadInput where its settings do not fit that
    base.
    """

    settings: type[Adapter]
    label: str  # in figures and tables
    colour: str  # safe for colour-blind readers (Okabe & Ito 2008)
    marker: str  # matplotlib's
    changes_base: bool  # whether the base's own weights change
    on_quantized_base: bool  # whether it can train on a base whose weights have 4 or 8 bits
    n_trained: Callable[[Any, BaseFiles], int]
    build: Callable[[PreTrainedModel, Any, Sequence[int]], Adapted]
    resolved: Callable[[Any, BaseFiles], tuple[str, ...]] = lambda adapter, base: tuple(base.shapes)

    def __post_init__(self) -> None:
        if self.changes_base and self.on_quantized_base:
            raise ValueError(f"{self.label}: weights of 4 bits cannot be trained, so a method that changes them cannot use them")


def method_of(trial: Trial) -> Method:
    """The trial's method.

    Raises:
        BadInput: there is none of this name, or it cannot train on the trial's quantized base.
    """
    name = trial.adapter.method
    if name not in METHODS:
        raise BadInput(f"adapter.method={name!r}: {nearest(name, list(METHODS))}", field="adapter.method")
    kind = trial.model.quantization
    if kind != "none" and not METHODS[name].on_quantized_base:
        text = f"{KINDS[kind].bits}-bit weights cannot be trained; {_trains_on_quantized()} or quantization=none"
        raise BadInput(f"model.quantization={kind!r}: {text}", field="model.quantization")
    if not trial.model.double_quantization and (kind == "none" or KINDS[kind].bits == 8):
        text = f"only nf4 and fp4 have scales of blocks, and model.quantization={kind}; leave it out"
        raise BadInput(f"model.double_quantization=False: {text}", field="model.double_quantization")
    return METHODS[name]


def _trains_on_quantized() -> str:
    return "use adapter.method=" + " or ".join(name for name, method in METHODS.items() if method.on_quantized_base)


def n_trained(trial: Trial, base: BaseFiles) -> int:
    """How many parameters the trial trains on this base.

    Raises:
        BadInput: its method's settings do not fit the base; or it adapts a mixture's experts on a quantized base, which keeps
            them as they are and which PEFT cannot adapt but as layers.
    """
    adapter, quantization = trial.adapter, trial.model.quantization
    if base.quantization != "none" and not METHODS[adapter.method].on_quantized_base:
        text = f"this base has 4-bit weights, which cannot be trained; {_trains_on_quantized()} or the unquantized base"
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    if quantization == "none":
        quantization = base.quantization
    if quantization != "none" and base.has_experts and not getattr(adapter, "targets", "").startswith("attention"):
        text = f"a mixture's experts cannot be adapted on a base of {KINDS[quantization].bits} bits"
        text += "; use adapter.targets=attention or model.quantization=none"
        raise BadInput(f"model.quantization={quantization!r}: {text}", field="model.quantization")
    return METHODS[adapter.method].n_trained(adapter, base)


def build(model: PreTrainedModel, adapter: Adapter, new_tokens: Sequence[int]) -> Adapted:
    """The model with the adapter on it. Seed before calling: PEFT draws the initial weights here."""
    return METHODS[adapter.method].build(model, adapter, new_tokens)


def resolved_targets(adapter: Adapter, base: BaseFiles) -> tuple[str, ...]:
    """What a method's settings come to on a base: the names of the weights that it changes or adapts. Two settings that differ
    in nothing else and come to the same are one arm. Names are the files' own.

    Raises:
        BadInput: the settings do not fit that base.
    """
    return METHODS[adapter.method].resolved(adapter, base)


def _lora_targets(adapter: Lora, base: BaseFiles) -> targets.Chosen:
    """What the preset means on this base.

    Raises:
        BadInput: it fits nothing, or PEFT cannot adapt it so.
    """
    checkpoint.check_rank(adapter.rank, base.width)
    experts = {} if adapter.targets.startswith("attention") else base.experts
    chosen = _chosen(adapter.targets, tuple(base.linear), tuple(experts))
    by_weight = chosen.experts or (base.has_experts and any(map(targets.is_taken_for_experts, chosen.layers)))
    if by_weight and adapter.dropout:
        text = "PEFT adapts a mixture's experts without dropout only; use 0, or adapter.targets=attention"
        raise BadInput(f"adapter.dropout={adapter.dropout:g}: {text}", field="adapter.dropout")
    return chosen


@functools.lru_cache(maxsize=64)
def _chosen(preset: str, linear: tuple[str, ...], experts: tuple[str, ...]) -> targets.Chosen:
    """Once for all arms of a base."""
    return targets.choose(preset, list(linear), list(experts))


def _lora_trains(adapter: Lora, base: BaseFiles) -> int:
    """Rank × (inputs + outputs) of every targeted matrix, an expert's too, and the rows of new tokens."""
    chosen, linear = _lora_targets(adapter, base), base.linear
    sums = [sum(linear[name]) for name in chosen.layers]
    if chosen.experts:
        sums += [n * (rows + columns) for n, rows, columns in (base.experts[name] for name in chosen.experts)]
    return adapter.rank * sum(sums) + base.new_token_parameters


def _lora(model: PreTrainedModel, adapter: Lora, new_tokens: Sequence[int]) -> Adapted:
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    checkpoint.check_rank(adapter.rank, checkpoint.hidden_size(model.config.get_text_config().to_dict()))
    linear = targets.supported(model.config.get_text_config().model_type, linear_names(model))
    experts = expert_names(model)
    chosen = targets.choose(adapter.targets, linear, experts)
    by_weight = [name for name in chosen.layers if experts and targets.is_taken_for_experts(name)]
    layers = dict(model.named_modules())
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha_over_rank * adapter.rank,  # type: ignore[arg-type]  # a float works and may be needed
        use_rslora=adapter.rank_stabilized,
        lora_dropout=adapter.dropout,
        target_modules=[name for name in chosen.layers if name not in by_weight],
        target_parameters=[*chosen.experts, *(f"{name}.weight" for name in by_weight)] or None,
        fan_in_fan_out=any(isinstance(layers[name], Conv1D) for name in chosen.layers),
        trainable_token_indices=_token_layers(model, new_tokens),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    _check_adapted(adapted, chosen)
    return Adapted(adapted, chosen.names)


def _check_adapted(adapted: nn.Module, chosen: targets.Chosen) -> None:
    """PEFT changes what it is asked for in models whose layers have got other names; a few are known, see `targets`.

    Raises:
        BadInput: it adapts more or fewer weights than were chosen.
    """
    from peft.tuners.lora import LoraLayer

    n_adapted = sum(isinstance(layer, LoraLayer) for layer in adapted.modules())
    if n_adapted != len(chosen.names):
        text = f"of this model PEFT adapts {n_adapted} weights where {len(chosen.names)} were chosen; use another preset"
        raise BadInput(f"adapter.targets: {text}", field="adapter.targets")


def expert_names(model: PreTrainedModel) -> list[str]:
    """The names of the model's 3-D parameters that hold the experts of a layer."""
    return [name for name, parameter in model.named_parameters() if targets.is_fused(name, parameter.shape)]


def linear_names(model: PreTrainedModel) -> list[str]:
    """The names of the model's linear layers (also Conv1D and 4-bit), without the output head."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D) and layer is not head]


def _token_layers(model: PreTrainedModel, new_tokens: Sequence[int]) -> dict[str, list[int]] | None:
    """Which rows of which embeddings are trained. PEFT follows a tied output head by itself; an untied one is named."""
    if not new_tokens:
        return None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    layers = [embedding] if tied else [embedding, head]
    names = {id(layer): name for name, layer in model.named_modules()}
    return {names[id(layer)].rpartition(".")[2]: list(new_tokens) for layer in layers}


METHODS: dict[str, Method] = {
    "lora": Method(
        settings=Lora,
        label="LoRA",
        colour="#0072B2",
        marker="o",
        changes_base=False,
        on_quantized_base=True,
        n_trained=_lora_trains,
        build=_lora,
        resolved=lambda adapter, base: _lora_targets(adapter, base).names,
    ),
    "full": Method(
        settings=Full,
        label="full",
        colour="#D55E00",
        marker="D",
        changes_base=True,
        on_quantized_base=False,
        n_trained=lambda adapter, base: base.n_parameters,
        build=lambda model, adapter, new_tokens: Adapted(model, ()),
    ),
}


if {name: method.settings for name, method in METHODS.items()} != ADAPTERS:
    raise TypeError("each method has one entry in core.settings.ADAPTERS and one in METHODS, of the same name and settings")


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes. PEFT's layers for single tokens share one tensor between tied heads: counted once."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters() if p.requires_grad}.values())
