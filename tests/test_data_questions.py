"""The questions of data as a method: what their rules say of sweeps whose effects are known, and rank correlations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr
from simulated import ArmState, answered, of_frames, question, real, truths

import experiments
from analysis import questions
from analysis.questions import curriculum
from analysis.reports import question as page
from analysis.stats.ranks import LEAST, rank_correlation, same_order
from core.errors import BadInput
from sweeps.configured import configured
from sweeps.options import Options

ALIKE = {"n_items": 3_000, "seed_sd": 0.02, "seeds": 8}


def shifted(name: str, shifts: dict[str, float]) -> dict[str, ArmState]:
    """The question's arms; the ability of those whose label ends so is shifted."""
    return {
        label: dataclasses.replace(one, ability=1.0 + next((by for end, by in shifts.items() if label.endswith(end)), 0.0))
        for label, one in truths(name).items()
    }


def test_curriculum_tells_conditions_apart() -> None:
    gains = {"=easy-first": 0.6, "=easy-first epochs=1": 0.6, "=easy-first noise_share=0.25": -0.6}
    gains["=easy-first learning_rate=0.03"] = 0.6
    arms = shifted("curriculum", gains)
    trials, items = question(arms, **ALIKE)
    trials = trials[(trials["phase"] == "final") | ~trials["arm"].str.contains("learning_rate")]  # these have their rate
    tables, found = of_frames("curriculum", trials, items)
    assert {name: row.verdict for name, row in found.items()} == {
        "easy_first_beats_random_order": "supported",
        "hard_first_gains_at_most_3_points": "supported",
        "easy_first_beats_random_order_in_one_epoch": "supported",
        "easy_first_beats_random_order_with_wrong_answers": "contradicted",
        "easy_first_beats_random_order_at_high_rate": "supported",
    }
    assert len({(row["x"], row["curve"]) for row in tables.arm_rows.to_dict("records")}) == len(arms)


def test_a_condition_of_curriculum_is_the_same_on_a_base_without_tuning_trials() -> None:
    trials, _ = question(truths("curriculum"), seeds=2)
    labels = trials["arm"].astype(str)
    trials["train.learning_rate"] = np.where(labels.str.contains("hard-first"), 0.01, 0.002)  # each arm's best
    trials.loc[labels.str.contains("learning_rate"), "train.learning_rate"] = 0.03
    tuned = trials[(trials["phase"] == "final") | ~labels.str.contains("learning_rate")]
    alone = curriculum.conditions(tuned[tuned["phase"] == "final"]).set_index("fingerprint")["condition"]
    assert dict(alone) == dict(curriculum.conditions(tuned).set_index("fingerprint")["condition"][alone.index])
    assert set(alone) == {curriculum.USUAL, curriculum.SHORT, curriculum.NOISY, curriculum.HIGH}


def test_selection_compares_with_random_rows_and_with_a_smaller_scorer() -> None:
    arms = shifted(
        "selection", {"=high-ifd": 0.6, "high-ifd scorer=lab:base-small-0": 0.6, "=long": -0.6, "=high-perplexity": -0.6}
    )
    tables, found = answered("selection", arms, **ALIKE)
    assert {name: row.verdict for name, row in found.items()} == {
        "high_ifd_beats_random_rows": "supported",
        "long_answers_beat_random_rows": "contradicted",
        "low_perplexity_gains_at_most_3_points": "supported",
        "high_perplexity_falls_behind_random_rows": "supported",
        "k_centre_beats_random_rows": "undecided",
        "smaller_scorer_selects_as_well": "supported",
    }
    told = "".join(questions.load("selection").sections(tables))
    assert all(label in told for label in arms)


def test_arms_at_a_rate_too_high_may_be_left_out() -> None:
    arms = {label: arm for label, arm in truths("curriculum").items() if "learning_rate=" not in label}
    tables, found = of_frames("curriculum", *question(arms, seeds=2, n_items=60))
    assert set(tables.arm_rows["curve"]) == {curriculum.USUAL, curriculum.SHORT, curriculum.NOISY}
    assert found["easy_first_beats_random_order"].verdict != "not tested"
    assert found["easy_first_beats_random_order_at_high_rate"].verdict == "not tested"


