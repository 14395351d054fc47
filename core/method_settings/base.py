"""What settings of methods have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.part import Part

TARGET_PRESETS = ("attention-qv", "attention", "mlp", "all-linear")


@dataclass(frozen=True, kw_only=True)
class Adapter(Part):
    """A method's settings. `method` is the name in ADAPTERS; what is known of the method stands in core/adapters."""

    PREFIX = "adapter."
    method: str = field(default="", init=False)


@dataclass(frozen=True, kw_only=True)
class OnLayers(Adapter):
    """A method that adapts linear layers: those that the preset `targets` means."""

    targets: str = "all-linear"

    def __post_init__(self) -> None:
        self._one_of("targets", TARGET_PRESETS)


@dataclass(frozen=True, kw_only=True)
class Ranked(OnLayers):
    """One with matrices of a rank, or with as many parameters as such ones have."""

    rank: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("rank", 1, 100_000)
