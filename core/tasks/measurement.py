"""What a task is given and what it gives: a score and a weight for each item; and the one scoring pass that all tasks share."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from core import checkpoint, head, measures, memory
from core.data.encode import Encoded
from core.data.rows import Row
from core.settings import Trial

AXES = ("quality", "forgetting", "other")


@dataclass(frozen=True)
class Subject:
    """A model that is measured, and with what: the trial says how, `rows` are its held-out rows (none where the task makes its
    questions by itself), `reference` is the untouched base (for the base: itself). What the base scores is kept for all trials
    that share base, `trial.evaluation`, source, rows and, in the laboratory, held-out fold: a task may read nothing else of the
    trial."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    trial: Trial
    rows: Sequence[Encoded]
    reference: nn.Module
    seq_len: int
    base_text: str = ""  # the content hash of the text that the plan names
    asked: Sequence[Row] = ()  # the held-out rows as they stand in their source, too long ones among them


@dataclass(frozen=True)
class Measurement:
    """One measure of core/measures.py: a score and a weight for each of n items, which belong to groups (tasks, domains).

    On the axis "quality" higher is better; on "forgetting" lower is.
    """

    name: str
    axis: str
    groups: tuple[str, ...]
    items: tuple[str, ...]
    scores: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)

    def __post_init__(self) -> None:
        measures.measure(self.name)  # a made-up one is refused
        assert self.axis in AXES, self.axis
        assert len(self.groups) == len(self.items) == len(self.scores) == len(self.weights) > 0, self.name

    @property
    def unit(self) -> str:
        return measures.measure(self.name).unit

    @property
    def mean(self) -> float:
        return float(np.average(self.scores, weights=self.weights))

    @property
    def standard_error(self) -> float:
        return weighted_standard_error(self.scores, self.weights)

    def by_group(self) -> dict[str, float]:
        """The weighted mean of each group, in order of first appearance."""
        groups = np.array(self.groups)
        return {
            group: float(np.average(self.scores[groups == group], weights=self.weights[groups == group]))
            for group in dict.fromkeys(self.groups)
        }


def weighted_standard_error(scores: np.ndarray, weights: np.ndarray) -> float:
    """Standard error over items of the weighted mean (ratio estimator); 0 for a single item."""
    n = len(scores)
    if n < 2:
        return 0.0
    residuals = weights * (scores - np.average(scores, weights=weights))
    return float(math.sqrt((residuals**2).sum() * n / (n - 1)) / weights.sum())


def shared(before: list[Measurement], after: list[Measurement]) -> tuple[list[Measurement], list[Measurement], list[str]]:
    """The measurements that both have, and the names of the others: a metric of the harness may be a share by accident, of the
    base's answers and not of the tuned model's."""
    names = [{one.name for one in found} for found in (before, after)]
    apart = sorted(names[0] ^ names[1])
    assert all(name.startswith(measures.HARNESS) for name in apart), apart
    both = names[0] & names[1]
    return [one for one in before if one.name in both], [one for one in after if one.name in both], apart


def axes(before: Sequence[Measurement], after: Sequence[Measurement]) -> dict[str, float]:
    """The two axes with their standard errors over items."""
    found: dict[str, float] = {}
    changes, variances = [], []
    for old, new in zip(before, after, strict=True):
        assert old.name == new.name, (old.name, new.name)
        assert old.items == new.items, new.name
        if new.axis == "quality":
            found |= {"quality": new.mean, "quality_se": new.standard_error}
        elif new.axis == "forgetting":
            changes.append(new.mean - old.mean)
            variances.append(weighted_standard_error(new.scores - old.scores, new.weights) ** 2)
    found["forgetting"] = float(np.mean(changes))
    found["forgetting_se"] = math.sqrt(sum(variances)) / len(changes)
    return found


def batches_by_length(lengths: Sequence[int], batch_size: int, most_tokens: int = sys.maxsize) -> list[list[int]]:
    """Indices in batches of similar lengths, so that little is padding; of at most so many tokens, padding counted, but for a
    sequence that has more alone."""
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not found or len(found[-1]) == batch_size or (len(found[-1]) + 1) * lengths[i] > most_tokens:
            found.append([])
        found[-1].append(i)
    return found


