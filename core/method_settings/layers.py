"""Settings of adapters on linear layers that are not of LoRA's family."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.method_settings.base import Adapter, OnLayers, Ranked


@dataclass(frozen=True, kw_only=True)
class Vera(Ranked):
    """Vector-based random matrix adaptation (Kopiczko et al. 2023): one pair of frozen random matrices for all layers, drawn by
    the seed, and two trained vectors a layer. The paper's rates are 10 to 100 times LoRA's, its rank 256 to 1,024."""

    method: str = field(default="vera", init=False)
    rank: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Ia3(Adapter):
    """(IA)³ (Liu et al. 2022): scales of keys, values and the inputs of the feed-forward part's last matrix. They start at 1,
    so weight decay draws them away from the base. The paper's rate is 3e-3, with Adafactor."""

    method: str = field(default="ia3", init=False)


@dataclass(frozen=True, kw_only=True)
class Oft(OnLayers):
    """Orthogonal fine-tuning (Qiu et al. 2023; OFTv2, Qiu et al. 2025): the inputs of each layer are rotated in blocks of
    `block_size`; where that does not divide them, of the nearest size that does. Cayley's transform by its Neumann series of
    PEFT's five terms. Weight decay draws the rotations to the base. The paper's rates are near LoRA's: 1e-4 to 4e-4 at 7 B."""

    method: str = field(default="oft", init=False)
    block_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("block_size", 2, 100_000)


@dataclass(frozen=True, kw_only=True)
class Hra(Ranked):
    """Householder reflection adaptation (Yuan et al. 2024): the inputs of each layer go through `rank` reflections, drawn in
    pairs that cancel, so that it starts at the base."""

    method: str = field(default="hra", init=False)
    rank: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.rank % 2 == 0, "rank", "even: reflections start in pairs")


@dataclass(frozen=True, kw_only=True)
class Road(OnLayers):
    """RoAd (Liao & Monz 2024), its second variant: pairs of each layer's outputs are rotated and scaled. The pairs lie half a
    group apart; where groups of `group_size` outputs do not fit all layers, the nearest size that does. Weight decay draws the
    scales, which start at 1, away from the base. 1e-3 in PEFT's comparison."""

    method: str = field(default="road", init=False)
    group_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("group_size", 2, 100_000)


@dataclass(frozen=True, kw_only=True)
class RandLora(Ranked):
    """RandLoRA (Albert et al. 2025): updates of full rank, as sums of frozen random matrices of this rank, drawn by the seed
    for all layers, with trained scales. The lower the rank, the more parameters. 1e-4 in PEFT's comparison."""

    method: str = field(default="randlora", init=False)
    rank: int = 32
    alpha_over_rank: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.alpha_over_rank > 0, "alpha_over_rank", "above 0")


@dataclass(frozen=True, kw_only=True)
class VbLora(Ranked):
    """VB-LoRA (Li et al. 2024): LoRA whose matrices are made of pieces, each a mixture of the `top` likeliest of `num_vectors`
    vectors that all layers share. `vector_length` divides every width, else the nearest that does. 1e-4 in PEFT's
    comparison."""

    method: str = field(default="vblora", init=False)
    rank: int = 4
    num_vectors: int = 256
    vector_length: int = 256
    top: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("num_vectors", 2, 1_000_000)
        self._whole("vector_length", 1, 1_000_000)
        self._whole("top", 1, self.num_vectors)
