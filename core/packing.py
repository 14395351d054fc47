"""Rows without their padding, on a CPU, where padding takes as long as rows do.

The rows of a batch follow one another in one sequence, each with its own positions; only within attention they stand apart, so
that none sees another. What comes after a row's last scored position is left out. Half of what the laboratory's batches hold is
padding, and of chats often more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "rows_apart"
WORTH = 0.85  # of the tokens are left, at most

Positions = tuple[torch.Tensor, torch.Tensor]  # rows, columns
_LAYOUT: list[Packed] = []  # of the batch that goes through a model now


@dataclass(frozen=True)
class Packed:
    """One sequence (1, s) of b rows of at most l tokens: its token ids and positions, the row of each, and where in it the scored
    positions are."""

    ids: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    at: Positions
    shape: tuple[int, int]  # b, l

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """(1, heads, s, d) → (b, heads, l, d), padded with zeros."""
        (b, length), (_, heads, _, d) = self.shape, x.shape
        return x.new_zeros(b, length, heads, d).index_put((self.rows, self.positions[0]), x[0].transpose(0, 1)).transpose(1, 2)

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """(b, l, heads, d) → (1, s, heads, d)."""
        return x[self.rows, self.positions[0]][None]


def packed(model: nn.Module, ids: torch.Tensor, at: Positions) -> Packed | None:
    """The batch (b, l), right-padded, up to what is scored of it; None where that is no gain or the model may not take it."""
    rows, columns = at
    if ids.device.type != "cpu" or not len(rows) or not _may(model, ids.shape[1]):
        return None
    sizes = torch.zeros(len(ids), dtype=torch.long).scatter_reduce(0, rows, columns + 1, "amax")
    n_tokens, width = int(sizes.sum()), int(sizes.max())
    if n_tokens > WORTH * ids.numel():
        return None
    kept = torch.arange(width)[None] < sizes[:, None]
    of_row, position = kept.nonzero(as_tuple=True)
    first = sizes.cumsum(0) - sizes
    place = first[rows] + columns
    return Packed(ids[:, :width][kept][None], position[None], of_row, (torch.zeros_like(place), place), (len(ids), width))


def _may(model: Any, n_tokens: int) -> bool:
    """Whether it attends by torch's kernel, to all tokens before, with no tokens of an adapter's own, and keeps what it computed
    for the backward pass."""
    config = getattr(model, "config", None)
    if config is None or getattr(config, "_attn_implementation", None) != "sdpa":
        return False
    window = getattr(config, "sliding_window", None)
    learnt_prompt = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    again = getattr(model, "is_gradient_checkpointing", False)
    return not (learnt_prompt or again) and (window is None or window > n_tokens)


def _attend(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _: Any, **asked: Any) -> Any:
    layout = _LAYOUT[-1]
    q, k, v = (layout.apart(x) for x in (query, key, value))
    found, weights = sdpa_attention_forward(module, q, k, v, None, **asked)
    return layout.together(found), weights


@contextmanager
def apart(model: Any, layout: Packed) -> Iterator[None]:
    """Within it the model takes the sequence of rows."""
    _LAYOUT.append(layout)
    try:
        with attending(model, NAME, _attend):
            yield
    finally:
        _LAYOUT.pop()


@contextmanager
def attending(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Within it the model attends by this function, as transformers calls one; afterwards as before, to padding and cached tokens
    too. What its masks would say is not asked."""
    before = model.config._attn_implementation
    AttentionInterface.register(name, attend)
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before
