"""How do gains, forgetting and the best recipe move with the size of the base?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import formatting
from analysis.arms import seeds_of
from analysis.claims.fits import points_of
from analysis.claims.rules import AT_MOST_TWO_POINTS, Rule, contrast, costs, difference, hindrance, lacks, trend, untested
from analysis.claims.tables import Fields, Tables, View
from analysis.claims.verdicts import IS_ABOVE, Finding
from analysis.reports import parts
from analysis.reports.question import reporter
from analysis.stats import ABOVE_ZERO, Estimate, Region, quotient_of_estimates
from analysis.stats.optimum import learning_rate_optimum
from analysis.stats.scaling import Comparison, Curve, compare, curve, seed_draws

if TYPE_CHECKING:
    import pandas as pd

    from analysis.arms import Arm

MIDDLE, RANK = 500, 16
OF_MIDDLE: Fields = {"data.n_examples": MIDDLE, "adapter.rank": RANK}  # the arms that differ in the base alone
RANDOM_STATE = 20_240_217
WITHIN_TWO = Region(0.5, 2.0)
JOINT = ("joint_logarithmic", "joint_product", "joint_additive")
FORMULAS = {
    "joint_logarithmic": "intercept + slope_1 ln X + slope_2 ln D",
    "joint_product": "limit − coefficient X^−alpha D^−beta",
    "joint_additive": "limit − coefficient_1 X^−alpha − coefficient_2 D^−beta",
    "flat": "the same everywhere",
}


def sizes(trials: pd.DataFrame) -> pd.DataFrame:
    """The base's parameters, and what makes a curve: examples, and the rank where it is not 16."""
    rank = [f", r = {int(r)}" if r != RANK else "" for r in trials["adapter.rank"]]
    kind = [f"{int(n):,}{r}" for n, r in zip(trials["data.n_examples"], rank, strict=True)]
    return trials.assign(parameters=trials["total_parameters"].groupby(trials["model.name"]).transform("max"), kind=kind)


def grid(t: Tables) -> list[Arm]:
    """The arms of rank 16: sizes of the base × numbers of examples."""
    return t.where({"adapter.rank": RANK})


def joint(t: Tables) -> tuple[Comparison, Curve] | None:
    """Competing laws of quality in parameters and examples over the seeds that all arms share; None with too few arms."""
    arms = grid(t)
    if len(arms) < 6 or len(seeds_of(*arms)) < 2:
        return None
    x_K2 = np.array([[t.x_of(arm), float(str(arm.fields["data.n_examples"]))] for arm in arms])
    if np.any(x_K2.min(axis=0) == x_K2.max(axis=0)):
        return None
    points, scores_SK = points_of(t, arms, "quality", x_K2, "rising")
    found = compare(points)
    law = next((row.law for row in found.rows if row.law in JOINT), JOINT[0])
    return found, curve(points, law, seed_draws(scores_SK, np.random.default_rng(RANDOM_STATE)))


def sections(t: Tables) -> list[str]:
    """The joint law and the best learning rates, for report.md."""
    rates = [[arm.label, parts.best_rate(e)] for arm, e in optima(t)]
    return [
        "## Size of the base and data together\n", *_law(joint(t)),
        "## Best learning rates\n", formatting.markdown(["arm", "top of the parabola [95 % interval]"], rates),
    ]  # fmt: skip


def _law(found: tuple[Comparison, Curve] | None) -> list[str]:
    if found is None:
        return ["Not fitted: needs two sizes, two numbers of examples, six arms and two common seeds.\n"]
    comparison, best = found
    compared = [row for row in comparison.rows if not row.why]
    laws = [[FORMULAS[row.law], formatting.number(row.difference), formatting.number(row.held_out_error)] for row in compared]
    known = {name: formatting.estimate(e) if e.known else e.why for name, e in best.parameters.items()}
    parameters = "; ".join(f"{name} {text}" for name, text in known.items())
    header = ["law of quality in X parameters and D examples", "AICc above the best", "error at the largest base"]
    doubt = f" {comparison.said[0].upper()}{comparison.said[1:]}." if len(comparison.as_good) != 1 else ""
    for name, formula in FORMULAS.items():
        doubt = doubt.replace(name, formula)
    return [formatting.markdown(header, laws), f"{FORMULAS[best.fit.law]}: {parameters}.{doubt}\n"]


