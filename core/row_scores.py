"""Scores of rows by an untuned model: the loss on their answers, instruction-following difficulty, farthest-first centres.

A set of scores is made once for its rows, scorer and kind: workers of a sweep share it as they share texts that a base has
written (core/tasks/own_texts.py), and later sweeps find it in the user's cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from core import head, model, remembered, scorer, shared_texts
from core.data import encode
from core.data.choices import Score
from core.data.drawing import Means, Rows, Scores
from core.data.encode import Encoded
from core.data.rows import Row, rows_hash
from core.errors import BadInput
from core.fields import content_hash
from core.hardware import Device
from core.model import Base
from core.settings import Trial
from core.tasks import own_texts
from core.tasks.measurement import sequence_nll, together

VERSION = 2  # of what the scores are: raise it when other scores come of the same rows and scorer
FOLDER = remembered.DIRECTORY.parent / "scores"
MOST_FILES = 400  # of some 100 KB; the oldest go first
MOST_CENTRES = 20_000  # rows further on are in no order: beyond it finding centres takes minutes


@dataclass(frozen=True)
class Scoring:
    """With what the rows of a trial are scored. `content`: the hash of the scorer; "" where nobody has told it."""

    trial: Trial
    base: Base  # the trial's own
    device: Device
    seq_len: int
    content: str

    @property
    def last_only(self) -> bool:
        return self.trial.train.loss_on == "last"

    @property
    def _template(self) -> str:
        """What the trial's own template says, which may be a file's; another scorer has its own, which is part of its content."""
        return content_hash(str(self.base.tokenizer.chat_template)) if self.trial.data.scorer is None else ""

    def means(self) -> Means:
        """How the trial's rows are drawn."""
        return Means(self.of, self.n_tokens)

    def n_tokens(self, row: Row) -> int:
        """How many of the row's tokens are trained on."""
        one = encode.cut(encode.encode(self.base.tokenizer, row, self.last_only), self.seq_len)
        return 0 if one is None else len(one.ids)

    def of(self, score: Score, rows: Rows) -> Scores:
        """The score of each row; None of those that are too long to be scored."""
        by = asdict(scorer.model_of(self.trial)) | {"chat_template": self._template}
        how = [score, VERSION, by, self.content, rows_hash(rows), self.seq_len, self.last_only]

        def make() -> list[float | None]:
            if not self.content:
                return self._made(score, rows)
            found: list[float | None] = shared_texts.shared(FOLDER / f"{content_hash(how)}.json", lambda: self._made(score, rows))
            remembered.prune(FOLDER, MOST_FILES)
            return found

        scores: list[float | None] = own_texts.kept(self.base.model, ("row scores", content_hash(how)), make)
        return scores

    def _made(self, score: Score, rows: Rows) -> list[float | None]:
        other = self.trial.data.scorer is not None
        by = model.read_anew(scorer.model_of(self.trial), self.device) if other else self.base
        seq_len = scorer.seq_len(self.seq_len, by.context_tokens) if other else self.seq_len
        try:
            encoded = encode.encode_all(by.tokenizer, rows, seq_len, self.last_only).rows
        except BadInput as error:
            field = scorer.FIELD if other else error.field
            raise BadInput(f"{scorer.FIELD}={self.trial.data.scorer}: {error.text}" if other else error.text, field) from None
        size = self.trial.evaluation.batch_size
        found = SCORES[score](by.model, encoded, size) if encoded else np.zeros(0)
        there, values = {one.id for one in encoded}, iter(found.tolist())
        scores = [next(values) if row.id in there else math.nan for row in rows]  # of rows that are alike each its own
        return [score if math.isfinite(score) else None for score in scores]


def losses(network: nn.Module, rows: Sequence[Encoded], batch_size: int) -> np.ndarray:
    """Mean NLL of each row's taught tokens (n,), nats/token."""
    nll, n_tokens, _ = sequence_nll(network, [row.ids for row in rows], [row.mask for row in rows], batch_size)
    return nll / n_tokens


def difficulties(network: nn.Module, rows: Sequence[Encoded], batch_size: int) -> np.ndarray:
    """The loss of each row's taught tokens over their loss after the row's first token alone (n,): at 1 its prompt does not
    help."""
    alone = []
    for row in rows:
        taught = [token for token, one in zip(row.ids[1:], row.mask[1:], strict=True) if one]
        alone.append(Encoded(row.id, [row.ids[0], *taught], [0] + [1] * len(taught)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return losses(network, rows, batch_size) / losses(network, alone, batch_size)


def centres(network: nn.Module, rows: Sequence[Encoded], batch_size: int) -> np.ndarray:
    """The place (n,) of each row in a farthest-first order of `embeddings`: 0 is the first centre."""
    return farthest_first(embeddings(network, rows, batch_size))


@torch.no_grad()
def embeddings(network: nn.Module, rows: Sequence[Encoded], batch_size: int) -> np.ndarray:
    """The mean over each row's tokens, but for the last, of the states that enter the model's head: (n, h)."""
    ids = [row.ids for row in rows]
    found: list[np.ndarray] = [np.zeros(0)] * len(rows)
    for one in together(network, ids, [[1] * len(row) for row in ids], batch_size):
        states = head.scored(network, one.ids, one.at).hidden.float()
        sums = torch.zeros(len(one.batch), states.shape[1], device=states.device).index_add_(0, one.at[0], states)
        counts = torch.bincount(one.at[0], minlength=len(one.batch)).clamp(min=1)
        for i, mean in zip(one.batch, (sums / counts[:, None]).cpu().numpy(), strict=True):
            found[i] = mean
    return np.stack(found)


def farthest_first(points_NH: np.ndarray) -> np.ndarray:
    """The place (n,) of each point in the greedy order of k-centre: the most central one first, then always the one that is
    farthest from all before it. Distances are of directions from the mean, as few coordinates of a language model's states
    would outweigh all others. The first k of them are at most twice as far from all points as the best k could be."""
    centred = points_NH - points_NH.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1)
    units = centred / np.maximum(norms, 1e-12)[:, None]
    places, at = np.full(len(units), np.nan), int(norms.argmin())
    nearest = np.full(len(units), np.inf)
    for place in range(min(len(units), MOST_CENTRES)):
        places[at] = place
        nearest = np.minimum(nearest, 1 - units @ units[at])
        nearest[at] = -np.inf
        at = int(nearest.argmax())
    return places


SCORES = {Score.LOSS: losses, Score.IFD: difficulties, Score.CENTRES: centres}
