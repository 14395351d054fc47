"""Hypervolume, forgetting at matched quality over seeds, and the laws of forgetting: on planes whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_stats import FRONTIERS

from analysis import stats
from analysis.stats import front
from analysis.stats.equal_quality import GAIN_SHARES, Matched, SeedPair, further, matched_over_seeds

BOX = front.Box(quality_before=0.1, quality_best=0.9, forgetting_worst=4.0)


def test_hypervolume_is_the_share_of_the_box_that_is_dominated() -> None:
    rng = np.random.default_rng(0)
    for n_arms in (1, 2, 7):
        quality, forgetting = rng.uniform(0.0, 0.9, n_arms), rng.uniform(-0.2, 5.0, n_arms)
        q, f = rng.uniform(0.1, 0.9, 200_000), rng.uniform(0.0, 4.0, 200_000)  # brute force: points thrown into the box
        dominated = ((quality[:, None] >= q) & (forgetting[:, None] <= f)).any(axis=0).mean()
        assert front.hypervolume(quality, forgetting, BOX) == pytest.approx(dominated, abs=0.004)
    assert front.hypervolume(np.array([0.9]), np.array([0.0]), BOX) == pytest.approx(1.0)
    assert front.hypervolume(np.array([0.1]), np.array([0.0]), BOX) == 0.0
    assert front.hypervolume(np.array([0.9]), np.array([4.0]), BOX) == 0.0


def test_hypervolume_of_many_draws_is_that_of_each() -> None:
    rng = np.random.default_rng(1)
    quality, forgetting = rng.uniform(0, 1, (5, 4)), rng.uniform(0, 4, (5, 4))
    each = [float(front.hypervolume(q, f, BOX)) for q, f in zip(quality, forgetting, strict=True)]
    assert front.hypervolume(quality, forgetting, BOX) == pytest.approx(each)


@pytest.mark.parametrize("equal", [False, True], ids=["a front", "five equal arms"])
def test_the_interval_of_a_hypervolume_covers_it(equal: bool) -> None:
    """Where arms are equal, the best of them is so by luck: plain percentiles cover 64 to 87 %."""
    rng = np.random.default_rng(2)
    quality = np.full(5, 0.8) if equal else np.array([0.3, 0.6, 0.8, 0.9, 0.88])
    forgetting = np.ones(5) if equal else np.array([0.1, 0.4, 1.0, 2.0, 4.0])
    truth, strata = front.hypervolume(quality, forgetting, BOX), np.zeros(40, dtype=int)
    hits, widths = [], []
    for _ in range(150):
        noise = rng.normal(0, 0.03, (1, 6, 1)) + rng.normal(0, 0.03, (5, 6, 1)) + rng.normal(0, 0.2, (5, 6, 40))
        scale = np.exp(rng.normal(0, 0.2, (5, 6, 1)) - 0.02) * rng.gamma(6, 1 / 6, 40)
        scores = quality[:, None, None] + noise, forgetting[:, None, None] * scale
        e = front.hypervolume_interval(front.Scores(*scores, strata, strata), BOX, rng, 300)
        hits.append(e.low <= truth <= e.high)
        widths.append(e.high - e.low)
    assert np.mean(hits) >= 0.93
    assert np.mean(widths) < 0.25  # it does say something


def test_one_seed_has_no_interval() -> None:
    scores, strata = np.full((2, 1, 5), 0.5), np.zeros(5)
    alike = front.Scores(scores, scores, strata, strata)
    assert not front.hypervolume_interval(alike, BOX, np.random.default_rng(0)).known
    rates = np.array([1e-4, 1e-3])
    rising = scores * np.array([0.2, 1.0])[:, None, None]
    both = np.concatenate((rising, rising))
    pair = SeedPair((rates, rates), front.Scores(both, both, strata, strata), 0.0)
    found = matched_over_seeds(pair, np.random.default_rng(0))
    assert found.difference.value == 0
    assert found.difference.missing == stats.NEEDS_SEEDS


def test_a_difference_of_differences_is_as_sure_as_the_less_sure_of_them() -> None:
    rng = np.random.default_rng(0)

    def side(value: float, spread: float, df: float, over: stats.Over) -> Matched:
        draws_N = value + spread * rng.normal(size=4_000)
        one = dataclasses.replace(stats.from_draws(value, draws_N, (8, 96), df), over=over)
        return Matched(one, one, one, draws_N)

    wide, narrow = side(0.5, 0.01, 7, stats.Over.SEEDS), side(0.0, 0.1, 2, stats.Over.NEW_BASES)
    for found, value in ((further(wide, narrow), 0.5), (further(narrow, wide), -0.5)):
        assert (found.value, found.df, found.over) == (value, 2, stats.Over.NEW_BASES)


@pytest.mark.parametrize("frontier", FRONTIERS)
@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_matched_quality_over_seeds_is_right_wherever_the_rates_fall_on_the_curve(frontier: str, ratio: float) -> None:
    """As for single runs (tests/test_stats.py), with eight seeds that differ in quality and in how much they forget."""
    rng, fine = np.random.default_rng(10), np.linspace(-3, 0, 3_001)
    strata_I, strata_J = np.repeat(np.arange(4), 50), np.repeat(np.arange(2), 30)
    quality_at, level = FRONTIERS[frontier], 1.5
    covered, called = [], []
    for _ in range(60):
        power, shift_S, scale_S = rng.uniform(0.6, 1.0), rng.normal(0, 0.02, 8), np.exp(rng.normal(0, 0.3, 8) - 0.045)
        rates, quality, forgetting, reached = [], [], [], []
        for own_ratio, top in ((1.0, rng.uniform(-2.9, -2.1)), (ratio, rng.uniform(-3.4, -2.6))):
            at = np.linspace(-4, -1.6, 7) + (top + 2.75)  # the range is chosen for each method
            u = rng.uniform(0.8, 1.25) * (at - top)
            p_KS = np.clip(quality_at(u)[:, None] + shift_S + rng.normal(0, 0.008, (7, 8)), 0, 1)
            forgets_KS = own_ratio * level * 10 ** (power * u)[:, None] * scale_S * (1 + rng.normal(0, 0.06, (7, 8)))
            rates.append(10**at)
            quality.append((rng.random((7, 8, len(strata_I))) < p_KS[..., None]).astype(float))
            forgetting.append(forgets_KS[..., None] * (1 + rng.normal(0, 0.3, len(strata_J))))
            reached.append(quality[-1].mean(axis=(1, 2)).max())
        scores = front.Scores(np.concatenate(quality), np.concatenate(forgetting), strata_I, strata_J)
        found = matched_over_seeds(SeedPair((rates[0], rates[1]), scores, 0.0), rng, n=300).difference
        crossings = [fine[np.argmax(quality_at(fine) >= share * min(reached))] for share in GAIN_SHARES]
        truth = (ratio - 1) * level * np.mean([10 ** (power * u) for u in crossings])
        if found.known:
            covered.append(found.low <= truth <= found.high)
            called.append(found.low > 0 or found.high < 0)
    assert len(covered) >= 55
    assert np.mean(covered) >= 0.93
    assert np.mean(called) <= 0.05 if ratio == 1 else np.mean(called) >= 0.6
