"""Methods that train some of the base's own weights: biases, normalization layers, the last blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core import checkpoint, weights
from core.adapters.method import Adapted
from core.base import BaseFiles
from core.errors import BadInput
from core.method_settings import BitFit, LastLayers, LayerNorm
from core.targets import of_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BIAS = re.compile(r"(^|[._])bias$")
BLOCK = re.compile(r"(^|\.)(?P<index>\d+)\.")  # the first number in a name is its block's


def biases(adapter: BitFit, base: BaseFiles) -> tuple[str, ...]:
    """The base's biases.

    Raises:
        BadInput: it has none.
    """
    found = tuple(name for name in base.shapes if BIAS.search(name) and of_text(name) and not weights.BUFFER.search(name))
    if not found:
        text = "this base has no biases (Llama-like models are made without); use adapter.method=layernorm or ia3"
        raise BadInput(f"adapter.method=bitfit: {text}", field="adapter.method")
    return found


def n_biases(adapter: BitFit, base: BaseFiles) -> int:
    return sum(checkpoint.count(base.shapes[name]) for name in biases(adapter, base))


def bitfit(model: PreTrainedModel, adapter: BitFit, new_tokens: Sequence[int]) -> Adapted:
    return _trained(model, lambda name: bool(BIAS.search(name)))


def _trained(model: PreTrainedModel, wanted: Callable[[str], bool]) -> Adapted:
    """The model with nothing but these of its weights trained."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(of_text(name) and wanted(name))
    names = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return Adapted(model, names)


def _index(name: str) -> int:
    found = BLOCK.search(name)
    return int(found["index"]) if found else -1


def last_blocks(adapter: LastLayers, base: BaseFiles) -> tuple[str, ...]:
    """The weights of the last blocks.

    Raises:
        BadInput: the base has fewer.
    """
    names = [name for name in base.shapes if of_text(name) and not weights.BUFFER.search(name)]
    n_blocks = max(map(_index, names), default=-1) + 1
    if adapter.n_layers > n_blocks:
        text = f"the base has {n_blocks} blocks; use at most that, or adapter.method=full"
        raise BadInput(f"adapter.n_layers={adapter.n_layers}: {text}", field="adapter.n_layers")
    return tuple(name for name in names if _index(name) >= n_blocks - adapter.n_layers)


def n_last_blocks(adapter: LastLayers, base: BaseFiles) -> int:
    return sum(checkpoint.count(base.shapes[name]) for name in last_blocks(adapter, base))


def last_layers(model: PreTrainedModel, adapter: LastLayers, new_tokens: Sequence[int]) -> Adapted:
    n_blocks = max(_index(name) for name, _ in model.named_parameters() if of_text(name)) + 1
    return _trained(model, lambda name: _index(name) >= n_blocks - adapter.n_layers)


def norms(adapter: LayerNorm, base: BaseFiles) -> tuple[str, ...]:
    """The normalization layers: what has a weight of one dimension.

    Raises:
        BadInput: the base has none with weights.
    """
    ones = (name for name, shape in base.shapes.items() if name.endswith(".weight") and len(shape) == 1 and of_text(name))
    found = tuple(name.rpartition(".")[0] for name in ones)
    if not found:
        text = "the normalization layers of this base have no weights; use adapter.method=ia3"
        raise BadInput(f"adapter.method=layernorm: {text}", field="adapter.method")
    return found


def n_norms(adapter: LayerNorm, base: BaseFiles) -> int:
    """Weights and biases of the normalization layers."""
    found = set(norms(adapter, base))
    return sum(checkpoint.count(shape) for name, shape in base.shapes.items() if name.rpartition(".")[0] in found)


def layernorm(model: PreTrainedModel, adapter: LayerNorm, new_tokens: Sequence[int]) -> Adapted:
    from peft import LNTuningConfig, get_peft_model

    ones = (name for name, one in model.named_parameters() if name.endswith(".weight") and one.ndim == 1 and of_text(name))
    names = [name.rpartition(".")[0] for name in ones]
    return Adapted(get_peft_model(model, LNTuningConfig(target_modules=names, task_type="CAUSAL_LM")), tuple(names))
