"""Pairs of a chosen and a rejected answer: loaded from the laboratory, a file or the hub, and drawn for a trial.

No pair is drawn whose prompt is scored in either split of a trial's evaluation rows, or one of whose answers is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.data import apart, kinds, selection
from core.data.kinds import kind_of
from core.data.pair_shapes import to_pair
from core.data.rows import SKIP, Row, identity, is_empty, made, share
from core.errors import BadInput
from core.fields import content_hash
from core.lab import pairs as lab
from core.lab import version
from core.preference_settings import LAB_PAIRS, Prefer
from core.settings import Data

FIELD = "prefer.source"


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt."""

    chosen: Row
    rejected: Row

    @property
    def id(self) -> str:
        return self.chosen.id + self.rejected.id


@dataclass(frozen=True, eq=False)
class Loaded:
    """A source's pairs; those with an empty answer left out and counted, malformed rows too where that is asked for."""

    pairs: tuple[Pair, ...]
    content: str  # the hash of what was read
    n_empty: int = 0
    n_bad: int = 0


@dataclass(frozen=True)
class Chosen:
    """What a trial's second stage trains on, and what was left out."""

    pairs: tuple[Pair, ...]
    source: Loaded
    n_available: int
    n_in_evaluation: int  # left out because evaluation asks their prompt, or scores one of their answers


def hash_of(source: str) -> str:
    """The content hash of a source."""
    return version.version_of(source) if source == LAB_PAIRS else kind_of(source).content_hash(FIELD, source)


def check(data: Data, prefer: Prefer) -> None:
    """Whether the source goes with that of the rows.

    Raises:
        BadInput: it does not.
    """
    laboratory, own = kind_of(data.source).laboratory, kind_of(data.source).own_questions
    told = f"{FIELD}={prefer.source}"
    if (prefer.source == LAB_PAIRS) != laboratory:
        if laboratory:
            text = f"the laboratory's rows go with {LAB_PAIRS} alone, whose prompts are known not to be scored"
        else:
            text = f"only for the laboratory's rows; give a file or a hub id with pairs for {data.source}: --set {FIELD}=FILE"
        raise BadInput(f"{told}: {text}", field=FIELD)
    if own and not laboratory:
        text = (
            f"{data.source} makes its own questions, of which pairs in a file can't be kept apart; give rows of a file (--data)"
        )
        raise BadInput(f"{told}: {text}", field=FIELD)
    if not laboratory and kind_of(prefer.source) not in (kinds.KINDS["file"], kinds.KINDS["hub"]):
        raise BadInput(f"{told}: must be one file or hub id with pairs", field=FIELD)


def load(prefer: Prefer, data: Data) -> Loaded:
    """All pairs of the source (cached in the process until they change).

    Raises:
        BadInput: the source cannot be read, a row is malformed, or no pair is left.
    """
    if prefer.source == LAB_PAIRS:
        return _lab(data.held_out_fold)
    found = _read(prefer.source, data.skip_bad_rows, hash_of(prefer.source))
    if not found.pairs:
        text = f"has no pair of two answers ({found.n_empty} with an empty one); give rows with 'chosen' and 'rejected'"
        raise BadInput(f"{FIELD}={prefer.source}: {text}", field=FIELD)
    return found


@functools.lru_cache(maxsize=4)
def _lab(held_out_fold: int) -> Loaded:
    chosen, rejected = (made(rows).rows for rows in zip(*lab.pairs(held_out_fold), strict=True))
    both = tuple(Pair(*pair) for pair in zip(chosen, rejected, strict=True))
    return Loaded(both, hash_of(LAB_PAIRS))


@functools.lru_cache(maxsize=4)
def _read(source: str, skip_bad: bool, _content: str) -> Loaded:
    placed, content = kinds.read_raw(FIELD, source)
    return replace(build(placed, source, skip_bad), content=content)


def build(placed: Iterable[tuple[str, object]], source: str, skip_bad: bool = False) -> Loaded:
    """Pairs from raw rows, each with its place in the source; malformed ones are refused, or left out and counted.

    Raises:
        BadInput: a row is malformed, or all that are left out are.
    """
    found, n_empty, bad = list[Pair](), 0, list[BadInput]()
    for place, raw in placed:
        try:
            both = to_pair(raw, f"{source}: {place}")
        except BadInput as error:
            if not skip_bad:
                raise BadInput(f"{FIELD}={error.text} {SKIP}", FIELD) from None
            bad.append(error)
            continue
        if any(is_empty(message) for one in both for message in one.messages):
            n_empty += 1
            continue
        rows = (Row(identity(one.messages, one.tools), tuple(one.messages), place=place, tools=one.tools) for one in both)
        found.append(Pair(*rows))
    if bad and not found:
        raise BadInput(f"{FIELD}={bad[0].text}; nor is any other row right ({len(bad)} left out)", FIELD)
    return Loaded(tuple(found), "", n_empty, len(bad))


def select(data: Data, prefer: Prefer, seed: int) -> Chosen:
    """The trial's pairs: the first `prefer.n_pairs` in an order that the seed draws, so that more of them contain the fewer.

    Raises:
        BadInput: none is left.
    """
    check(data, prefer)
    source = load(prefer, data)
    usable = source.pairs if kind_of(data.source).own_questions else _unscored(source.pairs, selection.askable(data))
    if not usable:
        text = f"evaluation scores the prompt or an answer of all {len(source.pairs)} pairs; give others"
        raise BadInput(f"{FIELD}={prefer.source}: {text}", field=FIELD)
    ordered = sorted(usable, key=lambda pair: (share(pair.id, f"pairs {seed}"), pair.id, pair.chosen.place))
    return Chosen(tuple(ordered[: prefer.n_pairs]), source, len(usable), len(source.pairs) - len(usable))


def _unscored(found: tuple[Pair, ...], asked: tuple[Row, ...]) -> tuple[Pair, ...]:
    scored, prompts = apart.scored_answers(asked), {row.prompt for row in asked}
    return tuple(
        pair
        for pair in found
        if pair.chosen.prompt not in prompts
        and scored.isdisjoint(pair.chosen.answers.values())
        and scored.isdisjoint(pair.rejected.answers.values())
    )


def pairs_hash(found: Iterable[Pair]) -> str:
    """A content hash of these pairs in this order."""
    return content_hash([pair.id for pair in found])
