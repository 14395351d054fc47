"""`instruct.py --rewrite`: the rows of a file with the answers that a model gave in its own words, and what it says of them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from core.data import columns, files, sources
from core.errors import BadInput, of_field
from core.naming import expanded
from core.selfinstruct import output, rewriting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.selfinstruct.journal import Journal
    from core.selfinstruct.pipeline import Writer

OPTION = "--rewrite"


def prepared(chosen: argparse.Namespace, fields: str | None) -> tuple[Callable[[Writer, Journal], int], dict[str, object]]:
    """What rewrites the rows with a writer, and by what its journal is known. `fields`: as `data.fields`.

    Raises:
        BadInput: the rows cannot be read, or would be written over.
    """
    path, target = files.existing(OPTION, chosen.rewrite), expanded("--output", chosen.output)
    if target.exists() and target.samefile(path):
        raise BadInput(f"--output {chosen.output}: is the file that is rewritten; give another one", field="--output")
    with of_field(OPTION):
        placed, content = sources.read_file(OPTION, chosen.rewrite)
        rows = rewriting.originals(placed, chosen.rewrite, columns.parse(fields))
    if not any(one.request for one in rows):
        text = f"none of its {len(rows):,} rows has a plain answer to a user (without tools, calls or reasoning) to be rewritten"
        raise BadInput(f"{OPTION} {chosen.rewrite}: {text}", field=OPTION)

    def work(writer: Writer, journal: Journal) -> int:
        return finished(chosen, content, rewrite(rows, writer, journal))

    known: dict[str, object] = {"rows of --rewrite": content}
    return work, known | ({"--field": fields} if fields else {})


def rewrite(rows: Sequence[rewriting.Original], writer: Writer, journal: Journal) -> rewriting.Rewritten:
    """The rows, with a line for each part of them."""

    def told(made: rewriting.Rewritten) -> None:
        kept = f"; kept: {made.told}" if made.dropped else ""
        print(f"[{len(made.rows):,}/{len(rows):,}] {made.n_replaced:,} answers replaced{kept}", flush=True)

    return rewriting.run(rows, writer, journal, told)


def finished(chosen: argparse.Namespace, content: str, made: rewriting.Rewritten) -> int:
    """Writes rows and card, and tells what was kept; the exit code."""
    path = expanded("--output", chosen.output)
    card = {
        "rows": len(made.rows), "replaced": made.n_replaced, **output.counted(made, "kept"),
        "model": chosen.model, "endpoint": chosen.endpoint, "rewritten": chosen.rewrite, "content": content,
        "answer_tokens": chosen.answer_tokens,
    }  # fmt: skip
    output.write(path, made.rows, card)
    print(f"{len(made.rows):,} rows in {path}, {made.n_replaced:,} with an answer in the model's own words")
    output.tell(made, "kept their answer")
    if not made.n_replaced:
        print("no answer was replaced, so the rows say what they said; another model may", file=sys.stderr)
    return 0
