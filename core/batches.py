"""The batches of a training: in which order rows come, and how several become one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from core.data.encode import Encoded


class SeededOrder(Sampler[int]):
    """A permutation for each epoch from (seed, epoch, n) alone, so that arms with one seed see one order.

    Within an optimizer step's batch the longest rows come first, so that micro-batches hold little padding; the step's
    sum over its rows is the same. Attention is quadratic: micro-batches of 4 halve the time of long, uneven rows.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.batch_size):
            yield from sorted(order[start : start + self.batch_size], key=lambda i: -self.lengths[i])

    def __len__(self) -> int:
        return len(self.lengths)


def collate(rows: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids` (b, l), and of the n tokens that are learnt: `at` (2, n), the row and column of the position that
    predicts each, and `labels` (n,), its id. `n_tokens` (b,): without padding. A row's first token is predicted by nothing."""
    width = max(len(row.ids) for row in rows)
    learnt = [(i, at - 1, row.ids[at]) for i, row in enumerate(rows) for at in range(1, len(row.ids)) if row.mask[at]]
    found = torch.tensor(learnt).reshape(-1, 3)
    return {
        "input_ids": torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows]),
        "at": found[:, :2].T,
        "labels": found[:, 2],
        "n_tokens": torch.tensor([len(row.ids) for row in rows]),
    }
