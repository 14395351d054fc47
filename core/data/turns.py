"""The turns of a conversation: one raw turn → a message with text, and what else a chat template reads of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# role and content (text); where the row has them reasoning_content, tool_calls, tool_call_id and name; and weight 0 for a turn
# that must be neither in the loss nor scored.
Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
TEXTS = ("reasoning_content", "tool_call_id", "name")
# Fields of a turn that change what it says or whether it should be learned, and are not used.
MEANT = (
    *("thinking", "reasoning", "reasoning_details", "function_call", "refusal", "audio", "image", "images", "video", "videos"),
    *("documents", "loss", "loss_mask", "loss_weight", "mask", "train", "training", "trainable", "learn"),
    *("prefix", "tool_responses", "tools", "functions"),
)
SURROGATE = re.compile("[\ud800-\udfff]")


class Malformed(ValueError):
    """What is wrong with a row; `conversation.to_messages` adds where."""


def listed(said: object, name: str, of_objects: bool = False) -> list[Any]:
    """The turns of a field, also where the list stands there as JSON text (tables have no other way).

    Raises:
        Malformed: it is no list, or with `of_objects` none of turns with fields.
    """
    if isinstance(said, str) and said.strip()[:1] == "[":
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            raise Malformed(
                f"field {name!r} is text that is no JSON (Python's own way to write lists, often); save it as jsonl"
            ) from None
    if not isinstance(said, list | tuple) or (of_objects and not all(isinstance(turn, dict) for turn in said)):
        raise Malformed(f"field {name!r} must be a list of turns")
    return list(said)


def spoken(texts: Sequence[object]) -> list[dict[str, Any]]:
    """Texts that are said in turn, as turns: the user begins."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def turns(said: object, name: str, keys: tuple[str, str], roles: Mapping[str, str]) -> list[Message]:
    """A list of turns as messages; turns after the last answer that is learned have nothing to teach and are left out.

    Args:
        keys: the fields of a turn that hold its role and its text.
        roles: the chat role for each role that a turn may name.

    Raises:
        Malformed: a turn is no such turn, or there is no answer.
    """
    messages = [_message(turn, name, keys, roles) for turn in listed(said, name, of_objects=True)]
    if not any(message["role"] == "assistant" for message in messages):
        raise Malformed(f"row without a response: {name!r} has no assistant turn")
    while messages and (messages[-1]["role"] != "assistant" or messages[-1].get("weight") == 0):
        messages.pop()
    if not messages:
        raise Malformed(f"row without a response: every answer of {name!r} has weight 0")
    return messages


def _message(turn: Mapping[str, Any], name: str, keys: tuple[str, str], roles: Mapping[str, str]) -> Message:
    role_key, text_key = keys
    role = turn.get(role_key)
    if role is None:
        fields = ", ".join(map(str, turn))[:80]
        raise Malformed(f"{name}: a turn has no {role_key!r} (its fields: {fields}); it must be one of {', '.join(roles)}")
    if not isinstance(role, str) or role not in roles:
        raise Malformed(f"{name}: {role_key}={str(role)[:40]!r}: must be one of {', '.join(roles)}")
    for field in MEANT:
        if field not in keys and turn.get(field) not in (None, "", [], {}):
            raise Malformed(f"{name}: a turn's field {field!r} would change what is learned and is not used; drop or rename it")
    calls = _tool_calls(turn.get("tool_calls"), name)
    if calls and roles[role] != "assistant":
        raise Malformed(f"{name}: only an assistant's turn can have 'tool_calls', not one of {role!r}")
    message: Message = {
        "role": roles[role],
        "content": _content(turn.get(text_key), f"{name}: a turn's {text_key!r}", bool(calls)),
    }
    for field in TEXTS:
        if turn.get(field) not in (None, ""):
            message[field] = _content(turn[field], f"{name}: a turn's {field!r}", False)
    if calls:
        message["tool_calls"] = calls
    return message if _weight(turn.get("weight"), name) else {**message, "weight": 0}


def _content(value: object, what: str, optional: bool) -> str:
    """Text, or a list of parts of text; nothing where the turn calls tools instead."""
    if value is None and optional:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(part, dict) for part in value):
        return "".join(_part(part, what) for part in value)
    if not isinstance(value, str):
        raise Malformed(f"{what} must be text, not {type(value).__name__}")
    return value


def _part(part: Mapping[str, Any], what: str) -> str:
    kind, text = part.get("type", "text"), part.get("text")
    if kind != "text" or not isinstance(text, str):
        raise Malformed(f"{what} has a part of type {str(kind)[:40]!r}; only parts of text can be learned")
    return text


def _weight(value: object, name: str) -> bool:
    """Whether the turn is learned: weight 1, or none given."""
    if value is None:
        return True
    if value not in (0, 1):
        raise Malformed(f"{name}: a turn's weight={str(value)[:40]}: must be 0 (not learned) or 1")
    return value == 1


def _tool_calls(value: object, name: str) -> list[dict[str, Any]]:
    calls = _objects(value, f"{name}: a turn's 'tool_calls'")
    for call in calls:
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Malformed(f"{name}: a call in 'tool_calls' must name its function")
    return calls


def with_calls(one: Message, as_text: bool) -> Message:
    """The message with its calls of tools in the form of OpenAI's API; `as_text`: their arguments as JSON text, as there."""
    if not one.get("tool_calls"):
        return one
    calls = []
    for call in one["tool_calls"]:
        outer, inner = (call, call["function"]) if isinstance(call.get("function"), dict) else ({}, call)
        arguments = inner.get("arguments", {})
        if as_text and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        calls.append({"type": "function", **outer, "function": {**inner, "arguments": arguments}})
    return {**one, "tool_calls": calls}


def tools(value: object) -> tuple[dict[str, Any], ...] | None:
    """What a row's field "tools" holds: a list of objects, or that as JSON text; None where there are none.

    Raises:
        Malformed: it is something else.
    """
    return tuple(_objects(value, "field 'tools'")) or None


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    """A list of objects, also as JSON text (columnar files have no other way), without the nulls that those files fill in."""
    if value is None or value in ("", [], ()):
        return []
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise Malformed(f"{what} must be a list of objects, or that as JSON text") from None
    if found is None:
        return []
    if not isinstance(found, list | tuple) or not all(isinstance(one, dict) for one in found):
        raise Malformed(f"{what} must be a list of objects")
    return [_without_nulls(one) for one in found]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value


def check_text(value: Any) -> None:
    """Half of a surrogate pair (an emoji that was cut) is no text: no tokenizer takes it, and it cannot be written.

    Raises:
        Malformed: there is one somewhere in these texts.
    """
    if isinstance(value, str):
        if value.isascii():
            return
        if found := SURROGATE.search(value):
            raise Malformed(f"text with half a character (U+{ord(found[0]):04X} at character {found.start() + 1})")
    elif isinstance(value, dict):
        for name, inner in value.items():
            check_text(name)
            check_text(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_text(inner)
