"""Paths as they are given, and their short names for labels and tables: the last part, and of those that end alike as many parts
as tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from core.errors import BadInput

MARKS = ("/", "./", "../", "~")  # how a path begins; a hub id ("owner/name") does not


def is_path(value: object) -> bool:
    """Whether the value is written as a path: by how it begins, or by more slashes than a hub id has."""
    return isinstance(value, str) and (value.startswith(MARKS) or (value.count("/") > 1 and ":" not in value))


def expanded(field: str, text: str) -> Path:
    """The path that a field or an option names, with the home directory in the place of ~; whether anything is there or not.

    Raises:
        BadInput: nothing can be there: a home of nobody, a name that is too long, a NUL in it.
    """
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # told where it is opened or made
            path.stat()
        return path
    except (OSError, ValueError, RuntimeError) as error:
        named = f"{field}{' ' if field.startswith('--') else '='}{text[:200]}"
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise BadInput(f"{named}: is no path ({why}); give another one", field=field) from None


def short(values: Iterable[str]) -> dict[str, str]:
    """For each value its short name; what is no path keeps its own."""
    found = {value: 1 if is_path(value) else 0 for value in values}
    while True:
        names = {value: _last(value, n) for value, n in found.items()}
        taken = list(names.values())
        more = {value: n + 1 for value, n in found.items() if n and taken.count(names[value]) > 1 and n < value.count("/") + 1}
        if not more:
            return names
        found |= more


def _last(value: str, n: int) -> str:
    return "/".join(value.rstrip("/").split("/")[-n:]) if n else value
