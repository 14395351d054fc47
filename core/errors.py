"""What a person must mend, and texts that go into messages and records."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence


class BadInput(ValueError):
    """Something the user gave cannot be used. `text` is one line: which field, which value, what would be valid. `field` is
    the dotted field or the option that has to change, where one is to blame."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.text, self.field = text, field


EXIT_INCOMPLETE = 3  # of a process whose work came to an end with something missing
GOES_ON = "what is finished is kept, the same command goes on"


class Lost(RuntimeError):
    """What the sweep ran on is gone (its Ray cluster died); nobody's input is to blame. The text is one line."""


def redacted(text: str) -> str:
    """A URI, or a text with URIs in it, without user names, passwords and tokens: for messages and records."""
    bare = re.sub(r"(?<!sqlite)://\S*@", "://***@", text)
    return re.sub(r"(?i)(password|passwd|token|secret)=[^&\s]+", r"\1=***", bare)


def message(error: BaseException) -> str:
    """An exception's text as one line, without credentials."""
    return redacted(" ".join(str(error).split()))


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 300 characters: its type and message, without credentials."""
    return f"{type(error).__name__}: {message(error) or 'no message'}"[:300]


def nearest(name: str, choices: Sequence[str]) -> str:
    """One clause that helps with a misspelt `name`: the nearest choice, or all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else "choose from " + ", ".join(choices)
