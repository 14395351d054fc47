"""Short names of paths, for labels and tables: the last part, and of those that end alike as many parts as tell them apart."""

from __future__ import annotations

from collections.abc import Iterable

MARKS = ("/", "./", "../", "~")  # how a path begins; a hub id ("owner/name") does not


def is_path(value: object) -> bool:
    """Whether the value is written as a path: by how it begins, or by more slashes than a hub id has."""
    return isinstance(value, str) and (value.startswith(MARKS) or (value.count("/") > 1 and ":" not in value))


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
