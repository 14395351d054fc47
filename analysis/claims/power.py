"""Before a run: the smallest effect that the planned seeds can show, and whether a claim of equality can be supported at all.

The spread between seeds is that of an earlier sweep of the question over bases too, else that of the results that the project
keeps, else an assumed one, of whose variance BETWEEN_BASES is between bases: seeds beyond the bases that there are lessen the
rest alone. Power is 80 %, two-sided at 5 % over all claims (the first step of Holm), by the longer of Student's and
Hall's interval. Claims about new clusters, which are fewer than the seeds, can show less than this says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from analysis import formatting
from analysis.claims.more_seeds import ANY_SEEDS, MOST_SEEDS
from analysis.claims.verdicts import Finding, Verdict, few_items
from analysis.stats import ranks
from analysis.stats.decision import Form
from analysis.stats.drawn import LEAST_BASES
from analysis.stats.estimate import LEVEL, Estimate, t_quantile
from core.measures import NATS

# The standard deviation of paired differences between seeds: medians over the kept results' claims, by the form of the rule.
ASSUMED = {Form.PLAIN: 0.03, Form.PERCENT: 0.03, Form.FACTOR: 0.33}
ASSUMED_IN_NATS = 0.3  # of forgetting, a token
NO_EFFECT = {Form.PLAIN: 0.0, Form.PERCENT: 0.0, Form.FACTOR: 1.0}


@dataclass(frozen=True)
class Planned:
    """How many seeds are planned for how many claims; `level`: of the look at which they are all there; `n_bases`: over which
    seeds take turns, of arms that draw different ones the fewest."""

    n_seeds: int
    n_claims: int
    level: float = 1 - LEVEL
    n_bases: int = 1

    @property
    def n_tests(self) -> float:
        """By how much 5 % are divided."""
        return self.n_claims * (1 - LEVEL) / self.level

    @property
    def n_drawn(self) -> int:
        """How many bases there are for seeds to draw; 0: too few to be what is drawn."""
        return self.n_bases if self.n_bases >= LEAST_BASES else 0

    def __str__(self) -> str:
        if not self.n_drawn:
            return f"{self.n_seeds} seeds"
        return f"{self.n_seeds} seeds on {min(self.n_seeds, self.n_drawn)} bases"


def estimate_of(one: Verdict) -> Estimate | None:
    """The estimate of a verdict that a report has written; None where it says nothing of a spread between seeds."""
    if one.value is None or one.low is None or one.high is None or one.n_seeds < 2 or few_items(one.n_items):
        return None
    df = one.df or float(max(one.n_seeds - 1, 1))
    e = Estimate(one.value, one.low, one.high, df, one.n_seeds, one.n_items, one.scale, lasting=one.lasting)
    e = replace(e, n_bases=one.n_bases, between=one.between, reach=one.reach)
    ratio = t_quantile(df) / t_quantile(df, 1 - one.level)  # of the interval as it was without further looks
    if abs(ratio - 1) < 1e-9:
        return e
    value = e.on_scale(e.value)
    low, high = (value + ratio * (e.on_scale(end) - value) for end in (e.low, e.high))
    return replace(e, low=low, high=high) if e.scale == "linear" else replace(e, low=math.exp(low), high=math.exp(high))


def assumed(finding: Finding, n_bases: int = 0) -> Estimate:
    """An estimate with the assumed spread, of a seed on each of so many bases, or where bases are not drawn of 8 seeds."""
    n, form = n_bases or 8, finding.region.form
    sd = ASSUMED_IN_NATS if form is Form.PLAIN and finding.unit == NATS else ASSUMED[form]
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    e = Estimate(0.0, -half, half, n - 1, n, 1_000, n_bases=n_bases, reach=1.0)
    return replace(e, value=1.0, low=math.exp(-half), high=math.exp(half), scale="log") if form is Form.FACTOR else e


def lines(findings: Mapping[str, Finding], earlier: Mapping[str, Verdict], source: str, planned: Planned) -> list[str]:
    """A line for each claim (`findings`: without estimates); `earlier`: verdicts of a sweep before, found in `source`."""
    whence = f"spread between seeds as in {source}" if earlier else "spread between seeds assumed"
    found = [f"what {planned} can show (80 % power, 5 % over {planned.n_claims} claims; {whence}):"]
    for claim, finding in findings.items():
        before = earlier.get(claim)
        if before is not None and before.n_seeds == 1:
            found.append(f"  {claim}: judged from tuning trials, whatever the seeds")
            continue
        known = estimate_of(before) if before else None
        e = known or assumed(finding, planned.n_drawn)
        finding = replace(finding, unit=before.unit) if before and known else finding
        mark = "" if known or not earlier else " (spread assumed)"
        found.append(f"  {claim}: {_told(finding, e, planned)}{mark}")
    return found


def _told(finding: Finding, e: Estimate, planned: Planned) -> str:
    """What is shown of one claim."""
    if finding.unit == ranks.UNIT:
        return "what it can show depends on how many things are ranked, whatever the seeds"
    region, (low, high) = finding.region, finding.region.support
    none = NO_EFFECT[region.form]
    if math.isfinite(low) and math.isfinite(high):
        room = (e.on_scale(high) - e.on_scale(low)) / 2
        what = f"an effect in the middle of {region.span(low, high)}"
        return _decidable(what, e, planned, lambda n: e.margin(planned.n_tests, n) <= room)
    bound = low if math.isfinite(low) else high
    if bound != none and low <= none <= high:  # "at most 2 points": that there is no effect must be told from the limit
        away = abs(e.on_scale(none) - e.on_scale(bound))
        what = f"no effect from the limit {region.number(bound)}"
        return _decidable(what, e, planned, lambda n: e.on_scale(e.minimum_detectable(planned.n_tests, n)) <= away)
    effect = e.minimum_detectable(planned.n_tests, planned.n_seeds)
    beyond = "" if bound == none else f" beyond {region.number(bound)}"
    return f"an effect of {_size(effect, finding, e.scale)}{beyond} or more"


def _decidable(what: str, e: Estimate, planned: Planned, enough: Callable[[int], bool]) -> str:
    """Whether the planned seeds are enough to see that a claim of equality is right, and if not, how many would be."""
    if enough(planned.n_seeds):
        return f"enough to tell {what}"
    needed = next((n for n in range(planned.n_seeds + 1, MOST_SEEDS + 1) if enough(n)), None)
    would = f"about {needed} would" if needed else f"more than {MOST_SEEDS} would be needed"
    if not needed and not enough(ANY_SEEDS):
        would = f"no number of seeds on {e.n_bases} bases would; more bases would" if e.n_bases else "no number of seeds would"
    return f"TOO FEW to tell {what}: {would}"


def _size(effect: float, finding: Finding, scale: str) -> str:
    if scale == "log":
        return f"a factor of {effect:.2g}"
    number = formatting.number(effect, formatting.decimals(-effect, effect), percent=(finding.region.form is Form.PERCENT))
    return number if (finding.region.form is Form.PERCENT) or not finding.unit else f"{number} ({finding.unit})"