def test_rows_of_ones_own_say_whether_their_phrasings_are_unseen() -> None:
    trials, items = real(question(truths("instruction_diversity"), seeds=3, n_items=60))
    trials = trials.assign(**{"data.source": "mine.jsonl"})

    def note(**more: object) -> str:
        return of_frames("instruction_diversity", trials.assign(**more), items)[1]["more_templates_follow_unseen_phrasings"].note

    counted = "rows/evaluated_of_trained_templates"
    assert "they name no template" in note()
    lost = trials["phase"] == "tune"
    assert "7 evaluation rows are of templates that --data has" in note(**{counted: np.where(lost, np.nan, 7.0)})
    assert "template" not in note(**{counted: 0})


def test_of_two_sources_of_ones_own_with_as_many_arms_none_is_called_curated() -> None:
    few = dict(list(truths("quality_vs_quantity").items())[:2])
    for (label, arm), name in zip(list(few.items()), ("right.jsonl", "alpaca.jsonl"), strict=True):
        fields = arm.fields | {"data.source": name, "data.n_examples": 1_000, "data.best_share": 1.0, "data.n_clusters": None}
        few[label] = dataclasses.replace(arm, fields=fields)
    _, found = of_frames("quality_vs_quantity", *question(few, seeds=2, n_items=60))
    assert {one.verdict for one in found.values()} == {"not tested"}


def test_all_rows_are_no_number_of_examples_in_model_scale() -> None:
    arms = truths("model_scale")
    label = next(name for name in arms if "500" in name)
    arms |= {"all": dataclasses.replace(arms[label], fields=arms[label].fields | {"data.n_examples": None})}
    tables, found = of_frames("model_scale", *question(arms, seeds=3, n_items=60))
    assert "all" in set(tables.arm_rows["curve"])
    every = {name: dataclasses.replace(one, fields=one.fields | {"data.n_examples": None}) for name, one in arms.items()}
    assert set(of_frames("model_scale", *question(every, seeds=2, n_items=60))[0].arm_rows["curve"]) >= {"all"}
    assert found["size_buys_more_than_data"].value is not None


def test_no_other_size_stands_for_the_smallest_bases() -> None:
    arms = {label: arm for label, arm in truths("proxy_transfer").items() if "small" not in label}
    tables, found = of_frames("proxy_transfer", *question(arms, seeds=2, n_items=60, tuned=False))
    assert set(tables.arm_rows["curve"]) == {"middle", "largest"}
    assert found["smallest_base_ranks_recipes_as_largest"].verdict == "not tested"


def test_what_rounding_costs_before_tuning_is_told(tmp_path: Path) -> None:
    trials, items = question(truths("quantization"), seeds=4, n_items=60)
    nf4 = trials.loc[(trials["model.quantization"] == "nf4") & (trials["adapter.method"] != "full"), "fingerprint"]
    old = items["axis"] == "forgetting"
    worse = np.where(items["fingerprint"].isin(nf4), 0.25, 0.0)
    items.loc[old, ["before", "after"]] = items.loc[old, ["before", "after"]].add(pd.Series(worse, items.index)[old], axis=0)
    page.report(questions.load("quantization"), experiments.load("quantization"), (trials, items), tmp_path)
    told = (tmp_path / "report.md").read_text().split("## What rounding costs before tuning")[1].split("## ")[0]
    rows = {line.split("|")[1].strip(): line for line in told.splitlines() if line.startswith("|")}
    page.report(questions.load("quantization"), experiments.load("quantization"), real((trials, items)), tmp_path / "own")
    assert "What rounding costs" not in (tmp_path / "own" / "report.md").read_text()  # a divergence from itself is no loss
    assert "0.25" in next(line for label, line in rows.items() if "nf4" in label)
    assert next(line for label, line in rows.items() if "none" in label).rstrip("| ").endswith("–")


@pytest.mark.parametrize("name", ["curriculum", "selection"])
def test_on_rows_of_ones_own_what_is_about_points_is_not_tested(name: str) -> None:
    trials, items = real(question(truths(name), tuned=False, n_items=200))
    verdicts = questions.answer(name, trials, items).verdicts
    points = {one.id for one in verdicts if "3_points" in one.id or one.id == "smaller_scorer_selects_as_well"}
    assert {one.id for one in verdicts if one.verdict == "not tested"} == points


def of_recipes(order: dict[str, list[float]]) -> dict[str, ArmState]:
    """Arms of bases (words in their names) whose recipes have these abilities, in the experiment's order."""
    places = dict.fromkeys(order, 0)
    arms = {}
    for label, one in truths("proxy_transfer").items():
        base = next(word for word in order if word in str(one.fields["model.name"]))
        ability = order[base][places[base]]
        arms[label] = dataclasses.replace(one, ability=ability, held_out=-ability)
        places[base] += 1
    return arms


