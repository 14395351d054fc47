"""Which arm to use: those that cannot be told from the best, of these the ones that are not expected to lose much, the cheapest.

In this order: an arm that is shown to have less quality than another one leaves (on tasks that are trained on and, where these
are measured, on held-out ones); then one that is expected to lie more than a tolerance below the best of those left: that few
seeds do not tell two arms apart does not make them alike. Then the same two steps for forgetting among those left, and the
cheapest of the rest is chosen. Where no arm is expected to lose as little, the one with the least expected loss stays.
The untuned base takes part in the quality; where it stays, nothing is shown to beat it, and it is kept.
All tests at once are wrong in at most ALPHA, which the measures share equally (stats/best.py).
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
from analysis.claims.more_seeds import seeds_needed
from analysis.claims.tables import Tables, has
from analysis.claims.untuned import Untuned
from analysis.claims.verdicts import few_items
from analysis.stats import best
from analysis.stats.best import Pairwise
from analysis.stats.decision import ABOVE_ZERO, BELOW_ZERO
from analysis.stats.estimate import LEVEL, Estimate, at_level
from analysis.stats.good_rates import TOLERANCE
from analysis.stats.intervals import mean_interval
from core import measures

ALPHA = 1 - LEVEL
# What an arm may be expected to lose: of quality TOLERANCE; of forgetting 5 % of the perplexity, or a tenth of the least
# forgetting, if that is more.
OF_FORGETTING, SHARE_OF_FORGETTING = 0.05, 0.1
SAME_TIME = 1.1  # seconds a trial that differ by less are alike: on one machine they vary as much from run to run


@dataclass(frozen=True)
class Measured:
    """One measure of the choice: the scores of arms and bases over the common seeds, higher is better, and all differences."""

    name: str
    labels: tuple[str, ...]
    scores_KSI: np.ndarray
    panel: Panel
    pairs: Pairwise
    bases_S: np.ndarray | None = None  # of each seed

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def better(self, first: str, second: str) -> Estimate:
        """How far the first lies above the second."""
        difference_SI = self.scores_KSI[self.index(first)] - self.scores_KSI[self.index(second)]
        return mean_interval(difference_SI, self.panel.strata_I, self.panel.n_items, bases_S=self.bases_S)

    def set_of(self, labels: Sequence[str], alpha: float) -> list[str]:
        """Which of these cannot be told from the best of them."""
        among_K = np.array([label in labels for label in self.labels])
        kept_K = best.best_set(self.pairs, alpha, among_K)
        return [label for label, kept in zip(self.labels, kept_K, strict=True) if kept]

    def expected_losses(self, labels: Sequence[str]) -> dict[str, float]:
        """How far the best of these is expected to lie above each of them."""
        losses_K = best.expected_losses(self.pairs, np.array([label in labels for label in self.labels]))
        return {label: float(losses_K[self.index(label)]) for label in labels}

    def tolerance(self, labels: Sequence[str]) -> float:
        """How much these may be expected to lose."""
        if self.name != "forgetting":
            return TOLERANCE
        least = -max(float(self.scores_KSI[self.index(label)].mean()) for label in labels)
        return max(OF_FORGETTING, SHARE_OF_FORGETTING * least)

    def loss(self, chosen: str, labels: Sequence[str], alpha: float) -> Estimate:
        """What choosing this one of them costs."""
        return best.loss(self.pairs, self.index(chosen), alpha, np.array([label in labels for label in self.labels]))


@dataclass(frozen=True)
class Gentler:
    """An arm that forgets less than the chosen one and has less quality: by how much of each."""

    label: str
    forgetting: Estimate
    quality: Estimate


@dataclass(frozen=True)
class Choice:
    """What to use, and why. `chosen` "": nothing can be decided, and `why` says why."""

    chosen: str = ""
    why: str = ""
    base: bool = False  # whether what is chosen is an untuned base
    told: tuple[str, ...] = ()  # arms that cannot be told from the best
    worse: Mapping[str, str] = field(default_factory=dict)  # an arm that can → on what
    risky: Mapping[str, str] = field(default_factory=dict)  # of `told`, what is expected to lose too much → of what
    left_out: Mapping[str, str] = field(default_factory=dict)  # an arm that was not judged → why
    instead: str = ""  # where the base is kept: the cheapest of the arms that are as good, for whoever tunes all the same
    looks_better: Estimate | None = None  # where the base is kept: the gain of the arm that looks best, if it looks better
    losses: Mapping[str, Estimate] = field(default_factory=dict)  # measure → what choosing it is expected to cost
    gentler: Gentler | None = None
    rival: str = ""  # what more seeds could bring: a cheaper arm of the set, else the other one with the highest quality
    rival_on: str = ""  # the measure on which it is compared
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
    if few := few_items(t.panels["quality"].n_items):
        return replace(blank, why=few)
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
        panel = a.panel(t.items, final, name, t.trials) if having >= set(final) else None
    return panel if panel is not None and all(has(arm, panel) for arm in arms) else None


def _measured(t: Tables[Any], name: str, arms: Sequence[Arm], bases: Sequence[Untuned], seeds: Sequence[int]) -> Measured | None:
    panel = _panel(t, name, arms)
    if panel is None:
        return None
    sign = -1.0 if name == "forgetting" else 1.0
    rows = {arm.label: panel.of([arm.final[seed] for seed in seeds]) for arm in arms}
    if not a.is_change(name):
        own = {base.label: untuned.scores(base, t.frames, panel, name, seeds) for base in bases}
        rows |= {label: scores for label, scores in own.items() if scores is not None}
    scores_KSI = sign * np.stack(list(rows.values()))
    bases_S = panel.bases(arms, seeds)
    pairs = best.pairwise(scores_KSI, panel.strata_I, panel.n_items, bases_S)
    return Measured(name, tuple(rows), scores_KSI, panel, pairs, bases_S)


def _decide(t: Tables[Any], arms: Sequence[Arm], scored: Sequence[Measured], blank: Choice) -> Choice:
    alpha = ALPHA / len(scored)
    quality = [one for one in scored if one.name != "forgetting"]
    lean = [one for one in scored if one.name == "forgetting"]
    sets = {one.name: one.set_of(one.labels, alpha) for one in quality}
    remarks = []
    good = [label for label in sets["quality"] if all(label in kept or label not in scored[0].labels for kept in sets.values())]
    if not good:
        remarks.append("no arm is among the best both on the tasks trained on and on held-out ones: the choice is by the former")
        good = sets["quality"]
    worse = {label: _on(sets, label) for label in scored[0].labels if label not in good}
    tuned = [arm.label for arm in arms if arm.label in good]
    safe, risky = within(quality, tuned)
    light = lean[0].set_of(safe, alpha) if lean and safe else safe
    worse |= {label: "forgetting" for label in safe if label not in light}
    left, heavy = within(lean, light)
    kept = [label for label in good if label not in tuned]  # untuned bases
    cheap = cheapest(t, left) if left else ""
    chosen = kept[0] if kept else cheap
    told = [label for label in tuned if label not in worse]
    found = replace(
        blank, chosen=chosen, base=bool(kept), told=(*kept, *told), worse=worse, risky=risky | heavy,
        instead=cheap if kept else "",
        remarks=tuple(remarks + _obstacles(t, [arm for arm in arms if arm.label in told])),
    )  # fmt: skip
    losses = {one.name: one.loss(chosen, good if one in quality else told, alpha) for one in scored if chosen in one.labels}
    losses = {name: _bounded(e, t.unit(name)) for name, e in losses.items()}
    rival, measured = _rival(t, found, scored, good)
    gentler = _gentler(chosen, scored[0], lean[0]) if lean and chosen in lean[0].labels else None
    found = replace(found, losses=losses, gentler=gentler)
    return _against(found, measured, rival, len(scored), t.n_bases) if rival else found


def _bounded(e: Estimate, unit: str) -> Estimate:
    """No more than all of an accuracy can be lost."""
    return replace(e, value=min(e.value, 1.0), high=min(e.high, 1.0)) if unit == measures.ACCURACY else e


def _gentler(chosen: str, quality: Measured, forgetting: Measured) -> Gentler | None:
    """Of the arms with less quality the best one that is shown to forget less; its intervals hold for all of them at once."""
    behind = [(quality.better(chosen, label), label) for label in forgetting.labels if label != chosen]
    behind = sorted(((lost, label) for lost, label in behind if lost.known and lost.value > 0), key=lambda one: one[0].value)
    for lost, label in behind:
        spared = at_level(forgetting.better(label, chosen), ALPHA / len(behind))
        if spared.known and spared.low > 0:
            return Gentler(label, spared, at_level(lost, ALPHA / len(behind)))
    return None


def within(scored: Sequence[Measured], labels: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Which of the arms are expected to lose at most the tolerance of each measure, or where none is, the one that loses least;
    and of which measure the others lose more."""
    if not scored or not labels:
        return list(labels), {}
    shares = {}
    for one in scored:
        tolerance = one.tolerance(labels)
        shares[one.name] = {label: lost / tolerance for label, lost in one.expected_losses(labels).items()}
    limit = max(1.0, min(max(own[label] for own in shares.values()) for label in labels))
    lost = {
        label: " and ".join(formatting.readable(name) for name, own in shares.items() if own[label] > limit) for label in labels
    }
    return [label for label in labels if not lost[label]], {label: text for label, text in lost.items() if text}


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


