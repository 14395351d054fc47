"""The shapes of instruction data: one raw row of a source → chat messages.

A row's shape is told by its field names. To add a shape, add a converter and its line in SHAPES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput

# role and content (text); where the row has them reasoning_content, tool_calls, tool_call_id and name; and weight 0 for a turn
# that must be neither in the loss nor scored.
Message = dict[str, Any]
Raw = dict[str, Any]

# ShareGPT's speakers (and those of its descendants) as chat roles.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}
ROLES = ("system", "user", "assistant")


class _Malformed(ValueError):
    """What is wrong with a row; `to_messages` adds where."""


def _text(raw: Raw, name: str, optional: bool = False) -> str:
    value = raw.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise _Malformed(f"field {name!r} must be text, not {type(value).__name__}")
    return value


def _turns(turns: object, name: str, role_key: str, text_key: str, roles: dict[str, str]) -> list[Message]:
    """A list of turns as messages; turns after the last answer have nothing to teach and are left out."""
    if not isinstance(turns, list | tuple) or not all(isinstance(turn, dict) for turn in turns):
        raise _Malformed(f"field {name!r} must be a list of turns")
    messages = []
    for turn in turns:
        role, text = turn.get(role_key), turn.get(text_key)
        if role not in roles:
            raise _Malformed(f"{name}: {role_key}={role!r}: must be one of {', '.join(roles)}")
        if not isinstance(text, str):
            raise _Malformed(f"{name}: a turn's {text_key!r} must be text, not {type(text).__name__}")
        messages.append({"role": roles[role], "content": text})
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        raise _Malformed(f"row without a response: {name!r} has no assistant turn")
    return messages


def _messages(raw: Raw) -> list[Message]:
    return _turns(raw["messages"], "messages", "role", "content", {role: role for role in ROLES})


def _sharegpt(raw: Raw) -> list[Message]:
    return _turns(raw["conversations"], "conversations", "from", "value", SPEAKERS)


def _prompt_completion(raw: Raw) -> list[Message]:
    """Both as text, or both as lists of messages (TRL's conversational form)."""
    if isinstance(raw["prompt"], list | tuple) and isinstance(raw["completion"], list | tuple):
        return _turns([*raw["prompt"], *raw["completion"]], "completion", "role", "content", {role: role for role in ROLES})
    return _pair(_text(raw, "prompt"), _text(raw, "completion"))


def _alpaca(raw: Raw) -> list[Message]:
    """Alpaca's fields; `history` holds the earlier turns of multi-turn rows as [[user, assistant], ...] (as LIMA is shared)."""
    earlier: list[Message] = []
    history = raw.get("history") or []
    if not isinstance(history, list | tuple):
        raise _Malformed("field 'history' must be a list of [user, assistant] pairs")
    for pair in history:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise _Malformed("field 'history' must be a list of [user, assistant] pairs of text")
        earlier += _pair(*pair)
    return earlier + _pair(_with_context(_text(raw, "instruction"), _text(raw, "input", optional=True)), _text(raw, "output"))


def _dolly(raw: Raw) -> list[Message]:
    prompt = _with_context(_text(raw, "instruction"), _text(raw, "context", optional=True))
    return _pair(prompt, _text(raw, "response"))


def _with_context(instruction: str, context: str) -> str:
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _pair(prompt: str, response: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


@dataclass(frozen=True)
class Shape:
    """A row has this shape if it has both fields."""

    prompt_field: str
    response_field: str
    convert: Callable[[Raw], list[Message]]


# First match wins.
SHAPES: dict[str, Shape] = {
    "messages": Shape("messages", "messages", _messages),
    "sharegpt": Shape("conversations", "conversations", _sharegpt),
    "prompt/completion": Shape("prompt", "completion", _prompt_completion),
    "alpaca": Shape("instruction", "output", _alpaca),
    "dolly": Shape("instruction", "response", _dolly),
}


def to_messages(raw: object, where: str) -> tuple[list[Message], str]:
    """The row's messages, ending with the assistant's, and the name of its shape.

    Raises:
        BadInput: the row is malformed or has no response; the message begins with `where`.
    """
    if not isinstance(raw, dict):
        raise BadInput(f"{where}: must be an object with fields, not {type(raw).__name__}")
    for name, shape in SHAPES.items():
        if shape.prompt_field in raw and shape.response_field in raw:
            try:
                return shape.convert(raw), name
            except _Malformed as error:
                raise BadInput(f"{where}: {error}") from None
    wanted = [shape.response_field for shape in SHAPES.values() if shape.prompt_field in raw]
    fields = ", ".join(map(str, raw)) or "none"
    if wanted:
        raise BadInput(f"{where}: row without a response: needs {' or '.join(map(repr, wanted))}; its fields are: {fields}")
    known = "; ".join(" + ".join(dict.fromkeys((s.prompt_field, s.response_field))) for s in SHAPES.values())
    raise BadInput(f"{where}: fields ({fields}) of no known shape; rename them to one of: {known}")
