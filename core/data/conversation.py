"""One raw row of a source → chat messages and tools.

What would change the meaning of a row and is not used is refused by its name; other fields are told (`unused`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.data import columns
from core.data.shapes import KNOWN, LABELS, MEANT, PROMPTS, RESPONSES, SHAPES, SYSTEM, USED, Raw, Shape, pair_of_columns, text_of
from core.data.turns import Malformed, Message, check_text, tools
from core.errors import BadInput


@dataclass(frozen=True)
class Unreadable:
    """In the place of a row that cannot be read, while those after it can."""

    reason: str


class Conversation(NamedTuple):
    """A raw row in one form. `unused`: its fields that nothing uses; `raw`: the row with its columns under our names."""

    messages: list[Message]
    shape: str
    tools: tuple[dict[str, Any], ...] | None
    unused: tuple[str, ...]
    raw: Raw


def to_messages(raw: object, where: str, fields: Mapping[str, str] | None = None) -> Conversation:
    """The row as messages, ending with an answer to be learned, and tools. `fields`: which columns are taken for ours.

    Raises:
        BadInput: the row is malformed, has no response, or a field that is not used would change its meaning; the message
            begins with `where`.
    """
    try:
        return _convert(raw, fields or {})
    except Malformed as error:
        raise BadInput(f"{where}: {error}") from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply to be read") from None


def _convert(given: object, fields: Mapping[str, str]) -> Conversation:
    if isinstance(given, Unreadable):
        raise Malformed(given.reason)
    if not isinstance(given, dict):
        raise Malformed(f"must be an object with fields, not {type(given).__name__}")
    raw = columns.as_known(columns.renamed(given, fields), KNOWN)
    try:
        name, shape = _shape_of(raw, field_names(given), fields)
    except Malformed as error:
        lacks = next((theirs for theirs in fields.values() if theirs not in given), None)
        told = f"; it has no column {lacks!r}, which data.fields names" if lacks is not None else ""
        raise Malformed(f"{error}{told}") from None
    used = {*shape.fields, *USED}
    _refuse_meant(raw, name, shape)
    messages = _with_system(raw, shape.convert(raw))
    over = _passed_over(given, raw) if fields else []  # else no column stands back
    unused = [one for one in (*raw, *over) if one not in (*used, *fields.values())]
    found = Conversation(messages, name, tools(raw.get("tools")), tuple(map(printable, unused)), raw)
    for message in messages:
        check_text(list(message.values()))
    check_text([found.tools, *(raw[label] for label in LABELS if label in raw)])
    return found


def _passed_over(given: Raw, raw: Raw) -> list[str]:
    """The columns that would be prompt or response, had not others been named."""
    found = {name: columns.plain(name) for name in given if isinstance(name, str)}
    taken = {*raw, *(("input",) if "context" in raw else ())}
    return [name for name, known in found.items() if known in (*PROMPTS, *RESPONSES) and known not in taken]


def _shape_of(raw: Raw, own: str, fields: Mapping[str, str]) -> tuple[str, Shape]:
    for name, shape in SHAPES.items():
        if shape.prompt_field in raw and shape.response_field in raw and not _comes_to(shape, raw, fields):
            return name, shape
    if (pair := pair_of_columns(raw)) is None:
        raise Malformed(_no_shape(raw, own))
    return f"{pair.prompt_field}/{pair.response_field}", pair


def _comes_to(shape: Shape, raw: Raw, fields: Mapping[str, str]) -> bool:
    """Whether the shape's response is what another column of the row comes to: a solution, or a response that is named; where the
    answer is named, any other response."""
    others = RESPONSES if "answer" in fields else ("solution", "completion")
    return shape.response_field == "answer" and any(name in raw for name in others if name != "answer")


def _no_shape(raw: Raw, fields: str) -> str:
    """Why the row has no shape; `fields`: its columns as their source writes them."""
    if "chosen" in raw:
        ways = "--field messages=chosen where it holds turns, --field prompt=COLUMN --field response=chosen where it holds text"
        return f"a preference ({fields}); to train on the answers that were chosen: {ways}"
    if any(name in raw for name in PROMPTS):
        wanted = " or ".join(map(repr, RESPONSES))
        return f"row without a response: needs {wanted}, or --field response=COLUMN; its fields are: {fields}"
    if {"role", "text"} <= raw.keys() or {"role", "content"} <= raw.keys():
        return f"one turn of a conversation ({fields}); give all turns of a conversation as one row's 'messages'"
    if "text" in raw:
        return (
            f"one text, of which it cannot be told what is asked and what is answered (fields: {fields}); give rows with a prompt"
            " and a response"
        )
    known = "; ".join(" + ".join(dict.fromkeys((s.prompt_field, s.response_field))) for s in SHAPES.values())
    ways = f"name them with --field prompt=COLUMN --field response=COLUMN, or as one of: {known}"
    return f"fields ({fields}) of no known shape; {ways}"


def field_names(raw: Raw) -> str:
    """The names of a row's fields, for messages."""
    names = [printable(name) for name in raw]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "none"


def printable(name: object) -> str:
    """A field's name as a message has room for it."""
    return " ".join(str(name)[:40].encode("utf-8", "replace").decode().split())


def _refuse_meant(raw: Raw, named: str, shape: Shape) -> None:
    for name in [name for name in MEANT if name in raw]:
        value = raw[name]
        if name in shape.fields or name in USED or value is None or value in ("", [], {}) or (value == 1 and "weight" in name):
            continue
        if shape.is_whole and name in ("input", "context"):  # such rows are whole without them
            continue
        raise Malformed(f"field {name!r} would change what the row says and is not used for {named} rows; drop or rename it")
    label = raw.get("label")  # in TRL's unpaired preferences: whether the completion is wanted
    is_number = type(label) in (int, float) and "completion" in raw
    if label is False or str(label).lower() == "false" or (is_number and label == 0):
        why = f"field 'label' is {str(label).lower()}: an answer that is not wanted would be learned"
        raise Malformed(f"{why}; drop such rows, or the column where it says something else")


def _with_system(raw: Raw, messages: list[Message]) -> list[Message]:
    """The row's system prompt, from a field beside its turns, as the first turn."""
    given = {name: text for name in SYSTEM if (text := text_of(raw, name, optional=True)).strip()}
    if not given:
        return messages
    name, text = next(iter(given.items()))
    own = [message["content"] for message in messages if message["role"] == "system"]
    if any(other != text for other in [*given.values(), *own]):
        raise Malformed(f"field {name!r} and {'a system turn' if own else 'another field'} give two system prompts; keep one")
    return messages if own else [{"role": "system", "content": text}, *messages]
