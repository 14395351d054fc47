"""Settings of methods that put trained positions before every sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.method_settings.base import Adapter

MOST_VIRTUAL_TOKENS = 1_000


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
    """Prompt tuning (Lester et al. 2021): embeddings of `virtual_tokens` positions before every sequence, which start at those
    of tokens drawn by the seed. The paper's rate is 0.3, with Adafactor; with AdamW 1e-3 to 1e-1 are in use."""

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