def _rival(t: Tables[Any], choice: Choice, scored: Sequence[Measured], good: Sequence[str]) -> tuple[str, Measured]:
    """The arm that more seeds may put in the place of the chosen one, and the measure that decides it: the cheapest of those that
    are left out for their expected loss, if it is cheaper; else of the set the one with the highest quality."""
    quality = scored[0]
    others = [label for label in good if label != choice.chosen]
    cheaper = cheapest(t, [choice.chosen, *choice.risky]) if choice.risky and not choice.base else choice.chosen
    if cheaper != choice.chosen:
        both = [choice.chosen, cheaper]
        return cheaper, max(scored, key=lambda one: one.expected_losses(both)[cheaper] / one.tolerance(both))
    return max(others, key=lambda label: float(quality.scores_KSI[quality.index(label)].mean()), default=""), quality


def _against(choice: Choice, on: Measured, rival: str, n_measures: int, n_bases: int) -> Choice:
    """With what more seeds would buy."""
    e = on.better(rival, choice.chosen).on_bases(n_bases)
    looks_better = e if choice.base and e.value > 0 else None
    choice = replace(choice, rival=rival, rival_on=on.name, looks_better=looks_better)
    if not e.known:
        return choice
    n_tests = max(1, round(n_measures * (len(on.labels) - 1) / 2))  # one-sided at ALPHA, written as two-sided ones
    needed = seeds_needed(e, ABOVE_ZERO if e.value > 0 else BELOW_ZERO, n_tests)
    now, twice = (e.minimum_detectable(n_tests, n) for n in (e.n_seeds, 2 * e.n_seeds))
    return replace(choice, more_seeds=needed, seen_now=now, seen_twice=twice)
