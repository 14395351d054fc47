"""The shapes of preference data: one raw row of a source → two conversations that share a prompt.

Columns are TRL's: `chosen` and `rejected`, with a prompt beside them (text, or turns), or with the whole conversation in both
(turns as UltraFeedback's, or text with "Human:" and "Assistant:" as Anthropic's HH). Each half is read as a row of its own by
core/data/conversation.py, so that prompts go by all the names that they have there.
"""

from __future__ import annotations

import json
import re
from typing import Any

from core.data import columns
from core.data.columns import WHOLE
from core.data.conversation import Conversation, Unreadable, field_names, to_messages
from core.data.shapes import KNOWN, PROMPTS, RESPONSES, Raw
from core.data.turns import Malformed, Message
from core.data.wording import normal
from core.errors import BadInput

NAMES = (("chosen", "rejected"), ("chosen_response", "rejected_response"), ("preferred", "dispreferred"))
HH = re.compile(r"(?:^|\n\n)(Human|Assistant):")
HH_ROLES = {"Human": "user", "Assistant": "assistant"}
ROLE_KEYS = ("role", "from", "speaker")


def to_pair(raw: object, where: str) -> tuple[Conversation, Conversation]:
    """The chosen and the rejected conversation; of both only the answers that they do not share are to be learned.

    Raises:
        BadInput: the row is malformed, or no pair of two answers to one prompt; the message begins with `where`.
    """
    try:
        if isinstance(raw, Unreadable):
            raise Malformed(raw.reason)
        if not isinstance(raw, dict):
            raise Malformed(f"must be an object with fields, not {type(raw).__name__}")
        known = columns.as_known(raw, KNOWN | {name for both in NAMES for name in both})
        names = next((both for both in NAMES if set(both) <= known.keys()), None)
        if names is None:
            raise Malformed(
                f"no pair (fields: {field_names(raw)}); needs 'chosen' and 'rejected', and a 'prompt' beside or in them"
            )
        halves = [_half(known, names, name) for name in names]
    except Malformed as error:
        raise BadInput(f"{where}: {error}") from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply to be read") from None
    chosen, rejected = (to_messages(half, f"{where}: {name}") for half, name in zip(halves, names, strict=True))
    try:
        shared = _shared(chosen.messages, rejected.messages, names)
    except Malformed as error:
        raise BadInput(f"{where}: {error}") from None
    return _from(chosen, shared), _from(rejected, shared)


def _half(raw: Raw, names: tuple[str, str], name: str) -> Raw:
    """The row with the answer of this name alone, as a row to train on."""
    said = _turns(raw[name])
    if said is None and not isinstance(raw[name], str):
        kind = "null" if raw[name] is None else type(raw[name]).__name__
        raise Malformed(f"field {name!r} must be text, or a list of turns with role and content, not {kind}")
    beside = {key: value for key, value in raw.items() if key not in (*names, *RESPONSES)}
    without = {key: value for key, value in beside.items() if key not in (*WHOLE, *PROMPTS, "context")}
    prompt = next((turns for key in (*WHOLE, "prompt") if (turns := _turns(beside.get(key))) is not None), None)
    if said is not None and any(_role(turn) != "assistant" for turn in said[:1]):
        return {**without, "messages": said}  # the prompt is in it
    if prompt is not None:
        answer = said if said is not None else [{"role": "assistant", "content": raw[name]}]
        return {**without, "prompt": prompt, "completion": answer}
    if any(beside.get(key) not in (None, "") for key in PROMPTS):
        texts = {key: value for key, value in beside.items() if key not in WHOLE}
        if said is None:
            return {**texts, "completion": raw[name]}
        if len(said) > 1:
            raise Malformed(f"field {name!r} begins with an answer and has {len(said)} turns; give the prompt as turns too")
        return {**texts, "completion": _text(said[0], name)}
    if said is None and (spoken := _hh(raw[name])):
        return {**without, "messages": spoken}
    raise Malformed(f"no prompt beside {name!r} or in it; give a column 'prompt', or whole conversations as lists of turns")


def _turns(value: object) -> list[Any] | None:
    """Turns with roles: a list of them, one alone, or that as JSON text (tables have no other way)."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ", "[\n"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    said = [value] if isinstance(value, dict) else list(value) if isinstance(value, list | tuple) else []
    return said if said and all(isinstance(one, dict) and _role(one) for one in said) else None


def _role(turn: Any) -> str:
    """Who speaks, "assistant" by all names that ShareGPT's descendants have for it."""
    found = next((str(turn[key]) for key in ROLE_KEYS if turn.get(key)), "")
    return "assistant" if found in ("gpt", "chatgpt", "model", "bot") else found


def _text(turn: dict[str, Any], name: str) -> str:
    for key in ("content", "value", "text"):
        if isinstance(turn.get(key), str):
            return str(turn[key])
    raise Malformed(f"field {name!r} has a turn without text")


def _hh(text: str) -> list[Message]:
    """The turns of Anthropic's HH; none where the text is not written so."""
    before, *parts = HH.split(text)
    if before.strip() or "Human" not in parts[::2]:
        return []
    return [{"role": HH_ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def _shared(chosen: list[Message], rejected: list[Message], names: tuple[str, str]) -> int:
    """How many turns the two share from their beginning on: the prompt."""
    at = 0
    while at < min(len(chosen), len(rejected)) and _same(chosen[at], rejected[at]):
        at += 1
    both = f"{names[0]!r} and {names[1]!r}"
    if at == len(chosen) == len(rejected):
        raise Malformed(f"{both} say the same; drop such rows")
    if not any(message["role"] == "user" for message in chosen[:at]):
        raise Malformed(f"{both} answer different prompts; give two answers to one")
    if at == min(len(chosen), len(rejected)):
        raise Malformed(f"one of {both} is the beginning of the other; give two answers to one prompt")
    if {chosen[at]["role"], rejected[at]["role"]} != {"assistant"}:
        raise Malformed(f"{both} part at turn {at + 1}, which is no answer; give two answers to one prompt")
    return at


def _same(one: Message, other: Message) -> bool:
    plain = [{key: value for key, value in message.items() if key not in ("weight", "content")} for message in (one, other)]
    return plain[0] == plain[1] and normal(one["content"]) == normal(other["content"])


def _from(conversation: Conversation, shared: int) -> Conversation:
    """The conversation with what is shared not learned."""
    messages = [
        {**message, "weight": 0} if i < shared and message["role"] == "assistant" else message
        for i, message in enumerate(conversation.messages)
    ]
    return conversation._replace(messages=messages)
