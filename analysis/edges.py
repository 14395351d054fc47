"""Whether an arm's best learning rate lies at an end of the rates tried, and whether quality still rises towards that end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.arms import Arm, Panel, narrow, panel
from analysis.chosen import base_keys
from analysis.stats import mean_products, variance_and_df
from core.states import Phase, State

RATE = "train.learning_rate"


def scored(own: pd.DataFrame) -> pd.DataFrame:
    """The tuning trials that have a quality. A rate whose trial crashed or ran out of memory says nothing of where the top is;
    one at which training diverged does (`bounded`)."""
    return own[(own["phase"] == Phase.TUNE) & (own["state"] == State.FINISHED) & own["quality"].notna()]


def bounded(own: pd.DataFrame, rate: float) -> bool:
    """Whether every trial that finished lies below a rate at which training diverged, and the best of them is the highest: the
    top is not beyond that rate, as nothing is learned there."""
    tried = scored(own)
    lost = own.loc[(own["phase"] == Phase.TUNE) & (own["state"] == State.DIVERGED), RATE].astype(float)
    return bool(len(tried) > 1 and rate == tried[RATE].max() and (lost > rate).any())


def at_an_end(tried: pd.DataFrame, rate: float) -> bool:
    """Whether the best learning rate is the lowest or highest of those that have a quality."""
    return bool(len(tried) and rate in (tried[RATE].min(), tried[RATE].max()))


def at_edge(tried: pd.DataFrame, again: pd.DataFrame, rate: float, scores: Panel) -> bool:
    """Whether the best learning rate is at an end and quality still rises towards it: it beats every rate between the ends by
    more than a standard error of the difference. Where one of them is as good within that, the top is flat and lies inside too.
    Also true where no rate lies between the ends. Rates that ran `again` on further bases are compared on all of them. `scores`:
    quality of the trials of `tried` and `again`."""
    if not at_an_end(tried, rate):
        return False
    by_rate = {float(one): own for one, own in pd.concat([tried, again]).groupby(RATE)}
    inner = sorted(by_rate)[1:-1]
    return all(beats(by_rate[rate], by_rate[one], scores) for one in inner)


def beats(first: pd.DataFrame, second: pd.DataFrame, scores: Panel) -> bool:
    """Whether the trials at the first rate are better than those at the second by more than a standard error of the difference,
    which is paired by item, and by seed and base where both ran several. At rates that are equally good this is so in 16 % of
    cases."""
    one, other = (dict(zip(base_keys(own), own["fingerprint"], strict=True)) for own in (first, second))
    both = sorted(one.keys() & other.keys())
    paired = bool(both) and (scores.crossed or len(both) > 1)
    difference_SI = (
        scores.of([one[key] for key in both]) - scores.of([other[key] for key in both]) if paired else np.empty((0, 0))
    )
    if not paired or np.isnan(difference_SI).any():
        shared = [own[[key in both for key in base_keys(own)]] if both else own for own in (first, second)]
        return _beats_unpaired(*shared)
    variance, _ = variance_and_df(*mean_products(difference_SI, difference_SI, scores.strata_I))
    return float(difference_SI.mean()) > math.sqrt(float(variance))


def _beats_unpaired(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """The same for trials that were not scored on the same items."""
    rise = float(first["quality"].mean()) - float(second["quality"].mean())
    errors = [_error(own) for own in (first, second)]
    return rise > math.hypot(*errors)


def _error(own: pd.DataFrame) -> float:
    """The standard error over items of the mean of some trials; 0 where it was not recorded."""
    each = own["quality_se"].astype(float).fillna(0.0) if "quality_se" in own else pd.Series(0.0, own.index)
    return math.hypot(*each) / len(each)


def ends(arms: Sequence[Arm], trials: pd.DataFrame, items: pd.DataFrame) -> dict[str, dict[str, bool]]:
    """An arm's label → `at_edge`, and `flat_to_the_end` where the best rate is an end and yet not at the edge."""
    whole = narrow(trials)
    tuned = scored(whole)
    by_arm = {arm.label: tuned.iloc[:0] for arm in arms} | {str(label): own for label, own in tuned.groupby("arm", sort=False)}
    ending = [arm for arm in arms if at_an_end(by_arm[arm.label], arm.rate)]
    there = {arm.label for arm in ending if not bounded(whole[whole["arm"] == arm.label], arm.rate)}
    further = whole[(whole["phase"] == Phase.AGAIN) & (whole["state"] == State.FINISHED) & whole["quality"].notna()]
    by_arm_again = {label: further[further["arm"] == label] for label in there}
    wanted = {name for label in there for own in (by_arm[label], by_arm_again[label]) for name in own["fingerprint"]}
    chosen = items[(items["axis"] == "quality") & items["fingerprint"].isin(wanted)]
    by_trial = {str(name): own for name, own in chosen.groupby("fingerprint", sort=False, observed=True)}
    found = {}
    for arm in arms:
        edge = arm.label in there
        if edge:
            tried, again = by_arm[arm.label], by_arm_again[arm.label]
            edge = at_edge(tried, again, arm.rate, _panel(pd.concat([tried, again]), by_trial))
        found[arm.label] = {"at_edge": edge, "flat_to_the_end": arm.label in there and not edge}
    return found


def _panel(tried: pd.DataFrame, by_trial: Mapping[str, pd.DataFrame]) -> Panel:
    names = list(map(str, tried["fingerprint"]))
    own = [by_trial[name] for name in names if name in by_trial]
    if len(own) < len(names):  # not all have items: there is nothing to pair
        return Panel(
            np.full((len(names), 1), math.nan), np.zeros(1, dtype=int), {name: i for i, name in enumerate(names)}, 0, False
        )
    return panel(pd.concat(own), names, "quality", tried)
