"""Names of files, models, arms and reasons come from anywhere: they are text in every page, table, label and terminal line."""

from __future__ import annotations

import re


class Markup(str):
    """Markdown that this project wrote, names in it escaped: a cell that is taken as it is."""


def printable(text: object) -> str:
    """The text as one line in which control characters, which a terminal obeys, are shown as \\xNN."""
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


# What begins something in Markdown, in GitHub's and in HTML. Brackets alone begin nothing, and intervals have them.
_BEGINNINGS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])"  # an escape
    r"|[`*$|]|~~"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # emphasis; not inside a word
    r"|(?<=\])[(\[:]"  # the target of a link or an image
    r"|<(?=[A-Za-z/!?])"  # a tag, a comment, an autolink
    r"|&(?=#?[A-Za-z0-9]+;)"  # an entity
)


def escaped(text: object) -> str:
    """The text as Markdown that shows it as it is; Markup stays."""
    if isinstance(text, Markup):
        return text
    return _BEGINNINGS.sub(lambda found: "".join(f"\\{c}" for c in found[0]), printable(text))


def label(text: object) -> str:
    """The text as a label of a figure: Matplotlib leaves names that begin with an underscore out of legends. That `$` begins no
    formula is set in figures/style.py."""
    line = printable(text)
    return f" {line}" if line.startswith("_") else line
