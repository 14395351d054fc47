"""The batches of a training: in which order rows come, and how several become one tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from core.data.choices import Order
from core.data.encode import Encoded
from core.settings import Train


@dataclass(frozen=True)
class Curriculum:
    """How hard each row is (None: not known), and which come first."""

    difficulties: tuple[float | None, ...]
    order: Order

    def ordered(self, rows: Sequence[int]) -> list[int]:
        """The rows from one end of their difficulty on, equal ones in the order given; one that is not known keeps its place."""
        known = [i for i in rows if self.difficulties[i] is not None]
        sign = -1.0 if self.order.hard_first else 1.0
        ranked = iter(sorted(known, key=lambda i: sign * (self.difficulties[i] or 0.0)))
        return [i if self.difficulties[i] is None else next(ranked) for i in rows]


class SeededOrder(Sampler[int]):
    """A permutation for each epoch from (seed, epoch, n) alone, so that arms with one seed see one order.

    Within an optimizer step's batch the longest rows come first, so that micro-batches hold little padding; the step's
    sum over its rows is the same. Attention is quadratic: micro-batches of 4 halve the time of long, uneven rows.

    A curriculum puts the rows that an epoch sees in its order; of an epoch that ends early these are the same rows as without.
    """

    def __init__(self, lengths: Sequence[int], how: Train, seed: int, curriculum: Curriculum | None = None) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, how.batch_size, seed, 0
        self.n_steps, self.curriculum = how.n_steps(len(lengths)), curriculum

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        if self.curriculum and (self.curriculum.order.every_epoch or self.epoch == 0):
            n = len(order)
            seen = self.n_steps * self.batch_size - self.epoch * math.ceil(n / self.batch_size) * self.batch_size
            order = [*self.curriculum.ordered(order[: max(0, seen)]), *order[max(0, seen) :]]
        self.epoch += 1
        for start in range(0, len(order), self.batch_size):
            yield from sorted(order[start : start + self.batch_size], key=lambda i: -self.lengths[i])

    def __len__(self) -> int:
        return len(self.lengths)


def collate(rows: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids` (b, l), and of the n tokens that are learnt: `at` (2, n), the row and column of the position that
    predicts each, and `labels` (n,), its id. `n_tokens` (b,): without padding. A row's first token is predicted by nothing.
    Where rows have a `kl_mask`, `kl_at` (2, m) are the positions that predict its tokens."""
    width = max(len(row.ids) for row in rows)
    learnt = [(i, at - 1, row.ids[at]) for i, row in enumerate(rows) for at in range(1, len(row.ids)) if row.mask[at]]
    found = torch.tensor(learnt, dtype=torch.long).reshape(-1, 3)
    near = [(i, at - 1) for i, row in enumerate(rows) for at in range(1, len(row.kl_mask)) if row.kl_mask[at]]
    held = {"kl_at": torch.tensor(near).T} if near else {}
    return {
        **held,
        "input_ids": torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows]),
        "at": found[:, :2].T,
        "labels": found[:, 2],
        "n_tokens": torch.tensor([len(row.ids) for row in rows]),
    }
