"""The laboratory: a small controlled world, base models really pretrained on it, instruction data and questions about it."""

from __future__ import annotations

from pathlib import Path

from core.errors import BadInput, nearest

BASES = Path(__file__).parent / "bases"
N_BASES = {"lab:base": 8, "lab:base-small": 3, "lab:base-large": 1}  # of 0.9, 0.2 and 4 M parameters


def names() -> list[str]:
    """Every shipped base, as `model.name` takes it: "lab:base-0", ..."""
    return [f"lab:{path.name}" for path in sorted(BASES.glob("base-*"))]


def like(name: str) -> tuple[str, ...]:
    """The bases that differ from this one by their seed alone: "lab:base-0", "lab:base-1", ..."""
    size = name.rpartition("-")[0]
    return tuple(f"{size}-{seed}" for seed in range(N_BASES[size]))


def base_path(name: str) -> Path:
    """The Hugging Face model directory of a shipped base.

    Raises:
        BadInput: there is no such base.
    """
    if name not in names():
        raise BadInput(f"model.name={name!r}: {nearest(name, names())}", field="model.name")
    return BASES / name.removeprefix("lab:")
