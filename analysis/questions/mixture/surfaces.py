"""The response surfaces of a sweep over shares: of each measure and each meaning of "the same amount"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.tables import Tables, has
from analysis.stats.mixtures import FINE, Surface, surface
from core import naming
from core.data import mixture, shares
from core.measures import measure

if TYPE_CHECKING:
    import pandas as pd

FIRST = "first_share"
LEAST_MIXTURES = 3


def along(trials: pd.DataFrame) -> pd.DataFrame:
    """The share of the first source: along it tables are sorted."""
    return trials.assign(**{FIRST: [parsed[0] if (parsed := _parsed(text)) else 0.0 for text in trials["data.shares"]]})


def _parsed(text: object) -> tuple[float, ...]:
    return shares.parse(text) if isinstance(text, str) and shares.are_shares(text) else ()


@dataclass(frozen=True)
class Point:
    """A mixture that was trained: its shares, as a setting has them too, and its arm."""

    shares: tuple[float, ...]
    text: str
    arm: Arm


@dataclass(frozen=True)
class Fitted:
    """The surface of one measure over these mixtures."""

    points: tuple[Point, ...]
    surface: Surface

    def told(self, names: Sequence[str]) -> str:
        """The best mixture in words: the share of each source with its interval."""
        return ", ".join(
            f"{name} {percent(e.value, e.low, e.high)}" for name, e in zip(names, self.surface.best.shares, strict=True)
        )


def percent(value: float, low: float, high: float) -> str:
    """Shares as whole per cents."""
    own = f"{100 * value:.0f}"
    return f"{own} [{100 * low:.0f}, {100 * high:.0f}] %" if np.isfinite(low) else f"{own} %"


@dataclass(frozen=True)
class Mixtures:
    """What the question prepares. `names`: of the sources; `amounts` of the sweep; `amount`: that of the claims."""

    names: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    amount: str = shares.STEPS
    points: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)  # by amount
    surfaces: Mapping[tuple[str, str], Fitted] = field(default_factory=dict)  # by measure and amount

    def equal(self) -> Point | None:
        """The arm in equal shares."""
        return self._at([1 / len(self.names)] * len(self.names)) if self.names else None

    def alone(self) -> list[Point]:
        """The arms of one source each, if every source has one."""
        found = [self._at(row) for row in np.eye(len(self.names)).tolist()]
        there = [one for one in found if one is not None]
        return there if len(there) == len(found) else []

    def _at(self, wanted: Sequence[float]) -> Point | None:
        return next((one for one in self.points.get(self.amount, ()) if np.allclose(one.shares, wanted)), None)


def prepare(t: Tables[Mixtures]) -> Mixtures:
    """Points and surfaces; nothing where no arm has finished."""
    arms = [arm for arm in t.arms if arm.final and _parsed(arm.fields.get("data.shares"))]
    if not arms:
        return Mixtures()
    n = len(_parsed(arms[0].fields["data.shares"]))
    meant = [arm.fields for arm in arms] + [dict(one.fields) for one in t.repeated]
    amounts = tuple(dict.fromkeys(str(fields.get("data.amount")) for fields in meant))
    points = {amount: tuple(_points(t, amount, n)) for amount in amounts}
    amount = shares.STEPS if shares.STEPS in amounts else amounts[0]
    fitted = {(name, one): found for name in t.panels for one in amounts if (found := _fitted(t, name, points[one])) is not None}
    return Mixtures(_names(str(arms[0].fields.get("data.source")), n), amounts, amount, points, fitted)


def _names(source: str, n: int) -> tuple[str, ...]:
    found = naming.short(mixture.names_in(source))
    names = tuple(name.removeprefix("lab:") for name in found.values())
    return names if len(names) == n else tuple(f"source {i}" for i in range(1, n + 1))


def _points(t: Tables[Mixtures], amount: str, n: int) -> list[Point]:
    """The mixtures of this amount, those among them that were run as another arm."""
    meant = [(arm.fields, arm) for arm in t.arms]
    meant += [(dict(one.fields), arm) for one in t.repeated if (arm := t.named(one.of)) is not None]
    found: dict[tuple[float, ...], Point] = {}
    for fields, arm in meant:
        parsed = _parsed(text := fields.get("data.shares"))
        if len(parsed) == n and fields.get("data.amount") == amount and arm.final:
            found.setdefault(parsed, Point(parsed, str(text), arm))
    return list(found.values())


def _fitted(t: Tables[Mixtures], name: str, points: Sequence[Point]) -> Fitted | None:
    """The surface over the mixtures that have this measure; None where they are too few or share no seed."""
    scores = t.panels[name]
    own = tuple(point for point in points if has(point.arm, scores))
    seeds = seeds_of(*(point.arm for point in own)) if own else []
    if len(own) < LEAST_MIXTURES or not seeds or len(own[0].shares) not in FINE:
        return None
    scores_SK = np.array([scores.of([point.arm.final[seed] for point in own]).mean(axis=1) for seed in seeds])
    bases_S = scores.bases([point.arm for point in own], seeds)
    better = name != "forgetting" and (name == "quality" or measure(name).higher_is_better)
    return Fitted(own, surface(np.array([point.shares for point in own]), scores_SK, scores.n_items, better, bases_S))
