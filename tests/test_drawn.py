"""For whom an interval speaks: one base, two that are blocks, three and more that were drawn, clusters of tasks; simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from simulated import ArmState, of_frames, question, sweep, truth

import experiments
from analysis import questions, stats
from analysis.arms import Arm, Panel
from analysis.claims.fits import points_of
from analysis.claims.more_seeds import seeds_needed
from analysis.claims.rules import Ask, contrast, whose_tasks
from analysis.questions.forgetting_tradeoff.rules import best_on_others
from analysis.questions.rank_vs_quality import retuning
from analysis.stats import Over
from analysis.stats.best import pairwise
from analysis.stats.good_rates import good_rates, not_worse, over_seeds, ratio_of_best
from analysis.stats.optimum import ratio_over_seeds

STRATA = np.repeat(np.arange(4), 10)
MEAN = 0.3
RATES = np.geomspace(1e-4, 1e-2, 5)


def scores(rng: np.random.Generator, bases_S: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """Paired differences (S, I) of which bases have this share of the seeds' variance, and their mean on these very bases."""
    base_B = 0.1 * rng.normal(0, share**0.5, bases_S.max() + 1)
    seed_S = 0.1 * rng.normal(0, (1 - share) ** 0.5, len(bases_S))
    noise_SI = rng.normal(0, 0.05, (1, len(STRATA))) + rng.normal(0, 0.1, (len(bases_S), len(STRATA)))
    return MEAN + (base_B[bases_S] + seed_S)[:, None] + noise_SI, MEAN + float(base_B.mean())


@pytest.mark.parametrize(
    ("n_seeds", "n_bases", "over"),
    [
        (8, 2, Over.THESE_BASES),
        (4, 2, Over.THESE_BASES),
        ("6 and 2", 2, Over.THESE_BASES),
        (8, 4, Over.NEW_BASES),
        (8, 8, Over.NEW_BASES),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_intervals_cover_what_they_speak_for(n_seeds: int | str, n_bases: int, over: Over, share: float) -> None:
    """A standard error of 500 draws is a point."""
    bases_S = np.arange(n_seeds) % n_bases if isinstance(n_seeds, int) else np.repeat([0, 1], [6, 2])
    rng, hits, longer = np.random.default_rng(len(bases_S) + n_bases), [], []
    for _ in range(500):
        one, on_these = scores(rng, bases_S, share)
        e = stats.mean_interval(one, STRATA, bases_S=bases_S)
        assert e.over is over
        truth = on_these if over is Over.THESE_BASES else MEAN
        hits.append(e.low <= truth <= e.high)
        plain = stats.mean_interval(one, STRATA)
        longer.append((e.high - e.low) / (plain.high - plain.low))
    assert 0.91 <= np.mean(hits) <= 0.985
    assert np.mean(longer) < 1 if (n_seeds, n_bases) == (8, 2) else True


def test_one_seed_a_base_is_students_t_and_uneven_blocks_are_left() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4, 40))
    alone = stats.mean_interval(one, STRATA)
    for bases in (np.arange(4), np.array(["a", "b", "c", "d"])):
        assert stats.mean_interval(one, STRATA, bases_S=bases).low == pytest.approx(alone.low)
    uneven = stats.mean_interval(one[:3], STRATA, bases_S=np.array([0, 1, 0]))
    assert (uneven.low, uneven.over) == (pytest.approx(stats.mean_interval(one[:3], STRATA).low), Over.THESE_BASES)
    assert stats.mean_interval(one, STRATA, bases_S=np.zeros(4)).over is Over.SEEDS


def test_ratios_relative_differences_and_pairs_of_arms_block_alike() -> None:
    rng, bases_S = np.random.default_rng(1), np.array([0, 1, 0, 1, 0, 1])
    one, other = (5 + scores(rng, bases_S, 0.9)[0] for _ in range(2))
    difference = stats.mean_interval(one - other, STRATA, bases_S=bases_S)
    assert stats.ratio_interval(one, other, STRATA, bases_S=bases_S).over is Over.THESE_BASES
    assert stats.relative_difference(one, other, STRATA, bases_S=bases_S).over is Over.THESE_BASES
    pairs = pairwise(np.stack([other, one]), STRATA, bases_S=bases_S)
    assert pairs.df_2KK[0, 0, 1] == pytest.approx(difference.df)
    assert pairs.gain_KK[0, 1] == pytest.approx(difference.value)


