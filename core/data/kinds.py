"""The kinds of sources that rows come from, in one table. To add a kind: its reader, and its entry in KINDS."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from core import checkpoint
from core.data import columns, files, gym, mixture, sources
from core.data.rows import Loaded, Row, build, is_lab, made
from core.errors import BadInput, Problems, nearest, of_field
from core.fields import content_hash
from core.lab import instruct, pairs, version
from core.lab.requests import ALL_SOURCES, COMPOSED, MIXED

Found = TypeVar("Found")


@dataclass(frozen=True)
class Pool:
    """Which of its rows a source is asked for."""

    held_out_fold: int = 0  # laboratory, reasoning-gym
    large: bool = False  # laboratory, reasoning-gym: more rows
    skip_bad: bool = False  # others: malformed rows are left out
    fields: str | None = None  # others: which columns are taken for ours (`data.fields`)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a kind of source. `load` and `content_hash` get the field that names the source, for messages; what was
    loaded says in `Loaded.content` the hash of what was read, if it can.

    `wrong_answers` gives rows, by their id, answers that are wrong and of the form that was asked for, if the source can.
    With `own_questions` the tasks make their questions by themselves and no row is held out; else rows are.
    """

    recognises: Callable[[str], bool]
    load: Callable[[str, str, Pool], Loaded]
    content_hash: Callable[[str, str], str]
    default_task: str  # in core/tasks
    own_questions: bool = False
    laboratory: bool = False  # written in the words of the laboratory's world, which only its own models read
    in_turn: bool = False  # subsets take a row of each task in turn: one that has few rows is not crowded out by the others
    wrong_answers: Callable[[tuple[Row, ...]], dict[str, str]] = lambda rows: {}  # by row
    same_prompts: bool = False  # sources of this kind answer the same prompts in other ways: subsets go by prompt, to be paired


@functools.lru_cache(maxsize=8)
def _load_file(field: str, source: str, pool: Pool, state: object) -> Loaded:
    placed, content = sources.read_file(field, source)
    return replace(build(placed, source, pool.skip_bad, columns.parse(pool.fields)), content=content)


def _file(field: str, source: str, pool: Pool) -> Loaded:
    path = files.existing(field, source)
    return _load_file(field, source, pool, checkpoint.state(path))  # read again when changed


def file_hash(field: str, source: str) -> str:
    """The content hash of a file that a field names."""
    return checkpoint.file_hash(files.existing(field, source))[:16]


@functools.lru_cache(maxsize=8)
def _hub(field: str, source: str, pool: Pool) -> Loaded:
    rows, content = _read_hub(field, source)
    return replace(build(rows, source, pool.skip_bad, columns.parse(pool.fields)), content=content)


@functools.lru_cache(maxsize=4)
def _read_hub(field: str, source: str) -> tuple[list[tuple[str, object]], str]:
    """What the hub gave, and a hash of it."""
    rows = list(sources.read_hub(field, source))
    return rows, content_hash([repr(raw) for _, raw in rows])


def read_raw(field: str, source: str) -> tuple[Iterable[tuple[str, object]], str]:
    """The raw rows of one file or hub id, each with its place, and a hash of what was read."""
    return sources.read_file(field, source) if sources.is_file(source) else _read_hub(field, source)


@functools.lru_cache(maxsize=8)
def _joined(shares: mixture.Shares, parts: tuple[Loaded, ...]) -> Loaded:
    """The rows of several sources, each with the name of its own."""
    rows = []
    for (label, _), part in zip(shares, parts, strict=True):
        for row in part.rows:
            group = label if row.group == "all" else f"{label}: {row.group}"
            rows.append(replace(row, origin=label, group=group, place=f"{label}: {row.place}"))
    return Loaded(
        tuple(rows),
        sum(part.n_empty for part in parts),
        tuple(sorted({shape for part in parts for shape in part.shapes})),
        content=content_hash([part.content for part in parts]),
        n_bad=sum(part.n_bad for part in parts),
        unused=tuple(dict.fromkeys(name for part in parts for name in part.unused)),
        columns=tuple(dict.fromkeys(name for part in parts for name in part.columns)),
        shares=shares,
        parts=tuple((label, part.content) for (label, _), part in zip(shares, parts, strict=True)),
    )


def _mixture(field: str, source: str, pool: Pool) -> Loaded:
    shares = _checked(field, source)
    parts = _each(shares, lambda name: _loaded(field, name, pool))
    return _joined(mixture.labels(shares), parts)


def _each(shares: mixture.Shares, of: Callable[[str], Found]) -> tuple[Found, ...]:
    """What is found of each source; of several that cannot be read, every one is told."""
    problems, found = Problems(), []
    for name, _ in shares:
        with problems.taken():
            found.append(of(name))
    problems.raise_all()
    return tuple(found)


