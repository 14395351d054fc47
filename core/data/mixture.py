"""Several sources in shares: "A.jsonl=0.7,B.jsonl=0.3".

A source ends where `=NUMBER` is followed by a comma, a plus or the end, so that paths may hold `=` and `,`. Where a path holds
just this, a source ends at the first such place before which a file of this name is there; double quotes around a source leave no
doubt. In a setting the sources stand with their shares of 1, joined by +, as commas part levels there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from core import naming
from core.data import files, shares
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


def shares_label(source: str, text: str | None) -> str:
    """What a mixture is called whose training rows have these shares (`data.shares`): its sources with their shares, without
    those that give none."""
    if text is None:
        return label(source)
    names = naming.short(names_in(source))
    try:
        found = zip(names.values(), shares.parse(text), strict=True)
        return "+".join(f"{name.removeprefix('lab:')}={share:.3g}" for name, share in found if share)
    except ValueError:  # told where the rows are drawn
        return f"shares={text}"


def equal(source: str) -> str:
    """Several sources without shares ("A,B") in equal ones; what is written with shares as it is."""
    if recognises(source) or files.exists(source):
        return source
    names = [name.strip() for name in source.split(",")]
    return "+".join(f"{_quoted(name)}=1" for name in names) if len(names) > 1 and all(names) else source


def in_shares(things: Iterable[Thing], wanted: Shares, origin: Callable[[Thing], str]) -> tuple[Thing, ...]:
    """The longest beginning of the things, each source's own in their order, in which every beginning has the shares, rounded:
    it ends where a source has none left. `wanted`: by the names that `origin` gives."""
    own, found = _by_source(things, wanted, origin), list[Thing]()
    taken = dict.fromkeys(own, 0)
    for name in _turns(wanted):
        if taken[name] == len(own[name]):
            return tuple(found)
        found.append(own[name][taken[name]])
        taken[name] += 1
    raise AssertionError("shares of nothing")


def repeated(things: Sequence[Thing], wanted: Shares, origin: Callable[[Thing], str], n: int, amount: str) -> tuple[Thing, ...]:
    """`n` of the things in the shares; those of a source that runs out come again, as `amount` says (core/data/shares.py)."""
    own = _by_source(things, wanted, origin)
    return shares.drawn(own, _turns(wanted), n, amount, dict(wanted)) if all(own.values()) else ()


def _by_source(things: Iterable[Thing], wanted: Shares, origin: Callable[[Thing], str]) -> dict[str, list[Thing]]:
    """The things of each source that has a share, in their order."""
    own: dict[str, list[Thing]] = {name: [] for name, share in wanted if share > 0}
    for thing in things:
        if (name := origin(thing)) in own:
            own[name].append(thing)
    return own


def _turns(wanted: Shares) -> Iterator[str]:
    """For ever the source that lacks most of its share of what was taken."""
    having = [(name, share) for name, share in wanted if share > 0]
    taken, n = {name: 0 for name, _ in having}, 0
    while having:
        n += 1
        name = max(having, key=lambda one: one[1] * n - taken[one[0]])[0]
        taken[name] += 1
        yield name
