"""The settings of every method of tuning. What is known of the methods, and what builds them, stands in core/adapters.

`train.weight_decay` shrinks what is trained towards 0. That is the base for low-rank updates and rotations; scales and norms,
which start at 1, are drawn away from it, and weights of the base themselves: there 0, the default, is what the papers use.
`train.l2_to_base` draws what is trained to where it began, which is the base whatever the method (core/near_base.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core.part import Part

TARGET_PRESETS = ("attention-qv", "attention", "mlp", "all-linear")
MOST_VIRTUAL_TOKENS = 1_000


@dataclass(frozen=True, kw_only=True)
class Adapter(Part):
    """A method's settings. `method` is the name in ADAPTERS; what is known of the method stands in core/adapters."""

    PREFIX = "adapter."
    method: str = field(default="", init=False)


@dataclass(frozen=True, kw_only=True)
class Lora(Adapter):
    """Low-rank adapters (Hu et al. 2021). `alpha_over_rank` is alpha / rank: the scale of the update."""

    method: str = field(default="lora", init=False)
    rank: int = 16
    alpha_over_rank: float = 2.0
    rank_stabilized: bool = False  # scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)
    dropout: float = 0.0
    targets: str = "all-linear"

    def __post_init__(self) -> None:
        self._require(self.rank >= 1, "rank", "at least 1")
        self._require(self.alpha_over_rank > 0, "alpha_over_rank", "above 0")
        self._require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")
        self._one_of("targets", TARGET_PRESETS)


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


@dataclass(frozen=True, kw_only=True)
class LoraPlus(Lora):
    """LoRA whose B learns faster than A (Hayou et al. 2024): `train.learning_rate` is A's, `rate_ratio` B's over A's. The
    paper's ratio is 16 with lower rates than LoRA's; at a ratio of 1 it is LoRA."""

    method: str = field(default="lora-plus", init=False)
    rate_ratio: float = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(1 <= self.rate_ratio <= 1_000, "rate_ratio", "at least 1 and at most 1000")


@dataclass(frozen=True, kw_only=True)
class Vera(Adapter):
    """Vector-based random matrix adaptation (Kopiczko et al. 2023): one pair of frozen random matrices for all layers, drawn by
    the seed, and two trained vectors a layer. The paper's rates are 10 to 100 times LoRA's, its rank 256 to 1,024."""

    method: str = field(default="vera", init=False)
    rank: int = 256
    dropout: float = 0.0
    targets: str = "all-linear"

    def __post_init__(self) -> None:
        self._whole("rank", 1, 100_000)
        self._require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")
        self._one_of("targets", TARGET_PRESETS)


@dataclass(frozen=True, kw_only=True)
class Ia3(Adapter):
    """(IA)³ (Liu et al. 2022): scales of keys, values and the inputs of the feed-forward part's last matrix. They start at 1, so
    weight decay draws them away from the base. The paper's rate is 3e-3, with Adafactor."""

    method: str = field(default="ia3", init=False)


@dataclass(frozen=True, kw_only=True)
class Oft(Adapter):
    """Orthogonal fine-tuning (Qiu et al. 2023; OFTv2, Qiu et al. 2025): the inputs of each layer are rotated in blocks of
    `block_size`; where that does not divide them, of the nearest size that does. Cayley's transform by its Neumann series of
    PEFT's five terms. Weight decay draws the rotations to the base. The paper's rates are near LoRA's: 1e-4 to 4e-4 at 7 B."""

    method: str = field(default="oft", init=False)
    block_size: int = 32
    targets: str = "all-linear"

    def __post_init__(self) -> None:
        self._whole("block_size", 2, 100_000)
        self._one_of("targets", TARGET_PRESETS)


@dataclass(frozen=True, kw_only=True)
class Prefix(Adapter):
    """Prefix tuning (Li & Liang 2021) without its reparametrization, which is P-tuning v2 (Liu et al. 2021): keys and values of
    `virtual_tokens` positions before every sequence, in each layer. They start at random numbers of unit variance (PEFT), so a
    new prefix disturbs the base; `zero_start` starts at keys and values of 0. P-tuning v2's rates are 5e-3 to 1e-2."""

    method: str = field(default="prefix", init=False)
    virtual_tokens: int = 20
    zero_start: bool = False

    def __post_init__(self) -> None:
        self._whole("virtual_tokens", 1, MOST_VIRTUAL_TOKENS)


@dataclass(frozen=True, kw_only=True)
class Prompt(Adapter):
    """Prompt tuning (Lester et al. 2021): embeddings of `virtual_tokens` positions before every sequence, which start at those of
    tokens drawn by the seed. The paper's rate is 0.3, with Adafactor; with AdamW 1e-3 to 1e-1 are in use."""

    method: str = field(default="prompt", init=False)
    virtual_tokens: int = 20

    def __post_init__(self) -> None:
        self._whole("virtual_tokens", 1, MOST_VIRTUAL_TOKENS)


@dataclass(frozen=True, kw_only=True)
class PTuning(Adapter):
    """P-tuning (Liu et al. 2021): prompt tuning whose embeddings come out of a network of three layers,
    `encoder_width` wide, which is left behind after training. The paper's rates are 1e-5 to 1e-3."""

    method: str = field(default="p-tuning", init=False)
    virtual_tokens: int = 20
    encoder_width: int = 128

    def __post_init__(self) -> None:
        self._whole("virtual_tokens", 1, MOST_VIRTUAL_TOKENS)
        self._whole("encoder_width", 1, 100_000)


@dataclass(frozen=True, kw_only=True)
class BitFit(Adapter):
    """BitFit (Ben Zaken et al. 2021): the biases that the base has, and nothing else. Llama-like models have none. The paper's
    rates are 1e-4 to 1e-3, about ten times those of full fine-tuning."""

    method: str = field(default="bitfit", init=False)


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Adapter):
    """LayerNorm tuning (Zhao et al. 2023): weights and biases of the normalization layers. They start near 1, so weight decay
    draws them away from the base. The paper's rates are 3e-5 to 3e-3, above those of full fine-tuning."""

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


ADAPTERS: dict[str, type[Adapter]] = {
    "lora": Lora,
    "dora": Dora,
    "pissa": Pissa,
    "lora-plus": LoraPlus,
    "vera": Vera,
    "ia3": Ia3,
    "oft": Oft,
    "prefix": Prefix,
    "prompt": Prompt,
    "p-tuning": PTuning,
    "bitfit": BitFit,
    "layernorm": LayerNorm,
    "last-layers": LastLayers,
    "full": Full,
}
