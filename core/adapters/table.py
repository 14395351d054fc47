"""METHODS: one entry for each method of tuning."""

from __future__ import annotations

from typing import Any

from core.adapters import layers, lora, pieces, virtual
from core.adapters.method import Adapted, Method
from core.adapters.recipes import RECIPES
from core.method_settings import (
    ADAPTERS,
    BitFit,
    Dora,
    Full,
    Ia3,
    LastLayers,
    LayerNorm,
    Lora,
    LoraFa,
    LoraPlus,
    Olora,
    Pissa,
    Prefix,
    Prompt,
    PTuning,
)

# Relatives share a colour of Okabe and Ito's (blues: low rank; greens: other adapters on layers; purples: virtual tokens;
# oranges: weights of the base), and no two methods a marker, so that none is told by its colour alone: shapes, then letters.
_LOW_RANK: dict[str, Any] = {
    "changes_base": False, "on_quantized_base": True,
    "n_trained": lora.n_trained, "build": lora.build, "resolved": lora.resolved, "kept": lora.kept,
}  # fmt: skip
_ON_LAYERS: dict[str, Any] = {
    "changes_base": False, "on_quantized_base": True, "trains_new_tokens": False, "trains_matrices": False,
}  # fmt: skip
_FROM_BASE: dict[str, Any] = _LOW_RANK | {"on_quantized_base": False, "copies_base": True}
_VIRTUAL: dict[str, Any] = _ON_LAYERS | {
    "merges": False, "resolved": virtual.resolved, "virtual_tokens": lambda adapter: adapter.virtual_tokens,
    "starts_at_base": False,
}  # fmt: skip


def _recipe(name: str, label: str, colour: str, marker: str, **facts: Any) -> Method:
    """A method of RECIPES."""
    own: dict[str, Any] = {
        "n_trained": layers.n_trained, "build": layers.build, "resolved": layers.resolved, "kept": layers.kept,
    }  # fmt: skip
    return Method(
        settings=ADAPTERS[name],
        label=label,
        colour=colour,
        marker=marker,
        **(_ON_LAYERS | {"on_quantized_base": False} | own | facts),
    )


METHODS: dict[str, Method] = {
    "lora": Method(settings=Lora, label="LoRA", colour="#0072B2", marker="o", **_LOW_RANK),
    "dora": Method(settings=Dora, label="DoRA", colour="#56B4E9", marker="s", **_LOW_RANK),
    "pissa": Method(settings=Pissa, label="PiSSA", colour="#004C80", marker="^", **_FROM_BASE),
    "olora": Method(settings=Olora, label="OLoRA", colour="#004C80", marker="$O$", **_FROM_BASE),
    "lora-plus": Method(settings=LoraPlus, label="LoRA+", colour="#2B8CC9", marker="P", **_LOW_RANK),
    "lora-fa": Method(settings=LoraFa, label="LoRA-FA", colour="#2B8CC9", marker="$F$", **_LOW_RANK),
    "adalora": _recipe("adalora", "AdaLoRA", "#0072B2", "$a$", goes_back=False),
    "vera": _recipe("vera", "VeRA", "#009E73", "v", on_quantized_base=True),
    "randlora": _recipe("randlora", "RandLoRA", "#009E73", "$R$"),
    "vblora": _recipe("vblora", "VB-LoRA", "#009E73", "$V$", starts_at_base=False),
    "loha": _recipe("loha", "LoHa", "#56B4E9", "$H$"),
    "lokr": _recipe("lokr", "LoKr", "#56B4E9", "$K$"),
    "hira": _recipe("hira", "HiRA", "#56B4E9", "$E$", on_quantized_base=True),
    "gralora": _recipe("gralora", "GraLoRA", "#0072B2", "$G$"),
    "delora": _recipe("delora", "DeLoRA", "#0072B2", "$D$"),
    "deft": _recipe("deft", "DEFT", "#004C80", "$T$"),
    "peanut": _recipe("peanut", "PEANuT", "#004C80", "$N$", trains_matrices=True),
    "miss": _recipe("miss", "MiSS", "#2B8CC9", "$M$", on_quantized_base=True),
    "shira": _recipe("shira", "SHiRA", "#4FC9A4", "$S$"),
    "c3a": _recipe("c3a", "C3A", "#4FC9A4", "$C$"),
    "fourierft": _recipe("fourierft", "FourierFT", "#00573F", "$f$"),
    "waveft": _recipe("waveft", "WaveFT", "#00573F", "$W$"),
    "osf": _recipe("osf", "OSF", "#F0A373", "$U$"),
    "ia3": Method(
        settings=Ia3, label="(IA)³", colour="#00573F", marker="X",
        n_trained=layers.ia3_trains, build=layers.ia3, resolved=layers.ia3_resolved, **_ON_LAYERS,
    ),
    "oft": _recipe("oft", "OFT", "#4FC9A4", "h", on_quantized_base=True),
    "hra": _recipe("hra", "HRA", "#4FC9A4", "$h$"),
    "road": _recipe("road", "RoAd", "#00573F", "$A$"),
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
        changes_base=True, on_quantized_base=False, trains_new_tokens=False, trains_matrices=False, decays=False,
        n_trained=pieces.n_biases, build=pieces.bitfit, resolved=pieces.biases,
    ),
    "layernorm": Method(
        settings=LayerNorm, label="LayerNorm", colour="#9C6B00", marker="d", rounded=True, decays=False,
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

if {name: method.settings for name, method in METHODS.items()} != ADAPTERS or not set(RECIPES) <= set(METHODS):
    raise TypeError("each method has one entry in core.settings.ADAPTERS and one in METHODS, of the same name and settings")