def test_skewed_seeds_are_covered_better_than_by_students_t() -> None:
    rng, hits, plain = np.random.default_rng(2), [], []
    for _ in range(1_500):
        seed_S = rng.exponential(size=(8, 1))
        e = stats.mean_interval(seed_S, n_items=50)
        half = stats.t_quantile(7) * float(seed_S.std(ddof=1)) / 8**0.5
        hits.append(e.low <= 1 <= e.high)
        plain.append(abs(seed_S.mean() - 1) <= half)
    assert np.mean(hits) >= 0.93
    assert np.mean(plain) <= 0.915


def test_more_seeds_do_not_lessen_the_part_of_the_items() -> None:
    """With 40 items that differ much, a hundred times the seeds leave most of the error, and only items would decide."""
    rng = np.random.default_rng(3)
    one = 0.08 + 0.02 * rng.normal(size=(4, 1)) + 0.3 * rng.normal(size=(1, 40)) + 0.05 * rng.normal(size=(4, 40))
    one += 0.08 - one.mean()
    e = stats.mean_interval(one)
    assert e.lasting == pytest.approx(0.3 / 40**0.5, rel=0.3)
    assert e.minimum_detectable(1, 4) == pytest.approx(e.minimum_detectable())
    assert e.minimum_detectable(1, 10**6) == pytest.approx((1.96 + 0.84) * e.lasting, rel=0.01)
    assert seeds_needed(e, stats.ABOVE_ZERO, 1) is None


@pytest.mark.parametrize("n_seeds", [8, 32])
def test_the_detectable_effect_at_other_numbers_of_seeds_is_detected_four_times_in_five(n_seeds: int) -> None:
    rng = np.random.default_rng(4)

    def drawn(seeds: int) -> np.ndarray:
        return rng.normal(0, 0.1, (seeds, 1)) + rng.normal(0, 0.3, (1, 40)) + rng.normal(0, 0.3, (seeds, 40))

    effect = float(np.median([stats.mean_interval(drawn(4)).minimum_detectable(1, n_seeds) for _ in range(200)]))
    assert 0.7 <= np.mean([stats.mean_interval(effect + drawn(n_seeds)).low > 0 for _ in range(300)]) <= 0.9


def arms_on_clusters(rng: np.random.Generator, n_seeds: int, n_clusters: int) -> tuple[Panel, Arm]:
    """One arm's scores whose clusters differ by as much as its items."""
    cluster_G = rng.normal(0, 0.3, n_clusters)
    strata_I = np.repeat(np.arange(n_clusters), 20)
    one = MEAN + cluster_G[strata_I] + rng.normal(0, 0.3, len(strata_I)) + rng.normal(0, 0.05, (n_seeds, 1))
    names = [str(seed) for seed in range(n_seeds)]
    groups = tuple(f"cluster {g}" for g in range(n_clusters))
    panel = Panel(one, strata_I, {name: i for i, name in enumerate(names)}, len(strata_I), crossed=True, groups=groups)
    return panel, Arm("a", "lora", 1, final=dict(enumerate(names)))


def test_claims_about_new_clusters_resample_clusters() -> None:
    rng, hits, plain = np.random.default_rng(5), [], []
    for _ in range(400):
        panel, arm = arms_on_clusters(rng, 4, 6)
        e, fixed = contrast([(arm, 1.0)], panel, new_clusters=True), contrast([(arm, 1.0)], panel)
        assert e is not None
        assert fixed is not None
        assert e.over is Over.NEW_CLUSTERS
        assert e.value == pytest.approx(fixed.value)
        hits.append(e.low <= MEAN <= e.high)
        plain.append(fixed.low <= MEAN <= fixed.high)
    assert np.mean(hits) >= 0.92
    assert np.mean(plain) <= 0.75


