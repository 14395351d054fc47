"""What a run leaves: its rows, a card beside them that says how they came about, and what was dropped on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.data.turns import SURROGATE
from core.errors import shown
from core.result import write_whole
from core.selfinstruct.pipeline import Tally


def write(path: Path, rows: Iterable[Mapping[str, Any]], card: Mapping[str, Any]) -> None:
    """Rows as JSON lines and the card, each whole."""
    write_whole(path, "".join(f"{_json(row)}\n" for row in rows).encode())
    write_whole(path.with_suffix(".card.json"), (_json(card, indent=1) + "\n").encode())


def _json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """As UTF-8 text, escaped where there is half a character; what JSON has no form for (a date of a Parquet file) as text."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return json.dumps(value, indent=indent, default=str) if SURROGATE.search(text) else text


def counted(made: Tally, what: str) -> dict[str, dict[str, Any]]:
    """For the card: how many replies were dropped for each reason, under the name `what`, and an example of each."""
    counts = {why.value: n for why, n in made.dropped.most_common()}
    return {what: counts, "examples": {why.value: text for why, text in made.examples.items()}}


def tell(made: Tally, what: str) -> None:
    """A line for each reason."""
    for why, n in made.dropped.most_common():
        print(f"  {n:,} {what}: {why} ({shown(made.examples[why])[:80]!r})")
