"""What a person must mend, and texts that go into messages and records."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

NEAR = 0.6  # difflib's ratio: "nosuch" and "epochs" have 0.5
LEAST_PIECE = 3  # characters that a choice may be known by
LONG_WORD = re.compile(r"\S{500,}")


class BadInput(ValueError):
    """Something the user gave cannot be used. `text` is one line: which field, which value, what would be valid. `field` is
    the dotted field or the option that has to change, where one is to blame."""

    def __init__(self, text: str, field: str = "", problems: Sequence[BadInput] = ()) -> None:
        super().__init__(text)
        self.text, self.field = text, field
        self.problems = tuple(problems) or (self,)  # of several, each


@contextmanager
def of_field(field: str) -> Iterator[None]:
    """What is raised inside, by readers that do not know which field named their source, is told of this one."""
    try:
        yield
    except BadInput as error:
        raise BadInput(error.text if error.field else f"{field}={error.text}", field=error.field or field) from None


class Problems:
    """Independent things that a person must mend, collected so that all are told at once."""

    def __init__(self) -> None:
        self.found: list[BadInput] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Takes what is raised inside."""
        try:
            yield
        except BadInput as error:
            self.found += error.problems

    def add(self, text: str, field: str = "") -> None:
        self.found.append(BadInput(text, field=field))

    def raise_all(self) -> None:
        """Raises what was taken; of several the text has all."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise BadInput("; ".join(one.text for one in self.found), field=self.found[0].field, problems=self.found)


# Of an OSError: a disk that is full, gone, or not ours; a file where a directory must be, or the other way round.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
PLACES = (errno.EFBIG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
EXIT_INCOMPLETE = 3  # of a process whose work came to an end with something missing
GOES_ON = "what is finished is kept, the same command goes on"


class Lost(RuntimeError):
    """What the sweep ran on is gone (its Ray cluster died); nobody's input is to blame. The text is one line."""


def redacted(text: str) -> str:
    """A URI, or a text with URIs in it, without user names, passwords and tokens: for messages and records."""
    bare = re.sub(r"(?<!sqlite)://\S*@", "://***@", text)
    return re.sub(r"(?i)(password|passwd|token|secret)=[^&\s]+", r"\1=***", bare)


def shown(text: str) -> str:
    """A text as one line of characters that a terminal shows; very long words are cut. Where it may hold a URI, see `message`."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return LONG_WORD.sub(lambda found: f"{found[0][:60]}…{found[0][-20:]}", line)


def message(error: BaseException) -> str:
    """An exception's text as one line, as `shown`, without credentials."""
    return shown(redacted(" ".join(str(error).split())))


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 300 characters: its type and message, without credentials."""
    return f"{type(error).__name__}: {message(error) or 'no message'}"[:300]


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, where libraries put what happened; its type where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def nearest(name: str, choices: Sequence[str]) -> str:
    """One clause that helps with a misspelt `name`: the nearest choice, or all of them."""
    by_lower = {choice.lower(): choice for choice in reversed(choices)}
    wanted = name.strip().lower()
    inside = [lower for lower in by_lower if len(wanted) >= LEAST_PIECE and (wanted in lower or lower in wanted)]
    close = difflib.get_close_matches(wanted, inside or list(by_lower), n=1, cutoff=0.0 if inside else NEAR)
    return f"did you mean {by_lower[close[0]]!r}?" if close else "choose from " + ", ".join(choices)