def on_tasks(rng: np.random.Generator, n_seeds: int, tasks: Mapping[str, str]) -> tuple[Panel, Arm]:
    """One arm's scores on tasks (task → cluster) whose clusters differ by as much as items."""
    of_cluster = {cluster: rng.normal(0, 0.3) for cluster in dict.fromkeys(tasks.values())}
    strata_I = np.repeat(np.arange(len(tasks)), 10)
    level_I = np.array([of_cluster[cluster] for cluster in tasks.values()])[strata_I]
    one = MEAN + level_I + rng.normal(0, 0.3, len(strata_I)) + rng.normal(0, 0.05, (n_seeds, 1))
    names = [str(seed) for seed in range(n_seeds)]
    rows = {name: i for i, name in enumerate(names)}
    panel = Panel(one, strata_I, rows, len(strata_I), crossed=True, groups=tuple(tasks), cluster_of=tasks)
    return panel, Arm("a", "lora", 1, final=dict(enumerate(names)))


def test_tasks_of_one_cluster_are_no_new_clusters() -> None:
    """Twelve tasks of three clusters and eight seeds: three units, although there are more seeds and tasks."""
    rng, hits, of_tasks = np.random.default_rng(7), [], []
    tasks = {f"task {k}": f"cluster {k % 3}" for k in range(12)}
    for _ in range(400):
        panel, arm = on_tasks(rng, 8, tasks)
        e = contrast([(arm, 1.0)], panel, new_clusters=True)
        wrong = contrast([(arm, 1.0)], replace(panel, cluster_of={}), new_clusters=True)
        assert e is not None
        assert wrong is not None
        assert (e.over, e.value) == (Over.NEW_CLUSTERS, pytest.approx(wrong.value))
        hits.append(e.low <= MEAN <= e.high)
        of_tasks.append(wrong.low <= MEAN <= wrong.high)
    assert np.mean(hits) >= 0.93
    assert np.mean(of_tasks) <= 0.85


def test_a_claim_says_so_where_new_clusters_cannot_be_had() -> None:
    panel, arm = on_tasks(np.random.default_rng(8), 4, {"a": "x", "b": "x", "c": "y"})
    e = contrast([(arm, 1.0)], panel, new_clusters=True)
    assert e is not None
    assert e.over is Over.SEEDS
    asked = Ask("exact_match/held_out", stats.ABOVE_ZERO, "")
    assert whose_tasks(asked, e) == "the interval is for these held-out tasks"
    assert whose_tasks(replace(asked, new_clusters=True), e).startswith("too few clusters")
    assert whose_tasks(replace(asked, measure="quality"), e) == ""
    assert whose_tasks(asked, replace(e, over=Over.NEW_CLUSTERS)) == ""


def test_the_laboratorys_tasks_are_told_by_their_clusters() -> None:
    trials, items = question({"a": ArmState({}), "b": ArmState({})}, seeds=4)
    group = np.where(np.arange(len(items)) % 2 == 0, "reverse", "sort")
    t, _ = of_frames("replay", trials, items.assign(group=group))
    assert t.panels["exact_match/held_out"].clusters == ("order",)
    theirs = trials.assign(**{"model.name": "org/model"})
    assert of_frames("replay", theirs, items.assign(group=group))[0].panels["quality"].clusters == ("reverse", "sort")


@pytest.mark.parametrize("name", ["best_recipe", "quality_vs_quantity", "replay", "task_diversity", "forgetting_tradeoff"])
def test_each_fold_is_held_out_as_often_and_on_two_bases_or_more(name: str) -> None:
    asked = experiments.load(name)
    drawn = [tuple(values[i % len(values)] for values in asked.with_seed.values()) for i in range(len(asked.seeds))]
    assert list(asked.with_seed) == ["data.held_out_fold", "model.name"]
    counts = Counter(fold for fold, _ in drawn)
    assert set(counts) == {0, 1, 2, 3}
    assert len(set(counts.values())) == 1
    assert all(len({base for own, base in drawn if own == fold}) >= 2 for fold in counts)


def test_seeds_on_one_base_say_little_of_the_best_rate() -> None:
    """A flat curve, bases with 60 % of the variance, eight seeds on three: no rate may be called worse in more than 5 %."""
    rng, of_bases, of_seeds, bases_S = np.random.default_rng(9), [], [], np.arange(8) % 3
    for _ in range(400):
        quality_SK = rng.normal(0, 0.6**0.5, (3, 5))[bases_S] + rng.normal(0, 0.4**0.5, (8, 5))
        of_bases.append(not not_worse(over_seeds(RATES, quality_SK, bases_S)).all())
        of_seeds.append(not not_worse(over_seeds(RATES, quality_SK)).all())
    assert np.mean(of_bases) <= 0.05 < 0.2 < np.mean(of_seeds)


