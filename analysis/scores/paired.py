"""Several files' scores on the items that all of them have: which are paired, and how far each is from the first and the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.claims.verdicts import Judged
from analysis.scores.files import Score, Scores
from analysis.stats import ABOVE_ZERO, BELOW_ZERO, LEVEL, Decision, Estimate, Region, holm, item_interval, mean_interval, verdict
from analysis.stats.best import best_set, pairwise
from core.errors import BadInput
from core.experiment import FEW_ITEMS

Key = tuple[str, str]  # seed, item
MANY = 3  # names in a message


@dataclass(frozen=True)
class Counted:
    """What became of a file's scores: of `n_scores` items `n_left_out` have no partner; `n_repeated` more were averaged."""

    path: str
    what: str
    n_scores: int
    n_left_out: int
    n_repeated: int
    n_unscored: int


@dataclass(frozen=True)
class Paired:
    """Scores (files, seeds, columns), made so that the plain mean of a row is the mean of its items, weights and clusters worked
    in; one column a cluster, with its stratum. Not `crossed`: other items in each seed, so one column, the seed's mean."""

    scores_FSC: np.ndarray
    strata_C: np.ndarray
    n_items: int
    counted: tuple[Counted, ...]
    crossed: bool = True

    def interval(self, scores_SC: np.ndarray) -> Estimate:
        """The mean, with an interval for new items and, where there are several, new seeds."""
        if len(scores_SC) == 1:
            return item_interval(scores_SC[0], self.strata_C, self.n_items)
        return mean_interval(scores_SC, self.strata_C, self.n_items)

    @property
    def n_seeds(self) -> int:
        return self.scores_FSC.shape[1]

    @property
    def too_few(self) -> str:
        """Why nothing can be decided, if so."""
        n, what = (self.scores_FSC.shape[2], "cluster") if self.crossed else (self.n_items, "item")
        return f"only {n} {'item' if n == self.n_items else what}{'s' * (n != 1)}" if n < FEW_ITEMS else ""


@dataclass(frozen=True)
class Comparison:
    """A file against the first: whether it is better, and, if asked, whether the two are equal within a margin."""

    path: str
    difference: Estimate
    better: Decision
    p: float
    p_holm: float
    detectable: float  # the smallest true difference that such a comparison finds with 80 % power
    note: str = ""
    equal: Decision | None = None


@dataclass(frozen=True)
class Compared:
    """All that is said of several files. `best`: which cannot be told from the one with the best mean."""

    means: tuple[Estimate, ...]
    comparisons: tuple[Comparison, ...]
    best: tuple[str, ...]


def pair(files: Sequence[Scores]) -> Paired:
    """The scores on what all files have.

    Raises:
        BadInput: they have nothing in common, or differ in what an item is.
    """
    indexed = [_indexed(one) for one in files]
    _check_seeds(files, indexed)
    seeds = [
        seed for seed in dict.fromkeys(seed for seed, _ in indexed[0]) if all(any(k[0] == seed for k in one) for one in indexed)
    ]
    common = [key for key in indexed[0] if all(key in one for one in indexed)]
    if not seeds or not common:
        what = "seed" if not seeds else "id"
        raise BadInput(f"{files[0].path} and {files[-1].path}: no {what} in common; scores are paired by id (and seed)")
    for key in common:
        _check_item(key, [one[key] for one in indexed], files)
    whole = dict.fromkeys(item for _, item in common)
    present = set(common)
    items = [item for item in whole if all((seed, item) in present for seed in seeds)]
    used = {(seed, item) for seed in seeds for item in items} if items else present
    counted = tuple(_counted(one, found, used) for one, found in zip(files, indexed, strict=True))
    if not items:
        return _seed_means(indexed, seeds, common, counted)
    table_FSI = np.array([[[one[seed, item].value for item in items] for seed in seeds] for one in indexed])
    known = [_described([one[seeds[0], item] for one in indexed]) for item in items]
    return _columns(table_FSI, known, counted)


def _indexed(scores: Scores) -> dict[Key, Score]:
    """Each score by seed and item; several of one are answers to the same question, of which the mean counts.

    Raises:
        BadInput: they are not, as they differ in group, cluster or weight.
    """
    found: dict[Key, list[Score]] = {}
    for row in scores.rows:
        found.setdefault((row.seed, row.id), []).append(row)
    for rows in found.values():
        for name in ("group", "cluster", "weight"):
            if len(said := list(dict.fromkeys(getattr(row, name) for row in rows))) > 1:
                text = f"id {rows[0].id!r} has the {name} {said[0]!r} and {said[1]!r}; give other items other ids"
                raise BadInput(f"{scores.path}: {text}", field=scores.path)
    return {
        key: rows[0] if len(rows) == 1 else replace(rows[0], value=sum(row.value for row in rows) / len(rows))
        for key, rows in found.items()
    }


def _counted(scores: Scores, found: dict[Key, Score], used: set[Key]) -> Counted:
    n_repeated = len(scores.rows) - len(found)
    return Counted(scores.path, scores.what, len(found), len(found.keys() - used), n_repeated, scores.n_unscored)


def _check_seeds(files: Sequence[Scores], indexed: Sequence[dict[Key, Score]]) -> None:
    for one, found in zip(files, indexed, strict=True):
        named = {seed != "" for seed, _ in found}
        if named != {any(seed != "" for seed, _ in indexed[0])}:
            text = "some scores have a seed and some have none; give one to all or to none"
            raise BadInput(f"{one.path}: {text} (of {files[0].path} too)", field=one.path)


