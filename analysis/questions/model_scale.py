"""How do gains, forgetting and the best recipe move with the size of the base?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.arms import seeds_of
from analysis.claims.fits import points_of
from analysis.claims.question import Question
from analysis.claims.rules import (
    Ask,
    Rule,
    at_most,
    contrast,
    costs,
    difference,
    hindrance,
    labels,
    not_measured,
    trend,
)
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import Finding, untested
from analysis.stats import ABOVE_ZERO
from analysis.stats.good_rates import GoodRates, Rated, good_rates
from analysis.stats.scaling import Comparison, Curve, compare, curve, seed_draws
from core.rates import RATE
from core.states import Phase, State
from experiments.model_scale import EXPERIMENT

if TYPE_CHECKING:
    from analysis.arms import Arm

MIDDLE, RANK = 500, 16
OF_MIDDLE: Fields = {"data.n_examples": MIDDLE, "adapter.rank": RANK}  # the arms that differ in the base alone
RANDOM_STATE = 20_240_217
LEAST_ARMS = 6  # that a slope on two axes is taken over
JOINT = ("joint_logarithmic", "joint_product", "joint_additive")
FORMULAS = {
    "joint_logarithmic": "intercept + slope_1 ln X + slope_2 ln D",
    "joint_product": "limit − coefficient X^−alpha D^−beta",
    "joint_additive": "limit − coefficient_1 X^−alpha − coefficient_2 D^−beta",
    "flat": "the same everywhere",
}


def sizes(trials: pd.DataFrame) -> pd.DataFrame:
    """The base's parameters, alike in all of its size, and what makes a curve: examples, and the rank where it is not 16."""
    rank = [f", r = {int(r)}" if r != RANK else "" for r in trials["adapter.rank"]]
    kind = [f"{f'{int(n):,}' if pd.notna(n) else 'all'}{r}" for n, r in zip(trials["data.n_examples"], rank, strict=True)]
    return trials.assign(parameters=parameters_of(trials, EXPERIMENT.drawn), kind=kind)


def parameters_of(trials: pd.DataFrame, drawn: Mapping[str, Sequence[str]]) -> pd.Series:
    """The parameters of each trial's base, of one that failed too: those that `drawn` gives to one model are of one size, and any
    other base is a size of its own."""
    size_of = {base: size for size, bases in drawn.items() for base in bases}
    size = trials["model.name"].map(lambda name: size_of.get(name, name))
    found: pd.Series = trials["total_parameters"].groupby(size).transform("max")
    return found


def n_examples(arm: Arm) -> float:
    """How many examples an arm is trained on; nan for all that there are."""
    n = arm.fields["data.n_examples"]
    return np.nan if n is None else float(str(n))


def grid(t: Tables[Any]) -> list[Arm]:
    """The arms of rank 16: sizes of the base × numbers of examples."""
    return [arm for arm in t.where({"adapter.rank": RANK}) if np.isfinite(n_examples(arm))]


@dataclass(frozen=True)
class JointLaw:
    """Competing laws of quality in parameters and examples, and the best joint one with its parameters."""

    comparison: Comparison
    best: Curve


@dataclass(frozen=True)
class Scaling:
    """What the arms say together: the joint law (None: too few arms), and the good learning rates of each tuned arm."""

    law: JointLaw | None
    rates: Mapping[str, GoodRates]  # by the arm's label


def prepare(t: Tables[Any]) -> Scaling:
    """The joint law over the grid, and the good learning rates."""
    return Scaling(joint(t), rates(t))


def joint(t: Tables[Any]) -> JointLaw | None:
    """The laws over the seeds that all arms of the grid share; None with too few arms."""
    arms = grid(t)
    if len(arms) < LEAST_ARMS or len(seeds_of(*arms)) < 2:
        return None
    x_K2 = np.array([[t.x_of(arm), n_examples(arm)] for arm in arms])
    if np.any(x_K2.min(axis=0) == x_K2.max(axis=0)):
        return None
    points, scores_SK = points_of(t, arms, "quality", x_K2, "rising")
    found = compare(points)
    law = next((row.law for row in found.rows if row.law in JOINT), JOINT[0])
    bases_S = t.panels["quality"].bases(arms, seeds_of(*arms))
    return JointLaw(found, curve(points, law, seed_draws(scores_SK, np.random.default_rng(RANDOM_STATE), bases_S=bases_S)))


def rates(t: Tables[Any]) -> dict[str, GoodRates]:
    """The good learning rates of every tuned arm, from its tuning trials (validation split)."""
    done = t.trials[(t.trials["phase"] == Phase.TUNE) & (t.trials["state"] == State.FINISHED)]
    found = {}
    for label, own in done.sort_values(RATE).groupby("arm"):
        rated = Rated(own[RATE].to_numpy(float), own["quality"].to_numpy(float)[None])
        found[str(label)] = good_rates(rated, t.panels["quality"].n_items)
    return found


