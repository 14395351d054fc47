"""Arms along their learning rates: their scores as one array, and two such curves at equal quality. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.tables import Tables
from analysis.stats.equal_quality import Matched, SeedPair, matched_over_seeds
from analysis.stats.front import Scores
from core.measures import MEASURES

RANDOM_STATE = 20_250_703
Sides = tuple[Sequence[Arm], Sequence[Arm]]  # two curves: the arms of each, along the learning rate


def scores(t: Tables[Any], arms: Sequence[Arm], seeds: Sequence[int], measure: str) -> np.ndarray:
    """Item scores of these arms and seeds, (arms, seeds, items); of an accuracy that may be lost, what was lost."""
    panel = t.panels[measure]
    known = MEASURES.get(measure)  # None: an axis, "quality" or "forgetting"
    sign = -1.0 if known and known.change and known.higher_is_better else 1.0
    return sign * np.stack([panel.of([arm.final[seed] for seed in seeds]) for arm in arms])


@dataclass(frozen=True)
class Plane:
    """What two curves are compared in: what is lost, at equal quality of this kind."""

    measure: str = "forgetting"
    quality: str = "quality"


def beside_quality(
    t: Tables[Any], arms: Sequence[Arm], seeds: Sequence[int], plane: Plane = Plane(), n_items: int | None = None
) -> Scores:
    """Quality and another measure of these arms and seeds, with what each seed was drawn from."""
    quality = t.panels[plane.quality]
    of_quality, other = (scores(t, arms, seeds, name) for name in (plane.quality, plane.measure))
    return Scores(of_quality, other, quality.strata_I, t.panels[plane.measure].strata_I, n_items, quality.bases(arms, seeds))


def matched_arms(
    t: Tables[Any], sides: Sides, plane: Plane, seeds: Sequence[int] = (), place: int | None = None
) -> Matched | None:
    """Two curves along the learning rate at equal quality; None without two rates of each and a common seed. `seeds`: only
    these (none: all that finished in all arms). `place`: another number moves the crossings otherwise, while seeds and items are
    resampled alike."""
    first, second = sides
    seeds = seeds or seeds_of(*first, *second)
    if min(map(len, sides)) < 2 or not seeds:
        return None
    trials = {arm.final[seed] for arms in sides for arm in arms for seed in seeds}
    untuned = before(t, trials, plane.quality)
    rates = np.array([arm.rate for arm in first]), np.array([arm.rate for arm in second])
    found = beside_quality(t, [*first, *second], seeds, plane, t.panels[plane.quality].n_items)
    pair = SeedPair(rates, found, untuned)
    crossing = None if place is None else np.random.default_rng((RANDOM_STATE, place))
    return matched_over_seeds(pair, np.random.default_rng(RANDOM_STATE), crossing)


def before(t: Tables[Any], trials: set[str], quality: str) -> float:
    """The quality that the bases of these trials had."""
    if quality == "quality":
        return float(t.trials.loc[t.trials["fingerprint"].isin(trials), "quality_before"].astype(float).mean())
    own = t.items[t.items["fingerprint"].isin(trials) & (t.items["measure"] == quality)]
    return float(own["before"].astype(float).mean())
