"""The rows that a trial takes of those that it may be trained on: the first in the seed's order, or those at one end of a score;
so many rows, or as many as together have as many tokens.

What is selected stays in the seed's order, so that which rows are taken and in which order they come are two things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.data.choices import CHOICES, RANDOM, TOKENS, Choice, End, Score
from core.data.rows import Row
from core.settings import Data

Rows = tuple[Row, ...]
Scores = Sequence[float | None]  # one a row; None where a row has none
InShares = Callable[[Rows], Rows]  # of several sources as many rows as have their shares


@dataclass(frozen=True)
class Means:
    """What of a base it takes to draw rows: their scores, which are not known before a trial runs (None: the first in
    the seed's order stand for the selected ones), and how many tokens of a row are trained on (None: rows are counted)."""

    scores: Callable[[Score, Rows], Scores] | None = None
    n_tokens: Callable[[Row], int] | None = None


NO_MEANS = Means()


def taken(candidates: Rows, data: Data, means: Means, in_shares: InShares = lambda rows: rows) -> Rows:
    """The rows that are taken of the candidates, which are in the seed's order, in that order."""
    first = candidates[: data.n_examples]
    if data.select == RANDOM:
        return first
    if means.scores is None and CHOICES[data.select].score is not Score.LENGTH:
        return first
    preferred = in_shares(ranked(candidates, CHOICES[data.select], means))
    chosen = preferred[: data.n_examples]
    if data.budget == TOKENS and means.n_tokens is not None:
        chosen = as_long(preferred, first, means.n_tokens)
    marked = {id(row) for row in chosen}
    return tuple(row for row in candidates if id(row) in marked)


def as_long(rows: Rows, others: Rows, n_tokens: Callable[[Row], int]) -> Rows:
    """The first of the rows that together come nearest to the tokens of the others: one at least."""
    wanted, total = sum(map(n_tokens, others)), 0
    for i, row in enumerate(rows):
        before, total = total, total + n_tokens(row)
        if total >= wanted:
            over = total - wanted > wanted - before
            return rows[: max(1, i + (not over))]
    return rows


def ranked(rows: Rows, choice: Choice, means: Means) -> Rows:
    """The rows as the choice prefers them; those without a score last, equal ones in the order given."""
    found = _scores(rows, choice.score, means)
    known = [(score, i) for i, score in enumerate(found) if score is not None and (choice.below is None or score < choice.below)]
    ordered = _from_end(known, choice.end)
    usual = set(ordered)
    rest = sorted((i for i in range(len(rows)) if i not in usual), key=lambda i: found[i] is None)
    return tuple(rows[i] for i in (*ordered, *rest))


def _scores(rows: Rows, score: Score, means: Means) -> Scores:
    if score is Score.LENGTH:
        return lengths(rows)
    assert means.scores is not None
    return means.scores(score, rows)


def _from_end(scored: Sequence[tuple[float, int]], end: End) -> list[int]:
    """Places of rows, from this end of their scores on; from the middle to both ends."""
    if end is End.HIGH:
        return [i for _, i in sorted(scored, key=lambda one: (-one[0], one[1]))]
    rising = [i for _, i in sorted(scored)]
    if end is End.LOW:
        return rising
    middle = (len(rising) - 1) / 2
    return [rising[at] for at in sorted(range(len(rising)), key=lambda at: abs(at - middle))]


def lengths(rows: Rows) -> list[float | None]:
    """Characters of the answers that are taught."""
    return [
        float(sum(len(m["content"]) for m in row.messages if m["role"] == "assistant" and m.get("weight") != 0)) for row in rows
    ]
