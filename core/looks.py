"""Looks: what a sweep, its store and its report tell each other about seeds that are added until claims are decided.

A report on final seeds is a look at a claim when the claim has seeds that no report had before. The store keeps the looks beside
the sweep, with the most seeds that were planned before the first of them; the report leaves behind which claims more seeds may
decide, and the sweep reads that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import BadInput, one_line

WISHES = "undecided.json"  # in the report's folder
CLAIMS_FILE = "claims.json"  # in the sweep's directory, and of its run: what the claims said before the first seed
DIGITS = 6  # of a level, as it is kept
Look = tuple[int, float]  # seeds of a claim, and the level (of two sides) at which it was judged


@dataclass(frozen=True)
class Looks:
    """The looks that were taken at each claim, from the first on, and how many seeds an arm may come to have (None: not
    planned)."""

    most: int | None = None
    taken: Mapping[str, tuple[Look, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """As the store keeps them, but for `most`."""
        return json.dumps({claim: [[n, level] for n, level in looks] for claim, looks in self.taken.items()})

    @classmethod
    def from_json(cls, most: str, taken: str) -> Looks:
        """From what the store keeps; "" where it keeps nothing.

        Raises:
            ValueError, TypeError, AttributeError: it is damaged.
        """
        rows = json.loads(taken or "{}")
        found = {str(claim): tuple((int(n), float(level)) for n, level in looks) for claim, looks in rows.items()}
        return cls(int(most) if most else None, found)


@dataclass(frozen=True)
class Wish:
    """A claim that is undecided and that more seeds may decide, and the arms that it compares (none named: all)."""

    claim: str
    arms: tuple[str, ...] = ()


def wishes_text(wishes: Sequence[Wish]) -> str:
    """What a report leaves for the sweep, which reads it when the report has ended."""
    rows = [{"claim": one.claim, "arms": list(one.arms)} for one in wishes]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def read_wishes(report: Path) -> list[Wish]:
    """Of the report in this folder.

    Raises:
        BadInput: it left none, or a damaged file.
    """
    path = report / WISHES
    try:
        return [Wish(str(row["claim"]), tuple(map(str, row["arms"]))) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: cannot be read ({one_line(error)}); the same command makes the report again") from None
