"""A file's answers rewritten by the model that will be tuned on them, each with its own as the reference, so that they lie in
that model's distribution (self-distillation fine-tuning; Yang et al. 2024, https://arxiv.org/abs/2402.13669).

Which is not the method of the same name that samples during the training and learns from the model that has seen the reference
(Shenfeld et al. 2026, https://arxiv.org/abs/2601.19897; TRL's SDFTTrainer).

A reply that does not pass leaves the row its answer, so that the rows stay as many as they were, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.data.conversation import printable, to_messages
from core.data.rows import Row, is_empty, of_conversation
from core.data.shapes import LABELS, TWIN
from core.endpoint import Said
from core.selfinstruct import filters
from core.selfinstruct.filters import Dropped
from core.selfinstruct.journal import Journal
from core.selfinstruct.pipeline import Request, Tally, Writer, replies

OUTCOME, REPLACED = "rewrite", "replaced"  # a row's field that says what became of its answer; else it is why it was kept
KEPT_FIELDS = (*LABELS, "score", "answer", "tools", TWIN)
AT_A_TIME = 64  # rows, after which it is told how far it has come
PLAIN = ("role", "content")


@dataclass(frozen=True)
class Original:
    """A row as it was, and its fields beside what is said."""

    row: Row
    fields: Mapping[str, Any]

    @property
    def request(self) -> Request | None:
        """What the model is asked; None where there is no plain answer to a user: tools are offered or called, there is
        reasoning beside it, or --data would leave the row out as an answer is empty."""
        row, messages = self.row, self.row.messages
        is_plain = all(one.keys() <= {*PLAIN, "weight"} and one["role"] != "tool" for one in messages)
        if row.tools or not is_plain or any(map(is_empty, messages)) or [one["role"] for one in messages[-2:-1]] != ["user"]:
            return None
        before = tuple({name: one[name] for name in PLAIN} for one in messages[:-2])
        asked, reference = (str(one["content"]) for one in messages[-2:])
        return Request(f"rewrite {row.id}", (), asked, reference=reference, before=before, place=row.place)

    def written(self, outcome: str, answer: str | None = None) -> dict[str, Any]:
        """The row as --data reads it, with another answer where one is given."""
        found = {**self.fields, "messages": list(self.row.messages), OUTCOME: outcome}
        if answer is not None:
            found["messages"][-1] = {**self.row.messages[-1], "content": answer}
            found[TWIN] = self.row.drawn_by
        return found


@dataclass
class Rewritten(Tally):
    """What came of it so far, a row for each that was there. `dropped`: replies in whose place the answer was kept."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_replaced(self) -> int:
        return len(self.rows) - self.dropped.total()


def originals(placed: Iterable[tuple[str, object]], source: str, fields: Mapping[str, str] | None = None) -> tuple[Original, ...]:
    """The rows of a source. `fields`: which columns are taken for ours.

    Raises:
        BadInput: a row is malformed.
    """
    found = []
    for place, raw in placed:
        where = f"{source}: {place}"
        said = to_messages(raw, where, fields)
        unused = {name: value for name, value in said.raw.items() if name in KEPT_FIELDS or printable(name) in said.unused}
        found.append(Original(of_conversation(said, where), unused))
    return tuple(found)


def run(rows: Sequence[Original], write: Writer, journal: Journal, told: Callable[[Rewritten], None]) -> Rewritten:
    """The rows, rewritten. `told`: called after each AT_A_TIME of them."""
    made = Rewritten()
    for start in range(0, len(rows), AT_A_TIME):
        part = rows[start : start + AT_A_TIME]
        requests = [one.request for one in part]
        asked = [one for one in requests if one is not None]
        said = dict(zip((one.key for one in asked), replies(asked, write, journal), strict=True))
        for original, request in zip(part, requests, strict=True):
            made.rows.append(_outcome(original, said[request.key] if request else None, made))
        told(made)
    return made


def _outcome(original: Original, said: Said | None, made: Rewritten) -> dict[str, Any]:
    """The row as it is written; a kept answer is counted."""
    why = Dropped.NOT_ASKED if said is None else filters.rewritten(original.row, said)
    if said is not None and why is None:
        return original.written(REPLACED, said.text.strip())
    assert why is not None
    made.drop(why, said.text if said else original.row.place)
    return original.written(why.value)
