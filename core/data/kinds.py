"""The kinds of sources that rows come from, in one table. To add a kind: its reader, and its entry in KINDS."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from core import checkpoint
from core.data import files, gym, sources
from core.data.rows import Loaded, build, is_lab
from core.errors import BadInput, nearest
from core.fields import content_hash
from core.lab import instruct, version
from core.lab.requests import ALL_SOURCES, COMPOSED


@dataclass(frozen=True)
class Pool:
    """Which of its rows a source is asked for."""

    held_out_fold: int = 0  # laboratory, reasoning-gym
    large: bool = False  # laboratory, reasoning-gym: more rows
    skip_bad: bool = False  # others: malformed rows are left out


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a kind of source. `load` and `content_hash` get the field that names the source, for messages; what was
    loaded says in `Loaded.content` the hash of what was read, if it can.

    With `own_questions` the tasks make their questions by themselves and no row is held out; else rows are.
    """

    recognises: Callable[[str], bool]
    load: Callable[[str, str, Pool], Loaded]
    content_hash: Callable[[str, str], str]
    default_task: str  # in core/tasks
    own_questions: bool = False
    laboratory: bool = False  # written in the words of the laboratory's world, which only its own models read
    in_turn: bool = False  # subsets take a row of each task in turn: one that has few rows is not crowded out by the others
    same_prompts: bool = False  # sources of this kind answer the same prompts in other ways: subsets go by prompt, to be paired


@functools.lru_cache(maxsize=4)
def _load_file(field: str, source: str, skip_bad: bool, state: object) -> Loaded:
    placed, content = sources.read_file(field, source)
    return replace(build(placed, source, skip_bad), content=content)


def _file(field: str, source: str, pool: Pool) -> Loaded:
    path = files.existing(field, source)
    return _load_file(field, source, pool.skip_bad, checkpoint.state(path))  # read again when changed


def file_hash(field: str, source: str) -> str:
    """The content hash of a file that a field names."""
    return checkpoint.file_hash(files.existing(field, source))[:16]


def _hub(field: str, source: str, pool: Pool) -> Loaded:
    lenient = _load_hub(field, source, True)  # what its hash is told by; the same rows where none is malformed
    return lenient if pool.skip_bad or not lenient.n_bad else _load_hub(field, source, False)


@functools.lru_cache(maxsize=4)
def _load_hub(field: str, source: str, skip_bad: bool) -> Loaded:
    loaded = build(sources.read_hub(field, source), source, skip_bad)
    return replace(loaded, content=content_hash([(row.id, row.labels, row.score) for row in loaded.rows]))


@functools.lru_cache(maxsize=8)
def _load_lab(field: str, source: str, pool: Pool) -> Loaded:
    if source not in ALL_SOURCES:
        raise BadInput(f"{field}={source!r}: {nearest(source, ALL_SOURCES)}", field=field)
    placed = ((f"row {i}", raw) for i, raw in enumerate(instruct.training_rows(source, pool.held_out_fold, pool.large), 1))
    return replace(build(placed, source), content=version.version_of(source))


# The later an entry stands, the earlier it is asked: what nobody else recognises is a hub id.
KINDS: dict[str, Kind] = {
    "hub": Kind(
        recognises=lambda source: True,
        load=_hub,
        content_hash=lambda field, source: load(field, source, Pool(skip_bad=True)).content,  # of the rows that the hub gave
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
}


def kind_of(source: str) -> Kind:
    """The kind of this source."""
    return next(kind for kind in reversed(KINDS.values()) if kind.recognises(source))


def load(field: str, source: str, pool: Pool | None = None) -> Loaded:
    """All rows of a source (cached in the process until they change).

    Raises:
        BadInput: the source cannot be read, a row is malformed or without a response, or no row is left.
    """
    try:
        loaded = kind_of(source).load(field, source, pool or Pool())
    except BadInput as error:  # readers do not know which field named their source
        raise BadInput(error.text if error.field else f"{field}={error.text}", field=error.field or field) from None
    if not loaded.rows:
        raise BadInput(f"{field}={source}: has no row with a response ({loaded.n_empty} with an empty one)", field=field)
    return loaded
