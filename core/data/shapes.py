"""The shapes of instruction data: one raw row of a source → chat messages and tools.

A row's shape is told by its field names. To add a shape, add a converter and its line in SHAPES. What would change the meaning
of a row and is not used is refused by its name; other fields are told (`unused`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.data.turns import ROLES, Malformed, Message, check_text, listed, tools, turns
from core.errors import BadInput

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
    "tool": "tool",
    "observation": "tool",
}
SYSTEM = ("system", "system_prompt", "system_message")
LABELS = ("cluster", "task", "template")  # what a row is grouped by, where its source says
USED = (*SYSTEM, "tools", *LABELS, "score", "answer")  # by rows of every shape
# Fields that change what a row says or whether it should be learned, and are not used.
MEANT = (
    *("functions", "documents", "image", "images", "audio", "audios", "video", "videos", "chat_template", "chat_template_kwargs"),
    *("weight", "loss_weight", "sample_weight", "loss_mask", "mask", "completion_mask", "assistant_masks", "rejected"),
    *("reasoning_content", "reasoning", "thinking", "history", "input", "context"),
)


@dataclass(frozen=True)
class Unreadable:
    """In the place of a row that cannot be read, while those after it can."""

    reason: str


class Conversation(NamedTuple):
    """A raw row in one form. `unused`: its fields that nothing uses."""

    messages: list[Message]
    shape: str
    tools: tuple[dict[str, Any], ...] | None
    unused: tuple[str, ...]


def _text(raw: Raw, name: str, optional: bool = False) -> str:
    value = raw.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"field {name!r} must be text, not {type(value).__name__}")
    return value


def _messages(raw: Raw) -> list[Message]:
    return turns(raw["messages"], "messages", ("role", "content"), {role: role for role in ROLES})


def _sharegpt(raw: Raw) -> list[Message]:
    said = listed(raw["conversations"], "conversations")
    if said and all("role" in turn and "from" not in turn for turn in said):  # the name of the one, the turns of the other
        return turns(said, "conversations", ("role", "content"), {role: role for role in ROLES})
    return turns(said, "conversations", ("from", "value"), SPEAKERS)


def _prompt_completion(raw: Raw) -> list[Message]:
    """Both as text, or both as lists of messages (TRL's conversational form)."""
    if isinstance(raw["prompt"], list | tuple) and isinstance(raw["completion"], list | tuple):
        both = [*listed(raw["prompt"], "prompt"), *listed(raw["completion"], "completion")]
        return _completed(turns(both, "completion", ("role", "content"), {role: role for role in ROLES}), raw)
    return _pair(_text(raw, "prompt"), _text(raw, "completion"))


def _completed(messages: list[Message], raw: Raw) -> list[Message]:
    """TRL has the completion in the loss and no answer of the prompt."""
    n_prompt = len(raw["prompt"])
    return [
        {**message, "weight": 0} if i < n_prompt and message["role"] == "assistant" else message
        for i, message in enumerate(messages)
    ]


def _alpaca(raw: Raw) -> list[Message]:
    """Alpaca's fields; `history` holds the earlier turns of multi-turn rows as [[user, assistant], ...] (as LIMA is shared)."""
    earlier: list[Message] = []
    history = raw.get("history") or []
    if not isinstance(history, list | tuple):
        raise Malformed("field 'history' must be a list of [user, assistant] pairs")
    for pair in history:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Malformed("field 'history' must be a list of [user, assistant] pairs of text")
        earlier += _pair(*pair)
    return earlier + _pair(_with_context(_text(raw, "instruction"), _text(raw, "input", optional=True)), _text(raw, "output"))


def _dolly(raw: Raw) -> list[Message]:
    prompt = _with_context(_text(raw, "instruction"), _text(raw, "context", optional=True))
    return _pair(prompt, _text(raw, "response"))


def _question(raw: Raw) -> list[Message]:
    """Question and answer, as in GSM8K."""
    for name in ("choices", "options"):
        if raw.get(name):
            raise Malformed(f"field {name!r}: a multiple choice is no row to train on; ask it with evaluation.choices=FILE")
    return _pair(_with_context(_text(raw, "question"), _text(raw, "context", optional=True)), _text(raw, "answer"))


def _with_context(instruction: str, context: str) -> str:
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _pair(prompt: str, response: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


@dataclass(frozen=True)
class Shape:
    """A row has this shape if it has both fields; `also` are further ones that it uses."""

    prompt_field: str
    response_field: str
    convert: Callable[[Raw], list[Message]]
    also: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.prompt_field, self.response_field, *self.also)


# First match wins.
SHAPES: dict[str, Shape] = {
    "messages": Shape("messages", "messages", _messages),
    "sharegpt": Shape("conversations", "conversations", _sharegpt),
    "prompt/completion": Shape("prompt", "completion", _prompt_completion),
    "alpaca": Shape("instruction", "output", _alpaca, ("input", "history")),
    "dolly": Shape("instruction", "response", _dolly, ("context",)),
    "question/answer": Shape("question", "answer", _question, ("context",)),
}


def to_messages(raw: object, where: str) -> Conversation:
    """The row as messages, ending with an answer to be learned, and tools.

    Raises:
        BadInput: the row is malformed, has no response, or a field that is not used would change its meaning; the message
            begins with `where`.
    """
    try:
        return _convert(raw)
    except Malformed as error:
        raise BadInput(f"{where}: {error}") from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deeply to be read") from None


def _convert(raw: object) -> Conversation:
    if isinstance(raw, Unreadable):
        raise Malformed(raw.reason)
    if not isinstance(raw, dict):
        raise Malformed(f"must be an object with fields, not {type(raw).__name__}")
    for name, shape in SHAPES.items():
        if shape.prompt_field in raw and shape.response_field in raw:
            used = {*shape.fields, *USED}
            _refuse_meant(raw, name, used)
            messages = _with_system(raw, shape.convert(raw))
            unused = tuple(_printable(one) for one in raw if one not in used)
            found = Conversation(messages, name, tools(raw.get("tools")), unused)
            for message in messages:
                check_text(list(message.values()))
            check_text([found.tools, *(raw[label] for label in LABELS if label in raw)])
            return found
    raise Malformed(_no_shape(raw))


def _no_shape(raw: Raw) -> str:
    wanted = [shape.response_field for shape in SHAPES.values() if shape.prompt_field in raw]
    fields = field_names(raw)
    if wanted:
        return f"row without a response: needs {' or '.join(map(repr, wanted))}; its fields are: {fields}"
    known = "; ".join(" + ".join(dict.fromkeys((s.prompt_field, s.response_field))) for s in SHAPES.values())
    return f"fields ({fields}) of no known shape; rename them to one of: {known}"


def field_names(raw: Raw) -> str:
    """The names of a row's fields, for messages."""
    names = [_printable(name) for name in raw]
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "none"


def _printable(name: object) -> str:
    return " ".join(str(name)[:40].encode("utf-8", "replace").decode().split())


def _refuse_meant(raw: Raw, shape: str, used: Iterable[str]) -> None:
    for name in MEANT:
        value = raw.get(name)
        if name in used or value is None or value in ("", [], {}) or (value == 1 and "weight" in name):
            continue
        if shape in ("messages", "sharegpt") and name in ("input", "context"):  # such rows are whole without them
            continue
        raise Malformed(f"field {name!r} would change what the row says and is not used for {shape} rows; drop or rename it")
    if raw.get("label") is False:  # an example of what not to do, in TRL's unpaired preferences
        raise Malformed("field 'label' is false: an answer that is not wanted would be learned; drop such rows")


def _with_system(raw: Raw, messages: list[Message]) -> list[Message]:
    """The row's system prompt, from a field beside its turns, as the first turn."""
    given = {name: text for name in SYSTEM if (text := _text(raw, name, optional=True)).strip()}
    if not given:
        return messages
    name, text = next(iter(given.items()))
    own = [message["content"] for message in messages if message["role"] == "system"]
    if any(other != text for other in [*given.values(), *own]):
        raise Malformed(f"field {name!r} and {'a system turn' if own else 'another field'} give two system prompts; keep one")
    return messages if own else [{"role": "system", "content": text}, *messages]
