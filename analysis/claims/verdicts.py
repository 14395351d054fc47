"""From findings to verdicts: one a claim, two-sided, Holm-adjusted over the question, beside the published effect."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis import formatting
from analysis.claims import more_seeds
from analysis.claims.looks import Taken, look
from analysis.escaping import Markup, escaped
from analysis.stats.decision import Decision, Form, Region, holm, verdict
from analysis.stats.estimate import LEVEL, NEEDS_SEEDS, Estimate, Over, Why
from core.experiment import FEW_ITEMS, Claim
from core.looks import Looks, Wish

SEEDS_ALONE = "the interval takes the items as they are"  # a note
RATIO = "ratio"  # a unit
NO_LOOKS = Looks()


@dataclass(frozen=True)
class Finding:
    """What the data say about a claim: the effect, and the region in which the claim is right, which is its rule.

    `estimate` None: the sweep has nothing to say about the claim, and `note` says why.
    """

    estimate: Estimate | None
    region: Region
    effect: str  # what the estimate is, in words: "rank 16 − rank 1, exact match"
    unit: str = ""
    note: str = ""
    hindrance: str = ""  # what keeps any effect, however clear, from deciding the claim
    arms: tuple[str, ...] = ()  # the labels of those that are compared; none where it is not said

    @property
    def percent(self) -> bool:
        """Whether the effect is shown in per cent."""
        return self.estimate is not None and self.region.form is Form.PERCENT


def untested(region: Region, effect: str, why: str) -> Finding:
    """A claim that this sweep has nothing to say about."""
    return Finding(None, region, effect, note=why)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim: a row of the ledger, and an object of verdicts.json."""

    id: str
    statement: str
    verdict: Decision
    effect: str
    unit: str
    value: float | None  # None: there is no such number
    low: float | None
    high: float | None
    scale: str
    shown: str  # the value with its interval, as text
    n_seeds: int
    n_items: int
    minimum_detectable_effect: float | None
    percent: bool
    p: float | None
    p_holm: float | None
    rule: str
    note: str
    published_effect: str
    published_source: str
    published_url: str
    over: str = ""  # for which models, or tasks, the interval speaks; "" in verdicts from before this was said
    level: float = 1 - LEVEL  # two-sided, of the interval: a look of several has less than 5 %
    looks: tuple[int, ...] = ()  # seeds at each look so far
    df: float | None = None
    lasting: float = 0.0  # this and the next: as the estimate's (stats/estimate.py)
    n_bases: int = 0
    between: float | None = None
    reach: float | None = None
    more_seeds: tuple[str, ...] | None = None  # arms in which more seeds may decide it (none named: all); None: they do not

    @property
    def with_note(self) -> str:
        """The decision, and in brackets what must be known beside it."""
        return f"{self.verdict} ({self.note})" if self.note else self.verdict.value


