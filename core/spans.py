"""What of a rendered conversation the assistant says, turn by turn, and what of the conversation the rendering leaves out.

An answer begins after the template's opening of a turn (what a user's rendering ends with to ask for an answer), or where its
text begins; it ends with the text that ends a turn. Where the template has {% generation %} marks, they say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
from core.template import GENERATION, Mark, Message, Template, n_same, of_assistant

Span = tuple[int, int]
LOOKED_AT = 8  # answers of a conversation that are also rendered as the last one: what a template does to one it does to all
WAYS = "take another template: --set model.chat_template=chatml, or a FILE of yours"


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, the characters of each of its answers (by the number of the message; those of weight 0 among them)
    and what kinds of its text are not in it."""

    text: str
    answers: dict[int, tuple[Span, ...]]
    dropped: frozenset[str]

    def taught(self, messages: Sequence[Message], last_only: bool = False) -> list[Span]:
        """The characters in the loss, in their order: without turns of weight 0, and of the last answer alone if asked."""
        numbers = [number for number in self.answers if messages[number].get("weight", 1) != 0]
        return sorted(span for number in (numbers[-1:] if last_only else numbers) for span in self.answers[number])


def render(template: Template, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> Rendered:
    """The conversation, its answers found.

    Raises:
        BadInput: the template refuses it, leaves an answer out, or the answers cannot be told.
    """
    text, marks = template.located(messages, tools)
    answers: dict[int, tuple[Span, ...]] = {}
    if marks is None:
        answers = _by_prefixes(template, messages, tools, text)
        return Rendered(text, answers, _dropped(messages, tools, text, []))
    generated = [(one.at, other.at) for one, other in _pairs([mark for mark in marks if mark.message == GENERATION])]
    marks = [mark for mark in marks if mark.message != GENERATION]
    if not marks and template.render([{**one, "content": f"{one.get('content')}?"} for one in messages], tools) == text:
        raise BadInput(f"the chat template leaves out the answers: it writes the same of others; {WAYS}", field="model.name")
    own = _by_message(marks)
    for number in of_assistant(messages):
        place = _place(template, messages, number, _Found(text, marks, own.get(number, [])))
        if template.has_marks:
            answers[number] = _marked_spans(template, place, generated, text)
        else:
            answers[number] = (_span(template, place, text, messages[number]),)
    if template.has_marks and not any(answers.values()):
        raise BadInput("the chat template's {% generation %} marks hold nothing; " + WAYS, field="model.name")
    return Rendered(text, answers, _dropped(messages, tools, text, marks))


@dataclass(frozen=True)
class _Place:
    """Where an answer's text lies: from `start` to `end`, nothing of other messages between `low` and `high`."""

    start: int
    end: int
    low: int
    high: int


@dataclass(frozen=True)
class _Found:
    """The text, all marks in it, and which of them are those of one message."""

    text: str
    marks: list[Mark]
    own: list[int]


def _by_message(marks: Sequence[Mark]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for i, mark in enumerate(marks):
        places.setdefault(mark.message, []).append(i)
    return places


def _place(template: Template, messages: Sequence[Message], number: int, found: _Found) -> _Place:
    text, marks, own = found.text, found.marks, found.own
    content = str(messages[number].get("content") or "").strip()
    if not own:
        low = max((mark.at for mark in marks if mark.message < number), default=0)
        high = min((mark.at for mark in marks if mark.message > number), default=len(text))
        place = _found(template, content, text, (low, high))
        if place is not None:
            return place
        if content or messages[number].get("tool_calls"):
            raise BadInput(f"the chat template leaves out the answer of turn {number + 1}; {WAYS}", field="model.name")
        return _Place(high, high, low, high)
    low = marks[own[0] - 1].at if own[0] else 0
    high = marks[own[-1] + 1].at if own[-1] + 1 < len(marks) else len(text)
    first, last = marks[own[0]], marks[own[-1]]
    start, end = first.at, last.at
    if first.is_end:  # its beginning was cut off or changed
        start -= n_same(reversed(text[low:end]), reversed(content))
    if not last.is_end:
        end += n_same(text[end:high], content)
    return _Place(start, end, low, high)


def _found(template: Template, content: str, text: str, within: Span) -> _Place | None:
    """An answer without marks: by its text, or by what of it follows the opening of a turn."""
    start, opening = text.find(content, *within) if content else -1, template.turn.opening
    if start >= 0:
        return _Place(start, start + len(content), *within)
    if opening and (at := text.rfind(opening, *within)) >= 0:
        start = at + len(opening)
        length = n_same(text[start : within[1]], content)
        return _Place(start, start + length, *within) if length else None
    return None


def _span(template: Template, place: _Place, text: str, message: Message) -> Span:
    turn, start = template.turn, place.start
    if turn.opening:
        found = text.rfind(turn.opening, place.low, place.start + len(turn.opening))
        bare = turn.opening.lstrip()  # a conversation that an answer begins has no line before it
        first = text.find(bare) if bare and place.low == 0 else -1
        if found >= 0:
            start = found + len(turn.opening)
        elif 0 <= first <= start - len(bare) and not text[:first].strip() and not text[first + len(bare) : start].strip():
            start = first + len(bare)
    elif turn.lead and text.endswith(turn.lead, place.low, start):
        start -= len(turn.lead)
    content = str(message.get("content") or "")
    end = place.end
    trailing = content[len(content.rstrip()) :]
    if trailing and text.startswith(trailing, end):
        end += len(trailing)
    return min(start, end), _end(template, text, end, place.high, bool(message.get("tool_calls")))


def _end(template: Template, text: str, end: int, high: int, calls: bool) -> int:
    """The end of an answer with what ends its turn."""
    turn = template.turn
    for closing in turn.closings:
        if text.startswith(closing, end):
            return end + len(closing)
    for stops in (turn.stops, template.special.tokens if calls else ()):
        places = [(at, at + len(stop)) for stop in stops if (at := text.find(stop, end, high)) >= 0]
        if places and (calls or not text[end : min(places)[0]].strip()):
            return min(places)[1]
    return len(text[:high].rstrip()) if calls else end


def _marked_spans(template: Template, place: _Place, generated: Sequence[Span], text: str) -> tuple[Span, ...]:
    """What the template's own marks hold of this turn; the token that ends the turn belongs to it, marked or not."""
    found = [
        (_after_opening(template, place, max(start, place.low), text), end)
        for start, end in generated
        if start < place.high and end > max(start, place.low)
    ]
    if not found:
        return ()
    start, end = found[-1]
    if end > place.high:  # what is marked goes on in other turns
        end = place.end
    whole = any(text.endswith(stop, start, end) or stop in text[place.end : end] for stop in template.turn.stops)
    return (*found[:-1], (start, end if whole else _end(template, text, end, place.high, False)))


def _after_opening(template: Template, place: _Place, start: int, text: str) -> int:
    """Where the answer begins in what is marked from `start` on: the turn's opening is given, and not said by the assistant."""
    opening = template.turn.opening
    at = text.rfind(opening, start, max(start, place.start)) if opening else -1
    return at + len(opening) if at >= 0 else start


def _pairs(marks: Sequence[Mark]) -> list[tuple[Mark, Mark]]:
    """Beginnings with their ends; of nested ones the outer."""
    pairs, open_marks = [], []
    for mark in marks:
        if not mark.is_end:
            open_marks.append(mark)
        elif open_marks:
            begun = open_marks.pop()
            if not open_marks:
                pairs.append((begun, mark))
    return pairs


def _by_prefixes(template: Template, messages: Sequence[Message], tools: Any, text: str) -> dict[int, tuple[Span, ...]]:
    """For templates in which no marks stay: what a turn adds to the rendering before it, if later turns leave that as it is."""
    answers: dict[int, tuple[Span, ...]] = {}
    for number in of_assistant(messages):
        before = template.render(messages[:number], tools, answer_next=True)
        after = template.render(messages[: number + 1], tools)
        if not (text.startswith(after) and after.startswith(before)):
            raise BadInput(
                f"the chat template rewrites earlier turns, so the assistant's text cannot be told; {WAYS}", field="model.name"
            )
        bare = len(after.rstrip())
        ends = after[:bare].endswith(template.special.tokens or ("\0",))
        answers[number] = ((len(before), bare if ends else len(after)),)
    return answers


def changed_later(template: Template, messages: Sequence[Message], tools: Sequence[Any] | None, rendered: Rendered) -> bool:
    """Whether an answer is rendered otherwise here than when it was the last one (its reasoning is left out, say): then the model
    is taught earlier answers that it would not be asked for."""
    for number, spans in list(rendered.answers.items())[:-1][:LOOKED_AT]:
        try:
            alone = render(template, messages[: number + 1], tools)
        except BadInput:
            continue
        if [alone.text[a:b] for a, b in alone.answers[number]] != [rendered.text[a:b] for a, b in spans]:
            return True
    return False


def _dropped(messages: Sequence[Message], tools: Sequence[Any] | None, text: str, marks: Sequence[Mark]) -> frozenset[str]:
    """The kinds of text that the rendering does not have, however it spaces or escapes it."""
    found = set()
    kept = _kept(marks)
    squeezed: list[str] = []

    def lacks(part: str) -> bool:
        if part in text:
            return False
        if not squeezed:
            squeezed.append(_squeezed(text))
        return all(
            _squeezed(form) not in squeezed[0]
            for form in (part, json.dumps(part, ensure_ascii=False)[1:-1], json.dumps(part)[1:-1])
        )

    for number, one in enumerate(messages):
        content = one.get("content")
        if (
            isinstance(content, str)
            and (bare := content.strip())
            and (text[slice(*kept.get(number, (0, 0)))] != bare and lacks(bare))
        ):
            found.add("a part of an answer" if one["role"] == "assistant" else f"text of a {one['role']} turn")
        if isinstance(reasoning := one.get("reasoning_content"), str) and reasoning.strip() and lacks(reasoning.strip()):
            found.add("reasoning_content")
        if any(lacks(name) for name in map(_name, one.get("tool_calls") or ())):
            found.add("a tool call")
        elif any(lacks(part) for part in _argument_texts(one.get("tool_calls") or ())):
            found.add("arguments of a tool call")
    if any(lacks(name) for name in map(_name, tools or ())):
        found.add("tools")
    return frozenset(found)


def _kept(marks: Sequence[Mark]) -> dict[int, Span]:
    """Of each message that has both its marks, the characters between them."""
    first: dict[int, int] = {}
    found: dict[int, Span] = {}
    for mark in marks:
        if not mark.is_end:
            first.setdefault(mark.message, mark.at)
        elif mark.message in first:
            found.setdefault(mark.message, (first[mark.message], mark.at))
    return found


def _name(tool: Any) -> str:
    inner = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(inner.get("name", "")) if isinstance(inner, dict) else ""


def _argument_texts(calls: Sequence[Any]) -> Iterator[str]:
    """Every text in the arguments of calls, names of parameters among them."""
    waiting: list[Any] = [call.get("function", call).get("arguments") for call in calls]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            try:
                read = json.loads(one)
            except (ValueError, RecursionError):
                read = one
            if isinstance(read, dict | list):
                waiting.append(read)
            elif one.strip():
                yield one.strip()
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one


def _squeezed(text: str) -> str:
    return "".join(text.split())
