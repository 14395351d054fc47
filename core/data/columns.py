"""Names of columns: which of a row's own are ours (`data.fields`), and those that only their case, spaces or hyphens keep from
being known. Pure, and known to core/settings.py, which checks how `data.fields` is written."""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Mapping
from typing import Any

from core.errors import BadInput, nearest

# What a column can be taken for: the field that rows are read by.
OURS = {
    "cluster": "cluster",
    "task": "task",
    "template": "template",
    "score": "score",
    "system": "system",
    "tools": "tools",
    "context": "context",
    "prompt": "prompt",
    "response": "completion",
    "answer": "answer",
    "messages": "messages",
}
WHOLE = ("messages", "conversations")  # columns that hold a row's prompt and response by themselves
# Columns under which prompts and responses stand elsewhere. `answer` is the response only where no other one is: beside a
# solution it is what that comes to.
PROMPTS = ("instruction", "prompt", "question", "query", "inputs", "input", "problem", "user", "human")
RESPONSES = ("completion", "output", "response", "targets", "target", "solution", "assistant", "answer")
# Which columns a named prompt, or response, takes the place of.
INSTEAD = {"prompt": {*WHOLE, *PROMPTS}, "response": {*WHOLE, *RESPONSES} - {"answer"}}
NAME = re.compile(rf",\s*(?=(?:{'|'.join(OURS)})=)")  # other commas are of a column's name


@functools.lru_cache(maxsize=64)
def parse(text: str | None) -> Mapping[str, str]:
    """Our fields, each with the column that is taken for it, of "cluster=category,task=kind".

    Raises:
        BadInput: it is not written so, or names a field that is none of OURS, or one twice.
    """
    found: dict[str, str] = {}
    for word in NAME.split(text) if text else ():
        ours, equals, theirs = (part.strip() for part in word.partition("="))
        if not (ours and equals and theirs):
            raise BadInput(f"data.fields={text!r}: must look like cluster=category", field="data.fields")
        if ours not in OURS:
            raise BadInput(
                f"data.fields={text!r}: {ours!r} is no field of rows; {nearest(ours, list(OURS))}", field="data.fields"
            )
        if ours in found:
            raise BadInput(f"data.fields={text!r}: {ours} is given two columns; give one", field="data.fields")
        found[ours] = theirs
    return found


def of_option(text: str) -> str:
    """What the option --field says, as `data.fields` has it.

    Raises:
        BadInput: it is not written so.
    """
    try:
        parse(text)
    except BadInput as error:
        raise BadInput(f"--field {text}: {error.text.partition(': ')[2]}", field="--field") from None
    return text


def renamed(raw: dict[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The row with the columns that `fields` names under our names, as far as it has them; without those that would be taken for
    its prompt or response instead of the ones that are named (`input` beside an instruction is its context)."""
    here = {ours: theirs for ours, theirs in fields.items() if theirs in raw}
    if not here:
        return raw
    gone, known = {*here.values()}, {name: plain(name) for name in raw if isinstance(name, str)}
    for ours in here.keys() & INSTEAD.keys():
        gone |= {name for name in known if known[name] in INSTEAD[ours]}
    if "chosen" in gone:  # it is asked for by name, and its counterpart is not
        gone.add("rejected")
    kept = {name: value for name, value in raw.items() if name not in gone}
    context = [raw[name] for name in gone - {*here.values()} if known.get(name) == "input"]
    if context and "instruction" in known.values():
        kept.setdefault("context", context[0])
    return kept | {OURS[ours]: raw[theirs] for ours, theirs in here.items()}


@functools.lru_cache(maxsize=4_096)
def plain(name: str) -> str:
    """A column's name as ours are written: "Source Task " is source_task."""
    return re.sub(r"[\s\-]+", "_", name.strip()).lower()


def as_known(raw: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """The row with the names that are known in it; a column that already has such a name keeps it."""
    if all(name in known for name in raw):
        return raw
    found: dict[str, Any] = {}
    for name, value in raw.items():
        ours = plain(name) if isinstance(name, str) else name
        found[ours if ours in known and ours not in raw and ours not in found else name] = value
    return found
