"""What forgetting_tradeoff prepares: curves along the learning rate, methods at equal quality, the front, the laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import RANDOM_STATE, Plane, beside_quality, matched_arms
from analysis.claims.tables import Tables
from analysis.questions.forgetting_tradeoff.clouds import AgainstLoss, AgainstSteps, against_loss, against_steps
from analysis.questions.forgetting_tradeoff.methods import (
    EPOCHS,
    FULL,
    LORA,
    METHODS,
    RANK_16,
    Method,
    along_rates,
    lengths,
)
from analysis.questions.forgetting_tradeoff.mix import folds, measured_domains, share_of_mix
from analysis.stats import Estimate
from analysis.stats.equal_quality import Matched
from analysis.stats.front import Box, Scores, front_probability, hypervolume_interval
from core.lab.corpus import DOMAIN_SHARES

LEFT, HELD_OUT = "nll_after_relearning/documents", "exact_match/held_out"
COSTS = ("forgetting", LEFT, "raw_accuracy/skills", "raw_accuracy/facts")  # what is lost at equal quality


@dataclass(frozen=True)
class Compared:
    """A method that is compared with full fine-tuning at equal quality, in what they lose."""

    method: Method = RANK_16
    epochs: float = EPOCHS
    measure: str = "forgetting"
    quality: str = "quality"


@dataclass(frozen=True)
class Domain:
    """One domain of the laboratory's corpus: its shares, and the rise of its NLL at equal quality."""

    name: str
    share_of_mix: float  # of the tuning mix's tasks, a mean over the seeds' folds
    share_of_pretraining: float
    at_equal_quality: Matched | None  # LoRA rank 16, then full fine-tuning


@dataclass(frozen=True)
class Tradeoff:
    """Everything that the question makes of its arms."""

    curves: Mapping[Method, list[Arm]]  # of the usual length, along the learning rate
    shorter: Mapping[Method, Mapping[float, list[Arm]]]  # epochs → the same with fewer
    lengths: list[float]  # of full fine-tuning's trainings, in epochs, the longest first
    at_equal_quality: Mapping[Compared, Matched]  # the method, then full fine-tuning; only what can be compared
    domains: Sequence[Domain]  # from the one that fills most of the mix
    front: Mapping[str, float]  # arm → how surely it is on the front of all arms, of whatever length
    box: Box | None  # from the untouched base to the best quality and the largest forgetting of the curves
    volumes: Mapping[Method, Estimate]  # the share of the box that a curve dominates
    against_loss: Mapping[tuple[Method, ...], AgainstLoss]  # of all of LoRA's ranks together, and of full fine-tuning
    against_steps: Mapping[Method, AgainstSteps]


def prepare(t: Tables[Any]) -> Tradeoff:
    """All comparisons, fits and bootstraps of the question."""
    curves = {method: along_rates(t, method) for method in METHODS}
    at_equal_quality = _at_equal_quality(t)
    box = _box(t, curves)
    return Tradeoff(
        curves=curves,
        shorter={method: _shorter(t, method) for method in METHODS},
        lengths=lengths(t, FULL)[::-1],
        at_equal_quality=at_equal_quality,
        domains=_domains(t),
        front=_front(t),
        box=box,
        volumes=_volumes(t, curves, box) if box else {},
        against_loss={group: found for group in (LORA, (FULL,)) if (found := against_loss(t, group))},
        against_steps={method: law for method in (RANK_16, FULL) if (law := against_steps(t, method))},
    )


def _shorter(t: Tables[Any], method: Method) -> dict[float, list[Arm]]:
    """Curves of two points or more with fewer epochs than usual."""
    found = {epochs: along_rates(t, method, epochs) for epochs in lengths(t, method) if epochs < EPOCHS}
    return {epochs: arms for epochs, arms in found.items() if len(arms) > 1}


def _at_equal_quality(t: Tables[Any]) -> dict[Compared, Matched]:
    """Every rank against full fine-tuning, at every length and in everything that may be lost."""
    wanted = [
        Compared(method, epochs, measure)
        for method in LORA
        for epochs in {EPOCHS, *lengths(t, FULL)}
        for measure in COSTS
        if measure in t.panels
    ]
    wanted += [Compared(measure=measure, quality=HELD_OUT) for measure in COSTS[:2] if {measure, HELD_OUT} <= t.panels.keys()]
    return {one: found for one in wanted if (found := _matched(t, one))}


def _matched(t: Tables[Any], one: Compared) -> Matched | None:
    sides = along_rates(t, one.method, one.epochs), along_rates(t, FULL, one.epochs)
    return matched_arms(t, sides, Plane(one.measure, one.quality))


def _domains(t: Tables[Any]) -> list[Domain]:
    arms, names = t.where({}), measured_domains(t)
    seeds_folds = folds(t, arms[0]) if arms else []
    shares = {name: float(np.mean([share_of_mix(name, fold) for fold in seeds_folds])) for name in names}
    return [
        Domain(name, shares[name], DOMAIN_SHARES[name], _matched(t, Compared(measure=f"nll/{name}")))
        for name in sorted(names, key=lambda name: -shares[name])
    ]


def _scores(t: Tables[Any], arms: Sequence[Arm]) -> Scores | None:
    """Quality and forgetting over the seeds that these arms share; None without one."""
    seeds = seeds_of(*arms)
    return beside_quality(t, arms, seeds) if seeds else None


def _front(t: Tables[Any]) -> dict[str, float]:
    arms = t.where({})
    found = _scores(t, arms)
    if found is None:
        return {}
    probability = front_probability(found, np.random.default_rng(RANDOM_STATE))
    return dict(zip((arm.label for arm in arms), map(float, probability), strict=True))


def _box(t: Tables[Any], curves: Mapping[Method, Sequence[Arm]]) -> Box | None:
    arm_rows = t.arm_rows[t.arm_rows["arm"].isin([arm.label for arms in curves.values() for arm in arms])]
    if arm_rows.empty:
        return None
    before = float(t.trials["quality_before"].astype(float).mean())
    return Box(before, float(arm_rows["quality"].max()), float(arm_rows["forgetting"].max()))


def _volumes(t: Tables[Any], curves: Mapping[Method, Sequence[Arm]], box: Box) -> dict[Method, Estimate]:
    by_method = {method: found for method, arms in curves.items() if (found := _scores(t, arms))}
    return {method: hypervolume_interval(found, box, np.random.default_rng(RANDOM_STATE)) for method, found in by_method.items()}
