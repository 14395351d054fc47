"""What is known of a method of tuning, and what its builder gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.base import BaseFiles
from core.settings import Adapter

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Adapted:
    """The model to train and the layers (and experts' parameters) that the adapter is on (empty: all of them)."""

    model: nn.Module
    target_modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of a method.

    `changes_base`: its builder gets a float32 copy of the base whose parameters are all trainable, the tuned model is rounded to
    the base's type before it is measured, and it is saved whole. Otherwise the builder gets frozen weights that all trials share.
    A base without a chat template gets new tokens: `build` is given their ids and has to train their rows, or the method
    `trains_new_tokens` not and such a base is refused. `n_trained` counts the parameters that it trains on a base, and `resolved`
    names the weights; both raise BadInput where its settings do not fit that base.
    """

    settings: type[Adapter]
    label: str  # in figures and tables
    colour: str  # safe for colour-blind readers (Okabe & Ito 2008)
    marker: str  # matplotlib's, another for each
    changes_base: bool  # whether the base's own weights change
    on_quantized_base: bool  # whether it can train on a base whose weights have 4 or 8 bits
    n_trained: Callable[[Any, BaseFiles], int]
    build: Callable[[PreTrainedModel, Any, Sequence[int]], Adapted]
    resolved: Callable[[Any, BaseFiles], tuple[str, ...]] = lambda adapter, base: tuple(base.shapes)
    trains_new_tokens: bool = True
    merges: bool = True  # whether what it learnt can become a part of the base's weights
    goes_back: bool = True  # whether an earlier step's weights, put back, are the model as it was then
    checkpointing: bool = True  # whether layers can be computed again for the backward pass
    trains_matrices: bool = True  # whether weights of linear layers are among what it trains (LoRA's A and B are such)
    decays: bool = True  # whether weight decay is for some of what it trains; transformers leaves out norms and biases
    rounded: bool = False  # whether what it trains has to have the base's type when the model is used
    virtual_tokens: Callable[[Any], int] = lambda adapter: 0  # positions of the context that it takes
    # Numbers that the backward pass needs of changed weights, where a method computes with such, in all layers: of settings and
    # base, whether in bfloat16, and whether the base is quantized.
    kept: Callable[[Any, BaseFiles, bool, bool], float] = lambda adapter, base, bf16, packed: 0.0
    rates_of_full: bool = False  # whether its best learning rates are those of full fine-tuning; else LoRA's, ten times higher
    copies_base: bool = False  # whether the weights that it adapts are its own copies
    starts_at_base: bool = True  # whether it changes nothing before it is trained

    def __post_init__(self) -> None:
        if self.changes_base and self.on_quantized_base:
            raise ValueError(f"{self.label}: weights of 4 bits cannot be trained, so a method that changes them cannot use them")