def _check_item(key: Key, scores: Sequence[Score], files: Sequence[Scores]) -> None:
    """Every file means the same by an item.

    Raises:
        BadInput: they give it another weight, group, cluster or question.
    """
    for name, empty in (("weight", None), ("group", ""), ("cluster", ""), ("question", "")):
        said = [(getattr(one, name), file) for one, file in zip(scores, files, strict=True) if getattr(one, name) != empty]
        other = next((file for value, file in said if value != said[0][0]), None)
        if other is not None:
            what = "is another question" if name == "question" else f"has another {name}"
            raise BadInput(f"id {key[1]!r} {what} in {other.path} than in {said[0][1].path}", field=other.path)


def _described(scores: Sequence[Score]) -> tuple[float, str, str]:
    """Weight, group and cluster of an item, from whichever file says so."""
    group, cluster = (next((getattr(one, name) for one in scores if getattr(one, name)), "") for name in ("group", "cluster"))
    return scores[0].weight, group, cluster


def _columns(table_FSI: np.ndarray, known: Sequence[tuple[float, str, str]], counted: tuple[Counted, ...]) -> Paired:
    """One column a cluster (an item without one is its own). Linearised: a stratum's weighted mean, and how far the cluster's
    items move it, so that means and their sampling variance are those of the weighted items."""
    n_files, n_seeds, n_items = table_FSI.shape
    weight_I = np.array([weight for weight, _, _ in known])
    names = [(group, cluster or str(i), bool(cluster)) for i, (_, group, cluster) in enumerate(known)]
    clusters = {name: place for place, name in enumerate(dict.fromkeys(names))}
    groups = {group: place for place, group in enumerate(dict.fromkeys(group for _, group, _ in known))}
    cluster_I = np.array([clusters[name] for name in names])
    strata_C = np.array([groups[group] for group, _, _ in clusters])
    strata_I, share_I = strata_C[cluster_I], weight_I / weight_I.sum()
    share_G = np.bincount(strata_I, weights=share_I)
    sizes_G = np.bincount(strata_C)
    out_FSC = np.empty((n_files, n_seeds, len(clusters)))
    for f, table_SI in enumerate(table_FSI):
        mean_G = np.bincount(strata_I, weights=share_I * table_SI.mean(axis=0)) / share_G
        level_C = (len(clusters) * share_G * mean_G / sizes_G)[strata_C]
        for s, row_I in enumerate(table_SI):
            moved_C = np.bincount(cluster_I, weights=share_I * (row_I - mean_G[strata_I]), minlength=len(clusters))
            out_FSC[f, s] = level_C + len(clusters) * moved_C
    return Paired(out_FSC, strata_C, n_items, counted)


def _seed_means(
    indexed: Sequence[dict[Key, Score]], seeds: Sequence[str], common: Sequence[Key], counted: tuple[Counted, ...]
) -> Paired:
    """Where each seed has items of its own: its weighted mean over those that all files have."""
    if any(all(key[0] != seed for key in common) for seed in seeds):
        raise BadInput("a seed has no id in common in all files; leave its scores out")
    own = [[key for key in common if key[0] == seed] for seed in seeds]
    means_FS1 = np.array([[[_mean([one[key] for key in keys])] for keys in own] for one in indexed])
    return Paired(means_FS1, np.zeros(1, dtype=int), len(common), counted, crossed=False)


def _mean(scores: Sequence[Score]) -> float:
    return float(np.average([one.value for one in scores], weights=[one.weight for one in scores]))


def compare(paired: Paired, paths: Sequence[str], lower_is_better: bool = False, margin: float | None = None) -> Compared:
    """Every file against the first, and which are not told from the best. `margin`: within it two are equal for practice."""
    table, sign, region = paired.scores_FSC, -1 if lower_is_better else 1, BELOW_ZERO if lower_is_better else ABOVE_ZERO
    means = tuple(paired.interval(one) for one in table)
    differences = [paired.interval(one - table[0]) for one in table[1:]]
    detectable = [e.minimum_detectable(len(differences)) for e in differences]
    better = _decided(paired, differences, region)
    equal = [one.decision for one in _decided(paired, differences, Region(-margin, margin))] if margin else [None] * len(better)
    comparisons = tuple(
        Comparison(path, e, one.decision, one.p, one.p_holm, least, one.note, same)
        for path, e, one, least, same in zip(paths[1:], differences, better, detectable, equal, strict=True)
    )
    return Compared(means, comparisons, _not_told(paired, paths, sign))


def _decided(paired: Paired, differences: Sequence[Estimate], region: Region) -> list[Judged]:
    """Whether each difference lies in the region, by Holm over all of them."""
    judged = [verdict(one, region) for one in differences]
    found = []
    for e, (decision, p), p_holm in zip(differences, judged, holm(np.array([p for _, p in judged])), strict=True):
        note = paired.too_few or e.why
        if not note and decision.decided and p_holm > 1 - LEVEL:
            note = "not after Holm's correction"
        found.append(Judged(Decision.UNDECIDED if note else decision, note, p, float(p_holm)))
    return found


def _not_told(paired: Paired, paths: Sequence[str], sign: int) -> tuple[str, ...]:
    """The files that cannot be told from the best, by the same test as a report's arms (stats/best.py): the truly best one is
    among them in 95 % at least, whatever their number."""
    alone = paired.n_seeds == 1 and len(np.unique(paired.strata_C)) == len(paired.strata_C)  # no two items to tell noise by
    if paired.too_few or alone:
        return tuple(paths)
    kept_F = best_set(pairwise(sign * paired.scores_FSC, paired.strata_C, paired.n_items), 1 - LEVEL)
    return tuple(path for path, kept in zip(paths, kept_F, strict=True) if kept)
