"""Methods of tuning: one table from a method's name to what is known of it and what builds it on a base model.

Preflight, plans and figures read the facts, so this imports in milliseconds; torch, PEFT and transformers are imported where a
model is built. A builder gets a module tree of the trial's own (core/model.py) and returns the model to train, its random
initialisation drawn from torch's global generator, which the trial seeds first. To add a method: its settings in
core/method_settings, its entry in METHODS (table.py), and in RECIPES (recipes.py) where it is one configuration of PEFT's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.adapters import lora
from core.adapters.lora import expert_names, linear_names
from core.adapters.method import Adapted, Method
from core.adapters.table import METHODS
from core.base import BaseFiles
from core.errors import BadInput, nearest
from core.method_settings.lora import ORTHOGONAL
from core.optimizers import OPTIMIZERS, Kind
from core.quantized import KINDS
from core.settings import BEST, Adapter, Lora, Trial

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = [
    "METHODS", "Adapted", "Method", "build", "expert_names", "linear_names", "method_of", "n_trained", "resolved_targets",
    "trainable_parameters",
]  # fmt: skip


def method_of(trial: Trial) -> Method:
    """The trial's method.

    Raises:
        BadInput: there is none of this name, or it cannot train on the trial's quantized base, with its checkpointing, its
            weight decay or its optimizer.
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
    if trial.train.checkpointing == "on" and not METHODS[name].checkpointing:
        text = f"{METHODS[name].label} cannot train through layers that are computed again; leave it at auto or off"
        raise BadInput(f"train.checkpointing=on: {text}", field="train.checkpointing")
    if trial.train.keep == BEST and not METHODS[name].goes_back:
        text = f"what {METHODS[name].label} has decided at its last step fits no earlier one's weights; leave it at last"
        raise BadInput(f"train.keep=best: {text}", field="train.keep")
    if trial.train.weight_decay and not METHODS[name].decays:
        text = f"weight decay is not for norms and biases, and {METHODS[name].label} trains nothing else; leave it at 0"
        raise BadInput(f"train.weight_decay={trial.train.weight_decay:g}: {text}", field="train.weight_decay")
    _check_optimizer(trial.train.optimizer, METHODS[name])
    return METHODS[name]


def _check_optimizer(name: str, method: Method) -> None:
    if Kind.OTHER not in OPTIMIZERS[name].kinds and not method.trains_matrices:
        raise _without_matrices(name, f"and {method.label} trains none")


def _without_matrices(name: str, why: str) -> BadInput:
    others = ", ".join(other for other, one in OPTIMIZERS.items() if Kind.OTHER in one.kinds)
    text = f"it trains the matrices of linear layers, {why}; use one of {others}"
    return BadInput(f"train.optimizer={name}: {text}", field="train.optimizer")


def _trains_on_quantized() -> str:
    return "use adapter.method=" + " or ".join(name for name, method in METHODS.items() if method.on_quantized_base)


def n_trained(trial: Trial, base: BaseFiles) -> int:
    """How many parameters the trial trains on this base.

    Raises:
        BadInput: its method or its settings do not fit the base.
    """
    adapter, quantization, method = trial.adapter, trial.model.quantization, METHODS[trial.adapter.method]
    if base.quantization != "none" and not method.on_quantized_base:
        text = f"this base has 4-bit weights, which cannot be trained; {_trains_on_quantized()} or the unquantized base"
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    if base.quantization != "none" and quantization not in ("none", base.quantization):
        text = f"the model's files are {base.quantization} already; leave it out, or take the unquantized model"
        raise BadInput(f"model.quantization={quantization!r}: {text}", field="model.quantization")
    if quantization == "none":
        quantization = base.quantization
    if quantization != "none" and getattr(adapter, "init", None) == ORTHOGONAL:
        text = f"PEFT has it not for layers of {KINDS[quantization].bits} bits; use kaiming or gaussian, or an unquantized base"
        raise BadInput(f"adapter.init={ORTHOGONAL}: {text}", field="adapter.init")
    presets = getattr(adapter, "targets", "attention")
    if quantization != "none" and base.has_experts and not presets.startswith("attention"):
        # which keeps them as they are and which PEFT cannot adapt but as layers
        text = f"a mixture's experts cannot be adapted on a base of {KINDS[quantization].bits} bits"
        text += "; use adapter.targets=attention or model.quantization=none"
        raise BadInput(f"model.quantization={quantization!r}: {text}", field="model.quantization")
    if base.new_tokens and not method.trains_new_tokens:
        text = (
            f"this base has no chat template, and {method.label} cannot train the tokens that ChatML adds; "
            "give model.chat_template=FILE, a template of tokens that it has, or use adapter.method=lora"
        )
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    n, name = method.n_trained(adapter, base), trial.train.optimizer
    matrices_alone = Kind.OTHER not in OPTIMIZERS[name].kinds
    if matrices_alone and isinstance(adapter, Lora) and lora.n_of_experts(adapter, base) == n - base.new_token_parameters:
        raise _without_matrices(name, "and LoRA of stacked experts is none")
    return n


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


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes. PEFT's layers for single tokens share one tensor between tied heads: counted once."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters() if p.requires_grad}.values())
