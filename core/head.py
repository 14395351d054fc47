"""Logits only where a token is scored, a bounded number at a time.

The head of a language model turns every position's hidden state into a row of logits, one a token of the vocabulary: for 64 rows
of 1,024 tokens and a vocabulary of 152,000 that is 37 GiB in float32, of which a trial needs the fraction where a token is
scored. Here the hidden states are caught where they enter the head, picked, and put through the head in pieces. The model itself
is called as a whole, so that whatever wraps it (PEFT's hooks, virtual tokens, autocast) works as always.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from core import packing
from core.memory import LARGEST_PIECE
from core.packing import Positions

PROBED = 2  # positions whose logits the model computes by itself, to check that its head is understood
SAME = 0.02  # of the largest state: within a rounding of bfloat16
_PACKED: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()  # models, and whether they take packed rows
_UNDERSTOOD: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # heads that were checked: a look at values waits for a GPU


@dataclass(frozen=True)
class Scored:
    """The hidden states of n scored positions (n, h), and how a piece of them becomes float32 logits (m, vocabulary)."""

    hidden: torch.Tensor
    head: Callable[[torch.Tensor], torch.Tensor]
    vocabulary: int

    def pieces(self, share: int = 1) -> list[slice]:
        """The n positions in runs whose logits are at most LARGEST_PIECE / share."""
        n, size = len(self.hidden), max(1, LARGEST_PIECE // share // self.vocabulary)
        return [slice(start, min(n, start + size)) for start in range(0, n, size)] or [slice(0, 0)]

    def logits(self, piece: slice) -> torch.Tensor:
        return self.head(self.hidden[piece])

    def part(self, positions: slice) -> Scored:
        """Some of the positions."""
        return Scored(self.hidden[positions], self.head, self.vocabulary)


def scored(model: nn.Module, ids: torch.Tensor, at: Positions) -> Scored:
    """The model's states at the positions `at` of `ids` (b, l), right-padded: what comes after a position is never seen by it, so
    padding needs no mask. The logits at a position are those of the token after it."""
    packed = packing.packed(model, ids, at)
    if packed is None or not _packs(model, ids, at, packed):
        return _scored(model, ids, at)
    return _scored_packed(model, packed)


def _scored_packed(model: nn.Module, packed: packing.Packed) -> Scored:
    with packing.apart(model, packed):
        return _scored(model, packed.ids, packed.at, position_ids=packed.positions)


def _packs(model: nn.Module, ids: torch.Tensor, at: Positions, packed: packing.Packed) -> bool:
    """Whether it says the same of rows without their padding; looked at once."""
    if model not in _PACKED:
        with _evaluating(model), torch.no_grad():
            plain, found = _scored(model, ids, at).hidden, _scored_packed(model, packed).hidden
        _PACKED[model] = bool((found - plain).abs().max() <= SAME * plain.abs().max())
    return _PACKED[model]


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Within it nothing is dropped out."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _scored(model: nn.Module, ids: torch.Tensor, at: Positions, **more: torch.Tensor) -> Scored:
    module = _output_head(model)
    if module is None:
        return _whole(model(input_ids=ids, use_cache=False, **more).logits[at])
    with _caught(module, lambda hidden: _last(hidden, ids)[at][:PROBED]) as caught:
        own = model(input_ids=ids, use_cache=False, **more).logits[0]
    hidden, context = _last(caught.hidden, ids)[at], caught.context
    finish = _after_head(model)

    def head(states: torch.Tensor) -> torch.Tensor:
        with context():
            return finish(module(states.to(_weight_dtype(module, states)))).float()

    if module in _UNDERSTOOD or _agrees(head, hidden[:PROBED], own):
        if len(hidden):  # of no position nothing was checked
            _UNDERSTOOD.add(module)
        return Scored(hidden, head, own.shape[-1])
    with _caught(module, lambda states: _last(states, ids)[at]):  # all scored positions at once, by the model's own code
        return _whole(model(input_ids=ids, use_cache=False, **more).logits[0])


def summed_cross_entropy(found: Scored, targets: torch.Tensor) -> torch.Tensor:
    """The sum over the n scored positions, in float32."""

    def loss(hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(found.head(hidden), wanted, reduction="sum")

    return torch.stack(_in_pieces(loss, found, targets)).sum()


def divergence(p_logits: torch.Tensor, q_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(p || q) of n rows of logits (n, vocabulary) each, (n,), and the logarithms of q (n, vocabulary)."""
    p, q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    terms = p.exp() * (p - q)  # not a number where both models say -inf: what is never said adds nothing
    return terms.where(p != -torch.inf, 0).sum(-1), q


