"""The shapes of instruction data: one raw row of a source → chat messages and tools.

A row's shape is told by its field names. To add a shape, add a converter and its line in SHAPES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.data.columns import PROMPTS, RESPONSES
from core.data.turns import ROLES, Malformed, Message, listed, spoken, turns

Raw = dict[str, Any]

# Who speaks, by the names of ShareGPT, its descendants, OpenAI and Open Assistant, as chat roles.
SPEAKERS = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot"), "assistant"),
    "observation": "tool",
    "developer": "system",
}
SYSTEM = ("system", "system_prompt", "system_message")
LABELS = ("cluster", "task", "template")  # what a row is grouped by, where its source says
TWIN = "rewrite_of"  # of a row whose answer a model has rewritten: the id of the row before
USED = (*SYSTEM, "tools", *LABELS, "score", "answer", TWIN)  # by rows of every shape
# Fields that change what a row says or whether it should be learned, and are not used.
MEANT = (
    *("functions", "documents", "image", "images", "audio", "audios", "video", "videos", "chat_template", "chat_template_kwargs"),
    *("weight", "loss_weight", "sample_weight", "loss_mask", "mask", "completion_mask", "assistant_masks", "rejected"),
    *("reasoning_content", "reasoning", "thinking", "history", "input", "context"),
)


def text_of(raw: Raw, name: str, optional: bool = False) -> str:
    value = raw.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"field {name!r} must be text, not {'null' if value is None else type(value).__name__}")
    return value


def _conversation(name: str) -> Callable[[Raw], list[Message]]:
    """The converter of a field that holds all turns: with role and content, with from and value (ShareGPT), as question and
    answer in one (Capybara), or as texts in turn (LIMA)."""

    def convert(raw: Raw) -> list[Message]:
        said = listed(raw[name], name)
        if said and all(isinstance(turn, str) for turn in said):
            return turns(spoken(said), name, ("role", "content"), SPEAKERS)
        said = listed(said, name, of_objects=True)
        if any("instruction" in turn and "role" not in turn for turn in said):
            raise Malformed(f"field {name!r} holds rows with a field 'instruction', not turns; give the list of rows alone")
        if said and all({"input", "output"} <= turn.keys() and "role" not in turn for turn in said):
            both = [text for turn in said for text in (turn["input"], turn["output"])]
            return turns(spoken(both), name, ("role", "content"), SPEAKERS)
        return turns(said, name, _keys(said), SPEAKERS)

    return convert


ROLE_KEYS, TEXT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")


def _keys(said: list[Raw]) -> tuple[str, str]:
    """The fields of these turns that hold who speaks and what is said; tables fill in others with nulls."""
    if all("role" in turn and turn.get("content") is not None for turn in said):
        return "role", "content"
    role = next((key for key in ROLE_KEYS if all(turn.get(key) is not None for turn in said)), "role")
    usual = "value" if role == "from" else "content"
    there = [
        key for key in (usual, *TEXT_KEYS) if all(key in turn for turn in said) and any(turn[key] is not None for turn in said)
    ]
    return role, there[0] if there else usual


def _prompt_completion(raw: Raw) -> list[Message]:
    """Both as text, or both as lists of messages (TRL's conversational form)."""
    if isinstance(raw["prompt"], list | tuple) and isinstance(raw["completion"], list | tuple):
        both = [*listed(raw["prompt"], "prompt", of_objects=True), *listed(raw["completion"], "completion", of_objects=True)]
        return _completed(turns(both, "completion", ("role", "content"), SPEAKERS), raw)
    return _pair(_with_context(text_of(raw, "prompt"), text_of(raw, "context", optional=True)), text_of(raw, "completion"))


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
    return earlier + _pair(
        _with_context(text_of(raw, "instruction"), text_of(raw, "input", optional=True)), text_of(raw, "output")
    )


def _dolly(raw: Raw) -> list[Message]:
    prompt = _with_context(text_of(raw, "instruction"), text_of(raw, "context", optional=True))
    return _pair(prompt, text_of(raw, "response"))


def _question(raw: Raw) -> list[Message]:
    """Question and answer, as in GSM8K."""
    _refuse_choices(raw)
    return _pair(_with_context(text_of(raw, "question"), text_of(raw, "context", optional=True)), text_of(raw, "answer"))


def _refuse_choices(raw: Raw) -> None:
    for name in ("choices", "options"):
        if raw.get(name):
            raise Malformed(f"field {name!r}: a multiple choice is no row to train on; ask it with evaluation.choices=FILE")


def _inputs(raw: Raw) -> list[Message]:
    """FLAN's, T0's and Aya's; Super-NaturalInstructions says in `definition` what is to be done."""
    before = text_of(raw, "definition", optional=True)
    return _pair(
        _with_context(before, text_of(raw, "inputs")) if before.strip() else text_of(raw, "inputs"), text_of(raw, "targets")
    )


def _pretokenized(raw: Raw) -> list[Message]:
    """T0's text, where `inputs` and `targets` are token ids."""
    return _pair(text_of(raw, "inputs_pretokenized"), text_of(raw, "targets_pretokenized"))


def pair_of_columns(raw: Raw) -> Shape | None:
    """The shape of a row that has one column for the prompt and one for the response, whatever they are called; `input` beside
    an instruction is its context."""
    asked = [name for name in PROMPTS if raw.get(name) not in (None, "")] or [name for name in PROMPTS if name in raw][:1]
    if "instruction" in asked and "input" in asked:
        asked.remove("input")
    said = [name for name in RESPONSES if name in raw]
    said = said[:-1] if len(said) > 1 and said[-1] == "answer" else said
    if not asked or not said:
        return None
    if len(asked) > 1:
        raise Malformed(f"fields {', '.join(map(repr, asked))} could each be the prompt; {CHOOSE}")
    if len(said) > 1:
        raise Malformed(f"fields {', '.join(map(repr, said))} could each be the response; {CHOOSE}")
    prompt, response = asked[0], said[0]
    beside = ("input", "context") if prompt == "instruction" else ("context",)

    def convert(raw: Raw) -> list[Message]:
        if prompt == "question":
            _refuse_choices(raw)
        said = text_of(raw, prompt)
        for name in beside:
            said = _with_context(said, text_of(raw, name, optional=True))
        return _pair(said, text_of(raw, response))

    return Shape(prompt, response, convert, beside)


CHOOSE = "say which: --field prompt=COLUMN, --field response=COLUMN"


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
    def is_whole(self) -> bool:
        """Whether one field has all turns."""
        return self.prompt_field == self.response_field

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.prompt_field, self.response_field, *self.also)


# First match wins; then any one column for the prompt with any one for the response.
SHAPES: dict[str, Shape] = {
    "messages": Shape("messages", "messages", _conversation("messages")),
    "sharegpt": Shape("conversations", "conversations", _conversation("conversations")),
    "prompt/completion": Shape("prompt", "completion", _prompt_completion, ("context",)),
    "alpaca": Shape("instruction", "output", _alpaca, ("input", "history")),
    "dolly": Shape("instruction", "response", _dolly, ("context",)),
    "question/answer": Shape("question", "answer", _question, ("context",)),
    "pretokenized": Shape("inputs_pretokenized", "targets_pretokenized", _pretokenized),
    "inputs/targets": Shape("inputs", "targets", _inputs, ("definition",)),
    **{name: Shape(name, name, _conversation(name)) for name in ("conversation", "dialog", "dialogue", "items", "data")},
}
KNOWN = frozenset({
    *(name for shape in SHAPES.values() for name in shape.fields), *PROMPTS, *RESPONSES, *USED, *MEANT,
    *("choices", "options", "label", "chosen", "text"),
})  # fmt: skip
