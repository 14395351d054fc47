"""Laws beyond the usual ones: without a limit, at x = 0, with a hump, with few levels, with noise that differs by level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats import Why, scaling
from analysis.stats.comparison import left_out_error, not_monotone
from analysis.stats.points import Points, from_seeds, smoothed

X = np.array([25, 50, 100, 200, 400, 800, 1600, 3200, 6400], dtype=float)
FROM_ZERO = np.array([0, *X])


@pytest.mark.parametrize(("exponent", "direction"), [(-0.3, "falling"), (0.2, "rising")])
def test_a_power_law_without_a_limit_is_itself(exponent: float, direction: str) -> None:
    points = Points(X, 3 * X**exponent * np.exp(np.random.default_rng(0).normal(0, 0.002, len(X))), direction)
    found = scaling.curve(points, "power_without_limit", rng=np.random.default_rng(1)).parameters
    assert (found["exponent"].value, found["coefficient"].value) == pytest.approx((exponent, 3), rel=0.02)
    assert found["exponent"].low <= exponent <= found["exponent"].high
    assert scaling.compare(points).rows[0].law == "power_without_limit"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_coefficient_below_0_is_a_coefficient(sign: int) -> None:
    """A gain against the direction stated: what counts is by what factor its interval spans."""
    y = 0.5 + sign * 0.3 * (X / 25) ** -0.6 + np.random.default_rng(2).normal(0, 0.001, len(X))
    found = scaling.curve(Points(X, y, "rising"), "power", rng=np.random.default_rng(0)).parameters
    assert found["coefficient"].value == pytest.approx(-sign * 0.3 * 25**0.6, rel=0.1)
    assert found["coefficient"].known


def test_the_untuned_base_belongs_on_the_curve() -> None:
    rng = np.random.default_rng(3)
    scores_SK = 0.1 + 0.7 * FROM_ZERO / (FROM_ZERO + 150) + rng.normal(0, 0.005, (5, len(FROM_ZERO)))
    points = from_seeds(FROM_ZERO, scores_SK, "rising")
    found = scaling.compare(points)
    assert "michaelis" in found.as_good
    assert {row.law: row.why for row in found.rows}["logarithmic"] == "has no value at x = 0"
    curve = scaling.curve(points, "michaelis", scaling.seed_draws(scores_SK, rng, 60))
    assert curve.parameters["half"].value == pytest.approx(150, rel=0.05)
    assert curve.plateau.value == pytest.approx(19 * 150, rel=0.05)  # of the gain over the base, whatever x comes next
    assert np.isfinite(curve.fit.predict(np.array([0.0, 10.0]))).all()
    with pytest.raises(ValueError, match="no value at x = 0"):
        scaling.fit(points, "logarithmic")
    for bad in (np.array([0, 0, 1.0]), np.array([-1, 0, 1.0]), np.array([[0, 1], [1, 2.0]])):
        with pytest.raises(ValueError, match="above 0"):
            Points(bad, np.arange(len(bad), dtype=float), "rising")


@pytest.mark.parametrize("law", ["exponential", "michaelis", "logistic"])
def test_what_is_fitted_from_0_is_what_is_fitted_beyond(law: str) -> None:
    """The same curve, with its start and without."""
    beyond = scaling.fit(Points(X, 0.8 - 0.6 / (1 + X / 200), "rising"), law)
    at_zero = np.append(beyond.predict(np.array([0.0])), beyond.predict(X))
    whole = scaling.fit(Points(FROM_ZERO, at_zero, "rising"), law)
    assert whole.values == pytest.approx(beyond.values, rel=0.02)


@pytest.mark.parametrize("direction", ["rising", "falling"])
def test_a_hump_is_found_and_told(direction: str) -> None:
    rng = np.random.default_rng(4)
    sign = 1 if direction == "rising" else -1
    scores_SK = 0.5 - sign * 0.05 * np.log(X / 400) ** 2 + rng.normal(0, 0.01, (5, len(X)))
    points = from_seeds(X, scores_SK, direction)
    found = scaling.compare(points)
    assert found.as_good == ("hump",)
    assert "not monotone" in found.conclusion()
    turn = scaling.curve(points, "hump", scaling.seed_draws(scores_SK, rng, 60)).parameters["turn"]
    assert turn.value == pytest.approx(400, rel=0.1)


def test_noise_alone_is_not_called_a_turn() -> None:
    rng, level = np.random.default_rng(5), 0.3 + 0.05 * np.log(X)
    told = [bool(not_monotone(from_seeds(X, y + rng.normal(0, 0.03, (4, len(X))), "rising"))) for y in [level, 0 * X] * 150]
    assert np.mean(told) <= 0.05


def test_few_levels_are_compared_by_what_is_left_out() -> None:
    x = np.array([80, 250, 780, 3_000, 11_000], dtype=float)  # Wang 2022: five sizes of T5 → ROUGE-L
    found = scaling.compare(Points(x, np.array([40.1, 42.1, 48.0, 54.3, 62.0]), "rising"))
    assert found.by_left_out[0] in ("power_without_limit", "hump", "logarithmic")
    assert "error at levels left out" in found.conclusion()
    line = Points(x, 3 + 2 * np.log(x), "rising")
    assert left_out_error(line, "logarithmic") == pytest.approx(0, abs=1e-8)
    by_hand = [2 * np.log(x[i]) - np.delete(2 * np.log(x), i).mean() for i in (1, 2, 3)]
    assert left_out_error(line, "flat") == pytest.approx(np.sqrt(np.mean(np.square(by_hand))), rel=0.2)
    assert math.isnan(left_out_error(Points(x[:3], x[:3], "rising"), "hump"))


def test_three_points_do_not_say_how_sure_their_slope_is() -> None:
    found = scaling.curve(Points(X[:3], np.array([1.0, 2.1, 2.9]), "rising"), "logarithmic", rng=np.random.default_rng(0))
    slope = found.parameters["slope"]
    assert not slope.known
    assert slope.missing is not None
    assert slope.missing.kind is Why.NOT_IDENTIFIED


def test_levels_weigh_by_their_noise() -> None:
    rng = np.random.default_rng(6)
    sd_K = np.where(X <= 100, 0.13, 0.035)
    own = from_seeds(X, rng.normal(0, sd_K, (8, len(X))), "rising").se_K
    assert own is not None
    assert own[0] / own[-1] > 2
    assert smoothed(X, X**-0.5) == pytest.approx(X**-0.5)
    assert smoothed(X[:3], np.array([1.0, 2.0, 3.0])).tolist() == [2.0, 2.0, 2.0]
    assert np.isfinite(smoothed(FROM_ZERO, np.ones(len(FROM_ZERO)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("sd_low", [0.035, 0.13])
def test_parameters_are_covered_with_equal_noise_and_with_more_at_few_rows(sd_low: float) -> None:
    """As measured in the laboratory: sd .13 at 100 rows, .035 beyond 1,000."""
    rng, truth = np.random.default_rng(7), 0.05
    x = np.array([100, 200, 500, 1000, 2000, 4000, 8000], dtype=float)
    sd_K = np.where(x <= 200, sd_low, 0.035)
    hits, widths, plain = [], [], []
    for _ in range(100):
        scores_SK = 0.4 + truth * np.log(x) + 0.02 * rng.normal(size=(8, 1)) + rng.normal(0, sd_K, (8, len(x)))
        draws = scaling.seed_draws(scores_SK, rng, 99)
        points = from_seeds(x, scores_SK, "rising")
        slope = scaling.curve(points, "logarithmic", draws).parameters["slope"]
        hits.append(slope.low <= truth <= slope.high)
        widths.append(slope.high - slope.low)
        one = Points(x, points.y_K, "rising", np.full(len(x), float(np.mean(points.se_K))), n_seeds=8, pure_df=points.pure_df)
        same = scaling.curve(one, "logarithmic", draws).parameters["slope"]
        plain.append(same.high - same.low)
    assert 0.87 <= np.mean(hits) <= 1  # of 100: a standard error of 2.4 points
    assert sd_low < 0.1 or np.mean(widths) < 0.9 * np.mean(plain)
