"""No estimate claims certainty: what does not vary has no interval, and resampling gives no p value below one draw's share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated import answered, truths

from analysis import stats
from analysis.formatting import estimate
from analysis.questions.best_recipe.importance import Importance
from analysis.stats import ABOVE_ZERO, Decision, Estimate, Region, Why
from analysis.stats.equal_quality import Curve, Pair, TrainingNoise, forgetting_at_matched_quality
from analysis.stats.front import Box, Scores, hypervolume_interval
from analysis.stats.points import from_seeds
from analysis.stats.scaling import curve, seed_draws

ALIKE = np.full((3, 40), 0.1)
RNG = np.random.default_rng(0)
VARIED = RNG.random((3, 40))


@pytest.mark.parametrize(
    "found",
    [
        stats.mean_interval(np.zeros((4, 50))),
        stats.mean_interval(ALIKE),
        stats.mean_interval(ALIKE[:, :1], n_items=40),  # seed means that agree
        stats.mean_interval(np.repeat([[1.0, 3.0]], 3, axis=0), np.array([0, 1])),  # strata differ, and nothing in them
        stats.mean_interval(VARIED + 0.1 - VARIED),  # but for rounding
        stats.relative_difference(1.2 * VARIED, VARIED),
        stats.ratio_interval(2 * VARIED, VARIED),
        stats.ratio_interval(ALIKE, ALIKE),
        stats.from_draws(0.3, np.full(100, 0.3), (2, 10), 1.0),
        Importance({"a": np.zeros(50)}, {"a": 0.0}, 30).of("a"),
        hypervolume_interval(Scores(*(np.ones((2, 3, 9)),) * 2, *(np.zeros(9, int),) * 2), Box(0, 1, 2), RNG),
        curve(
            from_seeds(np.array([1.0, 2, 4, 8, 16]), np.tile(np.log([2.0, 3, 5, 9, 17]), (3, 1)), "rising"), "logarithmic",
            seed_draws(np.tile(np.log([2.0, 3, 5, 9, 17]), (3, 1)), np.random.default_rng(0)),
        ).parameters["slope"],
    ],
)  # fmt: skip
def test_what_does_not_vary_has_no_interval_and_decides_nothing(found: Estimate) -> None:
    assert found.missing is not None
    assert found.missing.kind is Why.NO_SPREAD
    assert not found.known
    assert math.isfinite(found.value)
    assert "no spread" in estimate(found)
    decision, p = stats.verdict(found, Region(found.value - 1, math.inf))
    assert decision is Decision.UNDECIDED
    assert math.isnan(p)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_little_spread_is_spread_whatever_the_unit(scale: float) -> None:
    scores = scale * np.add(1.0, 1e-6 * VARIED)
    assert stats.mean_interval(scores).known


@pytest.mark.parametrize("value", [0.2, 0.9])  # below and above all draws
def test_resampling_says_no_more_than_its_number_of_draws(value: float) -> None:
    e = stats.from_draws(value, np.linspace(0.5, 0.6, 99), (1, 10), 1e6)
    assert e.low <= value <= e.high
    assert e.n_draws == 99
    assert e.p_beyond(0.1, "above") >= 0.01
    assert e.p_beyond(1.5, "below") >= 0.01
    assert e.p_beyond(0.95 if value == 0.9 else 0.25, "above") > 0.5
    assert stats.verdict(e, ABOVE_ZERO)[0] is Decision.SUPPORTED


def test_matched_quality_far_from_zero_has_the_least_p_of_its_draws() -> None:
    rates, strata = np.geomspace(1e-4, 1e-2, 5), np.zeros(50, dtype=int)
    quality = np.linspace(0.1, 0.9, 5)[:, None] + np.random.default_rng(0).normal(0, 0.01, (5, 50))
    low, high = (Curve(rates, quality, level * (1 + quality)) for level in (1.0, 9.0))
    e = forgetting_at_matched_quality(
        Pair(low, high, strata, strata, 0.0), TrainingNoise(0.001, 0.001, 8), np.random.default_rng(0), 500
    )
    assert e.n_draws == 500
    assert e.p_beyond(0.0, "above") == pytest.approx(1 / 501)


def test_an_interval_that_ends_at_its_value_uses_its_other_side() -> None:
    at_the_limit = Estimate(1.0, 0.9, 1.0, 10, 3, 100)
    assert at_the_limit.p_beyond(1.05, "below") == pytest.approx(at_the_limit.p_beyond(0.95, "above"))
    assert Estimate(1.0, 1.0, 1.0, 10, 3, 100).p_beyond(0.5, "above") == 1.0  # nothing is shown
    assert Estimate(1e9, 1e9 - 1, 1e9 + 1, 1e6, 3, 100).p_beyond(0.0, "above") > 0  # no underflow


def test_arms_that_answer_alike_are_not_called_equal() -> None:
    """Every item of every seed is right in both arms: that says nothing of how far apart they may be."""
    _, found = answered("label_noise", truths("label_noise", ability=60.0, held_out=60.0), tuned=False)
    one = found["wrong_answers_cost_at_most_5_points"]
    assert (one.verdict, one.value, one.low, one.p) == (Decision.UNDECIDED, 0.0, None, None)
    assert "no spread" in one.shown
