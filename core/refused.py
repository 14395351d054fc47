"""Rows that a chat template refuses: which, why as far as trying tells it, and what can be done about it. Templates refuse by
kind of conversation (`chat.kind_of`), so one row of each kind tells of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from core import chat
from core.data import encode, selection
from core.data.drawing import NO_MEANS, Means
from core.data.rows import SKIP, Row
from core.data.selection import Selection
from core.data.turns import Message
from core.errors import BadInput
from core.settings import Data, Evaluation
from core.spans import WAYS
from core.template import Endless, Template

Messages = list[Message]


def among(template: Template, rows: Iterable[Row]) -> list[tuple[Row, BadInput]]:
    """The rows that the template refuses, with its reason. Where the first of a kind is refused each of the kind is tried.

    Raises:
        Endless: the template takes seconds for a row or builds too much, and would for every other.
    """
    right, wrong, found = set[object](), set[object](), list[tuple[Row, BadInput]]()
    for row in rows:
        if (kind := chat.kind_of(row)) in right:
            continue
        try:
            encode.rendered(template, row)
            right |= {kind} - wrong
        except Endless:
            raise
        except BadInput as error:
            wrong.add(kind)
            found.append((row, error))
    return found


def select(template: Template, data: Data, evaluation: Evaluation, seed: int, means: Means = NO_MEANS) -> Selection:
    """The selection without rows that the template refuses, which it counts. They go before others are drawn, so that there are
    as many as are asked for. `means`: by which rows are selected.

    Raises:
        BadInput: it refuses all rows of training, or of evaluation.
    """
    found: list[tuple[Row, BadInput]] = []

    def take(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        left, gone = parted(template, rows)
        found.extend(gone)
        return left

    chosen = selection.select(data, evaluation, seed, take, means)
    return replace(chosen, n_refused=len(found), refused=found[0][1].text) if found else chosen


def parted(template: Template, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], list[tuple[Row, BadInput]]]:
    """The rows that the template takes, and those that it refuses.

    Raises:
        BadInput: it refuses all of them.
    """
    found = among(template, rows)
    gone = {id(row) for row, _ in found}
    left = tuple(row for row in rows if id(row) not in gone) if gone else rows
    if found and not left:
        row, error = found[0]
        raise BadInput(f"{error.text}; nor is any other row taken ({ways(template, row)})", field=error.field)
    return left, found


def refusal(template: Template, error: BadInput, row: Row, rows: Sequence[Row]) -> BadInput:
    """The error of a row with how many others are refused too, and what can be done."""
    if isinstance(error, Endless):
        return BadInput(f"{error.text}; {WAYS}", field=error.field)
    n = len(among(template, rows))
    more = f", and {n - 1:,} more of {len(rows):,} rows" if n > 1 else ""
    way = "" if WAYS in error.text else f"; {ways(template, row)}"
    return BadInput(f"{error.text}{more}{way} {SKIP}", field=error.field)


def ways(template: Template, row: Row) -> str:
    """What the template does not take of this row, as far as leaving it out tells, and what can be done."""
    for what, change in CHANGES:
        messages = change([dict(one) for one in row.messages])
        if messages != list(row.messages) and _takes(template, messages, row.tools):
            return f"it takes no {what}: leave that out, or {WAYS}"
    if row.tools is not None and _takes(template, list(row.messages), None):
        return f"it takes no tools: leave that out, or {WAYS}"
    return WAYS


def _takes(template: Template, messages: Messages, tools: Sequence[object] | None) -> bool:
    try:
        template.render(messages, tools)
    except BadInput:
        return False
    return bool(messages)


def _merged(messages: Messages) -> Messages:
    found: Messages = []
    for one in messages:
        if found and found[-1]["role"] == one["role"]:
            found[-1] = {**one, "content": f"{found[-1]['content']}\n\n{one['content']}"}
        else:
            found.append(one)
    return found


def _no_system(messages: Messages) -> Messages:
    return [one for one in messages if one["role"] != "system"]


def _no_tools(messages: Messages) -> Messages:
    return [{**one, "tool_calls": None} for one in messages if one["role"] != "tool" and not one.get("tool_calls")]


def _asked_first(messages: Messages) -> Messages:
    first = next((i for i, one in enumerate(messages) if one["role"] == "user"), len(messages))
    return [one for one in messages[:first] if one["role"] == "system"] + messages[first:]


def _last_alone(messages: Messages) -> Messages:
    asked = [i for i, one in enumerate(messages[:-1]) if one["role"] == "user"]
    return [messages[asked[-1]], messages[-1]] if asked else messages


# What a row may have that a template refuses, and the row without it.
CHANGES: tuple[tuple[str, Callable[[Messages], Messages]], ...] = (
    ("system turn", _no_system),
    ("calls of tools and their results", _no_tools),
    ("conversation that an answer begins", _asked_first),
    ("two turns of one role in a row", _merged),
    ("two turns of one role in a row after a system turn", lambda messages: _merged(_no_system(messages))),
    ("conversation of several turns", _last_alone),
)
