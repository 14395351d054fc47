"""A row of messages with a stable identity, and how raw rows become rows.

Every decision about a row is a hash of its content, so it does not depend on the order or the number of other rows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.shapes import Message, to_messages
from core.fields import content_hash

LAB_PREFIX = "lab:"
LABELS = ("cluster", "task", "template")


@dataclass(frozen=True)
class Row:
    """One conversation that ends with the assistant. `place` says where it stands in its source."""

    id: str
    messages: tuple[Message, ...]
    group: str = "all"
    place: str = ""
    labels: tuple[str, str, str] = ("", "", "")  # cluster, task, template, as far as the source names them
    score: float | None = None  # how good its source holds it to be
    tools: tuple[dict[str, Any], ...] | None = None  # what the chat template is told of callable tools

    @property
    def prompt(self) -> str:
        """What identifies the question: the first user turn, ignoring case and space."""
        return " ".join(next((m["content"] for m in self.messages if m["role"] == "user"), "").lower().split())


@dataclass(frozen=True)
class Loaded:
    """A source's rows, those with an empty response left out and counted."""

    rows: tuple[Row, ...]
    n_empty: int
    shapes: tuple[str, ...]


def is_lab(name: str) -> bool:
    """Whether a source or a model is the laboratory's."""
    return name.startswith(LAB_PREFIX)


def share(text: str, salt: str) -> float:
    """A hash of the text as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\x1f{text}".encode(), digest_size=6).digest(), "big") / 2**48


PLAIN = {"role", "content"}


def identity(messages: Iterable[Message], tools: Sequence[dict[str, Any]] | None = None) -> str:
    """A row's id: a hash of what is said and by whom, and of what else the turns and the row have."""
    messages = list(messages)
    joined = "\x1f".join(f"{m['role']}\x1e{m['content']}" for m in messages)
    beside = [{name: value for name, value in m.items() if name not in PLAIN} for m in messages]
    if any(beside) or tools:
        joined += "\x1d" + json.dumps([beside, tools], sort_keys=True)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def rows_hash(rows: Iterable[Row]) -> str:
    """A content hash of these rows in this order."""
    return content_hash([row.id for row in rows])


def build(placed: Iterable[tuple[str, object]], source: str) -> Loaded:
    """Rows from raw ones, each with its place in the source.

    Raises:
        BadInput: a row is malformed or without a response.
    """
    rows, n_empty, shapes = [], 0, set()
    for place, raw in placed:
        messages, shape = to_messages(raw, f"{source}: {place}")
        shapes.add(shape)
        if any(m["role"] == "assistant" and not m["content"].strip() for m in messages):
            n_empty += 1
            continue
        group = raw.get("task") if isinstance(raw, dict) else None
        cluster, task, template = (str(raw.get(label) or "") if isinstance(raw, dict) else "" for label in LABELS)
        group = group if isinstance(group, str) else "all"
        rows.append(Row(identity(messages), tuple(messages), group, place, (cluster, task, template), _score(raw)))
    return Loaded(tuple(rows), n_empty, tuple(sorted(shapes)))


def _score(raw: object) -> float | None:
    """The number in a row's field "score", if it has one."""
    value = raw.get("score") if isinstance(raw, dict) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
