"""Settings of methods that add a structured update to each linear layer: products of low rank, sparse ones, and in
frequencies."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.method_settings.base import OnLayers, Ranked


@dataclass(frozen=True, kw_only=True)
class Scaled(Ranked):
    """An update of a rank, times alpha / rank."""

    alpha_over_rank: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.alpha_over_rank > 0, "alpha_over_rank", "above 0")


@dataclass(frozen=True, kw_only=True)
class LoHa(Scaled):
    """LoHa (Hyeon-Woo et al. 2021; Yeh et al. 2023): the elementwise product of two low-rank products. 1e-4 in PEFT's
    comparison."""

    method: str = field(default="loha", init=False)


@dataclass(frozen=True, kw_only=True)
class LoKr(Scaled):
    """LoKr (Yeh et al. 2023): the Kronecker product of a small matrix, about `factor` each way, and a larger one, which is of
    low rank where that is smaller. 3e-3 in PEFT's comparison."""

    method: str = field(default="lokr", init=False)
    factor: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("factor", 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class AdaLora(Scaled):
    """AdaLoRA (Zhang et al. 2023): LoRA as a singular value decomposition that starts with `start_times` the rank. Between a
    tenth and seven tenths of the steps the least important singular values are taken away, until the rank is left on average.
    1e-4 in PEFT's comparison, where LoRA went further at that rate."""

    method: str = field(default="adalora", init=False)
    start_times: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(1 < self.start_times <= 100, "start_times", "above 1 and at most 100")
        self._require(self.first_rank > self.rank, "start_times", f"so large that it begins with more than {self.rank}")

    @property
    def first_rank(self) -> int:
        return round(self.start_times * self.rank)


@dataclass(frozen=True, kw_only=True)
class GraLora(Scaled):
    """GraLoRA (Jung et al. 2025): LoRA in `blocks` × `blocks` blocks, each with its own share of the rank. 2e-4 in PEFT's
    comparison."""

    method: str = field(default="gralora", init=False)
    blocks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("blocks", 1, 1_000)
        self._require(self.rank % self.blocks == 0, "blocks", f"a divisor of adapter.rank={self.rank}")


@dataclass(frozen=True, kw_only=True)
class Deft(Scaled):
    """DEFT (NeurIPS 2025): a low-rank part of each weight is removed and another put into its place. 1e-4 in PEFT's
    comparison."""

    method: str = field(default="deft", init=False)
    alpha_over_rank: float = 4.0


@dataclass(frozen=True, kw_only=True)
class HiRa(Ranked):
    """HiRA (Huang et al. 2025): the base's weights times a low-rank product, elementwise. 4.5e-3 in PEFT's comparison."""

    method: str = field(default="hira", init=False)


@dataclass(frozen=True, kw_only=True)
class DeLora(Ranked):
    """DeLoRA (Bini et al. 2025): LoRA whose columns are normalized, so that the update's size is bounded by a trained
    `strength` apart from its directions. Weight decay draws the strength to 0. 1e-3 in PEFT's comparison, 10 to 100 times
    LoRA's."""

    method: str = field(default="delora", init=False)
    strength: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.strength > 0, "strength", "above 0")


@dataclass(frozen=True, kw_only=True)
class Peanut(Ranked):
    """PEANuT (Zhong et al. 2024): the update is a small network's output, whose inputs are the base's weights; without inner
    layers, as in PEFT's comparison, at 1e-4."""

    method: str = field(default="peanut", init=False)
    scaling: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.scaling > 0, "scaling", "above 0")


@dataclass(frozen=True, kw_only=True)
class Miss(Ranked):
    """MiSS, once Bone (Kang & Yin 2024): one trained matrix of this many rows a layer, repeated over the inputs. 1e-4 in PEFT's
    comparison, where it forgot more than LoRA."""

    method: str = field(default="miss", init=False)


@dataclass(frozen=True, kw_only=True)
class Osf(Ranked):
    """OSF (Nayak et al. 2025): each weight's `rank` smallest singular directions are trained, away from the others, which stay.
    Weight decay draws it away from the base. 5e-5 in PEFT's comparison."""

    method: str = field(default="osf", init=False)


@dataclass(frozen=True, kw_only=True)
class Shira(Ranked):
    """SHiRA (Bhardwaj et al. 2024): single weights, drawn by the seed, as many as LoRA of this rank trains. 3e-4 in PEFT's
    comparison."""

    method: str = field(default="shira", init=False)


@dataclass(frozen=True, kw_only=True)
class C3a(OnLayers):
    """C3A (Chen et al. 2024): circular convolutions in blocks of `block_size`; where that does not divide a layer's inputs and
    outputs, of the nearest size that does. It starts at 0 here. 0.3 in PEFT's comparison."""

    method: str = field(default="c3a", init=False)
    block_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("block_size", 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class FourierFt(OnLayers):
    """FourierFT (Gao et al. 2024): `n_frequency` numbers a layer, at frequencies drawn by the seed, times `scaling`. They start
    at 0 here: in a small layer random ones, as in the paper, destroy the base. 1e-4 in PEFT's comparison, where it learnt
    nothing."""

    method: str = field(default="fourierft", init=False)
    n_frequency: int = 1_000
    scaling: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("n_frequency", 1, 100_000_000)
        self._require(self.scaling > 0, "scaling", "above 0")


@dataclass(frozen=True, kw_only=True)
class WaveFt(FourierFt):
    """WaveFT (Bilican et al. 2025): as FourierFT, of wavelets. 1e-4 in PEFT's comparison."""

    method: str = field(default="waveft", init=False)
    scaling: float = 25.0