def optima(t: Tables) -> list[tuple[Arm, Estimate]]:
    """The top of every arm's learning-rate curve, from its tuning trials (validation split)."""
    done = t.trials[(t.trials["phase"] == "tune") & (t.trials["state"] == "finished")]
    rate, quality = "train.learning_rate", "quality"
    curves = {str(label): (own[rate].to_numpy(float), own[quality].to_numpy(float)) for label, own in done.groupby("arm")}
    found = learning_rate_optimum(curves, t.panels["quality"].n_items)
    return [(arm, found[arm.label]) for arm in t.where({}) if arm.label in found]


def size_against_data(t: Tables) -> Finding:
    """size_buys_more_than_data: the slope of quality on the logarithm of parameters less that on the logarithm of examples, over the grid."""
    rule, effect = IS_ABOVE, "quality per e-fold of parameters − of examples"
    arms = grid(t)
    if why := lacks(t, "quality") or ("" if len(arms) >= 6 else f"{len(arms)} arms of rank 16 finished, needs 6"):
        return Finding(None, None, rule, effect, note=why)
    log_x = np.log([t.x_of(arm) for arm in arms])
    log_n = np.log([float(str(arm.fields["data.n_examples"])) for arm in arms])
    design = np.stack([np.ones_like(log_x), log_x, log_n], axis=1)
    _, by_size, by_data = np.linalg.pinv(design)
    e = contrast(list(zip(arms, map(float, by_size - by_data), strict=True)), t.panels["quality"])
    if e is None:
        return Finding(None, None, rule, effect, note="no common seed")
    note, obstacle = costs(t, *arms), hindrance(t, "quality", *arms)
    return Finding(e, ABOVE_ZERO, rule, effect, t.units["quality"], note=note, hindrance=obstacle)


def ends(t: Tables) -> tuple[Arm, Arm] | str:
    """The smallest and the largest base at rank 16 and 500 examples, or why one is missing: a base whose trials all failed has
    no size to go by, so every base must have finished."""
    if lost := [arm.label for arm in t.wanted(OF_MIDDLE) if not arm.final]:
        return f"no final trial of {', '.join(lost)}"
    found = t.where(OF_MIDDLE)
    return (found[0], found[-1]) if len(found) > 1 else "needs two sizes"


def rate_carries_over(t: Tables) -> Finding:
    """rate_carries_over_sizes: the best learning rate of the largest base over that of the smallest."""
    rule, effect = "supported: interval within 0.5–2×; contradicted: outside", "best learning rate, largest base ÷ smallest"
    if isinstance(both := ends(t), str):
        return untested(rule, effect, both)
    known = {arm.label: e for arm, e in optima(t)}
    if lost := [arm.label for arm in both if arm.label not in known]:
        return untested(rule, effect, f"no tuning trials of {', '.join(lost)}")
    small, large = (known[arm.label] for arm in both)
    ratio = quotient_of_estimates(large, small)
    return Finding(
        ratio,
        WITHIN_TWO,
        rule,
        effect,
        "ratio",
        note="from the tuning trials, one a rate",
        hindrance=hindrance(t, "quality", *both),
    )


def more_rank(t: Tables) -> Finding:
    """rank_16_enough_on_largest: rank 64 less rank 16 on the largest base."""
    rule, effect = "supported: interval below +0.02; contradicted: above", "quality, rank 64 − 16, largest base"
    if isinstance(both := ends(t), str):
        return untested(rule, effect, both)
    own = {"model.name": both[1].fields["model.name"], "data.n_examples": MIDDLE}
    high, good = ({**own, "adapter.rank": rank} for rank in (64, RANK))
    return difference(t, high, good, "quality", AT_MOST_TWO_POINTS, rule, effect, in_points=True)


VIEW = View(
    x="parameters",
    x_label="parameters of the base",
    measures=("quality", "forgetting", "exact_match/held_out", "raw_accuracy/skills"),
    curves="kind",
    curves_label="examples",
    derive=sizes,
    sections=sections,
)
RULES: dict[str, Rule] = {
    "larger_base_is_better": lambda t: trend(
        t, OF_MIDDLE, "quality", ABOVE_ZERO, "supported: interval of the slope above 0; contradicted: below 0",
        "rise of quality with parameters of the base",
    ),
    "size_buys_more_than_data": size_against_data,
    "larger_base_forgets_more": lambda t: trend(
        t, OF_MIDDLE, "forgetting", ABOVE_ZERO, "supported: interval of the slope above 0; contradicted: below 0",
        "rise of forgetting with parameters of the base",
    ),
    "rate_carries_over_sizes": rate_carries_over,
    "rank_16_enough_on_largest": more_rank,
}  # fmt: skip
report = reporter(VIEW, RULES)
