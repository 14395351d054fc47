"""Old text that is trained on again, from a plain text file: in pieces, none of which is scored.

A text that tells forgetting too (`evaluation.base_text`) has windows that are scored, on validation or on test. No piece is taken
from these, nor one from anywhere that shares a run of RUN tokens with one of them: the same passage may stand in a text twice, or
in two files. The laboratory's corpus needs none of this: it is drawn anew, and the hash of a document keeps it to its split.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from core.data.encode import Encoded, adds_bos
from core.errors import BadInput
from core.settings import SPLITS, Evaluation, Trial
from core.tasks.costs import MOST_BASE_TEXT_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PIECE_TOKENS = 256  # of a sequence, at most: rows have about as many, and steps take their time by the longest
RUN = 16  # tokens; quotations aside, no two texts share so many by accident
LEAST_TOKENS = 2 * RUN  # of a text's last piece


def field_of(trial: Trial) -> str:
    """The field that names the text which is replayed."""
    return "data.replay_text" if trial.data.replay_text is not None else "evaluation.base_text"


def path_of(trial: Trial) -> str | None:
    """The file of the text which is replayed; None of the laboratory's corpus."""
    return trial.data.replay_text or trial.evaluation.base_text


def most_scored(evaluation: Evaluation, seq_len: int) -> int:
    """How many windows of a base text are scored on each split, at most."""
    return min(evaluation.max_rows, max(1, MOST_BASE_TEXT_TOKENS // seq_len))


def scored_windows(n_tokens: int, window: int, most: int, split: str) -> list[int]:
    """Where the windows that are scored on a split begin, among so many tokens: evenly spread over them; even ones are for
    validation, odd ones for test."""
    mine = range(0, n_tokens - 1, window)[0 if split == "validation" else 1 :: 2]
    return list(mine[:: max(1, len(mine) // most)][:most])


def scored_ranges(n_tokens: int, window: int, evaluation: Evaluation, seq_len: int) -> list[range]:
    """What of a base text is scored, on either split, in tokens."""
    most = most_scored(evaluation, seq_len)
    starts = [start for split in SPLITS for start in scored_windows(n_tokens, window, most, split)]
    return [range(start, min(n_tokens, start + window)) for start in starts]


def piece_tokens(seq_len: int) -> int:
    """How many tokens a piece has, but the last one of a text."""
    return min(PIECE_TOKENS, seq_len)


def pieces(n_tokens: int, size: int, scored: Iterable[range], seed: int) -> Iterator[range]:
    """The pieces of a text of so many tokens in an order that the seed draws, without those that meet a scored range."""
    taken = {at // size for one in scored for at in (*one[::size], one[-1])}
    found = [start for start in range(0, n_tokens, size) if start // size not in taken and n_tokens - start >= LEAST_TOKENS]
    random.Random(f"replay {seed}").shuffle(found)
    return (range(start, min(n_tokens, start + size)) for start in found)


def runs(ids: Sequence[int]) -> Iterator[int]:
    """A hash of every run of RUN tokens."""
    return (hash(tuple(ids[at : at + RUN])) for at in range(len(ids) - RUN + 1))


def sequences(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], found: Iterable[range], scored: Iterable[Sequence[int]], n: int
) -> tuple[tuple[Encoded, ...], int]:
    """`n` training sequences from the first of these pieces of the text `ids` that share no run with what is scored, every token
    in the loss, and how many are different: where there are fewer, they come again in the same order."""
    known = {run for one in scored for run in runs(one)}
    begin = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
    taken: list[Encoded] = []
    for piece in found:
        own = list(ids[piece.start : piece.stop])
        if known.isdisjoint(runs(own)):
            taken.append(Encoded(f"text {piece.start}", [*begin, *own], [1] * (len(begin) + len(own))))
        if len(taken) == n:
            break
    return tuple(taken[i % len(taken)] for i in range(n)) if taken else (), len(taken)


def nothing_left(trial: Trial, n_tokens: int) -> BadInput:
    """The error of a text of which nothing may be replayed."""
    ways = "give more text, a lower evaluation.max_rows, or another text in data.replay_text"
    name, path = field_of(trial), path_of(trial)
    return BadInput(
        f"{name}={path}: of its {n_tokens:,} tokens none is left to be replayed, as all are scored; {ways}", field=name
    )