@dataclass(frozen=True)
class Together:
    """Sequences that go through a model together: which ones, their right-padded ids (len(batch), longest), and of the n tokens
    that are scored the places before them (rows, columns) and their ids (n,)."""

    batch: list[int]
    ids: torch.Tensor
    at: tuple[torch.Tensor, torch.Tensor]
    targets: torch.Tensor


def together(
    model: nn.Module, sequences: Sequence[Sequence[int]], masks: Sequence[Sequence[int]], batch_size: int
) -> Iterator[Together]:
    """The sequences in batches of similar lengths that the model reads at a time, with 1 in the masks where a token is scored (a
    sequence's first never is)."""
    device = device_of(model)
    for batch in batches_by_length([len(s) for s in sequences], batch_size, shape_of(model).most_scored(device.type)):
        ids, scored = (_padded([some[i] for i in batch], device) for some in (sequences, masks))
        rows, columns = scored[:, 1:].nonzero(as_tuple=True)
        yield Together(batch, ids, (rows, columns), ids[rows, columns + 1])


def _padded(sequences: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """The sequences, with 0 after the shorter ones: (len(sequences), longest)."""
    width = max(map(len, sequences))
    return torch.tensor([[*s, *[0] * (width - len(s))] for s in sequences], device=device)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def shape_of(model: nn.Module) -> memory.Shape:
    config: Any = model.config
    return memory.Shape.of(config.get_text_config().to_dict())


def context_of(model: nn.Module) -> int | None:
    """The longest sequence that the model knows positions for, beside an adapter's virtual tokens."""
    config: Any = model.config
    context = checkpoint.context_tokens(config.get_text_config().to_dict())
    own = getattr(model, "peft_config", {}).get("default")
    return None if context is None else context - getattr(own, "num_virtual_tokens", 0)


@torch.no_grad()
def sequence_nll(
    model: nn.Module, sequences: list[list[int]], masks: list[list[int]], batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Teacher-forced scores over the masked tokens of each sequence (a sequence's first token is never scored).

    Returns:
        nll_sum (n,) in nats, tokens (n,) scored, correct (n,) how many of them the model's argmax gets right.
    """
    n = len(sequences)
    nll_sum, tokens, correct = np.zeros(n), np.zeros(n), np.zeros(n)
    for batch, places, losses, hits in _scored(model, sequences, masks, batch_size):
        nll_sum[batch] = np.bincount(places, losses, len(batch))
        tokens[batch] = np.bincount(places, minlength=len(batch))
        correct[batch] = np.bincount(places, hits, len(batch))
    return nll_sum, tokens, correct


@torch.no_grad()
def token_scores(
    model: nn.Module, sequences: list[list[int]], masks: list[list[int]], batch_size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each sequence the NLL in nats (k,) of its k masked tokens, in their order, and whether the argmax is right (k,)."""
    empty = np.zeros(0), np.zeros(0, dtype=bool)
    found = [empty for _ in sequences]
    for batch, places, losses, hits in _scored(model, sequences, masks, batch_size):
        for place, number in enumerate(batch):
            mine = places == place
            found[number] = losses[mine], hits[mine]
    return found


def _scored(
    model: nn.Module, sequences: list[list[int]], masks: list[list[int]], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray, np.ndarray]]:
    """Batch by batch: the numbers of its sequences, and for each of n scored tokens the place of its sequence in the batch, its
    NLL, and whether the argmax is right, (n,) each."""
    for one in together(model, sequences, masks, batch_size):
        found = head.scored(model, one.ids, one.at)
        losses, hits = [], []
        for piece in found.pieces():
            logits, targets = found.logits(piece), one.targets[piece]
            losses.append(nn.functional.cross_entropy(logits, targets, reduction="none").double())
            hits.append(logits.argmax(-1) == targets)
        yield one.batch, one.at[0].cpu().numpy(), torch.cat(losses).cpu().numpy(), torch.cat(hits).cpu().numpy()
