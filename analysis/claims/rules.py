"""From a question's tables to findings: contrasts and trends between arms, and what keeps them from deciding a claim.

All comparisons are linear contrasts of arms over the seeds that they share, paired by seed and item: a difference is
+1 −1, a trend is a least-squares slope. So one interval (analysis/stats/intervals.py) serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis.arms import Arm, Panel
from analysis.claims import alike, comparable
from analysis.claims.tables import Fields, Tables, has
from analysis.claims.verdicts import Finding, untested
from analysis.formatting import joined, readable
from analysis.stats.decision import Region
from analysis.stats.drawn import LEAST_BASES
from analysis.stats.estimate import Estimate, Over
from analysis.stats.intervals import mean_interval
from core.measures import ACCURACY, MEASURES

STEPS_VARY = "train.epochs"  # a question whose x this is varies steps and tokens themselves
AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)  # of accuracy: "no gain"
NOT_WORSE = Region(-0.02, math.inf)  # "costs nothing"


def at_most(points: int) -> Region:
    """A gain of at most so many points of accuracy."""
    return Region(-math.inf, points / 100)


def costs_at_most(points: int) -> Region:
    """A loss of at most so many points of accuracy."""
    return Region(-points / 100, math.inf)


Rule = Callable[[Tables[Any]], Finding]


@dataclass(frozen=True)
class Ask:
    """What a claim is about: a measure, the region in which the claim is right, and the effect in words. `in_points`: the region,
    or a share of a quality, is in points of accuracy, so that it says nothing about a measure in other units. `new_clusters`: the
    claim is about clusters of tasks that nobody has drawn yet."""

    measure: str
    region: Region
    effect: str
    in_points: bool = False
    new_clusters: bool = False


def contrast(weights: Sequence[tuple[Arm, float]], scores: Panel, new_clusters: bool = False) -> Estimate | None:
    """Σ weight × the arm's mean over the seeds that all of them share; None without a common seed. `new_clusters`: with an
    interval for new clusters of tasks, where the scores have three or the seeds hold out three sets of them (`over` says it)."""
    arms = [arm for arm, _ in weights]
    seeds = a.seeds_of(*arms)
    if not seeds:
        return None
    clusters = _clusters(arms, scores, seeds) if new_clusters else None
    scores, units_S = clusters or (scores, scores.bases(arms, seeds))
    combined = sum(weight * scores.of([arm.final[seed] for seed in seeds]) for arm, weight in weights)
    e = mean_interval(np.asarray(combined), scores.strata_I, scores.n_items, bases_S=units_S)
    return replace(e, over=Over.NEW_CLUSTERS) if clusters and e.known else e


def over_measures(t: Tables[Any], parts: Sequence[tuple[str, Sequence[tuple[Arm, float]]]]) -> Estimate | None:
    """Σ weight × the arm's mean, of several measures: their items differ, so the seeds are what varies. None without a common
    seed."""
    arms = [arm for _, weighted in parts for arm, _ in weighted]
    if not (seeds := a.seeds_of(*arms)):
        return None
    means_S = sum(
        weight * t.panels[measure].of([arm.final[seed] for seed in seeds]).mean(axis=1)
        for measure, weighted in parts
        for arm, weight in weighted
    )
    bases_S = t.panels[parts[0][0]].bases(arms, seeds)
    n_items = min(t.panels[measure].n_items for measure, _ in parts)
    return mean_interval(np.asarray(means_S)[:, None], n_items=n_items, bases_S=bases_S)


def _clusters(arms: Sequence[Arm], scores: Panel, seeds: Sequence[int]) -> tuple[Panel, np.ndarray | None] | None:
    """The scores with clusters as what is drawn, crossed with the seeds or in folds, one a seed, and what each seed was drawn
    from; None where there are too few."""
    folds_S = scores.folds(arms, seeds)
    if scores.crossed and len(scores.clusters) >= LEAST_BASES:
        return scores.by_cluster(), scores.bases(arms, seeds)
    return (scores, folds_S) if folds_S is not None and len(set(folds_S.tolist())) >= LEAST_BASES else None


def whose_tasks(ask: Ask, e: Estimate) -> str:
    """That an interval of held-out quality speaks for the tasks that were held out; "" where it is for new clusters."""
    known = MEASURES.get(ask.measure)
    if not e.known or e.over is Over.NEW_CLUSTERS or not (ask.new_clusters or (known is not None and known.held_out)):
        return ""
    return f"{'too few clusters for new ones, so ' if ask.new_clusters else ''}the interval is for these held-out tasks"


def slope_weights(x_K: np.ndarray) -> np.ndarray:
    """Weights that give the least-squares slope of K means on x: they sum to 0, and to 1 times x."""
    centred = x_K - x_K.mean()
    weights: np.ndarray = centred / np.sum(centred**2)
    return weights


def combination(t: Tables[Any], parts: Sequence[tuple[Fields, float]], ask: Ask) -> Finding:
    """Finding on a linear contrast: Σ weight × the mean of the arm with these fields."""
    arms = [(t.arm(fields), weight) for fields, weight in parts]
    absent = [why_absent(t, fields) for (fields, _), (arm, _) in zip(parts, arms, strict=True) if arm is None]
    if why := not_measured(t, ask) or "; ".join(absent):
        return _untested(t, ask, why)
    found = [(arm, weight) for arm, weight in arms if arm is not None]
    if without := [arm.label for arm, _ in found if not has(arm, t.panels[ask.measure])]:
        return _untested(t, ask, f"no {readable(ask.measure)} of {', '.join(without)}")
    if why := alike.compared_with_itself((arm for arm, _ in found), t.same):
        return _untested(t, ask, why)
    e = contrast(found, t.panels[ask.measure], ask.new_clusters)
    if e is None:
        return _untested(t, ask, "no common seed")
    sides = [arm for arm, _ in found]
    note = joined(costs(t, *sides), flat_ends(t, *sides), whose_tasks(ask, e))
    unit, doubt = t.units[ask.measure], hindrance(t, ask.measure, *sides)
    return Finding(e, ask.region, ask.effect, unit, note, doubt, labels(sides))


def difference(t: Tables[Any], first: Fields, second: Fields, ask: Ask) -> Finding:
    """Finding on first less second on one measure."""
    return combination(t, [(first, 1.0), (second, -1.0)], ask)


def relative(t: Tables[Any], first: Fields, second: Fields, ask: Ask) -> Finding:
    """Finding on (first less second) over |second| on one measure, in per cent; of an accuracy alone, as a log-likelihood has no
    zero that a share could be of: its 0 is certainty, so the better the model, the larger every per cent."""
    if ask.measure in t.panels and (unit := t.units[ask.measure]) != ACCURACY:
        return _untested(t, ask, f"its margin is in per cent of an accuracy, {ask.measure} is in {unit}")
    found = difference(t, first, second, ask)
    one, other = t.arm(first), t.arm(second)
    if found.estimate is None or one is None or other is None:
        return found
    return replace(found, estimate=a.relative(one, other, t.panels[ask.measure]), unit="")


def trend(t: Tables[Any], fields: Fields, ask: Ask) -> Finding:
    """Finding on the slope of one measure on ln x, over the arms with these fields: the rise per e-fold of x. An arm with
    fewer than half of the others' seeds is left out, and the note names the arms that are missing."""
    if why := not_measured(t, ask):
        return _untested(t, ask, why)
    wanted = t.wanted(fields)
    most = max((len(arm.final) for arm in wanted), default=0)
    found = [arm for arm in t.where(fields) if 2 * len(arm.final) >= most and has(arm, t.panels[ask.measure])]
    found = t.on_x(arm for arm in found if arm.label not in t.same)  # one place on x for the same runs
    if len(found) < 3:
        return _untested(t, ask, f"{len(found)} arms finished, a trend needs 3")
    weights = slope_weights(np.log([t.x_of(arm) for arm in found]))
    e = contrast(list(zip(found, map(float, weights), strict=True)), t.panels[ask.measure], ask.new_clusters)
    if e is None:
        return _untested(t, ask, "no common seed")
    missing = ", ".join(arm.label for arm in wanted if arm not in found)
    note = joined(f"without {missing}" if missing else "", costs(t, *found), whose_tasks(ask, e))
    unit = f"{t.units[ask.measure]} per e-fold"
    return Finding(e, ask.region, ask.effect, unit, note, hindrance(t, ask.measure, *found), labels(found))


