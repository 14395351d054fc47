"""Settings of methods that train the base's own weights, or some of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.method_settings.base import Adapter


@dataclass(frozen=True, kw_only=True)
class BitFit(Adapter):
    """BitFit (Ben Zaken et al. 2021): the biases that the base has, and nothing else. Llama-like models have none. Weight
    decay is not for biases and is refused. The paper's rates are 1e-4 to 1e-3, about ten times those of full fine-tuning."""

    method: str = field(default="bitfit", init=False)


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Adapter):
    """LayerNorm tuning (Zhao et al. 2023): weights and biases of the normalization layers. Weight decay is not for them and
    is refused. The paper's rates are 3e-5 to 3e-3, above those of full fine-tuning."""

    method: str = field(default="layernorm", init=False)


@dataclass(frozen=True, kw_only=True)
class LastLayers(Adapter):
    """The last `n_layers` blocks of the base are trained, all else is frozen (Lee et al. 2019). Rates of full fine-tuning."""

    method: str = field(default="last-layers", init=False)
    n_layers: int = 1

    def __post_init__(self) -> None:
        self._whole("n_layers", 1, 10_000)


@dataclass(frozen=True, kw_only=True)
class Full(Adapter):
    """Full fine-tuning: every parameter of the base is trained."""

    method: str = field(default="full", init=False)
