"""The set of arms that cannot be told from the best, and the expected loss of choosing one: simulated."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats import mean_interval, t_quantile
from analysis.stats.best import Pairwise, best_set, loss, pairwise, simulated_losses

ALPHA = 0.05


def draw(rng: np.random.Generator, mean_K: np.ndarray, n_seeds: int, seed_sd: float, unequal: bool) -> Pairwise:
    """Arms over the same seeds and 60 items: noise of seeds, items and both, in part shared between arms."""
    shape = (len(mean_K), n_seeds, 60)
    noise_K = np.where(np.arange(len(mean_K)) == 0, 3.0, 1.0) if unequal else np.ones(len(mean_K))
    own_KS = seed_sd * noise_K[:, None] * rng.normal(size=shape[:2])
    shared_SI = rng.normal(size=(n_seeds, 1)) + rng.normal(size=(1, 60))
    scores_KSI = mean_K[:, None, None] + own_KS[:, :, None] + shared_SI
    scores_KSI = scores_KSI + 0.3 * rng.normal(size=(shape[0], 1, 60)) + 0.3 * rng.normal(size=shape)
    return pairwise(scores_KSI, np.repeat([0, 1], 30))


def test_a_pair_is_what_mean_interval_says() -> None:
    rng = np.random.default_rng(0)
    scores_KSI, strata_I = rng.normal(size=(3, 4, 40)), np.repeat([0, 1], 20)
    pairs = pairwise(scores_KSI, strata_I)
    e = mean_interval(scores_KSI[2] - scores_KSI[0], strata_I)
    assert pairs.gain_KK[0, 2] == pytest.approx(e.value)
    assert pairs.df_2KK[0, 0, 2] == pytest.approx(e.df)
    assert pairs.p_KK()[0, 2] >= 0.999 * e.p_beyond(0.0, "above")
    assert pairs.upper_KK(0.025)[0, 2] >= e.high - 1e-9
    alone = pairwise(scores_KSI[[0, 2]], strata_I)  # pooling changes nothing
    assert alone.error_2KK[:, 0, 1] == pytest.approx([(e.high - e.value) / t_quantile(e.df)] * 2)


@pytest.mark.parametrize("n_seeds", [3, 6])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("mean_K", [np.zeros(5), np.array([0.1, 0.0, 0.0, -0.1, -2.0])], ids=["equal", "apart"])
def test_the_truly_best_arm_is_in_the_set_and_the_limit_of_the_loss_holds(
    n_seeds: int, unequal: bool, mean_K: np.ndarray
) -> None:
    rng = np.random.default_rng(n_seeds)
    kept, held = [], []
    for _ in range(300):
        pairs = draw(rng, mean_K, n_seeds, 0.15, unequal)
        inside_K = best_set(pairs, ALPHA)
        kept.append(inside_K[0])
        chosen = int(rng.choice(np.flatnonzero(inside_K)))
        found = loss(pairs, chosen, ALPHA, inside_K)
        held.append(mean_K.max() - mean_K[chosen] <= found.high)
    assert np.mean(kept) >= 0.95
    assert np.mean(held) >= 0.95


def test_an_arm_that_is_far_behind_leaves_the_set() -> None:
    pairs = draw(np.random.default_rng(0), np.array([0.0, 0.0, -2.0]), 4, 0.1, unequal=False)
    assert best_set(pairs, ALPHA).tolist() == [True, True, False]
    assert best_set(pairs, ALPHA, np.array([False, False, True])).tolist() == [False, False, True]  # the best of itself


def test_without_any_noise_enough_items_tell_arms_apart() -> None:
    scores_KSI = np.stack([np.zeros((3, 40)), np.ones((3, 40)), np.ones((3, 40))])
    assert best_set(pairwise(scores_KSI, np.zeros(40, dtype=int)), ALPHA).tolist() == [False, True, True]


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_the_expected_loss_is_right_on_average_and_the_naive_one_is_not(spread: float) -> None:
    """The first arm of six is chosen whatever the data say."""
    rng = np.random.default_rng(1)
    true, found, naive = [], [], []
    for _ in range(300):
        truth_K = spread * rng.normal(size=6)
        mean_K = truth_K + rng.normal(size=6)
        true.append(truth_K.max() - truth_K[0])
        found.append(simulated_losses(mean_K, np.ones(6))[0])
        naive.append(mean_K.max() - mean_K[0])
    assert np.mean(found) == pytest.approx(np.mean(true), rel=0.15)
    assert abs(np.mean(found) - np.mean(true)) < abs(np.mean(naive) - np.mean(true))


def test_of_equal_arms_less_is_lost_than_the_luck_of_the_highest() -> None:
    rng = np.random.default_rng(2)
    means_NK = rng.normal(size=(300, 6))
    naive = np.mean(means_NK.max(axis=1) - means_NK[:, 0])
    assert np.mean([simulated_losses(mean_K, np.ones(6))[0] for mean_K in means_NK]) < 0.8 * naive
    assert simulated_losses(np.array([0.2]), np.ones(1)).tolist() == [0.0]
    assert simulated_losses(np.array([0.2, 0.5]), np.zeros(2)).tolist() == pytest.approx([0.3, 0.0])


def test_an_arm_that_is_known_less_well_is_expected_to_lose_more() -> None:
    """Two arms with one mean below a third: the one with noisy seeds is drawn to the middle, and the best may lie above it."""
    lost = simulated_losses(np.array([0.9, 0.8, 0.8, 0.85]), np.array([1e-4, 1e-4, 0.02, 1e-4]))
    assert lost[0] < 0.03
    assert lost[1] == pytest.approx(0.1, abs=0.03)
    assert lost[2] < lost[1]
