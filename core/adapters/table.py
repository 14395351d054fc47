"""METHODS: one entry for each method of tuning."""

from __future__ import annotations

from typing import Any

from core.adapters import layers, lora, pieces, virtual
from core.adapters.method import Adapted, Method
from core.method_settings import (
    ADAPTERS,
    BitFit,
    Dora,
    Full,
    Ia3,
    LastLayers,
    LayerNorm,
    Lora,
    LoraPlus,
    Oft,
    Pissa,
    Prefix,
    Prompt,
    PTuning,
    Vera,
)

# Relatives share a colour of Okabe and Ito's (blues: low rank; greens: other adapters on layers; purples: virtual tokens;
# oranges: weights of the base), and no two methods a marker, so that none is told by its colour alone.
_LOW_RANK: dict[str, Any] = {
    "changes_base": False, "on_quantized_base": True,
    "n_trained": lora.n_trained, "build": lora.build, "resolved": lora.resolved,
}  # fmt: skip
_ON_LAYERS: dict[str, Any] = {
    "changes_base": False, "on_quantized_base": True, "trains_new_tokens": False, "trains_matrices": False,
}  # fmt: skip
_VIRTUAL: dict[str, Any] = _ON_LAYERS | {
    "merges": False, "resolved": virtual.resolved, "virtual_tokens": lambda adapter: adapter.virtual_tokens,
    "starts_at_base": False,
}  # fmt: skip

METHODS: dict[str, Method] = {
    "lora": Method(settings=Lora, label="LoRA", colour="#0072B2", marker="o", **_LOW_RANK),
    "dora": Method(settings=Dora, label="DoRA", colour="#56B4E9", marker="s", **_LOW_RANK),
    "pissa": Method(
        settings=Pissa, label="PiSSA", colour="#004C80", marker="^",
        **(_LOW_RANK | {"on_quantized_base": False, "copies_base": True}),
    ),
    "lora-plus": Method(settings=LoraPlus, label="LoRA+", colour="#2B8CC9", marker="P", **_LOW_RANK),
    "vera": Method(
        settings=Vera, label="VeRA", colour="#009E73", marker="v",
        n_trained=layers.vera_trains, build=layers.vera, resolved=layers.resolved, **_ON_LAYERS,
    ),
    "ia3": Method(
        settings=Ia3, label="(IA)³", colour="#00573F", marker="X",
        n_trained=layers.ia3_trains, build=layers.ia3, resolved=layers.ia3_resolved, **_ON_LAYERS,
    ),
    "oft": Method(
        settings=Oft, label="OFT", colour="#4FC9A4", marker="h",
        n_trained=layers.oft_trains, build=layers.oft, resolved=layers.resolved, **_ON_LAYERS,
    ),
    "prefix": Method(
        settings=Prefix, label="prefix tuning", colour="#CC79A7", marker="<", checkpointing=False,
        n_trained=virtual.prefix_trains, build=virtual.prefix, **_VIRTUAL,
    ),
    "prompt": Method(
        settings=Prompt, label="prompt tuning", colour="#8A3B69", marker=">",
        n_trained=virtual.prompt_trains, build=virtual.prompt, **_VIRTUAL,
    ),
    "p-tuning": Method(
        settings=PTuning, label="P-tuning", colour="#E3B4CF", marker="p",
        n_trained=virtual.prompt_trains, build=virtual.p_tuning, **(_VIRTUAL | {"trains_matrices": True}),
    ),
    "bitfit": Method(
        settings=BitFit, label="BitFit", colour="#E69F00", marker="*",
        changes_base=True, on_quantized_base=False, trains_new_tokens=False, trains_matrices=False,
        n_trained=pieces.n_biases, build=pieces.bitfit, resolved=pieces.biases,
    ),
    "layernorm": Method(
        settings=LayerNorm, label="LayerNorm", colour="#9C6B00", marker="d", rounded=True,
        n_trained=pieces.n_norms, build=pieces.layernorm, resolved=pieces.norms, **_ON_LAYERS,
    ),
    "last-layers": Method(
        settings=LastLayers, label="last layers", colour="#F0A373", marker="8", rates_of_full=True,
        changes_base=True, on_quantized_base=False, trains_new_tokens=False,
        n_trained=pieces.n_last_blocks, build=pieces.last_layers, resolved=pieces.last_blocks,
    ),
    "full": Method(
        settings=Full, label="full", colour="#D55E00", marker="D", changes_base=True, on_quantized_base=False, rates_of_full=True,
        n_trained=lambda adapter, base: base.n_parameters, build=lambda model, adapter, new_tokens: Adapted(model, ()),
    ),
}  # fmt: skip

if {name: method.settings for name, method in METHODS.items()} != ADAPTERS:
    raise TypeError("each method has one entry in core.settings.ADAPTERS and one in METHODS, of the same name and settings")
