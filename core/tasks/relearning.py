"""What a short look at old documents does not bring back: the tuned model reads a few windows of them, and is measured again.

Much of what tuning raises the loss on old text by is a mode: the model goes on as in chat where it should go on reading, and a
few steps on old documents bring it back. What those leave is lost. Every arm reads the same windows in the same way, with all
weights of the base trained (an adapter stays as it is, on top of them), so that what is left can be compared; the untouched base
reads them too.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from core import quantized
from core.lab import corpus
from core.tasks.measurement import device_of

STEPS, WINDOWS, WINDOW_TOKENS = 20, 8, 128  # optimizer steps, and what each reads
LEARNING_RATE = 3e-4  # falls linearly to 0
STREAM = "relearning"  # the seed of the documents, which no pretraining had


@functools.cache
def documents() -> tuple[str, ...]:
    """As many old documents as are read, of the six domains in their shares; no dialogues."""
    return tuple(corpus.mixed_documents(STREAM, STEPS * WINDOWS * WINDOW_TOKENS, corpus.DOMAIN_SHARES))


def windows(vocabulary: dict[str, int], end: str) -> torch.Tensor:
    """(STEPS, WINDOWS, WINDOW_TOKENS) token ids, packed as in pretraining."""
    size = STEPS * WINDOWS * WINDOW_TOKENS
    ids = itertools.chain.from_iterable([*(vocabulary[word] for word in text.split()), vocabulary[end]] for text in documents())
    return torch.tensor(list(itertools.islice(ids, size))).view(STEPS, WINDOWS, WINDOW_TOKENS)


def can_relearn(model: nn.Module) -> bool:
    """Whether its weights can be trained."""
    return not quantized.is_quantized(model)


def _of_base(name: str, known: frozenset[str]) -> bool:
    """Whether a parameter of an adapted model is one of the base's, by its name."""
    for part in (".modules_to_save.default", ".ln_tuning_layers.default", ".base_layer"):  # those of whole weights that are tuned
        name = name.replace(part, "")
    return bool({name, name.removeprefix("base_model."), name.removeprefix("base_model.model.")} & known)


@contextlib.contextmanager
def relearned(model: nn.Module, reference: nn.Module, batches: torch.Tensor) -> Iterator[None]:
    """Within it the model has read the batches; `reference` is its untouched base, whose weights are trained. Afterwards all is
    as before. No copy is made: a trained model's `forward` may be bound to the model itself."""
    known = frozenset(name for name, _ in reference.named_parameters())
    kept = {weight: (weight.data, weight.requires_grad) for weight in model.parameters()}
    merged: list[Any] = []
    try:
        for name, weight in model.named_parameters():
            weight.requires_grad_(_of_base(name, known))
            if weight.requires_grad:
                weight.data = weight.data.to(torch.float32, copy=True)  # steps this small vanish in bfloat16
        merged = _unreached(model, batches[0, :1])
        for layer in merged:
            layer.merge()
        _read(model, [weight for weight in kept if weight.requires_grad], batches)
        yield
    finally:
        for layer in merged:
            layer.merged_adapters.clear()  # the weights themselves are put back below
        for weight, (data, requires_grad) in kept.items():
            weight.data, weight.grad = data, None
            weight.requires_grad_(requires_grad)


@torch.enable_grad()
def _unreached(model: nn.Module, batch: torch.Tensor) -> list[Any]:
    """The layers of an adapter that take the base's weight without its gradient (PEFT's SHiRA and HRA). Merged they are the same
    function and pass it on."""
    layers: list[Any] = [one for one in model.modules() if hasattr(one, "merged_adapters") and hasattr(one, "merge")]
    if not layers:
        return []
    ids = batch.to(device_of(model))
    model(input_ids=ids, labels=ids).loss.backward()
    trained = [(one, [weight for weight in one.parameters() if weight.requires_grad]) for one in layers]
    found = [one for one, weights in trained if weights and all(weight.grad is None for weight in weights)]
    model.zero_grad(set_to_none=True)
    return found


@torch.enable_grad()
def _read(model: nn.Module, trained: Sequence[nn.Parameter], batches: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    for step, batch in enumerate(batches.to(device_of(model))):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / len(batches))
        model(input_ids=batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