def to_json(verdicts: Sequence[Verdict]) -> str:
    """verdicts.json."""
    return json.dumps([dataclasses.asdict(one) for one in verdicts], indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> list[Verdict]:
    """The verdicts that a report has written to its verdicts.json."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    lists = [{key: tuple(value) for key, value in row.items() if isinstance(value, list)} for row in rows]
    return [Verdict(**{**row, **own, "verdict": Decision(row["verdict"])}) for row, own in zip(rows, lists, strict=True)]


def wishes(verdicts: Sequence[Verdict]) -> list[Wish]:
    """The undecided claims that more seeds may decide."""
    return [Wish(one.id, tuple(one.more_seeds)) for one in verdicts if one.more_seeds is not None]


@dataclass(frozen=True)
class Judged:
    """What the data decide about one claim, and with which p values."""

    decision: Decision
    note: str
    p: float
    p_holm: float


def ledger(claims: Sequence[Claim], findings: Mapping[str, Finding], before: Looks = NO_LOOKS) -> list[Verdict]:
    """One verdict a claim, each a look after those `before`. A decision stands only if it survives Holm over all claims that
    could be tested."""
    taken = {claim.id: look(claim.id, findings[claim.id].estimate, before) for claim in claims}
    alone = [_judge(findings[claim.id], taken[claim.id]) for claim in claims]
    adjusted = holm(np.array([p for _, p in alone]))
    n_tested = sum(not math.isnan(p) for _, p in alone)
    rows = []
    for claim, (decision, p), p_holm in zip(claims, alone, map(float, adjusted), strict=True):
        finding = findings[claim.id]
        judged = _after_holm(finding, Judged(decision, finding.note, p, p_holm), n_tested)
        row = _row(claim, finding, judged, n_tested, before.most)
        rows.append(_at_look(row, finding, one) if (one := taken[claim.id]) else row)
    return rows


def _judge(finding: Finding, at: Taken | None) -> tuple[Decision, float]:
    if finding.estimate is None:
        return Decision.NOT_TESTED, math.nan
    decision, p = verdict(finding.estimate, finding.region)
    if at is None or not at.shares:
        return decision, p
    p = at.p(p)
    return decision if p <= 1 - LEVEL else Decision.UNDECIDED, p


def _at_look(row: Verdict, finding: Finding, at: Taken) -> Verdict:
    """The verdict with the interval and the note of the look that was taken."""
    row = replace(row, level=at.level, looks=at.seeds)
    if finding.estimate is None or not at.shares:
        return row
    e = at.interval(finding.estimate)
    shown = formatting.estimate(e, signed=True, percent=finding.percent)
    return replace(row, low=_plain(e.low), high=_plain(e.high), shown=shown, note=formatting.joined(row.note, at.note()))


def _after_holm(finding: Finding, alone: Judged, n_tested: int) -> Judged:
    """The decision that stands, with a note on what stood in its way."""
    decision, e, notes = alone.decision, finding.estimate, [alone.note]
    if decision.decided and alone.p_holm > 1 - LEVEL:
        notes.append(f"{decision} on its own (p = {alone.p:.3f}), not after Holm")
        decision = Decision.UNDECIDED
    if obstacle := finding.hindrance or (few_items(e.n_items) if e is not None else ""):
        notes.append((f"{decision} but for this: " if decision.decided else "") + obstacle)
        decision = Decision.UNDECIDED if e is not None else decision
    elif decision is Decision.UNDECIDED and e and e.known and e.n_seeds > 1:
        notes.append(more_seeds.text(e, finding.region, n_tested))
    if e is not None and e.known and e.over is Over.NEW_CLUSTERS:
        notes.append("the interval is for new clusters")
    return replace(alone, decision=decision, note=formatting.joined(*notes))


def _row(claim: Claim, finding: Finding, judged: Judged, n_tested: int, most: int | None) -> Verdict:
    """`most`: seeds that an arm may come to have."""
    e = finding.estimate
    return Verdict(
        id=claim.id,
        statement=claim.statement,
        verdict=judged.decision,
        effect=finding.effect,
        unit=finding.unit,
        value=_plain(e.value if e else math.nan),
        low=_plain(e.low if e else math.nan),
        high=_plain(e.high if e else math.nan),
        scale=e.scale if e else "linear",
        shown=formatting.estimate(e, signed=True, percent=finding.percent),
        n_seeds=e.n_seeds if e else 0,
        n_items=e.n_items if e else 0,
        minimum_detectable_effect=_plain(e.minimum_detectable(n_tested) if e else math.nan),
        percent=finding.percent,
        p=_plain(judged.p),
        p_holm=_plain(judged.p_holm),
        rule=finding.region.rule(),
        note=judged.note,
        published_effect=claim.published.effect,
        published_source=claim.published.source,
        published_url=claim.published.url,
        over=e.over if e and e.known else "",
        df=_plain(e.df) if e and e.known and math.isfinite(e.df) else None,
        lasting=e.lasting if e else 0.0,
        n_bases=e.n_bases if e else 0,
        between=e.between if e else None,
        reach=e.reach if e else None,
        more_seeds=finding.arms if judged.decision is Decision.UNDECIDED and seeds_help(finding, most) else None,
    )


def seeds_help(finding: Finding, most: int | None = None) -> bool:
    """Whether more final seeds in the arms may well decide an undecided claim: nothing else is in the way, the estimate is made
    from seeds, and with the `most` that there may be a decision is not out of reach."""
    e = finding.estimate
    if e is None or finding.hindrance or few_items(e.n_items):
        return False
    lessened = e.missing is None or e.missing == NEEDS_SEEDS or e.missing.kind in (Why.UNBOUNDED, Why.NO_SPREAD)
    if not e.known:
        return lessened and (e.n_seeds > 1 or e.missing == NEEDS_SEEDS)
    n = most if most is not None and most > e.n_seeds else more_seeds.MOST_SEEDS
    return e.n_seeds > 1 and more_seeds.chance(e, finding.region, n) >= more_seeds.LEAST_CHANCE


def few_items(n_items: int) -> str:
    """That an interval over so few items says nothing about new ones; "" where it does."""
    return f"only {n_items} evaluation item{'s' * (n_items != 1)}" if n_items < FEW_ITEMS else ""


def _plain(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else round(value, 10)


def direction(e: Estimate, none: float, above: str, below: str) -> str:
    """Which way the effect goes where its interval excludes `none`: a verdict on a size would hide it."""
    if not e.known or e.low <= none <= e.high:
        return ""
    return above if e.low > none else below


def minimum_detectable_text(one: Verdict) -> str:
    """The minimum detectable effect as people read it: a factor for a ratio."""
    value = one.minimum_detectable_effect
    if value is None:
        return formatting.NONE
    if one.scale == "log":
        return f"{value:.2g}×"
    return formatting.number(value, formatting.decimals(-value, value), percent=one.percent)


def summary(found: Mapping[str, Sequence[Verdict]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the verdicts of several questions at reading width."""
    header = ["question", "claim", "published", "here [95 % interval]", "verdict"]
    body = []
    for question, verdicts in found.items():
        for one in verdicts:
            here = one.shown if one.unit in ("", RATIO) else f"{one.shown} {one.unit}"  # a ratio shows itself: "2.1×"
            published = f"{one.published_effect} ({one.published_source})"
            body.append([question, f"{one.id}: {one.statement}", published, here, one.with_note])
    return header, body


def as_text(verdicts: Sequence[Verdict]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the ledger as a table."""
    header = ["claim", "statement", "verdict", "effect", "95 % interval", "seeds", "items", "MDE", "p (Holm)", "published"]
    body = []
    for one in verdicts:
        effect = one.effect + (f" ({one.unit})" if one.unit else "")
        p = formatting.NONE if one.p_holm is None else f"{one.p_holm:.2g}"
        published = Markup(f"{escaped(one.published_effect)} ([{escaped(one.published_source)}]({one.published_url}))")
        counts = [str(one.n_seeds), str(one.n_items), minimum_detectable_text(one), p]
        body.append([one.id, one.statement, one.with_note, effect, one.shown, *counts, published])
    return header, body
