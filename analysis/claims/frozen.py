"""What a sweep's claims said before its first seed, and in what they are other today.

The record has each claim's words, its rule as a sentence (with its limits, which are the smallest effects of interest) and as
text (sources.py), the planned seeds, and hashes of the statistics that the rules use. The sweep keeps it (claims.json) and the
store has a copy; a report compares it with what the claims say now.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis import formatting
from analysis.claims import sources, unanswered
from analysis.claims.question import Answer, Question
from analysis.claims.tables import Own
from core.errors import one_line
from core.experiment import Experiment
from core.fields import content_hash


@dataclass(frozen=True)
class Said:
    """A claim: its words, its rule as a sentence, the effect in words, the text of the rule."""

    statement: str
    rule: str
    effect: str
    source: str


@dataclass(frozen=True)
class Record:
    """What the claims of a question say. `late`: it was written after final seeds had run."""

    question: str
    seeds: tuple[int, ...]
    claims: Mapping[str, Said]
    statistics: Mapping[str, str]  # a definition that rules use → its hash
    late: bool = False

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of all of it."""
        return content_hash({**asdict(self), "late": False})

    def to_json(self) -> str:
        """claims.json."""
        return json.dumps({"hash": self.hash, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Of claims.json.

        Raises:
            ValueError: it is damaged, or was changed.
        """
        try:
            row: dict[str, Any] = json.loads(text)
            known = row.pop("hash")
            claims = {name: Said(**said) for name, said in row.pop("claims").items()}
            found = cls(claims=claims, seeds=tuple(row.pop("seeds")), **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it cannot be read ({one_line(error)})") from None
        if found.hash != known:
            raise ValueError("it was changed after it was written: its hash is another")
        return found


def today(question: Question[Any], experiment: Experiment, late: bool = False) -> Record:
    """What the claims say now."""
    findings = unanswered.asked(question, experiment)
    texts = {claim.id: sources.of_rule(experiment.name, claim.id) for claim in experiment.claims}
    claims = {
        claim.id: Said(
            claim.statement, findings[claim.id].region.rule(), findings[claim.id].effect, texts[claim.id].text
        )
        for claim in experiment.claims
    }  # fmt: skip
    others = {place: content_hash(text)[:8] for one in texts.values() for place, text in one.others.items()}
    return Record(experiment.name, experiment.seeds, claims, dict(sorted(others.items())), late)


@dataclass(frozen=True)
class Change:
    """In what a claim is another than before the first seed: a remark for its verdict, and lines for the report."""

    claim: str
    remark: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Compared:
    """The record against today. `why`: it is missing or damaged."""

    changes: tuple[Change, ...] = ()
    statistics: tuple[str, ...] = ()  # definitions that are other ones
    late: bool = False
    why: str = ""

    def remark(self, claim: str) -> str:
        """What a verdict's note says; "" of a claim that is as it was."""
        return next((one.remark for one in self.changes if one.claim == claim), "")

    def noted(self, answer: Answer[Own]) -> Answer[Own]:
        """The verdicts with what was changed in their notes."""
        found = [replace(one, note=formatting.joined(self.remark(one.id), one.note)) for one in answer.verdicts]
        return replace(answer, verdicts=found)

    def told(self) -> str:
        """One sentence for the design."""
        as_before = "" if self.changed else "; they are as they were"
        return (
            self.why
            or f"What the claims say was recorded {'after final seeds' if self.late else 'before the first seed'}{as_before}"
        )

    @property
    def changed(self) -> bool:
        return bool(self.changes or self.statistics or self.late)

    def cautions(self) -> list[str]:
        """A line for each change."""
        found = [f"{one.claim}: {one.remark}: {one.lines[0]}" for one in self.changes]
        if self.statistics:
            found.append(f"statistics that judge were changed after the first seed: {', '.join(self.statistics)}")
        if self.late:
            found.append("words and rules of the claims were recorded after final seeds had run, not before the first")
        return found

    def section(self) -> list[str]:
        """For report.md: both texts of what was changed."""
        if not self.changes:
            return []
        blocks = [f"{one.claim}: {one.remark}.\n\n```diff\n" + "\n".join(one.lines[1:]) + "\n```\n" for one in self.changes]
        return ["## Changed after the first seed\n", *blocks]


NOT_RECORDED = Compared(why="What the claims said before the first seed was not recorded")


def compare(before: Record, now: Record) -> Compared:
    """What is another now than it was recorded."""
    changes = [
        _change(name, before.claims.get(name), now.claims.get(name)) for name in dict.fromkeys([*now.claims, *before.claims])
    ]
    names = (name for name, one in now.statistics.items() if before.statistics.get(name, one) != one)
    return Compared(tuple(one for one in changes if one), tuple(name.rpartition(".")[2] for name in names), before.late)


def _change(claim: str, before: Said | None, now: Said | None) -> Change | None:
    if before is None and now is not None:
        return Change(claim, "it was added after the first seed", [f"“{now.statement}”", *_diff(None, now)])
    if now is None and before is not None:
        return Change(claim, "it was taken away after the first seed", [f"“{before.statement}”", *_diff(before, None)])
    if before is None or now is None or before == now:
        return None
    words, rule = before.statement != now.statement, (before.rule, before.source) != (now.rule, now.source)
    what = " and ".join([*(["its words"] if words else []), *(["its rule"] if rule else [])]) or "its effect"
    texts = [(one.statement if words else one.rule if rule else one.effect) for one in (before, now)]
    same = "the rule's text, see the section on changes" if texts[0] == texts[1] else f"before “{texts[0]}”, now “{texts[1]}”"
    was = "was" if " and " not in what and not words else "were"
    return Change(claim, f"{what} {was} changed after the first seed", [same, *_diff(before, now)])


def _diff(before: Said | None, now: Said | None) -> list[str]:
    """Both texts, line by line."""
    old, new = ([one.statement, one.rule, one.effect, *one.source.splitlines()] if one else [] for one in (before, now))
    return [line for line in difflib.unified_diff(old, new, lineterm="", n=1) if not line.startswith(("---", "+++", "@@"))]


def against(recorded: str, question: Question[Any], experiment: Experiment) -> Compared:
    """What the store keeps of a sweep's record ("": nothing) against today."""
    if not recorded:
        return NOT_RECORDED
    try:
        before = Record.from_json(recorded)
    except ValueError as error:
        return Compared(why=f"What the claims said before the first seed is not known: {error}")
    return compare(before, today(question, experiment))
