"""One part of a trial's settings: what every such dataclass can check of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from core.errors import BadInput, nearest

MOST_CHARACTERS = 4_000  # of a path
GENERATED = "reasoning-gym:"  # begins the name of rows that are no file: families may be many

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a trial's settings; `PREFIX` stands before their names in messages, on the command line and in tables."""

    PREFIX: ClassVar[str]

    def _require(self, ok: bool, name: str, valid: str) -> None:
        if not ok:
            field = self.PREFIX + name
            raise BadInput(f"{field}={getattr(self, name)!r}: must be {valid}", field=field)

    def _whole(self, name: str, least: int, most: int, none: str = "") -> None:
        value = getattr(self, name)
        if value is not None or not none:
            self._require(least <= value <= most, name, f"at least {least} and at most {most:,}{none}")

    def _text(self, name: str, valid: str) -> None:
        """A name or a path that an operating system takes, or families of generated rows."""
        value = getattr(self, name)
        if value is not None:
            parts = re.split("[/+,]" if value.startswith(GENERATED) else "/", value)
            short = len(value) <= MOST_CHARACTERS and max(len(part.encode("utf-8", "replace")) for part in parts) <= 255
            self._require(bool(value.strip()) and value.isprintable() and short, name, valid)

    def _one_of(self, name: str, choices: Sequence[str]) -> None:
        field, value = self.PREFIX + name, getattr(self, name)
        if value not in choices:
            raise BadInput(f"{field}={value!r}: {nearest(str(value), choices)}", field=field)