def test_the_best_rate_says_for_whom_it_speaks() -> None:
    quality_SK = np.array([0.1, 0.6, 0.9, 0.6, 0.1]) + np.random.default_rng(10).normal(0, 0.01, (8, 5))
    for bases_S, over, df in ((np.arange(8), Over.NEW_BASES, 7), (np.arange(8) % 3, Over.NEW_BASES, 2), (None, Over.SEEDS, 7)):
        rated = over_seeds(RATES, quality_SK, bases_S)
        best, ratio = good_rates(rated, 100).best, ratio_of_best(rated, rated, 100)
        assert (best.over, best.df, best.n_seeds) == (over, df, 8)
        assert (ratio.over, ratio.n_seeds) == (over, 8)


def test_a_ratio_of_skewed_seeds_reaches_further_on_its_own_side() -> None:
    logs_S = np.array([-0.1, -0.05, 0.0, 0.0, 0.05, 0.05, 0.1, 1.5])
    plain, e = stats.mean_interval(logs_S[:, None]), ratio_over_seeds(logs_S, [0.0], 100)
    assert plain.high - plain.value > 1.2 * (plain.value - plain.low)
    assert (np.log(e.low), np.log(e.high)) == pytest.approx((plain.low, plain.high))


def test_a_base_a_seed_tells_the_noise_of_single_runs() -> None:
    """No two final runs of an arm share a base: what neither arm nor seed explains is their noise, not what bases differ by."""
    trials, items = sweep(truth(), seeds=6, seed_sd=0.05, base_sd=1.0, n_documents=10)
    trials.loc[trials["phase"] == "final", "model.name"] = "lab:base-" + trials["seed"].astype(str)
    found = questions.answer("rank_vs_quality", trials, items).tables
    spread = retuning._usual_spread(found)
    assert spread is not None
    assert 0.005 < spread[0] < 0.03  # 360 items and .05 of a logit; bases differ by .1 and more
    assert spread[1] == 10
    assert not any("needs 2 seeds" in one.best.why for one in found.own.good.values())


def test_no_run_has_a_part_in_the_choice_of_its_own_rate() -> None:
    quality_KS = np.array([[0.5, 0.5, 0.5, 0.5], [0.4, 0.4, 0.9, 0.9], [0.6, 0.6, 0.2, 0.2]])
    assert best_on_others(quality_KS, np.array([0, 0, 1, 1])).tolist() == [1, 1, 2, 2]
    assert best_on_others(quality_KS, np.arange(4)).tolist() == [1, 1, 1, 1]


def test_clusters_that_each_seed_draws_anew_are_units_too() -> None:
    rng = np.random.default_rng(6)
    one = MEAN + np.repeat(rng.normal(0, 0.1, 4), 2)[:, None]
    names = [str(seed) for seed in range(8)]
    folds = {name: str(i // 2) for i, name in enumerate(names)}
    panel = Panel(one, np.zeros(1, dtype=int), {n: i for i, n in enumerate(names)}, 90, crossed=False, fold_of=folds)
    e = contrast([(Arm("a", "lora", 1, final=dict(enumerate(names))), 1.0)], panel, new_clusters=True)
    assert e is not None
    assert (e.over, e.df) == (Over.NEW_CLUSTERS, pytest.approx(3))


def test_laws_take_their_noise_from_bases() -> None:
    """Six seeds on three bases are three units."""
    trials, items = question({f"n={n}": ArmState({"data.n_examples": n, "rows/used": n}) for n in (250, 500, 1_000)}, seeds=6)
    trials["model.name"] = "lab:base-" + (trials["seed"] % 3).astype(str)
    t, _ = of_frames("data_quantity", trials, items)
    arms = t.where({})
    points, scores_SK = points_of(t, arms, "quality", np.array([250.0, 500.0, 1_000.0]), "rising")
    assert (scores_SK.shape, points.n_seeds, points.pure_df) == ((6, 3), 3, 4)
    assert points.y_K == pytest.approx(scores_SK.mean(axis=0))