def _mixture_hash(field: str, source: str) -> str:
    shares = _checked(field, source)
    return content_hash(list(_each(shares, lambda name: kind_of(name).content_hash(field, name))))


def _is_lab_mixture(source: str) -> bool:
    return mixture.recognises(source) and all(name in MIXED for name in mixture.names_in(source))


def _checked(field: str, source: str) -> mixture.Shares:
    """The sources of a mixture, which must be of files or of the hub, where they are not all the laboratory's."""
    shares = mixture.parse(field, source)
    for name, _ in () if _is_lab_mixture(source) else shares:
        if kind_of(name).own_questions:
            way = f"give it alone, or in a mixture of {', '.join(MIXED)}"
            way = "reasoning-gym joins families by itself: a+b" if gym.recognises(name) else way
            raise BadInput(f"{field}={source}: {name} makes its own questions and can't be mixed with others; {way}", field=field)
    return shares


@functools.lru_cache(maxsize=8)
def _load_lab(field: str, source: str, pool: Pool) -> Loaded:
    if source not in ALL_SOURCES:
        raise BadInput(f"{field}={source!r}: {nearest(source, ALL_SOURCES)}", field=field)
    raws = instruct.training_rows(source, pool.held_out_fold, pool.large)
    return replace(made(raws), content=version.version_of(source))


def _wrong_in_form(rows: tuple[Row, ...]) -> dict[str, str]:
    """Wrong answers to the laboratory's curated rows, in the style that was asked for, about the input that was asked about."""
    made_here = [row for row in rows if row.labels[2]]
    raws = [{"messages": row.messages, "task": row.labels[1], "template": row.labels[2]} for row in made_here]
    found = zip(made_here, pairs.wrong_answers(raws), strict=True)
    return {row.id: wrong for row, wrong in found if wrong is not None}


# The later an entry stands, the earlier it is asked: what nobody else recognises is a hub id.
KINDS: dict[str, Kind] = {
    "hub": Kind(
        recognises=lambda source: True,
        load=_hub,
        content_hash=lambda field, source: _read_hub(field, source)[1],
        default_task="text",
    ),
    "file": Kind(recognises=sources.is_file, load=_file, content_hash=file_hash, default_task="text"),
    "lab": Kind(
        recognises=is_lab,
        load=_load_lab,
        content_hash=lambda field, source: version.version_of(source),
        default_task="lab",
        own_questions=True,
        laboratory=True,
        wrong_answers=_wrong_in_form,
    ),
    "composed": Kind(
        recognises=lambda source: source in COMPOSED,
        load=_load_lab,
        content_hash=lambda field, source: version.version_of(source),
        default_task="composed",
        own_questions=True,
        laboratory=True,
        same_prompts=True,
    ),
    "reasoning-gym": Kind(
        recognises=gym.recognises,
        load=lambda field, source, pool: gym.load(field, source, pool.held_out_fold, pool.large),
        content_hash=gym.hash_of,
        default_task="gym",
        own_questions=True,
        in_turn=True,
    ),
    "mixture": Kind(
        recognises=mixture.recognises,
        load=_mixture,
        content_hash=_mixture_hash,
        default_task="text",
    ),
    "lab mixture": Kind(
        recognises=_is_lab_mixture,
        load=_mixture,
        content_hash=_mixture_hash,
        default_task="lab",
        own_questions=True,
        laboratory=True,
        wrong_answers=_wrong_in_form,
    ),
}


def kind_of(source: str) -> Kind:
    """The kind of this source."""
    return next(kind for kind in reversed(KINDS.values()) if kind.recognises(source))


def load(field: str, source: str, pool: Pool | None = None) -> Loaded:
    """All rows of a source (cached in the process until they change).

    Raises:
        BadInput: the source cannot be read, a row is malformed or without a response, or no row is left.
    """
    loaded = _loaded(field, source, pool := pool or Pool())
    if field == "data.source":
        _check_columns(source, loaded, pool.fields)
    return loaded


def _check_columns(source: str, loaded: Loaded, fields: str | None) -> None:
    """Every column that is taken for one of ours is there, in one row at least."""
    for ours, theirs in columns.parse(fields).items():
        if theirs not in loaded.columns:
            near = difflib.get_close_matches(theirs, loaded.columns, n=1)
            told = f"did you mean {near[0]!r}? " if near else ""
            text = f"no row of {source} has a column {theirs!r}; {told}its columns: {', '.join(loaded.columns[:40])}"
            raise BadInput(f"data.fields={ours}={theirs}: {text}", field="data.fields")


def _loaded(field: str, source: str, pool: Pool) -> Loaded:
    with of_field(field):
        loaded = kind_of(source).load(field, source, pool)
    if not loaded.rows:
        raise BadInput(
            f"{field}={source}: has no row with a response ({loaded.n_empty} with an empty one); give rows with one", field=field
        )
    return loaded
