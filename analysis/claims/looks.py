"""The look that a report takes at a claim: at which level its interval and its p value stand, of all looks together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from analysis.stats.estimate import Estimate, at_level
from analysis.stats.looks import ALPHA, levels, repeated_p, total_error
from core.looks import DIGITS, Looks

SHOWN = 5e-4  # of an error beyond ALPHA


@dataclass(frozen=True)
class Taken:
    """A look at a claim after so many seeds, the last of `seeds`; `most`: that there may be. `total`: the chance that one of the
    looks, at the levels that they were taken at, decides wrongly."""

    seeds: tuple[int, ...]
    most: int
    level: float
    total: float

    @property
    def shares(self) -> bool:
        """Whether it has only a part of alpha."""
        return len(self.seeds) > 1 or self.seeds[-1] < self.most

    def interval(self, e: Estimate) -> Estimate:
        """The estimate as it stands at this look."""
        return at_level(e, self.level) if self.shares else e

    def p(self, p: float) -> float:
        """A p value as it stands at this look."""
        return repeated_p(p, self.seeds, self.most) if self.shares else p

    def note(self) -> str:
        """Which look it is, at which level; "" where it is the only one."""
        if not self.shares:
            return ""
        counts = ", ".join(map(str, self.seeds))
        text = f"look {len(self.seeds)}, at {counts} of at most {self.most} seeds: interval at {100 * (1 - self.level):.1f} %"
        if self.total > ALPHA + SHOWN:
            text += (
                f"; an earlier look took more of the 5 %, so up to {100 * self.total:.1f} % of such claims are decided wrongly"
            )
        return text


def look(claim: str, e: Estimate | None, before: Looks) -> Taken | None:
    """The look at a claim's estimate, after those `before`; None where there is nothing to look at, or it has no seeds to add."""
    if e is None or not e.known or e.n_seeds < 2:
        return None
    earlier = [one for one in before.taken.get(claim, ()) if one[0] < e.n_seeds]
    seeds = (*(n for n, _ in earlier), e.n_seeds)
    most = max(before.most or 0, e.n_seeds)
    level = levels(seeds, most)[-1] if len(seeds) > 1 or e.n_seeds < most else ALPHA
    return Taken(seeds, most, level, total_error(seeds, [*(used for _, used in earlier), level]))


class Judged(Protocol):
    """What a verdict says of the look that it was: the claim's id, the level, and the seeds of all looks so far."""

    @property
    def id(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def looks(self) -> tuple[int, ...]: ...


def after(before: Looks, verdicts: Iterable[Judged]) -> Looks:
    """The looks with those that were taken now: of one at as many seeds as before the wider level stays known."""
    found = dict(before.taken)
    for one in verdicts:
        if one.looks:
            known: dict[int, float] = dict(found.get(one.id, ()))
            known[one.looks[-1]] = max(known.get(one.looks[-1], 0.0), round(one.level, DIGITS))
            found[one.id] = tuple(sorted(known.items()))
    return Looks(before.most, found)
