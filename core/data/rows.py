"""A row of messages with a stable identity, and how raw rows become rows.

Every decision about a row is a hash of its content, so it does not depend on the order or the number of other rows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.conversation import Conversation, to_messages
from core.data.shapes import LABELS, TWIN
from core.data.turns import Message
from core.data.wording import normal
from core.errors import BadInput
from core.fields import content_hash

READING = 2  # how files and tables become rows: raise it when other text, or another answer, comes of the same file
LAB_PREFIX = "lab:"
SKIP = "(--skip-bad-rows leaves such rows out)"


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
    solutions: tuple[str, ...] = ()  # what a right final answer may be, by a field "answer" of its source
    origin: str = ""  # of several sources the one that it is of, by its short name
    twin: str = ""  # of a row whose answer was rewritten the id that it had before

    @property
    def drawn_by(self) -> str:
        """What decides when a seed draws the row: rewritten, it comes where it came before, so that both files are paired."""
        return self.twin or self.id

    @functools.cached_property
    def prompt(self) -> str:
        """What identifies the question: the first user turn, as `normal` has it."""
        return normal(next((m["content"] for m in self.messages if m["role"] == "user"), ""))

    @functools.cached_property
    def answers(self) -> dict[int, str]:
        """For each answer, by its place among the messages, a hash of it and of what it answers (all that was said since the
        answer before), both as `normal` has them."""
        found, asked = {}, list[str]()
        for i, message in enumerate(self.messages):
            if message["role"] == "assistant":
                calls = json.dumps(message["tool_calls"], sort_keys=True) if "tool_calls" in message else ""
                said = f"{normal(' '.join(asked))}\x1f{normal(message['content'])}\x1f{normal(calls)}"
                found[i] = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
                asked = []
            elif message["role"] != "system":
                asked.append(message["content"])
        return found


@dataclass(frozen=True, eq=False)
class Loaded:
    """A source's rows, those with an empty response left out and counted; `content` is the hash of what they were read from.
    Equal only to itself, so that what is made from it can be kept for it."""

    rows: tuple[Row, ...]
    n_empty: int
    shapes: tuple[str, ...]
    content: str = ""
    n_bad: int = 0  # malformed rows that were left out, where that is asked for
    unused: tuple[str, ...] = ()  # fields of rows that nothing uses
    columns: tuple[str, ...] = ()  # every field that a row has
    shares: tuple[tuple[str, float], ...] = ()  # of several sources: the short name of each, and which share of rows it gives
    parts: tuple[tuple[str, str], ...] = ()  # of several sources: the short name of each, and the hash of its content


def is_lab(name: str) -> bool:
    """Whether a source or a model is the laboratory's."""
    return name.startswith(LAB_PREFIX)


def share(text: str, salt: str) -> float:
    """A hash of the text as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\x1f{text}".encode(), digest_size=6).digest(), "big") / 2**48


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.I | re.A)
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


def build(
    placed: Iterable[tuple[str, object]], source: str, skip_bad: bool = False, fields: Mapping[str, str] | None = None
) -> Loaded:
    """Rows from raw ones, each with its place in the source; malformed ones are refused, or left out and counted. `fields`: which
    columns are taken for ours.

    Raises:
        BadInput: a row is malformed or without a response, or all that are left out are.
    """
    rows, n_empty, bad = [], 0, list[BadInput]()
    shapes, unused, columns = set(), dict[str, None](), dict[str, None]()
    for place, raw in placed:
        try:
            columns |= dict.fromkeys(raw) if isinstance(raw, dict) else {}
            found = to_messages(raw, f"{source}: {place}", fields)
        except BadInput as error:
            if not skip_bad:
                raise BadInput(f"{error.text} {SKIP}", error.field) from None
            bad.append(error)
            continue
        shapes.add(found.shape)
        unused |= dict.fromkeys(found.unused)
        if any(map(is_empty, found.messages)):
            n_empty += 1
            continue
        rows.append(of_conversation(found, place))
    if bad and not rows:
        raise BadInput(f"{bad[0].text}; nor is any other row right ({len(bad)} left out)", bad[0].field)
    told = tuple(map(str, columns))
    return Loaded(tuple(rows), n_empty, tuple(sorted(shapes)), n_bad=len(bad), unused=tuple(unused), columns=told)


def made(raws: Iterable[dict[str, Any]]) -> Loaded:
    """Rows of the laboratory, which are right by construction: as `build` makes them, in a third of the time."""
    return Loaded(tuple(_row(raw, tuple(raw["messages"]), f"row {i}") for i, raw in enumerate(raws, 1)), 0, ("messages",))


def of_conversation(found: Conversation, place: str) -> Row:
    """The row that a source has at a place."""
    return _row(found.raw, tuple(found.messages), place, found.tools)


def _row(raw: dict[str, Any], messages: tuple[Message, ...], place: str, tools: tuple[dict[str, Any], ...] | None = None) -> Row:
    """The row with these messages, and what its raw one says beside them."""
    group = group if isinstance(group := raw.get("task"), str) else "all"
    cluster, task, template = (str(raw.get(label) or "") for label in LABELS)
    labels = (cluster, task, template)
    twin = twin if isinstance(twin := raw.get(TWIN), str) else ""
    return Row(identity(messages, tools), messages, group, place, labels, _score(raw), tools, _solutions(raw), twin=twin)


def is_empty(message: Message) -> bool:
    """An answer that should be learned and says nothing."""
    learned = message["role"] == "assistant" and message.get("weight") != 0 and "tool_calls" not in message
    return learned and not message["content"].strip()


def _solutions(raw: dict[str, Any]) -> tuple[str, ...]:
    """The row's field "answer": a text, a number, or a list of them of which each is right. A table without an answer in some
    row has NaN there, and floats in all others."""
    value = raw.get("answer")
    found = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in found):
        return ()
    numbers = [one for one in found if not isinstance(one, float) or math.isfinite(one)]
    whole = [int(one) if isinstance(one, float) and one.is_integer() and abs(one) < 2**53 else one for one in numbers]
    return tuple(text for one in whole if (text := str(one).strip()))


def _score(raw: dict[str, Any]) -> float | None:
    """The number in a row's field "score", if it has one; as text too, which is what a table without types has."""
    value = raw.get("score")
    try:
        value = float(value) if isinstance(value, str) and NUMBER.fullmatch(value.strip()) else value
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
