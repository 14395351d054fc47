"""Bases whose linear layers are held in 4 or 8 bits by bitsandbytes (Dettmers et al. 2022, 2023): what each kind is, what it
takes and how it is loaded. Adapters train on them; the layers stay as they are. Without torch but where a base is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.settings import Model

if TYPE_CHECKING:
    from torch import nn

BLOCK, OUTER_BLOCK = 64, 256  # weights that share a scale; scales that share one, where they are quantized too


@dataclass(frozen=True)
class Kind:
    """`bits` of a weight; `words`: in sentences."""

    bits: int
    words: str

    def bytes_each(self, double: bool) -> float:
        """Of a weight, with its share of the scales."""
        if self.bits == 8:
            return 1.0  # and a scale for a whole row
        return 0.5 + (1 / BLOCK + 4 / (BLOCK * OUTER_BLOCK) if double else 4 / BLOCK)


KINDS = {"nf4": Kind(4, "NF4"), "fp4": Kind(4, "FP4"), "int8": Kind(8, "int8")}


def name_of(model: Model, in_files: str) -> str:
    """How the base's layers are held: a key of KINDS, or "none". `in_files`: how its files have them."""
    return in_files if in_files != "none" else model.quantization


def config(model: Model, dtype: str) -> Any:
    """What transformers is asked for."""
    import torch
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of 8 bits it tells every layer's every cast
    if KINDS[model.quantization].bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=model.quantization,
        bnb_4bit_use_double_quant=model.double_quantization,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def code(model: Model, dtype: str) -> str:
    """Python that makes the same `quantized`, for whoever loads an adapter on such a base; "" for a base as its files have it."""
    if model.quantization == "none":
        return ""
    options = f'load_in_4bit=True, bnb_4bit_quant_type="{model.quantization}"'
    options += f', bnb_4bit_use_double_quant={model.double_quantization}, bnb_4bit_compute_dtype="{dtype}"'
    if KINDS[model.quantization].bits == 8:
        options = "load_in_8bit=True"
    return f"from transformers import BitsAndBytesConfig\n\nquantized = BitsAndBytesConfig(\n    {options}\n)\n"


def is_quantized(network: Any) -> bool:
    """Whether layers of this model have 4 or 8 bits."""
    return bool(getattr(network, "is_loaded_in_4bit", False) or getattr(network, "is_loaded_in_8bit", False))


def settle(network: nn.Module) -> None:
    """Keeps bitsandbytes from changing weights that trials share when a layer first computes. Of 4 bits it repacks them on a CPU
    with AVX512-BF16: it refuses widths that are no multiple of 32, and a repacked weight cannot be trained through. Of 8 bits it
    moves the scales from the weight to the layer, so that no other layer would find them."""
    layer: Any
    for layer in network.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
        if hasattr(layer, "init_8bit_state") and layer.weight.CB is not None:
            layer.init_8bit_state()


def shared_tensors(network: nn.Module) -> list[Any]:
    """What layers of 8 bits hold beside their parameters: the same weights, under other names."""
    states = [state for layer in network.modules() if (state := getattr(layer, "state", None)) is not None]
    found = [getattr(state, name, None) for state in states for name in ("CB", "SCB")]
    return [tensor for tensor in found if tensor is not None]