def _untested(t: Tables[Any], ask: Ask, why: str) -> Finding:
    return replace(untested(ask.region, ask.effect, why), unit=t.units.get(ask.measure, ""))


def labels(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Of the arms that a finding compares."""
    return tuple(dict.fromkeys(arm.label for arm in arms))


def why_absent(t: Tables[Any], fields: Fields) -> str:
    """Why there is no arm with these fields."""
    same = next((str(one) for one in t.repeated if one.fits(fields)), "")
    return same or f"no arm with {shown(fields)}"


def shown(fields: Fields) -> str:
    """Fields as people read them."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def not_measured(t: Tables[Any], ask: Ask) -> str:
    """Why a rule can't be applied to its measure: the data do not have it, or not as an accuracy. "" where it can."""
    if ask.measure not in t.panels:
        return f"these data have no {readable(ask.measure)}"
    unit = t.units[ask.measure]
    return f"its margin is in points of accuracy, {ask.measure} is in {unit}" if ask.in_points and unit != ACCURACY else ""


def costs(t: Tables[Any], *arms: Arm) -> str:
    """In how many steps these arms differ, where that is not what the question varies."""
    if "train/steps" not in t.trials or t.view.x == STEPS_VARY:
        return ""
    final = t.trials[t.trials["fingerprint"].isin([name for arm in arms for name in arm.final.values()])]
    steps = final.groupby("arm")["train/steps"].mean()
    return f"{steps.min():,.0f} to {steps.max():,.0f} steps" if steps.max() > 1.01 * steps.min() else ""


def as_trained(t: Tables[Any], counted: str, label: str) -> str:
    """Why evaluation rows of one's own are not of other tasks, or templates, than those trained on; "" where they are."""
    name = f"rows/evaluated_of_trained_{counted}"
    final = t.trials[t.trials["fingerprint"].isin([one for arm in t.arms for one in arm.final.values()])]
    if name not in final or final[name].isna().any():
        return f"nothing says that the evaluation rows are of other {counted}: they name no {label}, or trials are from before"
    n = int(final[name].max()) if len(final) else 0
    return f"{n} evaluation rows are of {counted} that --data has; give --eval-data with others" if n else ""


def flat_ends(t: Tables[Any], *arms: Arm) -> str:
    """Whose best learning rate is an end of the range, although the top reaches inside."""
    flat = t.arm_rows.set_index("arm")["flat_to_the_end"]
    names = ", ".join(arm.label for arm in arms if flat[arm.label])
    return f"best learning rate at the end of the range, on a flat top: {names}" if names else ""


def hindrance(t: Tables[Any], measure: str, *arms: Arm) -> str:
    """What keeps any effect between these arms from deciding a claim."""
    few = [arm.label for arm in arms if short_of_rows(t, arm)]
    found = [comparable.hindrance(t.arm_rows, arms, t.tuned)]
    found += [f"fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    found += [comparable.not_forgetting(t.arm_rows, arms, measure)] if a.measures_forgetting(measure) else []
    return joined(*found)


def short_of_rows(t: Tables[Any], arm: Arm) -> bool:
    """Whether the source had fewer rows than the arm asks for."""
    wanted = arm.fields.get("data.n_examples")
    known = isinstance(wanted, Real) and not pd.isna(wanted)
    return known and any(t.rows_available.get(name, math.inf) < float(str(wanted)) for name in arm.final.values())
