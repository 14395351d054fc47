"""The laboratory: a small controlled world, base models really pretrained on it, instruction data and questions about it."""

from __future__ import annotations

from pathlib import Path

from core.errors import BadInput, nearest

BASES = Path(__file__).parent / "bases"


def names() -> list[str]:
    """Every shipped base, as `model.name` takes it: "lab:base-0", ..."""
    return [f"lab:{path.name}" for path in sorted(BASES.glob("base-*"))]


def like(name: str) -> tuple[str, ...]:
    """The shipped bases that differ from this one by their seed alone: "lab:base-0", "lab:base-1", ..."""
    size = name.rpartition("-")[0]
    return tuple(sorted((one for one in names() if one.rpartition("-")[0] == size), key=lambda one: (len(one), one)))


def base_path(name: str) -> Path:
    """The Hugging Face model directory of a shipped base.

    Raises:
        BadInput: there is no such base.
    """
    if name not in names():
        raise BadInput(f"model.name={name!r}: {nearest(name, names())}", field="model.name")
    return BASES / name.removeprefix("lab:")
