"""The kinds of sources that rows come from, in one table. To add a kind: its reader, and its entry in KINDS."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from core import checkpoint
from core.data import sources
from core.data.rows import Loaded, build, is_lab
from core.errors import BadInput, nearest
from core.fields import content_hash
from core.lab import instruct, version
from core.lab.requests import ALL_SOURCES, COMPOSED


@dataclass(frozen=True)
class Pool:
    """Which of its rows the laboratory is asked for; other sources have but one pool."""

    held_out_fold: int = 0
    large: bool = False  # more curated rows


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a kind of source. `load` and `content_hash` get the field that names the source, for messages.

    With `own_questions` the tasks make their questions by themselves and no row is held out; else rows are.
    """

    recognises: Callable[[str], bool]
    load: Callable[[str, str, Pool], Loaded]
    content_hash: Callable[[str, str], str]
    default_task: str  # in core/tasks
    own_questions: bool = False
    laboratory: bool = False  # written in the words of the laboratory's world, which only its own models read
    same_prompts: bool = False  # sources of this kind answer the same prompts in other ways: subsets go by prompt, to be paired


@functools.lru_cache(maxsize=4)
def _load_file(field: str, source: str, size: int, mtime_ns: int) -> Loaded:
    return build(sources.read_file(field, source), source)


def _file(field: str, source: str, pool: Pool) -> Loaded:
    stat = sources.existing_file(field, source).stat()
    return _load_file(field, source, stat.st_size, stat.st_mtime_ns)  # read again when the file changes


def _file_hash(field: str, source: str) -> str:
    return checkpoint.file_hash(sources.existing_file(field, source))[:16]


@functools.lru_cache(maxsize=4)
def _load_hub(field: str, source: str) -> Loaded:
    return build(sources.read_hub(field, source), source)


@functools.lru_cache(maxsize=8)
def _load_lab(field: str, source: str, pool: Pool) -> Loaded:
    if source not in ALL_SOURCES:
        raise BadInput(f"{field}={source!r}: {nearest(source, ALL_SOURCES)}", field=field)
    placed = ((f"row {i}", raw) for i, raw in enumerate(instruct.training_rows(source, pool.held_out_fold, pool.large), 1))
    return build(placed, source)


# The later an entry stands, the earlier it is asked: what nobody else recognises is a hub id.
KINDS: dict[str, Kind] = {
    "hub": Kind(
        recognises=lambda source: True,
        load=lambda field, source, pool: _load_hub(field, source),
        content_hash=lambda field, source: content_hash(
            [(row.id, row.labels, row.score) for row in load(field, source).rows]
        ),  # of what the hub gave
        default_task="text",
    ),
    "file": Kind(recognises=sources.is_file, load=_file, content_hash=_file_hash, default_task="text"),
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
        raise BadInput(error.text, field=error.field or field) from None
    if not loaded.rows:
        raise BadInput(f"{field}={source}: has no row with a response ({loaded.n_empty} with an empty one)", field=field)
    return loaded
