"""JSON objects in which no field stands twice."""

from __future__ import annotations

from typing import Any


class FieldTwice(ValueError):
    """A field stands twice in one object: Python would take the last in silence."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields, as `object_pairs_hook` of the json module.

    Raises:
        FieldTwice: one stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise FieldTwice(f"field {twice[:40]!a} stands twice in one object; keep one")
    return found