def sections(t: Tables[Scaling]) -> list[str]:
    """The joint law and the best learning rates, for report.md."""
    tuned = [(arm.label, t.own.rates[arm.label]) for arm in t.where({}) if arm.label in t.own.rates]
    shown = [[label, *(formatting.rate_text(rate) for rate in (one.best.value, one.low, one.high))] for label, one in tuned]
    return [
        "## Size of the base and data together\n", *_law(t.own.law),
        "## Learning rates\n", formatting.markdown(["arm", "best tried", "within 2 points of it from", "to"], shown),
        "From the tuning trials, one a rate, on one base of each size.\n",
    ]  # fmt: skip


def _law(found: JointLaw | None) -> list[str]:
    if found is None:
        return ["Not fitted: needs two sizes, two numbers of examples, six arms and two common seeds.\n"]
    comparison, best = found.comparison, found.best
    compared = [row for row in comparison.rows if not row.why]
    laws = [[FORMULAS[row.law], formatting.number(row.difference), formatting.number(row.held_out_error)] for row in compared]
    known = {name: formatting.estimate(e) if e.known else e.why for name, e in best.parameters.items()}
    parameters = "; ".join(f"{name} {text}" for name, text in known.items())
    header = ["law of quality in X parameters and D examples", "AICc above the best", "error at the largest base"]
    conclusion = comparison.conclusion(FORMULAS)
    doubt = f" {formatting.title(conclusion)}." if len(comparison.as_good) != 1 else ""
    return [formatting.markdown(header, laws), f"{FORMULAS[best.fit.law]}: {parameters}.{doubt}\n"]


def size_against_data(t: Tables[Scaling]) -> Finding:
    """The slope of quality on the logarithm of parameters, less that on the logarithm of examples, over the grid."""
    ask = Ask("quality", ABOVE_ZERO, "quality per e-fold of parameters − of examples")
    arms = grid(t)
    few = f"{len(arms)} arms of rank 16 finished, needs {LEAST_ARMS}" if len(arms) < LEAST_ARMS else ""
    if why := not_measured(t, ask) or few:
        return untested(ask.region, ask.effect, why)
    log_x, log_n = np.log([t.x_of(arm) for arm in arms]), np.log([n_examples(arm) for arm in arms])
    design = np.stack([np.ones_like(log_x), log_x, log_n], axis=1)
    _, by_size, by_data = np.linalg.pinv(design)
    e = contrast(list(zip(arms, map(float, by_size - by_data), strict=True)), t.panels["quality"])
    if e is None:
        return untested(ask.region, ask.effect, "no common seed")
    return Finding(e, ask.region, ask.effect, t.units["quality"], costs(t, *arms), hindrance(t, "quality", *arms), labels(arms))


def ends(t: Tables[Any]) -> tuple[Arm, Arm] | str:
    """The smallest and the largest base at rank 16 and 500 examples, or why one is missing: a base whose trials all failed has
    no size to go by, so every base must have finished."""
    if absent := [arm.label for arm in t.wanted(OF_MIDDLE) if not arm.final]:
        return f"no final trial of {', '.join(absent)}"
    found = t.where(OF_MIDDLE)
    return (found[0], found[-1]) if len(found) > 1 else "needs two sizes"


def more_rank(t: Tables[Scaling]) -> Finding:
    """Rank 64 less rank 16 on the largest base."""
    ask = Ask("quality", at_most(5), "quality, rank 64 − 16, largest bases", in_points=True)
    if isinstance(both := ends(t), str):
        return untested(ask.region, ask.effect, both)
    own = {"parameters": t.x_of(both[1]), "data.n_examples": MIDDLE}
    high, good = ({**own, "adapter.rank": rank} for rank in (64, RANK))
    return difference(t, high, good, ask)


VIEW = View(
    x="parameters",
    x_label="parameters of the base",
    measures=("quality", "forgetting", "exact_match/held_out", "raw_accuracy/skills"),
    curves="kind",
    curves_label="examples",
    derive=sizes,
)
RULES: dict[str, Rule] = {
    "larger_base_is_better": lambda t: trend(
        t, OF_MIDDLE, Ask("quality", ABOVE_ZERO, "rise of quality with parameters of the base")
    ),
    "size_buys_more_than_data": size_against_data,
    "larger_base_forgets_more": lambda t: trend(
        t, OF_MIDDLE, Ask("forgetting", ABOVE_ZERO, "rise of forgetting with parameters of the base")
    ),
    "rank_16_enough_on_largest": more_rank,
}
QUESTION = Question(VIEW, RULES, prepare, sections=sections)
