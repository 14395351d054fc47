"""Which arm to use: those that cannot be told from the best, the cheapest of them, and what choosing it may cost.

In this order: an arm that is shown to have less quality than another one leaves (on tasks that are trained on and, where
these are
measured, on held-out ones), then of those left one that is shown to forget more than another of them; the cheapest of the rest is
chosen. The untuned base takes part in the quality; where it stays, nothing is shown to beat it, and it is kept.
All at once are wrong in at most ALPHA, which the measures share equally (stats/best.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis import arms as a
from analysis import formatting
from analysis.arms import Arm, Panel
from analysis.claims import comparable, untuned
from analysis.claims.tables import Tables, has
from analysis.claims.untuned import Untuned
from analysis.claims.verdicts import FEW_ITEMS, Finding, seeds_needed
from analysis.stats import best
from analysis.stats.best import Pairwise
from analysis.stats.decision import ABOVE_ZERO, BELOW_ZERO
from analysis.stats.estimate import LEVEL, Estimate
from analysis.stats.intervals import mean_interval
from core import measures

ALPHA = 1 - LEVEL
SAME_TIME = 1.1  # seconds a trial that differ by less are alike: on one machine they vary as much from run to run


@dataclass(frozen=True)
class Measured:
    """One measure of the choice: the scores of arms and bases over the common seeds, higher is better, and all differences."""

    name: str
    labels: tuple[str, ...]
    scores_KSI: np.ndarray
    panel: Panel
    pairs: Pairwise

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def better(self, first: str, second: str) -> Estimate:
        """How far the first lies above the second."""
        difference_SI = self.scores_KSI[self.index(first)] - self.scores_KSI[self.index(second)]
        return mean_interval(difference_SI, self.panel.strata_I, self.panel.n_items)

    def set_of(self, labels: Sequence[str], alpha: float) -> list[str]:
        """Which of these cannot be told from the best of them."""
        among_K = np.array([label in labels for label in self.labels])
        kept_K = best.best_set(self.pairs, alpha, among_K)
        return [label for label, kept in zip(self.labels, kept_K, strict=True) if kept]

    def loss(self, chosen: str, labels: Sequence[str], alpha: float) -> Estimate:
        """What choosing this one of them costs."""
        return best.loss(self.pairs, self.index(chosen), alpha, np.array([label in labels for label in self.labels]))


@dataclass(frozen=True)
class Choice:
    """What to use, and why. `chosen` "": nothing can be decided, and `why` says why."""

    chosen: str = ""
    why: str = ""
    base: bool = False  # whether what is chosen is an untuned base
    told: tuple[str, ...] = ()  # arms that cannot be told from the best
    worse: Mapping[str, str] = field(default_factory=dict)  # an arm that can → on what
    left_out: Mapping[str, str] = field(default_factory=dict)  # an arm that was not judged → why
    instead: str = ""  # where the base is kept: the cheapest of the arms that are as good, for whoever tunes all the same
    looks_better: Estimate | None = None  # where the base is kept: the gain of the arm that looks best, if it looks better
    losses: Mapping[str, Estimate] = field(default_factory=dict)  # measure → what choosing it is expected to cost
    rival: str = ""  # the other arm of the set with the highest quality
    n_seeds: int = 0
    n_arms: int = 0  # that were compared, bases aside
    more_seeds: int | None = None  # about how many would tell the chosen from the rival, were the difference as estimated
    seen_now: float = math.nan  # the smallest difference from the rival in quality that as many seeds find with 80 % power
    seen_twice: float = math.nan  # that twice as many find
    remarks: tuple[str, ...] = ()


def choose(t: Tables[Any]) -> Choice:
    """The choice between the arms of a question. Pure."""
    arms, left_out = judged(t)
    seeds = a.seeds_of(*arms)
    blank = Choice(left_out=left_out, n_seeds=len(seeds), n_arms=len(arms))
    if len(seeds) < 2:
        return replace(blank, why=f"it needs 2 final seeds that finished in every arm, and there {_are(len(seeds))}")
    if t.panels["quality"].n_items < FEW_ITEMS:
        return replace(blank, why=f"only {t.panels['quality'].n_items} evaluation items")
    bases = [one for one in t.untuned if set(one.of) & {arm.label for arm in arms}]
    scored = [one for name in _names(t, arms) if (one := _measured(t, name, arms, bases, seeds))]
    if len(scored[0].labels) < 2:
        return replace(blank, why="there is one arm, and what its base scores was not recorded")
    return _decide(t, arms, scored, blank)


def _are(n: int) -> str:
    return "is 1" if n == 1 else f"are {n}" if n else "is none"


def judged(t: Tables[Any]) -> tuple[list[Arm], dict[str, str]]:
    """The arms that take part, and why others do not."""
    most = max(len(arm.final) for arm in t.arms)
    asked = t.trials.set_index("fingerprint").get("quality_measure")
    kinds = {arm.label: str(asked[next(iter(arm.final.values()))]) if asked is not None and arm.final else "" for arm in t.arms}
    there = [kind for kind in kinds.values() if kind]
    usual = max(dict.fromkeys(there), key=there.count, default="")
    arms, out = [], {}
    for arm in t.arms:
        if not arm.final:
            out[arm.label] = "no final trial finished"
        elif 2 * len(arm.final) < most:
            out[arm.label] = f"{len(arm.final)} of {most} final seeds finished"
        elif kinds[arm.label] != usual and usual:
            out[arm.label] = f"its quality is {formatting.readable(kinds[arm.label])}, not {formatting.readable(usual)}"
        elif arm.label in t.same:
            out[arm.label] = f"the same runs as {t.same[arm.label]}"
        else:
            arms.append(arm)
    return arms, out


def _names(t: Tables[Any], arms: Sequence[Arm]) -> list[str]:
    """Quality, quality on held-out tasks, forgetting: what all these arms were scored on."""
    held_out = [name for name, one in measures.MEASURES.items() if one.held_out and name not in t.of_axis["quality"]]
    there = set(t.items["measure"].unique())
    return ["quality", *(name for name in held_out if name in there), *(["forgetting"] if "forgetting" in t.panels else [])]


def _panel(t: Tables[Any], name: str, arms: Sequence[Arm]) -> Panel | None:
    """The scores of a measure, also of one that the question does not look at; None where some arm has none."""
    final = [fingerprint for arm in arms for fingerprint in arm.final.values()]
    panel = t.panels.get(name)
    if panel is None:
        having = set(t.items.loc[t.items["measure"] == name, "fingerprint"].unique())
        panel = a.panel(t.items, final, name) if having >= set(final) else None
    return panel if panel is not None and all(has(arm, panel) for arm in arms) else None


def _measured(t: Tables[Any], name: str, arms: Sequence[Arm], bases: Sequence[Untuned], seeds: Sequence[int]) -> Measured | None:
    panel = _panel(t, name, arms)
    if panel is None:
        return None
    sign = -1.0 if name == "forgetting" else 1.0
    rows = {arm.label: panel.of([arm.final[seed] for seed in seeds]) for arm in arms}
    if not a.is_change(name):
        own = {base.label: untuned.scores(base, t.items, panel, name, seeds) for base in bases}
        rows |= {label: scores for label, scores in own.items() if scores is not None}
    scores_KSI = sign * np.stack(list(rows.values()))
    pairs = best.pairwise(scores_KSI, panel.strata_I, panel.n_items)
    return Measured(name, tuple(rows), scores_KSI, panel, pairs)


def _decide(t: Tables[Any], arms: Sequence[Arm], scored: Sequence[Measured], blank: Choice) -> Choice:
    alpha = ALPHA / len(scored)
    quality = [one for one in scored if one.name != "forgetting"]
    sets = {one.name: one.set_of(one.labels, alpha) for one in quality}
    remarks = []
    good = [label for label in sets["quality"] if all(label in kept or label not in scored[0].labels for kept in sets.values())]
    if not good:
        remarks.append("no arm is among the best both on the tasks trained on and on held-out ones: the choice is by the former")
        good = sets["quality"]
    worse = {label: _on(sets, label) for label in scored[0].labels if label not in good}
    tuned = [arm.label for arm in arms if arm.label in good]
    lean = next((one for one in scored if one.name == "forgetting"), None)
    told = lean.set_of(tuned, alpha) if lean and tuned else tuned
    worse |= {label: "forgetting" for label in tuned if label not in told}
    kept = [label for label in good if label not in tuned]  # untuned bases
    cheap = cheapest(t, told) if told else ""
    chosen = kept[0] if kept else cheap
    found = replace(
        blank, chosen=chosen, base=bool(kept), told=(*kept, *told), worse=worse, instead=cheap if kept else "",
        remarks=tuple(remarks + _obstacles(t, [arm for arm in arms if arm.label in told])),
    )  # fmt: skip
    losses = {one.name: one.loss(chosen, good if one in quality else tuned, alpha) for one in scored if chosen in one.labels}
    return _against_the_rival(replace(found, losses=losses), scored, good)


def _on(sets: Mapping[str, Sequence[str]], label: str) -> str:
    """On which measures of quality this one is worse than another."""
    return " and ".join(formatting.readable(name) for name, kept in sets.items() if label not in kept)


def _obstacles(t: Tables[Any], arms: Sequence[Arm]) -> list[str]:
    """What keeps a comparison of these arms from being final."""
    why = comparable.hindrance(t.arm_rows, arms, t.tuned)
    return [why] if why else []


def cheapest(t: Tables[Any], labels: Sequence[str]) -> str:
    """The arm with the fewest seconds a trial; of those that take about as long, with the fewest trainable parameters."""
    rows = t.arm_rows.set_index("arm").loc[list(labels)]
    seconds = rows["seconds"].astype(float).fillna(math.inf)
    quick = rows[seconds <= SAME_TIME * seconds.min()]
    cost = quick.assign(seconds=quick["seconds"].astype(float), place=range(len(quick)))
    return str(cost.sort_values(["trainable_parameters", "seconds", "place"], na_position="last").index[0])


def _against_the_rival(choice: Choice, scored: Sequence[Measured], good: Sequence[str]) -> Choice:
    """With what more seeds would buy: of the other arms of the set the one with the highest quality."""
    quality = scored[0]
    others = [label for label in good if label != choice.chosen]
    if not others:
        return choice
    rival = max(others, key=lambda label: float(quality.scores_KSI[quality.index(label)].mean()))
    e = quality.better(rival, choice.chosen)
    choice = replace(choice, rival=rival, looks_better=e if choice.base and e.value > 0 else None)
    if not e.known:
        return choice
    n_tests = max(1, round(len(scored) * (len(quality.labels) - 1) / 2))  # one-sided at ALPHA, written as two-sided ones
    needed = seeds_needed(Finding(e, ABOVE_ZERO if e.value > 0 else BELOW_ZERO, ""), n_tests)
    now, twice = (e.minimum_detectable(n_tests, n) for n in (e.n_seeds, 2 * e.n_seeds))
    return replace(choice, more_seeds=needed, seen_now=now, seen_twice=twice)
