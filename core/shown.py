"""What a dry run shows of how rows are written: one of them, its learnt part apart, and what the chat template says by itself."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.rows import Row
from core.errors import BadInput
from core.spans import Rendered
from core.template import Template, place_of

Pieces = tuple[tuple[str, bool], ...]
MOST_PIECES, MOST_CHARACTERS, MOST_LINES = 7, 240, 6
SAID = "\N{WHITE CIRCLE}"  # in the place of a text


def pieces(row: Row, text: Rendered, last_only: bool) -> Pieces:
    """The row's text in pieces, each with whether it is learnt; cut to a few lines."""
    found, at = list[tuple[str, bool]](), 0
    for start, end in text.taught(row.messages, last_only):
        found += [(text.text[at:start], False), (text.text[start:end], True)]
        at = end
    found = [(_cut(piece), learnt) for piece, learnt in [*found, (text.text[at:], False)] if piece]
    if len(found) > MOST_PIECES:
        half = MOST_PIECES // 2
        found = [*found[:half], ("\n…\n", False), *found[-half:]]
    return tuple(found)


def _cut(piece: str) -> str:
    """The beginning and the end of a long piece."""
    if len(piece) > MOST_CHARACTERS:
        piece = f"{piece[: 2 * MOST_CHARACTERS // 3]} … {piece[-MOST_CHARACTERS // 3 :]}"
    lines = piece.split("\n")
    return piece if len(lines) <= MOST_LINES else "\n".join([*lines[: MOST_LINES - 3], "…", *lines[-2:]])


def persona(template: Template) -> str:
    """What the template says as a system turn where a conversation has none; "" where it says nothing."""
    user, answer = {"role": "user", "content": SAID}, {"role": "assistant", "content": SAID}
    try:
        given, marks = template.located([{"role": "system", "content": SAID}, user, answer])
        own, own_marks = template.located([user, answer])
    except BadInput:
        return ""
    if marks is None or own_marks is None:
        return ""
    system, end = place_of(marks, 0, False), place_of(marks, 0, True)
    asked, first = place_of(marks, 1, False), place_of(own_marks, 0, False)
    if None in (system, asked, first, end):
        return ""
    before, after, header = given[:system], given[end:asked], own[:first]
    if not (header.startswith(before) and header.endswith(after)):
        return ""
    return " ".join(header[len(before) : len(header) - len(after)].split())


def persona_note(template: Template, rows: Sequence[Row]) -> tuple[str, ...]:
    """That rows without a system turn get one from the template, where it is so."""
    without = sum(row.messages[0]["role"] != "system" for row in rows)
    said = persona(template) if without else ""
    if not said:
        return ()
    short = said if len(said) <= MOST_CHARACTERS else f"{said[: MOST_CHARACTERS - 1]}…"
    ways = "a column or turn system says another, model.chat_template=FILE takes another template"
    looked = f"{without} of {len(rows)} rows that were looked at"
    return (f"the chat template gives rows without a system turn its own, {short!r} ({looked}); {ways}",)