def test_proxies_that_rank_alike_or_the_other_way() -> None:
    up = [0.4 * i for i in range(12)]
    tables, found = answered("proxy_transfer", of_recipes({"small": up, "base-0": up[::-1], "large": up}), tuned=False, **ALIKE)
    assert {name: row.verdict for name, row in found.items()} == {
        "smallest_base_ranks_recipes_as_largest": "supported",
        "smallest_base_ranks_recipes_as_largest_held_out": "supported",
        "middle_base_ranks_recipes_as_largest": "contradicted",
        "smallest_base_decides_pairs_of_recipes": "supported",
        "smallest_bases_pick_costs_largest_little": "supported",
    }
    one = questions.load("proxy_transfer")
    assert "| smallest → largest | quality | 12 |" in "".join(one.sections(tables))
    assert one.draw is not None
    for narrow in (False, True):
        figure = one.draw(tables, narrow)
        assert len([panel for panel in figure.axes if "quality" in panel.get_xlabel()]) == 2
    swapped = [*up[:-2], up[-1], up[-2] - 2.0]
    _, found = answered("proxy_transfer", of_recipes({"small": up, "base-0": up, "large": swapped}), tuned=False, **ALIKE)
    assert found["smallest_bases_pick_costs_largest_little"].verdict == "contradicted"


def test_settings_of_a_selection_that_no_arm_makes_are_refused() -> None:
    asked = experiments.load("rank_vs_quality")
    for words in (("data.scorer=lab:base-small-0",), ("data.budget=tokens",), ("data.budget=tokens", "data.order=easy-first")):
        with pytest.raises(BadInput, match="nothing reads it") as caught:
            configured(asked, Options(set=words))
        assert caught.value.field == words[0].partition("=")[0]
    for more in (("data.scorer=lab:base-small-0", "data.order=easy-first"), ("data.budget=tokens", "data.select=long")):
        configured(asked, Options(set=more))
    configured(experiments.load("selection"), Options(set=("data.budget=tokens",)))


def test_without_the_largest_base_proxies_are_not_tested() -> None:
    arms = of_recipes(dict.fromkeys(("small", "base-0", "large"), [1.0] * 12))
    only = {label: one for label, one in arms.items() if "small" in label}
    _, found = answered("proxy_transfer", only, tuned=False, seeds=2, n_items=50)
    assert {row.verdict for row in found.values()} == {"not tested"}


# Rank correlations


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 9, 30):
        x, y = rng.normal(size=(2, n))
        y += x
        assert rank_correlation(x, y).value == pytest.approx(spearmanr(x, y).statistic)
        assert same_order(x, y).value == pytest.approx((1 + kendalltau(x, y).statistic) / 2)


def test_rankings_that_are_the_same_or_opposite_have_an_interval_inside_of_what_is_possible() -> None:
    x = np.arange(10.0)
    for one, low, high in ((rank_correlation(x, x), 0.8, 1.0), (same_order(x, x), 0.7, 1.0)):
        assert one.value == one.high == pytest.approx(high)
        assert low < one.low < high
    assert rank_correlation(x, -x).value == rank_correlation(x, -x).low == pytest.approx(-1)
    assert same_order(x, -x).value == same_order(x, -x).low == 0
    assert same_order(np.array([1.0, 1, 2, 3, 4, 5]), np.arange(6.0)).value == pytest.approx(1 - 0.5 / 15)  # one pair is equal


def test_too_few_things_or_none_that_differ_have_no_interval() -> None:
    few, alike = np.arange(LEAST - 1.0), np.zeros(8)
    assert rank_correlation(few, few).missing is not None
    assert same_order(alike, np.arange(8.0)).missing is not None
    assert not rank_correlation(alike, np.arange(8.0)).known
    lacking = np.array([*range(7), np.nan])
    assert rank_correlation(lacking, np.arange(8.0)).missing is not None
    assert same_order(np.arange(8.0), lacking).missing is not None


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_intervals_of_rank_correlations_cover(correlation: float) -> None:
    rng = np.random.default_rng(1)
    of_ranks, of_pairs = 6 / np.pi * np.arcsin(correlation / 2), 0.5 + np.arcsin(correlation) / np.pi
    hits = []
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=10).T
        one, other = rank_correlation(x, y), same_order(x, y)
        hits.append((one.low <= of_ranks <= one.high, other.low <= of_pairs <= other.high))
    assert np.all(np.mean(hits, axis=0) > 0.92)
