"""Which verdicts carry over? `python analysis/carry.py laboratory=analysis/results mine=runs`

Takes two or more directories of reports, each with a name of yours: of runs (of each question the last report), of kept results,
or of one report. For every claim that two of them have it tells each one's verdict and effect, whether they agree, and between
the first two how far their effects differ. Exit codes: 0 told; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import formatting
from analysis.claims import verdicts
from analysis.claims.verdicts import Verdict
from analysis.stats.decision import Decision
from analysis.stats.estimate import LEVEL
from core import environment
from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import BadInput, shown
from core.naming import expanded

FILE = "verdicts.json"
PLACES = (FILE, f"*/{FILE}", f"*/report/{FILE}")  # in a report, among kept results, among runs


@dataclass(frozen=True)
class Carried:
    """A claim in several worlds; a verdict is None where a world has none on it."""

    question: str
    id: str
    statement: str
    published: str
    verdicts: tuple[Verdict | None, ...]

    @property
    def words(self) -> tuple[str, str, str]:
        """What is asked, before it is judged."""
        return self.question, self.statement, self.published

    @property
    def decided(self) -> tuple[Decision, ...]:
        return tuple(one.verdict for one in self.verdicts if one is not None and one.verdict.decided)

    @property
    def agreement(self) -> str:
        """What the verdicts come to together."""
        if len(set(self.decided)) > 1:
            return "reversed"
        found = [one.verdict for one in self.verdicts if one is not None]
        most = next((one for one in (*self.decided, Decision.UNDECIDED) if one in found), Decision.NOT_TESTED)
        n, often = len(self.verdicts), found.count(most)
        return f"{most} in {'all' if often == n else f'{often} of {n}'}"

    def difference(self) -> str:
        """The first world's effect less the second's (a ratio: over it), with an interval of their level."""
        first, second = self.verdicts[:2]
        if first is None or second is None or (first.unit, first.scale) != (second.unit, second.scale):
            return formatting.NONE
        found = difference(first, second)
        if found is None:
            return formatting.NONE
        if first.scale == "log":
            return formatting.ratio(found)
        return formatting.interval(found, signed=True, percent=first.percent)


def difference(first: Verdict, second: Verdict) -> tuple[float, float, float] | None:
    """The difference of two independent effects (on a log scale their ratio) with an interval recovered from theirs, which may
    be lopsided (MOVER; Zou and Donner 2008). None where one has no interval, or not one of the same level."""
    numbers = [one for verdict in (first, second) for one in (verdict.value, verdict.low, verdict.high)]
    known = [one for one in numbers if one is not None and math.isfinite(one)]
    if len(known) < len(numbers) or not math.isclose(first.level, second.level):
        return None
    log = first.scale == "log"
    if log and min(known) <= 0:
        return None
    a, a_low, a_high, b, b_low, b_high = (math.log(one) if log else one for one in known)
    low, high = a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)
    value, low, high = (math.exp(one) if log else one for one in (a - b, low, high))
    return value, low, high


def gather(directory: Path) -> dict[tuple[str, str], Verdict]:
    """(question, claim) → verdict, of every report in a directory; of several of one question, that of the newest.

    Raises:
        BadInput: it holds none, or one that cannot be read.
    """
    paths = [path for places in PLACES for path in directory.glob(places)] if directory.is_dir() else []
    if not paths:
        raise BadInput(f"{shown(str(directory))}: no reports in it; give a directory of runs, of kept results, or one report")
    found: dict[tuple[str, str], Verdict] = {}
    for path in sorted(paths, key=lambda one: one.stat().st_mtime):
        try:
            read = verdicts.read(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            text = f"{shown(str(path))}: no verdicts that can be read ({type(error).__name__}); make the report again"
            raise BadInput(text) from error
        found |= {(question_of(path), one.id): one for one in read}
    return found


def question_of(path: Path) -> str:
    """The question that a report is of: its folder is called after it, or after it and the sweep."""
    folder = path.resolve().parent
    return folder.parent.name.rpartition("-")[0] if folder.name == "report" else folder.name


def carried(worlds: Sequence[Mapping[tuple[str, str], Verdict]]) -> list[Carried]:
    """The claims that two worlds or more have a verdict on, in the order of the first that has them."""
    rows = []
    for question, name in dict.fromkeys(key for world in worlds for key in world):
        found = tuple(world.get((question, name)) for world in worlds)
        judged = [one for one in found if one is not None]
        if len(judged) > 1:
            published = judged[0].published_effect
            rows.append(Carried(question, name, judged[0].statement, published, found))
    return rows


def as_text(names: Sequence[str], rows: Sequence[Carried]) -> str:
    """A Markdown table of claims, and what it comes to."""
    head = ["question", "claim", "published", *names, "agreement", f"{names[0]} − {names[1]} (ratios: ÷)"]
    body = [[*row.words, *map(_cell, row.verdicts), row.agreement, row.difference()] for row in rows]
    counts = {text: sum(row.agreement == text for row in rows) for text in sorted({row.agreement for row in rows})}
    told = f"{len(rows)} claims: " + ", ".join(f"{count} {text}" for text, count in counts.items())
    note = "Brackets are 95 % intervals where no other level is told, each for what its own report says it speaks for."
    return "\n".join([formatting.markdown(head, body), told, note])


def _cell(one: Verdict | None) -> str:
    """A verdict with its effect; a look of several has an interval of more than 95 %."""
    if one is None:
        return formatting.NONE
    looked = not math.isclose(one.level, 1 - LEVEL, abs_tol=1e-6)
    return f"{one.verdict}, {one.shown}" + (f" ({100 * (1 - one.level):.3g} % interval)" if looked else "")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """`worlds`: name → directory.

    Raises:
        BadInput: fewer than two, or one that is no NAME=DIRECTORY.
    """
    parser = Parser("python analysis/carry.py", __doc__)
    parser.add_argument("worlds", nargs="*", metavar="NAME=DIRECTORY", help="two or more")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    found, problems = parser.read(arguments, "unknown")
    worlds: dict[str, Path] = {}
    for word in found.worlds:
        name, parts, directory = word.partition("=")
        if not (name and parts and directory):
            problems.add(f"{shown(word)}: give it as NAME=DIRECTORY")
        elif name in worlds:
            problems.add(f"{shown(name)}: given twice; give each a name of its own")
        else:
            with problems.taken():
                worlds[name] = expanded(name, directory)
    if not problems.found and len(worlds) < 2:
        problems.add("give two directories or more, each as NAME=DIRECTORY")
    problems.raise_all()
    found.worlds = worlds
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        asked = parse(arguments)
        rows = carried([gather(directory) for directory in asked.worlds.values()])
    except BadInput as error:
        return refused(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    names = list(asked.worlds)
    if asked.json:
        print(json.dumps([{**asdict(row), "agreement": row.agreement, "difference": row.difference()} for row in rows], indent=1))
    else:
        print(as_text(names, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
