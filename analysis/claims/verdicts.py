"""From effects to verdicts: one row a claim, two-sided, Holm-adjusted over the family, beside the published effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import formatting
from analysis.stats import LEVEL, Estimate, Region, holm, verdict
from core.experiment import Claim

MOST_SEEDS = 100  # that a sweep takes
IS_ABOVE, IS_BELOW = "supported: interval above 0; contradicted: below 0", "supported: interval below 0; contradicted: above 0"
SEEDS_ALONE = "the interval is over new seeds, on these items"  # a note
FEW_ITEMS = 10  # an interval over fewer items says nothing about new ones


@dataclass(frozen=True)
class Finding:
    """What the data say about a claim: the effect, the region in which the claim is right, and the rule in words.

    `estimate` None: the sweep lacks what the claim is about, and `note` says what.
    """

    estimate: Estimate | None
    region: Region | None
    rule: str
    effect: str  # what the estimate is, in words: "rank 16 − rank 1, exact match"
    unit: str = ""
    percent: bool = False
    note: str = ""
    hindrance: str = ""  # what keeps any effect, however clear, from deciding the claim


def ledger(claims: Sequence[Claim], findings: Mapping[str, Finding]) -> list[dict[str, object]]:
    """One row a claim. A verdict stands only if it survives Holm over all claims that could be tested."""
    judged = [_judge(findings[claim.id]) for claim in claims]
    adjusted = holm(np.array([p for _, p in judged]))
    n_tested = sum(not math.isnan(p) for _, p in judged)
    rows: list[dict[str, object]] = []
    for claim, (said, p), p_holm in zip(claims, judged, adjusted, strict=True):
        finding = findings[claim.id]
        notes = [finding.note] if finding.note else []
        if said in ("supported", "contradicted") and p_holm > 1 - LEVEL:
            notes.append(f"{said} on its own (p = {p:.3f}), not after Holm")
            said = "undecided"
        if obstacle := finding.hindrance or _few_items(finding):
            notes.append((f"{said} but for this: " if said in ("supported", "contradicted") else "") + obstacle)
            said = "undecided" if finding.estimate is not None else said
        elif said == "undecided" and finding.estimate and finding.estimate.known and finding.estimate.n_seeds > 1:
            notes.append(_seeds_text(seeds_needed(finding, n_tested)))
        e = finding.estimate
        rows.append({
            "id": claim.id, "statement": claim.statement, "verdict": said, "effect": finding.effect, "unit": finding.unit,
            "value": _plain(e.value if e else math.nan), "low": _plain(e.low if e else math.nan),
            "high": _plain(e.high if e else math.nan), "scale": e.scale if e else "linear",
            "shown": formatting.estimate(e, signed=True, percent=finding.percent),
            "n_seeds": e.n_seeds if e else 0, "n_items": e.n_items if e else 0,
            "minimum_detectable_effect": _plain(e.minimum_detectable(n_tested) if e else math.nan), "percent": finding.percent,
            "p": _plain(p), "p_holm": _plain(float(p_holm)), "rule": finding.rule, "note": "; ".join(notes),
            "published_effect": claim.published.effect, "published_source": claim.published.source,
            "published_url": claim.published.url,
        })  # fmt: skip
    return rows


def _few_items(finding: Finding) -> str:
    n_items = finding.estimate.n_items if finding.estimate is not None else FEW_ITEMS
    return f"only {n_items} evaluation items" if n_items < FEW_ITEMS else ""


def seeds_needed(finding: Finding, n_tests: int) -> int | None:
    """About how many seeds would decide the claim with 80 % power if the effect is what was estimated (one more than MOST_SEEDS:
    more than a sweep takes). None where the estimate lies so near the rule's limit that more seeds need not do it (also for an
    error that they do not lessen), or one was all there could be."""
    e, region = finding.estimate, finding.region
    if e is None or region is None or not e.known or e.n_seeds < 2:
        return None
    inside = region.low <= e.value <= region.high
    bounds = [bound for bound in (region.support if inside else (region.low, region.high)) if math.isfinite(bound)]
    if e.scale == "log":
        bounds = [bound for bound in bounds if bound > 0]
    distance = min((abs(e.on_scale(e.value) - e.on_scale(bound)) for bound in bounds), default=0.0)
    needed = e.on_scale(e.minimum_detectable(n_tests))
    if distance < max(needed / 30, e.fixed):  # a thousand times the seeds: no plan
        return None
    counts = range(e.n_seeds + 1, MOST_SEEDS + 1)
    return next((n for n in counts if e.on_scale(e.minimum_detectable(n_tests, n)) <= distance), MOST_SEEDS + 1)


def _seeds_text(n: int | None) -> str:
    if n is None:
        return "it lies so near the rule's limit that more seeds need not decide it"
    how_many = f"about {n}" if n <= MOST_SEEDS else f"more than {MOST_SEEDS}"
    return f"{how_many} seeds would decide it, were the effect as estimated"


def _judge(finding: Finding) -> tuple[str, float]:
    if finding.estimate is None or finding.region is None:
        return "not tested", math.nan
    return verdict(finding.estimate, finding.region)


def _plain(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else round(value, 10)


def direction(e: Estimate, none: float, above: str, below: str) -> str:
    """Which way the effect goes where its interval excludes `none`: a verdict on a size would hide it."""
    if not e.known or e.low <= none <= e.high:
        return ""
    return above if e.low > none else below


def minimum_detectable_text(row: Mapping[str, object]) -> str:
    """The minimum detectable effect of a ledger row as people read it: a factor for a ratio."""
    value = row["minimum_detectable_effect"]
    if not isinstance(value, float):
        return formatting.NONE
    if row["scale"] == "log":
        return f"{value:.2g}×"
    return formatting.number(value, formatting.decimals(-value, value), percent=bool(row["percent"]))


def summary(rows: Sequence[Mapping[str, object]]) -> tuple[list[str], list[list[str]]]:
    """Header and arms of the ledger at reading width."""
    header = ["question", "claim", "published", "here [95 % interval]", "verdict"]
    body = []
    for row in rows:
        body.append([
            str(row["question"]), f"{row['id']}: {row['statement']}", f"{row['published_effect']} ({row['published_source']})",
            f"{row['shown']} {row['unit']}".removesuffix(" ratio").strip(),
            str(row["verdict"]) + (f" ({row['note']})" if row["note"] else ""),
        ])  # fmt: skip
    return header, body


def rows_as_text(rows: Sequence[Mapping[str, object]]) -> tuple[list[str], list[list[str]]]:
    """Header and arms of the ledger as a table."""
    header = ["claim", "statement", "verdict", "effect", "95 % interval", "seeds", "items", "MDE", "p (Holm)", "published"]
    body = []
    for row in rows:
        p = row["p_holm"]
        body.append([
            str(row["id"]), str(row["statement"]), str(row["verdict"]) + (f" ({row['note']})" if row["note"] else ""),
            str(row["effect"]) + (f" ({row['unit']})" if row["unit"] else ""), str(row["shown"]), str(row["n_seeds"]),
            str(row["n_items"]), minimum_detectable_text(row), f"{p:.2g}" if isinstance(p, float) else formatting.NONE,
            f"{row['published_effect']} ([{row['published_source']}]({row['published_url']}))",
        ])  # fmt: skip
    return header, body
