"""The section of a question's page that shows what models write: the same prompts, base and arms side by side, folded."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from analysis import formatting
from analysis.escaping import Markup, printable

MOST_ARMS = 4  # columns that can be read side by side
MOST_CHARACTERS = 400  # of a cell
MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_{}[]()#+-!|~$:"}  # what Markdown would take for its own

Written = Mapping[str, Sequence[Mapping[str, str]]]  # by arm: "prompt", "right answer", "base", "tuned"


def section(written: Written) -> tuple[str, ...]:
    """The heading and one folded table; nothing where nothing was written. Arms were asked the prompts of the first one."""
    if not written:
        return ()
    arms = dict(list(written.items())[:MOST_ARMS])
    first = next(iter(arms.values()))
    said = {arm: {row["prompt"]: row["tuned"] for row in rows} for arm, rows in arms.items()}
    body = [
        [
            cell(row["prompt"]),
            cell(row["right answer"]),
            cell(row["base"]),
            *(cell(of.get(row["prompt"], "")) for of in said.values()),
        ]
        for row in first
    ]
    left_out = f" (of {len(written)} arms the first {len(arms)})" if len(written) > len(arms) else ""
    summary = (
        f"<summary>{len(first)} prompts with what the untuned base and the arms' first final seeds write{left_out}</summary>"
    )
    table = formatting.markdown(["prompt", "right answer", "base", *map(cell, arms)], body)
    return ("## What they write\n", f"<details>{summary}\n", table, "</details>\n")


def cell(text: str) -> Markup:
    """Any text as one cell of a Markdown table: escaped, cut, its lines kept, control characters shown."""
    cut = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"
    lines = (html.escape(printable(line)).replace("&", "\0").translate(MARKUP).replace("\0", "&") for line in cut.split("\n"))
    return Markup("<br>".join(lines))
