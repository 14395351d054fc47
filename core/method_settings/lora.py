"""Settings of LoRA and its relatives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from core.method_settings.base import TARGET_PRESETS, Adapter

INITS = KAIMING, GAUSSIAN, ORTHOGONAL = "kaiming", "gaussian", "orthogonal"


@dataclass(frozen=True, kw_only=True)
class Lora(Adapter):
    """Low-rank adapters (Hu et al. 2021), B·A times a scale. `alpha_over_rank` is alpha / rank, and the scale; with `alpha`
    given instead, one number for all ranks, the scale is alpha / rank, or with `rank_stabilized` alpha / sqrt(rank). `init`: B
    starts at 0 and A at random (kaiming's uniform numbers, or gaussian ones), or both at random with orthogonal rows, whose
    product is 0."""

    method: str = field(default="lora", init=False)
    rank: int = 16
    alpha_over_rank: float = 2.0
    alpha: float | None = None
    rank_stabilized: bool = False  # scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)
    init: str = KAIMING
    dropout: float = 0.0
    targets: str = "all-linear"

    def __post_init__(self) -> None:
        self._require(self.rank >= 1, "rank", "at least 1")
        self._require(self.alpha_over_rank > 0, "alpha_over_rank", "above 0")
        usual = type(self).__dataclass_fields__["alpha_over_rank"].default
        alone = self.alpha is None or (self.alpha > 0 and self.alpha_over_rank == usual)
        self._require(
            alone, "alpha", f"above 0, in the place of adapter.alpha_over_rank (which is then left at {usual:g}), or none"
        )
        self._one_of("init", INITS)
        self._require(self.init != ORTHOGONAL or self.rank % 2 == 0, "init", "kaiming or gaussian where the rank is odd")
        self._require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")
        self._one_of("targets", TARGET_PRESETS)

    @property
    def scale(self) -> float:
        """What B·A is multiplied by."""
        over_rank = self.alpha_over_rank if self.alpha is None else self.alpha / self.rank
        return over_rank * (math.sqrt(self.rank) if self.rank_stabilized else 1.0)

    @property
    def lora_alpha(self) -> float:
        """PEFT's alpha."""
        return self.alpha_over_rank * self.rank if self.alpha is None else self.alpha


@dataclass(frozen=True, kw_only=True)
class Dora(Lora):
    """Weight-decomposed LoRA (Liu et al. 2024): a magnitude for each output beside the low-rank update of the direction. The
    magnitudes start at the norms of the base's rows, so weight decay draws them away from the base. LoRA's rates."""

    method: str = field(default="dora", init=False)


@dataclass(frozen=True, kw_only=True)
class Pissa(Lora):
    """LoRA that starts from the principal singular vectors (Meng et al. 2024); what is left of the weights stays frozen.
    The paper's alpha is the rank. Weight decay draws it away from the base, whose largest part it holds. It is saved as plain
    LoRA of twice the rank on the base as it was. LoRA's rates or lower ones: 2e-5 for LLaMA-2-7B in the paper."""

    method: str = field(default="pissa", init=False)
    alpha_over_rank: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.init == KAIMING, "init", f"left out: {self.method} is one of its own")


@dataclass(frozen=True, kw_only=True)
class Olora(Pissa):
    """LoRA that starts from the first columns of the weights' QR decomposition (Büyükakyüz 2024), taken from the base as PiSSA
    takes its part, and saved as that is. The paper's alpha is the rank. LoRA's rates or lower ones: 1e-4 to 4e-4 in the
    paper."""

    method: str = field(default="olora", init=False)


@dataclass(frozen=True, kw_only=True)
class LoraFa(Lora):
    """LoRA whose A stays as it was drawn (LoRA-FA, Zhang et al. 2023): B alone is trained, by the optimizer that is asked for.
    PEFT's `lora-fa` is an optimizer that changes B's gradient too. LoRA's rates or higher ones."""

    method: str = field(default="lora-fa", init=False)


@dataclass(frozen=True, kw_only=True)
class LoraPlus(Lora):
    """LoRA whose B learns faster than A (Hayou et al. 2024): `train.learning_rate` is A's, `rate_ratio` B's over A's. The
    paper's ratio is 16 with lower rates than LoRA's; at a ratio of 1 it is LoRA."""

    method: str = field(default="lora-plus", init=False)
    rate_ratio: float = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(1 <= self.rate_ratio <= 1_000, "rate_ratio", "at least 1 and at most 1000")
