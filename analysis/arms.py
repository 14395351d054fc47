"""From the tidy frames to arrays: which trials make an arm, and their item scores as seeds × items, paired across arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis.chosen import DRAWN, final_trials
from analysis.stats import Estimate, mean_interval, ratio_interval, relative_difference
from core import measures
from core.data.rows import is_lab
from core.lab.skills import SKILLS
from core.states import FAILED, TUNING, Phase, State

COUNTED = (  # what is looked at to choose and count the trials of an arm
    "arm", "phase", "state", "seed", "fingerprint", "train.learning_rate", "quality", "quality_se", "forgetting", "seconds",
    "trainable_parameters", *DRAWN,
)  # fmt: skip
Frames = tuple[pd.DataFrame, pd.DataFrame]  # trials, and their items
AXES = ("quality", "forgetting")  # of which every trial has one score, the mean of the measures on it


@dataclass(frozen=True)
class Panel:
    """Scores of one axis: `scores_FI[row[fingerprint]]`, made so that the plain mean of a row is the trial's score.

    Weights (tokens) and the mean over several measures are worked in as x = score + share · (item − measure's mean),
    which keeps both the score and its sampling variance (linearisation). Where the trials were not scored on the same
    items, there is one column, the trial's score, and only seeds are compared (`crossed` False).
    """

    scores_FI: np.ndarray
    strata_I: np.ndarray
    rows: dict[str, int]
    n_items: int
    crossed: bool
    limits: tuple[float, float] = (-math.inf, math.inf)  # what a mean can be
    groups: tuple[str, ...] = ()  # which group each stratum is; none where not crossed
    base_of: Mapping[str, str] = field(default_factory=dict)  # fingerprint → the base model; empty where not told
    fold_of: Mapping[str, str] = field(default_factory=dict)  # fingerprint → which clusters were held out
    cluster_of: Mapping[str, str] = field(default_factory=dict)  # group → its cluster, where it is not one itself

    def of(self, fingerprints: list[str]) -> np.ndarray:
        """Scores of these trials: (trials, items)."""
        return self.scores_FI[[self.rows[name] for name in fingerprints]]

    def bases(self, arms: Sequence[Arm], seeds: Sequence[int]) -> np.ndarray | None:
        """A number for the base of each seed (S,), or where the arms have different ones for that of the arm with fewest, but
        for arms with one alone; None where nothing is known of bases."""
        return _numbered(self.base_of, arms, seeds)

    def folds(self, arms: Sequence[Arm], seeds: Sequence[int]) -> np.ndarray | None:
        """The same for the clusters that each seed holds out."""
        return _numbered(self.fold_of, arms, seeds)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters that the groups belong to."""
        return tuple(dict.fromkeys(self.cluster_of.get(group, group) for group in self.groups))

    def by_cluster(self) -> Panel:
        """With a column for each cluster instead of each item, and the same means of rows: clusters are what is drawn."""
        names_I = np.array([self.cluster_of.get(group, group) for group in self.groups])[self.strata_I]
        sums_FC = np.stack([self.scores_FI[:, names_I == name].sum(axis=1) for name in self.clusters], axis=1)
        counts_C = np.array([np.sum(names_I == name) for name in self.clusters])
        n_clusters, mean_F1 = len(counts_C), self.scores_FI.mean(axis=1, keepdims=True)
        scores_FC = mean_F1 + n_clusters / len(names_I) * (sums_FC - counts_C * mean_F1)
        return replace(self, scores_FI=scores_FC, strata_I=np.zeros(n_clusters, dtype=int))


def _numbered(of: Mapping[str, str], arms: Sequence[Arm], seeds: Sequence[int]) -> np.ndarray | None:
    if not of:
        return None
    combined = [tuple(of[arm.final[seed]] for arm in arms) for seed in seeds]
    columns = [column for column in zip(*combined, strict=True) if len(set(column)) > 1]
    # Seeds that share a base in one arm are not independent, whatever the other arms' bases are: those of fewest count.
    units = min(columns, key=lambda column: len(set(column)), default=combined)
    numbers = {one: i for i, one in enumerate(sorted(set(units)))}
    return np.array([numbers[one] for one in units], dtype=int)


def is_change(measure: str) -> bool:
    """Whether a measure is looked at as its change over the base model: "forgetting", and what is forgotten."""
    return measure == "forgetting" if measure in AXES else measures.measure(measure).change


def unit(measure: str, trial: pd.Series) -> str:
    """The unit of a measure of this trial."""
    return str(trial[f"{measure}_unit"]) if measure in AXES else measures.measure(measure).unit


def measures_forgetting(measure: str) -> bool:
    """Whether a rise of this measure is forgetting: the axis, or the likelihood of a text that the base knew."""
    return measure == "forgetting" or (measure not in AXES and bool(measures.measure(measure).text))


def measures_of_axes(items: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The measures of which each axis is the mean in the trial that has these items."""
    return {axis: tuple(dict.fromkeys(items.loc[items["axis"] == axis, "measure"])) for axis in AXES}


def panel(items: pd.DataFrame, fingerprints: list[str], measure: str, trials: pd.DataFrame) -> Panel:
    """The panel of one measure: "quality" or "forgetting" (all measures on that axis), or a measure's name. What
    `is_change` names enters as its rise over the base model, the others as they are after training. `trials`: say on which base
    and held-out clusters each was; the laboratory's tasks belong to clusters (its groups are tasks; those of others are clusters
    themselves)."""
    if not fingerprints:
        return Panel(np.empty((0, 0)), np.empty(0, dtype=int), {}, 0, False)
    column = "axis" if measure in AXES else "measure"
    chosen = items[(items[column] == measure) & items["fingerprint"].isin(fingerprints)]
    made = _panel(chosen, fingerprints, is_change(measure))
    binary = not is_change(measure) and chosen["after"].isin([0.0, 1.0]).all()
    base_of, fold_of = (_named(trials, column) for column in DRAWN)
    of_lab = bool(base_of) and all(map(is_lab, base_of.values()))
    cluster_of = {skill.name: skill.cluster for skill in SKILLS} if of_lab else {}
    limits = (0.0, 1.0) if binary else made.limits
    return replace(made, limits=limits, base_of=base_of, fold_of=fold_of, cluster_of=cluster_of)


def _named(trials: pd.DataFrame, column: str) -> dict[str, str]:
    """The base, or the fold, of each trial; empty where trials do not say it."""
    return dict(zip(trials["fingerprint"], trials[column].astype(str), strict=True)) if column in trials else {}


def _panel(chosen: pd.DataFrame, fingerprints: list[str], change: bool) -> Panel:
    value = chosen["after"] - chosen["before"] if change else chosen["after"]
    rows = {name: i for i, name in enumerate(dict.fromkeys(fingerprints))}
    codes_N, names = _coded(chosen["fingerprint"])
    row_N = pd.Index(list(rows), dtype=object).get_indexer(names)[codes_N]
    columns, keys = _columns(chosen, row_N)
    shape = (len(rows), len(keys))
    at = (row_N, columns)
    scores_FI, weights_FI = np.full(shape, np.nan), np.full(shape, np.nan)
    scores_FI[at], weights_FI[at] = value.to_numpy(dtype=float), chosen["weight"].to_numpy(dtype=float)
    measure_I = np.unique(keys["measure"].to_numpy(), return_inverse=True)[1]
    same = not np.isnan(scores_FI).any() and np.allclose(weights_FI, weights_FI[0])
    linear_FI = _linearised(scores_FI, weights_FI, measure_I)
    n_items = int((~np.isnan(scores_FI)).sum(axis=1).max()) if linear_FI.size else 0
    if not same:
        return Panel(np.nanmean(linear_FI, axis=1, keepdims=True), np.zeros(1, dtype=int), rows, n_items, False)
    strata = keys.groupby(["measure", "group"], sort=False, dropna=False)
    groups = tuple(str(group) for group in strata["group_name"].first())
    return Panel(linear_FI, strata.ngroup().to_numpy(), rows, n_items, True, groups=groups)


def _columns(chosen: pd.DataFrame, row_N: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Which column of a panel each item belongs to (N,), and a row for each column, in their order: the codes of its measure and
    group, and the group's name. An item that occurs twice in a trial has two columns."""
    coded = {name: _coded(chosen[name]) for name in ("measure", "group", "item")}
    key_N = np.zeros(len(chosen), dtype=np.int64)
    for codes_N, labels in coded.values():
        key_N = key_N * len(labels) + codes_N
    repeat_N = pd.Series(key_N * (row_N.max(initial=0) + 1) + row_N)
    repeat_N = repeat_N.groupby(repeat_N, sort=False).cumcount() if repeat_N.duplicated().any() else 0 * repeat_N
    key_N = key_N * (int(repeat_N.max()) + 1 if len(repeat_N) else 1) + repeat_N.to_numpy()
    columns_N, found_K = pd.factorize(key_N, sort=True)
    first_K = np.empty(len(found_K), dtype=int)
    first_K[columns_N[::-1]] = np.arange(len(key_N))[::-1]  # where each column occurs first
    keys = pd.DataFrame({name: codes_N[first_K] for name, (codes_N, _) in coded.items()})
    return columns_N, keys.assign(group_name=[str(coded["group"][1][code]) for code in keys["group"]])


def _coded(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Words as numbers in the words' order (N,), and the words."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = column.cat.categories.astype(object)
        order = np.argsort(words.to_numpy(), kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank[column.cat.codes.to_numpy()], words[order]
    codes, labels = pd.factorize(column.astype(object), sort=True, use_na_sentinel=False)
    return codes.astype(np.int64), pd.Index(labels)


def _linearised(scores_FI: np.ndarray, weights_FI: np.ndarray, measure_I: np.ndarray) -> np.ndarray:
    """Scores whose plain mean over a row's items is the mean over measures of the weighted mean over items."""
    present_FI = ~np.isnan(scores_FI)
    weights_FI = np.where(present_FI, weights_FI, 0.0)
    means_FM = np.stack(
        [np.nansum(np.where(measure_I == m, scores_FI * weights_FI, 0), axis=1) / weights_FI[:, measure_I == m].sum(axis=1)
         for m in np.unique(measure_I)], axis=1,
    )  # fmt: skip
    totals_FM = np.stack([weights_FI[:, measure_I == m].sum(axis=1) for m in np.unique(measure_I)], axis=1)
    share_FI = weights_FI / totals_FM[:, measure_I] / means_FM.shape[1] * present_FI.sum(axis=1, keepdims=True)
    linear: np.ndarray = means_FM.mean(axis=1, keepdims=True) + share_FI * (scores_FI - means_FM[:, measure_I])
    return linear


@dataclass(frozen=True)
class Arm:
    """One arm of the sweep: its label, adapter, the learning rate its final trials ran at (nan: none ran), the fingerprint
    of the final trial of each seed that finished, and the fields that all its trials share."""

    label: str
    method: str
    rank: int | None
    rate: float = math.nan
    final: dict[int, str] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)


def arms(table: pd.DataFrame) -> list[Arm]:
    """The arms, first those with a rank, along it. Of an arm whose final trials ran at several learning rates (the sweep was
    extended and tuned again) the rate that is now best on validation counts."""
    found = []
    by_arm = table.groupby("arm", sort=False)
    constant_AC = (by_arm.nunique(dropna=False) == 1).reindex(columns=table.columns, fill_value=False).to_numpy()
    firsts_AC = by_arm.head(1).to_numpy(dtype=object)
    names = list(map(str, table.columns))
    for (label, group), constant_C, first_C in zip(narrow(table).groupby("arm", sort=False), constant_AC, firsts_AC, strict=True):
        first = dict(zip(names, first_C, strict=True))
        rank = first.get("adapter.rank")
        final = group[final_trials(group)]
        done = final[final["state"] == State.FINISHED]
        by_seed = dict(zip(done["seed"].astype(int).tolist(), map(str, done["fingerprint"]), strict=True))
        rate = float(final["train.learning_rate"].iloc[0]) if len(final) else math.nan
        rank = None if rank is None or pd.isna(rank) else int(rank)
        shared = {"arm": label, **{name: first[name] for name, constant in zip(names, constant_C, strict=True) if constant}}
        found.append(Arm(str(label), str(first["adapter.method"]), rank, rate, by_seed, shared))
    return sorted(found, key=lambda arm: (arm.rank is None, arm.method, arm.rank or 0, arm.label))


def narrow(trials: pd.DataFrame, *further: str) -> pd.DataFrame:
    """The trials with the columns that arms are counted from, words as objects: of a hundred columns, and of pandas' strings, a
    choice of rows takes ten times as long."""
    slim = trials[[name for name in dict.fromkeys((*COUNTED, *further)) if name in trials]]
    words = [name for name, kind in slim.dtypes.items() if isinstance(kind, pd.StringDtype)]
    return slim.astype(dict.fromkeys(words, object))


def seeds_of(*arms: Arm) -> list[int]:
    """Seeds that finished in all these arms: of two, the pairs."""
    return sorted(set.intersection(*(set(arm.final) for arm in arms))) if arms else []


def mean(arm: Arm, scores: Panel) -> Estimate:
    """The arm's mean, for new seeds and items; of accuracies the interval ends at 0 and 1."""
    seeds = sorted(arm.final)
    bases_S = scores.bases([arm], seeds)
    e = mean_interval(scores.of([arm.final[s] for s in seeds]), scores.strata_I, scores.n_items, bases_S=bases_S)
    bottom, top = scores.limits
    return replace(e, low=max(e.low, bottom), high=min(e.high, top)) if e.known else e


def _pair(first: Arm, second: Arm, scores: Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    seeds = seeds_of(first, second)
    sides = (scores.of([arm.final[s] for s in seeds]) for arm in (first, second))
    return (*sides, scores.bases([first, second], seeds))  # type: ignore[return-value]


def difference(first: Arm, second: Arm, scores: Panel) -> Estimate:
    """First less second, paired by seed and item."""
    a, b, bases_S = _pair(first, second, scores)
    return mean_interval(a - b, scores.strata_I, scores.n_items, bases_S=bases_S)


def relative(first: Arm, second: Arm, scores: Panel) -> Estimate:
    """(First less second) over |second|, paired by seed and item."""
    a, b, bases_S = _pair(first, second, scores)
    return relative_difference(a, b, scores.strata_I, scores.n_items, bases_S)


def ratio(first: Arm, second: Arm, scores: Panel) -> Estimate:
    """First over second, paired by seed and item."""
    a, b, bases_S = _pair(first, second, scores)
    return ratio_interval(a, b, scores.strata_I, scores.n_items, bases_S)


def columns(name: str, e: Estimate | None) -> dict[str, float]:
    """An estimate as columns of a frame of arms: name, name_low, name_high."""
    value, low, high = (e.value, e.low, e.high) if e else (math.nan,) * 3
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def counts(arm: Arm, own: pd.DataFrame, end: Mapping[str, bool]) -> dict[str, object]:
    """Settings, cost, spread over the final seeds and counts of trials of one arm, from its trials. `end`: whether its best
    learning rate is at an end (analysis/edges.py)."""
    state_T = own["state"].to_numpy(dtype=object)
    final_T, tried_T = final_trials(own), own["phase"].isin(TUNING).to_numpy()
    finished_T, failed_T = state_T == State.FINISHED, np.array([state in FAILED for state in state_T], dtype=bool)
    done = own[final_T & finished_T]
    row: dict[str, object] = {"method": arm.method, "rank": arm.rank, "learning_rate": arm.rate, **end}
    for name in ("trainable_parameters", "seconds"):
        row[name] = float(done[name].mean()) if name in done and len(done) else math.nan
    for name in ("quality", "forgetting"):
        row[f"{name}_sd"] = float(done[name].std(ddof=1)) if name in done and len(done) > 1 else math.nan
    every_T = own["phase"].to_numpy(dtype=object) == Phase.FINAL  # also those at a rate that was the best once
    failed = {f"{phase}_failed": int((of_T & failed_T).sum()) for phase, of_T in ((Phase.FINAL, every_T), (Phase.TUNE, tried_T))}
    elsewhere = int((every_T & ~final_T & finished_T).sum())
    return row | {"seeds": len(arm.final), "tuned": int((tried_T & finished_T).sum()), **failed, "at_other_rates": elsewhere}
