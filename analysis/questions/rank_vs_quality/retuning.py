"""The tuning trials: each arm's validation quality along the learning rate, and two arms at equal validation quality. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from analysis.arms import AXES, Panel, panel, seeds_of
from analysis.claims.tables import Tables
from analysis.stats import Estimate, mean_products
from analysis.stats.equal_quality import Curve, Pair, TrainingNoise, forgetting_at_matched_quality
from analysis.stats.good_rates import Rated
from core.states import Phase, State

RANDOM_STATE = 20_250_701  # of every bootstrap of this question: the same trials give the same report
MEASURED = ("quality", "quality_se", "forgetting", "quality_before")
COLUMNS = (
    "arm", "adapter.method", "adapter.rank", "train.learning_rate", "quality", "quality_low", "quality_high", "forgetting",
    "quality_before", "chosen", "state", "reason", "fingerprint",
)  # fmt: skip


def tuning_trials(t: Tables[Any]) -> pd.DataFrame:
    """One row a tuning trial, with the interval over items of its quality and whether its rate was chosen."""
    tune = t.trials[t.trials["phase"] == Phase.TUNE].copy()
    for name in MEASURED:
        tune[name] = tune[name].astype(float) if name in tune else np.nan
    tune["quality_low"], tune["quality_high"] = (tune["quality"] + sign * 1.96 * tune["quality_se"] for sign in (-1, 1))
    tune["chosen"] = tune["train.learning_rate"] == tune["arm"].map({arm.label: arm.rate for arm in t.arms})
    ordered = tune.sort_values(["arm", "train.learning_rate"], kind="stable")
    return ordered[[name for name in COLUMNS if name in tune]].reset_index(drop=True)


def scored(tuning: pd.DataFrame) -> pd.DataFrame:
    """The tuning trials that finished."""
    return tuning[tuning["state"] == State.FINISHED]


def panels_of(t: Tables[Any], tuned: pd.DataFrame) -> dict[str, Panel]:
    """Item scores of the finished tuning trials, on validation: axis → panel."""
    return {axis: panel(t.items, list(tuned["fingerprint"]), axis, tuned) for axis in AXES}


def rated(t: Tables[Any], tuning: pd.DataFrame, panels: Mapping[str, Panel]) -> dict[str, Rated]:
    """Arm → its curve along the rates, one run each, all on one base. The noise of a difference of two runs is that between final
    runs and that of the items on which they differ."""
    noise, found = _usual_spread(t), {}
    for arm in t.arms:
        own = tuning[tuning["arm"] == arm.label].sort_values("train.learning_rate")
        done = scored(own)
        rates_K = done["train.learning_rate"].to_numpy(float)
        scores_KI = panels["quality"].of(list(done["fingerprint"]))
        sd = None if noise is None else math.hypot(math.sqrt(2) * noise[0], _item_error(scores_KI))
        lost = own.loc[own["state"] == State.DIVERGED, "train.learning_rate"].astype(float)
        ends = (bool(len(done) and (lost < rates_K[0]).any()), bool(len(done) and (lost > rates_K[-1]).any()))
        df = noise[1] if noise else math.inf
        found[arm.label] = Rated(rates_K, done["quality"].to_numpy(float)[None], sd, df, ends)
    return found


def _usual_spread(t: Tables[Any]) -> tuple[float, float] | None:
    """The standard deviation of a final run once the means of arms and of seeds are taken out (a seed is another base), and its
    degrees of freedom: from the median of the arms' variances, as one arm that is unstable at its rate says nothing of the others
    (half of a sample's efficiency counts). None with one seed or one arm."""
    ready = [arm for arm in t.arms if arm.final]
    seeds = seeds_of(*ready)
    df = (len(ready) - 1) * (len(seeds) - 1)
    if len(ready) < 2 or len(seeds) < 2:
        return None
    table_CS = np.stack([t.panels["quality"].of([arm.final[s] for s in seeds]).mean(axis=1) for arm in ready])
    half_df = df / len(ready) / 2  # of one arm's part of the residuals
    variance_C = np.sum(residuals(table_CS) ** 2, axis=1) / (2 * half_df)
    median = gammaincinv(half_df, 0.5) / half_df  # of chi-squared over its degrees of freedom
    return math.sqrt(float(np.median(variance_C)) / median), max(df / 2, 1.0)


def residuals(table_CS: np.ndarray) -> np.ndarray:
    """What neither the arm nor the seed explains."""
    return np.asarray(table_CS - table_CS.mean(axis=0) - table_CS.mean(axis=1, keepdims=True) + table_CS.mean())


def _item_error(scores_KI: np.ndarray) -> float:
    """The standard error over items of a difference of two runs, on average over neighbouring rates."""
    differences = np.diff(scores_KI, axis=0)
    return float(np.sqrt(np.mean(differences.var(axis=1)) / scores_KI.shape[1])) if len(differences) else 0.0


def at_equal_quality(t: Tables[Any], tuned: pd.DataFrame, panels: Mapping[str, Panel]) -> dict[str, Estimate]:
    """LoRA's arm → how much more full fine-tuning forgets than it does, at equal validation quality. Only arms that were tuned
    at two rates or more; none where full fine-tuning was not."""
    curves = {
        str(label): Curve(
            rows["train.learning_rate"].to_numpy(float), *(panels[axis].of(list(rows["fingerprint"])) for axis in AXES)
        )
        for label, rows in tuned.sort_values("train.learning_rate").groupby("arm")
        if len(rows) > 1
    }
    full = next((arm.label for arm in t.arms if arm.method == "full" and arm.label in curves), None)
    if full is None:
        return {}
    before, noise = float(tuned["quality_before"].mean()), training_noise(t)
    strata = panels["quality"].strata_I, panels["forgetting"].strata_I
    return {
        arm.label: forgetting_at_matched_quality(
            Pair(curves[arm.label], curves[full], *strata, before), noise, np.random.default_rng(RANDOM_STATE)
        )
        for arm in t.arms
        if arm.method == "lora" and arm.label in curves
    }


def training_noise(t: Tables[Any]) -> TrainingNoise | None:
    """The spread of final runs once the means of arms and of seeds are taken out, less what the noise of their items explains
    (resampling items adds that anew); None with one seed or one arm."""
    ready = [arm for arm in t.arms if arm.final]
    seeds = seeds_of(*ready)
    df = (len(ready) - 1) * (len(seeds) - 1)
    if df < 1:
        return None
    quality_CSI, forgetting_CSI = (np.stack([t.panels[axis].of([arm.final[s] for s in seeds]) for arm in ready]) for axis in AXES)
    share_CSI = forgetting_CSI / np.abs(forgetting_CSI.mean(axis=(1, 2), keepdims=True))
    quality_strata, forgetting_strata = (t.panels[axis].strata_I for axis in AXES)
    return TrainingNoise(_spread(quality_CSI, quality_strata), _spread(share_CSI, forgetting_strata), df)


def _spread(scores_CSI: np.ndarray, strata_I: np.ndarray) -> float:
    """The standard deviation between runs of one arm that neither the seed nor the items explain."""
    n_arms, n_seeds, _ = scores_CSI.shape
    rest_CS = residuals(scores_CSI.mean(axis=2))
    pairs = [scores_CSI[0] - other_SI for other_SI in scores_CSI[1:]]
    by_item = np.mean([mean_products(pair_SI, pair_SI, strata_I)[0][2] for pair_SI in pairs]) * n_seeds / 2
    df = (n_arms - 1) * (n_seeds - 1)
    return float(np.sqrt(max(np.sum(rest_CS**2) / df - by_item, 0.0)))