def summed_divergence(base: Scored, tuned: Scored) -> torch.Tensor:
    """The sum of KL(base || tuned) over the same n positions of both, in float32; the gradient is the tuned model's alone."""

    def loss(hidden: torch.Tensor, of_base: torch.Tensor) -> torch.Tensor:
        return divergence(base.head(of_base).detach(), tuned.head(hidden))[0].sum()

    return torch.stack(_in_pieces(loss, tuned, base.hidden)).sum()


def log_probabilities(found: Scored, targets: torch.Tensor) -> torch.Tensor:
    """Those of the targets at the n scored positions (n,), in float32."""

    def of(hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return -nn.functional.cross_entropy(found.head(hidden), wanted, reduction="none")

    return torch.cat(_in_pieces(of, found, targets))


def _in_pieces(
    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], found: Scored, other: torch.Tensor
) -> list[torch.Tensor]:
    """Something of each piece of the n positions, given their hidden states and what else belongs to each (n, …). Where there are
    several pieces, each is computed anew for its gradient, so that the logits of one piece are held at a time."""
    pieces = found.pieces()
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return [of(found.hidden[piece], other[piece]) for piece in pieces]
    return [checkpoint(of, found.hidden[piece], other[piece], use_reentrant=False) for piece in pieces]


@torch.no_grad()
def _agrees(head: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor, own: torch.Tensor) -> bool:
    found = head(hidden)  # within a rounding of bfloat16, or not finite alike
    return bool(torch.allclose(found, own.float(), rtol=0.02, atol=0.02, equal_nan=True))


def _whole(logits: torch.Tensor) -> Scored:
    return Scored(logits, lambda piece: piece.float(), logits.shape[-1])


def _output_head(model: Any) -> nn.Module | None:
    find = getattr(model, "get_output_embeddings", None)
    found = find() if find is not None else None
    return found if isinstance(found, nn.Module) else None


def _last(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return hidden[:, -ids.shape[1] :]  # virtual tokens that a method puts before the row are no positions of it


def _weight_dtype(module: nn.Module, states: torch.Tensor) -> torch.dtype:
    return next((parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()), states.dtype)


class _Catch:
    hidden: torch.Tensor
    context: Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _caught(module: nn.Module, passed: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[_Catch]:
    """Catches what enters the head, and lets `passed` of it (m, h) through as one row."""
    found = _Catch()

    def catch(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        kind = args[0].device.type
        on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        found.hidden, found.context = args[0], lambda: torch.autocast(kind, dtype=dtype, enabled=on)
        return (passed(args[0])[None], *args[1:])

    handle = module.register_forward_pre_hook(catch)
    try:
        yield found
    finally:
        handle.remove()


def _after_head(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What an architecture does to its logits after the head: Gemma 2 caps them, Cohere and Granite scale them."""
    config = model.config.get_text_config()
    cap, times, over = (getattr(config, name, None) for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"))

    def finish(logits: torch.Tensor) -> torch.Tensor:
        if times is not None:
            logits = logits * times
        if over is not None:
            logits = logits / over
        return torch.tanh(logits / cap) * cap if cap is not None else logits

    return finish
