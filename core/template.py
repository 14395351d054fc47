"""A chat template, compiled once: a conversation as text, and where in it each message's text lies.

The places are found by rendering the conversation a second time with two characters around each text that stay where the text
goes. They are right if, without these characters, the second rendering is the first one, which is verified each time; some
templates look at how a text begins, so fewer characters are tried then.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from core.data.turns import with_calls
from core.errors import BadInput, message

if TYPE_CHECKING:
    import jinja2

    from core.sandbox import Sandbox

TODAY = datetime(2025, 1, 1)  # what templates are told that ask for the date: the same text every day
FIRST = 0x100000  # characters of a private plane, two for each message
MOST_MESSAGES = 32_000
GENERATION = -1  # instead of a message's number: what {% generation %} marks
MARKS = re.compile("[\U00100000-\U0010fff1]")
LARGEST_TEMPLATE = 1_000_000  # characters; the longest that is in use has some 20,000
Message = Mapping[str, Any]
Around = Callable[[str, int], str]


def _whole(text: str) -> str:
    """The text, if it can be written: one half of a surrogate pair is taken by no tokenizer."""
    text.encode()
    return text


class Endless(BadInput):
    """A template takes too long for a row or builds too much of it, and would for others."""


class Mark(NamedTuple):
    """A place in a rendered text: where message number `message` begins or ends."""

    message: int
    is_end: bool
    at: int


@dataclass(frozen=True)
class Special:
    """What a tokenizer's files say of its special tokens: the variables that a template may use, and all tokens by text."""

    variables: tuple[tuple[str, Any], ...] = ()
    tokens: tuple[str, ...] = ()


class Template:
    """A compiled template with the special tokens of its tokenizer.

    Raises:
        BadInput: it is no Jinja template, or too long.
    """

    def __init__(self, source: str, special: Special) -> None:
        from core.sandbox import Sandbox

        self.source, self.special = source, special
        self.sandbox: Sandbox = Sandbox(TODAY)
        try:
            if len(source) > LARGEST_TEMPLATE:
                raise ValueError(f"{len(source):,} characters; at most {LARGEST_TEMPLATE:,}")
            self.plain: jinja2.Template = self.sandbox.from_string(source)
            self.sandbox.marking = True
            self.marking: jinja2.Template = self.sandbox.from_string(source)
        except Exception as error:  # Jinja's errors, but also a RecursionError of Python's
            raise BadInput(f"the chat template is not a Jinja template ({message(error)[:200]})", field="model.name") from None
        self.has_marks = re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", source) is not None

    @property
    def is_dated(self) -> bool:
        return "strftime_now" in self.source

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None = None, answer_next: bool = False) -> str:
        """The conversation as text; `answer_next` ends it with the assistant's opening.

        Raises:
            BadInput: the template refuses it, or takes too long.
        """
        return self._render([_as_given(one) for one in messages], tools, answer_next)

    def located(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> tuple[str, list[Mark] | None]:
        """The conversation as text with the marks found in it, in their order; None where no marks can be made to stay.

        Raises:
            BadInput: as `render`.
        """
        if len(messages) > MOST_MESSAGES:
            raise BadInput(f"more than {MOST_MESSAGES:,} turns", field="data.source")
        given = [_as_given(one) for one in messages]
        text = self._render(given, tools, False)
        for assistants_only, around in ((False, _around), (True, _around), (True, _after), (True, _before)):
            marked = [
                one if assistants_only and one["role"] != "assistant" else _marked(one, i, around) for i, one in enumerate(given)
            ]
            try:
                plain, marks = _taken_out(self._render(marked, tools, False, marking=True))
            except BadInput:
                continue
            if plain == text:
                return text, marks
        return text, None

    def _render(self, messages: list[dict[str, Any]], tools: Any, answer_next: bool, marking: bool = False) -> str:
        """Calls of tools are written as the row has them; where that is refused, as other templates want them."""
        try:
            return self._render_so(messages, tools, answer_next, marking)
        except Endless:
            raise
        except BadInput:
            for as_text in (False, True) if any(one.get("tool_calls") for one in messages) else ():
                with contextlib.suppress(BadInput):
                    wrapped = [with_calls(one, as_text) for one in messages]
                    return self._render_so(wrapped, tools, answer_next, marking)
            raise

    def _render_so(self, messages: list[dict[str, Any]], tools: Any, answer_next: bool, marking: bool) -> str:
        self.sandbox.clock_starts()
        variables = {
            **dict(self.special.variables), "messages": messages, "tools": list(tools) if tools else None, "documents": None,
            "add_generation_prompt": answer_next,
        }  # fmt: skip
        try:
            return _whole((self.marking if marking else self.plain).render(variables))
        except Exception as error:  # templates raise what they like
            kind = Endless if isinstance(error, self.sandbox.limit_error) else BadInput
            raise kind(
                f"the tokenizer's chat template refuses this conversation ({message(error)[:200] or type(error).__name__})",
                field="data.source",
            ) from None

    @functools.cached_property
    def turn(self) -> Turn:
        """What stands around an answer."""
        return _turn(self)


@dataclass(frozen=True)
class Turn:
    """What a template puts around answers: `opening` is what asks for one (empty where it is asked for by nothing), `lead` white
    space that the assistant says first, `closings` the texts that may follow an answer and belong to it, as its end must be
    learnt, the usual one first. `stops`: those of them that are tokens."""

    opening: str = ""
    lead: str = ""
    closings: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


def _turn(template: Template) -> Turn:
    user, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    opening, lead = "", ""
    try:
        text, marks = template.located([user, answer])
        before, asked = template.render([user]), template.render([user], answer_next=True)
    except BadInput:
        try:
            text, marks = template.located([user, answer])
            before = asked = ""
        except BadInput:
            return Turn()
    if not marks or (end := place_of(marks, 1, True)) is None:
        return Turn()
    start = place_of(marks, 1, False)  # none where a template changes how an answer begins
    common = n_same(before, asked)
    opening = asked[common:]
    if start is not None and not opening and asked and text.startswith(asked) and text[len(asked) : start].isspace():
        lead = text[len(asked) : start]
    closing, stop = _closing(text[end:], template.special.tokens)
    middle = _middle_closing(template, user, answer)
    closings = tuple(dict.fromkeys(one for one, _ in ((closing, stop), middle) if one))
    return Turn(opening, lead, closings, tuple(dict.fromkeys(one for one in (stop, middle[1]) if one)))


def _closing(rest: str, tokens: Sequence[str]) -> tuple[str, str]:
    """What of the text after the last answer ends it, up to its first special token; and that token (or "")."""
    first = min(((rest.find(token), -len(token), token) for token in tokens if token in rest), default=None)
    if first is None:
        return rest.rstrip(), ""
    return rest[: first[0] + len(first[2])], first[2]


def _middle_closing(template: Template, user: Message, answer: Message) -> tuple[str, str]:
    """The same for an answer that is followed by a question: what of the text between them is no part of the question's own."""
    try:
        text, marks = template.located([user, answer, user, answer])
    except BadInput:
        return "", ""
    places = [place_of(marks or [], i, end) for i, end in ((0, False), (1, True), (2, False))]
    if None in places:
        return "", ""
    first, end, second = (place or 0 for place in places)
    between, header = text[end:second], text[:first]
    closing, stop = _closing(between, template.special.tokens)
    if not stop:
        return "", ""
    rest = between[len(closing) :].lstrip()
    own = not header.endswith(between.lstrip()) or _closing(rest, template.special.tokens)[1] != ""
    return (closing, stop) if own and (not rest or header.endswith(rest)) else ("", "")


def place_of(marks: Sequence[Mark], number: int, is_end: bool) -> int | None:
    """Where message `number` begins or ends; None where no mark says so."""
    return next((mark.at for mark in marks if mark.message == number and mark.is_end == is_end), None)


def n_same(one: Any, other: Any) -> int:
    """How many characters at the beginning are the same."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _as_given(one: Message) -> dict[str, Any]:
    """A message as templates expect it: nothing that is None, arguments of calls as objects, reasoning under both its names."""
    if len(one) == 2 and one.get("content") is not None:
        return dict(one)
    given = {name: value for name, value in one.items() if value is not None and name != "weight"}
    if (reasoning := given.get("reasoning_content")) is not None:
        given.setdefault("thinking", reasoning)
    if calls := given.get("tool_calls"):
        given["tool_calls"] = [_call(call, lambda name: name) for call in calls]
    return given


def _call(call: Any, rename: Callable[[str], str]) -> Any:
    """A copy of a tool call, its function's name changed, its arguments an object if they were one as JSON."""
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _call(call["function"], rename)}
    changed = dict(call)
    if isinstance(call.get("name"), str):
        changed["name"] = rename(call["name"])
    if isinstance(arguments := call.get("arguments"), str):
        with contextlib.suppress(ValueError):
            changed["arguments"] = json.loads(arguments)
    return changed


