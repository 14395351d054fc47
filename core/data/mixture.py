"""Several sources in shares: "A.jsonl=0.7,B.jsonl=0.3".

A source ends where `=NUMBER` is followed by a comma, a plus or the end, so that paths may hold `=` and `,`. Where a path holds
just this, a source ends at the first such place before which a file of this name is there; double quotes around a source leave no
doubt. In a setting the sources stand with their shares of 1, joined by +, as commas part levels there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from core import naming
from core.data import files
from core.errors import BadInput

Thing = TypeVar("Thing")
Shares = tuple[tuple[str, float], ...]
END = re.compile(r"=(\d+(?:\.\d*)?|\.\d+)(?:[,+]\s*|$)", re.A)
QUOTED = re.compile(r'\s*"([^"]+)"(?==)')


def _parts(text: str) -> Shares:
    """Each source with its number as it is written; nothing where the text is not written so."""
    found, at = list[tuple[str, float]](), 0
    while at < len(text):
        if quoted := QUOTED.match(text, at):
            name, end = quoted[1], END.match(text, quoted.end())
        else:
            ends = list(END.finditer(text, at))
            end = next((one for one in ends if files.exists(text[at : one.start()].strip())), ends[0] if ends else None)
            name = text[at : end.start()].strip() if end else ""
        if not end or not name:
            return ()
        found.append((name, float(end[1])))
        at = end.end()
    return tuple(found) if len(found) > 1 else ()


def recognises(source: str) -> bool:
    """Whether the text names several sources with their shares, and not a file of this name."""
    return bool(_parts(source)) and not files.exists(source)


def parse(field: str, source: str) -> Shares:
    """Each source with its share of 1.

    Raises:
        BadInput: a share is 0, or a source stands there twice.
    """
    parts = _parts(source)
    names = [name for name, _ in parts]
    if none := next((name for name, weight in parts if weight <= 0), None):
        raise BadInput(f"{field}={source}: the share of {none} must be above 0; leave it out", field=field)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{field}={source}: {twice} stands there twice; give it one share", field=field)
    total = sum(weight for _, weight in parts)
    return tuple((name, weight / total) for name, weight in parts)


def absolute(source: str) -> str:
    """A file's path, the same from every directory; of several sources each, with shares of 1, joined by +. What is no file stays
    as it is."""
    if recognises(source):
        return "+".join(f"{_quoted(absolute(name))}={share:.6g}" for name, share in parse("data.source", source))
    return str(Path(source).expanduser().resolve()) if files.exists(source) else source


def _quoted(name: str) -> str:
    return f'"{name}"' if END.search(name) or name.startswith('"') else name


def labels(shares: Shares) -> tuple[tuple[str, float], ...]:
    """The sources' short names, with their shares."""
    names = naming.short(name for name, _ in shares)
    return tuple((names[name], weight) for name, weight in shares)


def names_in(source: str) -> tuple[str, ...]:
    """The sources that the text names: itself, where it names one."""
    return tuple(name for name, _ in _parts(source)) if recognises(source) else (source,)


def label(source: str, names: Mapping[str, str] | None = None) -> str:
    """The source, or the sources with their shares, by short names. `names`: those to use."""
    names = names or naming.short(names_in(source))
    if not recognises(source):
        return names[source]
    return "+".join(f"{names[name]}={share:.6g}" for name, share in parse("data.source", source))


def in_shares(things: Iterable[Thing], shares: Shares, origin: Callable[[Thing], str]) -> tuple[Thing, ...]:
    """The longest beginning of the things, each source's own in their order, in which every beginning has the shares, rounded:
    it ends where a source has none left. `shares`: by the names that `origin` gives."""
    own: dict[str, list[Thing]] = {name: [] for name, _ in shares}
    for thing in things:
        own[origin(thing)].append(thing)
    taken, found = dict.fromkeys(own, 0), list[Thing]()
    while True:
        name = _next(shares, taken, len(found) + 1)
        if taken[name] == len(own[name]):
            return tuple(found)
        found.append(own[name][taken[name]])
        taken[name] += 1


def _next(shares: Sequence[tuple[str, float]], taken: dict[str, int], n: int) -> str:
    """The source that lacks most of its share of the first n."""
    return max(shares, key=lambda one: one[1] * n - taken[one[0]])[0]
