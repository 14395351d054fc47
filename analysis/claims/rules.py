"""From a question's tables to findings: contrasts and trends between arms, and what keeps them from deciding a claim.

All comparisons are linear contrasts of arms over the seeds that they share, paired by seed and item: a difference is
+1 −1, a trend is a least-squares slope. So one interval (analysis/stats/) serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis import formatting
from analysis.arms import Arm, Panel
from analysis.claims.tables import Fields, Tables, has
from analysis.claims.verdicts import Finding
from analysis.reports import parts
from analysis.stats import Estimate, Region, mean_interval

STEPS_VARY = "train.epochs"  # a question whose x this is varies steps and tokens themselves
AT_MOST_TWO_POINTS = Region(-math.inf, 0.02)  # of accuracy: "no gain"
NOT_WORSE = Region(-0.02, math.inf)  # "costs nothing"
Rule = Callable[[Tables], Finding]


def contrast(weights: Sequence[tuple[Arm, float]], scores: Panel) -> Estimate | None:
    """Σ weight × the arm's mean over the seeds that all of them share; None without a common seed."""
    seeds = a.seeds_of(*(arm for arm, _ in weights))
    if not seeds:
        return None
    combined = sum(weight * scores.of([arm.final[seed] for seed in seeds]) for arm, weight in weights)
    return mean_interval(np.asarray(combined), scores.strata_I, scores.n_items)


def slope_weights(x_K: np.ndarray) -> np.ndarray:
    """Weights that give the least-squares slope of K means on x: they sum to 0, and to 1 times x."""
    centred = x_K - x_K.mean()
    weights: np.ndarray = centred / np.sum(centred**2)
    return weights


def untested(rule: str, effect: str, why: str) -> Finding:
    """A claim that this sweep has nothing to say about."""
    return Finding(None, None, rule, effect, note=why)


def combination(
    t: Tables,
    parts: Sequence[tuple[Fields, float]],
    measure: str,
    region: Region,
    rule: str,
    effect: str,
    in_points: bool = False,
) -> Finding:
    """Finding on a linear contrast: Σ weight × the mean of the arm with these fields. `in_points`: the claim's margin, or its
    share of a quality, is one of accuracy."""
    arms = [(t.arm(fields), weight) for fields, weight in parts]
    lacking = [shown(fields) for (fields, _), (arm, _) in zip(parts, arms, strict=True) if arm is None]
    if why := lacks(t, measure, in_points) or "; ".join(f"no arm with {which}" for which in lacking):
        return untested(rule, effect, why)
    found = [(arm, weight) for arm, weight in arms if arm is not None]
    if without := [arm.label for arm, _ in found if not has(arm, t.panels[measure])]:
        return untested(rule, effect, f"no {formatting.readable(measure)} of {', '.join(without)}")
    e = contrast(found, t.panels[measure])
    if e is None:
        return untested(rule, effect, "no common seed")
    sides = [arm for arm, _ in found]
    note = formatting.joined(costs(t, *sides), flat_ends(t, *sides))
    return Finding(e, region, rule, effect, t.units[measure], note=note, hindrance=hindrance(t, measure, *sides))


def difference(
    t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str, in_points: bool = False
) -> Finding:
    """Finding on first less second on one measure."""
    return combination(t, [(first, 1.0), (second, -1.0)], measure, region, rule, effect, in_points)


def shown(fields: Fields) -> str:
    """Fields as people read them."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def lacks(t: Tables, measure: str, in_points: bool = False) -> str:
    """Why a rule can't be applied to this measure: the data do not have it, or not as an accuracy."""
    if measure not in t.panels:
        return f"these data have no {formatting.readable(measure)}"
    return (
        f"its margin is in points of accuracy, {measure} is in {t.units[measure]}"
        if in_points and t.units[measure] != "accuracy"
        else ""
    )


def relative(t: Tables, first: Fields, second: Fields, measure: str, region: Region, rule: str, effect: str) -> Finding:
    """Finding on (first less second) over |second| on one measure."""
    found = difference(t, first, second, measure, region, rule, effect)
    one, other = t.arm(first), t.arm(second)
    if found.estimate is None or one is None or other is None:
        return found
    note = formatting.joined(found.note, parts.per_cent_of(t.units[measure]))
    return replace(found, estimate=a.relative(one, other, t.panels[measure]), unit="", percent=True, note=note)


def trend(t: Tables, fields: Fields, measure: str, region: Region, rule: str, effect: str) -> Finding:
    """Finding on the slope of one measure on ln x, over the arms with these fields: the rise per e-fold of x. An arm with
    fewer than half of the others' seeds is left out, and the note names the arms that are missing."""
    if why := lacks(t, measure):
        return untested(rule, effect, why)
    wanted = t.wanted(fields)
    most = max((len(arm.final) for arm in wanted), default=0)
    found = [arm for arm in t.where(fields) if 2 * len(arm.final) >= most and has(arm, t.panels[measure])]
    if len(found) < 3:
        return untested(rule, effect, f"{len(found)} arms finished, a trend needs 3")
    weights = slope_weights(np.log([t.x_of(arm) for arm in found]))
    e = contrast(list(zip(found, map(float, weights), strict=True)), t.panels[measure])
    if e is None:
        return untested(rule, effect, "no common seed")
    missing = ", ".join(arm.label for arm in wanted if arm not in found)
    note = formatting.joined(f"without {missing}" if missing else "", costs(t, *found))
    return Finding(e, region, rule, effect, f"{t.units[measure]} per e-fold", note=note, hindrance=hindrance(t, measure, *found))


def costs(t: Tables, *arms: Arm) -> str:
    """In how many steps these arms differ, where that is not what the question varies."""
    if "train/steps" not in t.trials or t.view.x == STEPS_VARY:
        return ""
    final = t.trials[t.trials["fingerprint"].isin([name for arm in arms for name in arm.final.values()])]
    steps = final.groupby("arm")["train/steps"].mean()
    return f"{steps.min():,.0f} to {steps.max():,.0f} steps" if steps.max() > 1.01 * steps.min() else ""


def flat_ends(t: Tables, *arms: Arm) -> str:
    """Whose best learning rate is an end of the range, although the top reaches inside."""
    flat = t.arm_rows.set_index("arm")["flat_to_the_end"]
    names = ", ".join(arm.label for arm in arms if flat[arm.label])
    return f"best learning rate at the end of the range, on a flat top: {names}" if names else ""


def hindrance(t: Tables, measure: str, *arms: Arm) -> str:
    """What keeps any effect between these arms from deciding a claim."""
    few = [arm.label for arm in arms if short(t, arm)]
    found = [parts.hindrance(t.arm_rows, arms, t.tuned)]
    found += [f"fewer rows than data.n_examples: {', '.join(few)}"] if few else []
    found += [parts.not_forgetting(t.arm_rows, arms, measure)] if measure.startswith(("forgetting", "nll/")) else []
    return formatting.joined(*found)


def short(t: Tables, arm: Arm) -> bool:
    """Whether the source had fewer rows than the arm asks for."""
    wanted, own = arm.fields.get("data.n_examples"), t.trials[t.trials["fingerprint"].isin(arm.final.values())]
    known = isinstance(wanted, Real) and not pd.isna(wanted) and "rows/available" in own
    return bool(known and own["rows/available"].min() < float(str(wanted)))