def _around(text: str, number: int) -> str:
    """A mark at both ends of what is not white space: templates trim it away."""
    bare = text.strip()
    at = text.find(bare)
    return f"{text[:at]}{chr(FIRST + 2 * number)}{bare}{chr(FIRST + 2 * number + 1)}{text[at + len(bare) :]}" if bare else text


def _after(text: str, number: int) -> str:
    bare = text.rstrip()
    return f"{bare}{chr(FIRST + 2 * number + 1)}{text[len(bare) :]}" if bare else text


def _before(text: str, number: int) -> str:
    bare = text.lstrip()
    return f"{text[: len(text) - len(bare)]}{chr(FIRST + 2 * number)}{bare}" if bare else text


def _marked(one: dict[str, Any], number: int, around: Around) -> dict[str, Any]:
    """The message with marks at its text and, for calls, at their functions' names."""
    content = one.get("content")
    changed = {**one, "content": around(content, number)} if isinstance(content, str) else dict(one)
    if calls := one.get("tool_calls"):
        changed["tool_calls"] = [_call(call, lambda name: around(name, number)) for call in calls]
    return changed


def _taken_out(text: str) -> tuple[str, list[Mark]]:
    pieces = MARKS.split(text)
    marks, at = [], 0
    for piece, sign in zip(pieces, MARKS.findall(text), strict=False):
        at += len(piece)
        number, is_end = divmod(ord(sign) - FIRST, 2)
        marks.append(Mark(number if number < MOST_MESSAGES else GENERATION, is_end == 1, at))
    return "".join(pieces), marks


def of_assistant(messages: Sequence[Message]) -> Iterator[int]:
    """The numbers of the assistant's messages."""
    return (i for i, one in enumerate(messages) if one["role"] == "assistant")
