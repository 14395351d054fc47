"""The settings of every method of tuning. What is known of the methods, and what builds them, stands in core/adapters.

`train.weight_decay` shrinks what is trained towards 0. That is the base for low-rank updates and rotations; scales, which
start at 1, are drawn away from it, and weights of the base themselves: there 0, the default, is what the papers use. Norms and
biases have none (transformers leaves them out), so methods that train nothing else are refused with it.
`train.l2_to_base` draws what is trained to where it began, which is the base whatever the method (core/near_base.py).
"""

from __future__ import annotations

from core.method_settings.base import TARGET_PRESETS, Adapter, OnLayers, Ranked
from core.method_settings.layers import Hra, Ia3, Oft, RandLora, Road, VbLora, Vera
from core.method_settings.lora import KAIMING, Dora, Lora, LoraFa, LoraPlus, Olora, Pissa
from core.method_settings.pieces import BitFit, Full, LastLayers, LayerNorm
from core.method_settings.updates import (
    AdaLora,
    C3a,
    Deft,
    DeLora,
    FourierFt,
    GraLora,
    HiRa,
    LoHa,
    LoKr,
    Miss,
    Osf,
    Peanut,
    Scaled,
    Shira,
    WaveFt,
)
from core.method_settings.virtual import MOST_VIRTUAL_TOKENS, Prefix, Prompt, PTuning

__all__ = [
    "ADAPTERS", "KAIMING", "MOST_VIRTUAL_TOKENS", "TARGET_PRESETS", "AdaLora", "Adapter", "BitFit", "C3a", "DeLora", "Deft",
    "Dora", "FourierFt", "Full", "GraLora", "HiRa", "Hra", "Ia3", "LastLayers", "LayerNorm", "LoHa", "LoKr",
    "Lora", "LoraFa", "LoraPlus", "Miss", "Oft", "Olora", "OnLayers", "Osf", "PTuning", "Peanut", "Pissa", "Prefix",
    "Prompt", "RandLora", "Ranked", "Road", "Scaled", "Shira", "VbLora", "Vera", "WaveFt",
]  # fmt: skip

ADAPTERS: dict[str, type[Adapter]] = {
    cls().method: cls
    for cls in (
        Lora, Dora, Pissa, Olora, LoraPlus, LoraFa, AdaLora, Vera, RandLora, VbLora, LoHa, LoKr, HiRa, GraLora, DeLora,
        Deft, Peanut, Miss, Shira, C3a, FourierFt, WaveFt, Osf, Ia3, Oft, Hra, Road, Prefix, Prompt, PTuning,
        BitFit, LayerNorm, LastLayers, Full,
    )
}  # fmt: skip
