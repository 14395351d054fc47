"""Each small question by itself: what its rules say of sweeps whose effects are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from simulated import ArmState, answered, changed, of_frames, question, real, truths

from analysis import questions
from analysis.claims.verdicts import SEEDS_ALONE
from analysis.questions import model_scale, proxy_transfer, replay


def test_learning_rate_finds_a_rise_and_the_ratio_of_the_tops() -> None:
    def curve(method: str, rate: float) -> tuple[float, float]:
        offset = np.log10(rate / (4e-3 if method == "lora" else 4e-4))
        return 2.0 - 1.5 * offset**2, 0.5 * 10 ** (0.8 * offset)

    arms = {}
    for label, truth in truths("learning_rate").items():
        ability, forgetting = curve(str(truth.fields["adapter.method"]), float(str(truth.fields["train.learning_rate"])))
        arms[label] = dataclasses.replace(truth, ability=ability, forgetting=forgetting)
    trials, items = question(arms, tuned=False, n_items=2_000, seed_sd=0.02)
    left = items[items["measure"] == "nll/prose"].assign(measure="nll_after_relearning/documents", axis="other")
    left["after"] = left["before"] + 0.1 * (left["after"] - left["before"])
    _, found = of_frames("learning_rate", trials, pd.concat([items, left]))
    ratio = found.pop("lora_rate_10_times_full")
    assert {name: row.verdict for name, row in found.items()} == dict.fromkeys(
        ("lower_rate_forgets_less", "lower_rate_loses_less"), "supported"
    )
    assert found["lower_rate_loses_less"].value == pytest.approx(0.1 * (found["lower_rate_forgets_less"].value or 0), rel=0.1)
    assert ratio.low is not None
    assert ratio.high is not None
    assert 1 < ratio.low < 10 < ratio.high
    assert "within 2 points of the best, lora: " in ratio.note


def test_epochs_tells_a_plateau_from_a_rise() -> None:
    flat = {f"epochs={e}.0": dataclasses.replace(t, ability=2.0, forgetting=0.2 if e <= 3 else 0.2 * e)
            for e, t in zip((1, 2, 3, 5, 8, 15), truths("epochs").values(), strict=True)}  # fmt: skip
    _, found = answered("epochs", flat, tuned=False, n_items=4_000, seed_sd=0.01)
    assert found["forgetting_speeds_up_past_3_epochs"].verdict == "supported"
    assert found["loss_falls_without_quality"].verdict == "not tested"  # the loss is the same in every arm
    for e, (label, truth) in zip((1, 2, 3, 5, 8, 15), flat.items(), strict=True):
        flat[label] = dataclasses.replace(truth, fields={**truth.fields, "train/loss_last_tenth": 1 / e}, forgetting=e**0.5)
    _, found = answered("epochs", flat, tuned=False, n_items=16_000, seed_sd=0.002)
    assert found["forgetting_speeds_up_past_3_epochs"].verdict == "contradicted"  # a square root slows down, if not on a log axis
    assert found["loss_falls_without_quality"].verdict == "supported"
    rising = {label: dataclasses.replace(t, ability=float(np.log(t.fields["train.epochs"]))) for label, t in flat.items()}  # type: ignore[arg-type]
    assert answered("epochs", rising, tuned=False)[1]["loss_falls_without_quality"].verdict == "contradicted"


def test_a_seed_that_one_arm_lost_does_not_decide_whether_the_loss_falls() -> None:
    arms = {label: dataclasses.replace(t, fields={**t.fields, "train/loss_last_tenth": 1 / float(str(t.fields["train.epochs"]))})
             for label, t in truths("epochs").items()}  # fmt: skip
    trials, items = question(arms, tuned=False)
    lost = (trials["train.epochs"] == 15) & (trials["seed"] == 3)
    trials.loc[lost, "state"] = "diverged"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    _, found = of_frames("epochs", trials, items)
    assert found["loss_falls_without_quality"].n_seeds == 3


def test_data_quantity_finds_where_enough_is() -> None:
    arms = {label: dataclasses.replace(t, ability=0.0 if int(str(t.fields["data.n_examples"])) < 500 else 2.0)
             for label, t in truths("data_quantity").items()}  # fmt: skip
    _, found = answered("data_quantity", arms, n_items=4_000, seed_sd=0.01)
    assert {
        name: found[name].verdict
        for name in (
            "sixteen_times_data_no_gain_equal_epochs",
            "sixteen_times_data_no_gain_equal_steps",
            "500_examples_reach_90_percent",
            "100_examples_miss_90_percent",
        )
    } == dict.fromkeys(
        (
            "sixteen_times_data_no_gain_equal_epochs",
            "sixteen_times_data_no_gain_equal_steps",
            "500_examples_reach_90_percent",
            "100_examples_miss_90_percent",
        ),
        "supported",
    )


def test_quality_vs_quantity_compares_the_arms_it_names() -> None:
    worse = changed(truths("quality_vs_quantity", ability=2.0), **{"source=lab:synthetic": {"ability": 0.5, "held_out": 1.5}})
    _, found = answered("quality_vs_quantity", worse)
    assert [found[name].verdict for name in ("curated_matches_all_synthetic_seen", "curated_beats_synthetic_at_equal_size")] == [
        "supported"
    ] * 2
    assert found["curated_beats_all_synthetic_held_out"].verdict == "contradicted"
    assert {
        found[name].verdict
        for name in ("diverse_beats_homogeneous_held_out", "best_tenth_beats_all", "best_tenth_beats_random_at_equal_size")
    } == {"undecided"}
    chosen = changed(truths("quality_vs_quantity"), **{"share=0.1": {"ability": 2.5}, "clusters=2": {"held_out": -1.0}})
    _, found = answered("quality_vs_quantity", chosen)
    assert [
        found[name].verdict
        for name in ("diverse_beats_homogeneous_held_out", "best_tenth_beats_all", "best_tenth_beats_random_at_equal_size")
    ] == ["supported"] * 3
    assert {found[name].verdict for name in ("curated_beats_synthetic_at_equal_size", "four_times_synthetic_no_gain")} <= {
        "undecided",
        "supported",
    }


def test_target_modules_compares_at_equal_parameters() -> None:
    better = changed(
        truths("target_modules"), **{"targets=mlp r=7": {"ability": 2.0}, "targets=all-linear r=4": {"ability": 0.0}}
    )
    _, found = answered("target_modules", better)
    assert (found["mlp_beats_attention"].verdict, found["all_linear_beats_attention"].verdict) == (
        "supported",
        "contradicted",
    )


def test_target_modules_decides_nothing_where_a_models_shapes_give_other_numbers_of_parameters() -> None:
    """As Llama 3 8B does: its feed-forward part at rank 7 has 1.45 times the parameters of its attention at rank 10."""
    trials, items = question(changed(truths("target_modules"), **{"targets=mlp r=7": {"ability": 2.0}}))
    n_parameters = trials["arm"].map({"lora targets=mlp r=7": 58_000.0}).fillna(40_000.0)
    _, found = of_frames("target_modules", trials.assign(trainable_parameters=n_parameters), items)
    assert found["mlp_beats_attention"].verdict == "undecided"
    assert "the numbers of parameters differ: 58,000 (" in found["mlp_beats_attention"].note
    assert "differ" not in found["all_linear_beats_attention"].note


def test_own_rows_of_unseen_tasks_answer_whether_breadth_carries_over() -> None:
    name = "task_diversity"
    levels = {label: t.fields.get("data.n_clusters") or t.fields.get("data.n_tasks") for label, t in truths(name).items()}
    rising = {label: dataclasses.replace(t, ability=np.log(float(str(levels[label])))) for label, t in truths(name).items()}
    trials, items = real(question(rising, tuned=False))
    _, found = of_frames(name, trials, items)
    assert {row.verdict for row in found.values()} == {"not tested"}  # a share of the same rows holds nothing out
    own = trials.assign(**{"data.eval_source": "held.jsonl"})
    for extra, verdict, note in (
        ({}, "undecided", "they name no cluster or task"),
        ({"rows/evaluated_of_trained_tasks": 3.0}, "undecided", "3 evaluation rows are of tasks that --data has"),
        ({"rows/evaluated_of_trained_tasks": 0.0}, "supported", ""),
    ):
        _, found = of_frames(name, own.assign(**extra), items)
        assert {row.verdict for row in found.values()} == {verdict}
        assert all(note in row.note for row in found.values())


def test_knowledge_tells_what_was_brought_out_from_what_was_added() -> None:
    sizes = {"lora r=1": 1e4, "lora r=4": 4e4, "lora r=16": 1.6e5, "lora r=64": 6.2e5, "full": 8.9e5}
    arms = {
        label: ArmState(
            {**truth.fields, "trainable_parameters": sizes[label]}, ability=3.0, held_out=float(np.log(sizes[label] / 1e5))
        )
        for label, truth in truths("knowledge").items()
    }
    trials, items = question(arms)
    names = {"exact_match/seen": "recall/known", "exact_match/held_out": "recall/taught"}
    recalled = items[items["measure"].isin(names)].assign(axis="other")
    recalled["measure"] = recalled["measure"].replace(names)
    unheard = recalled[recalled["measure"] == "recall/known"].assign(measure="recall/unheard", after=0.0)
    _, judged = of_frames("knowledge", trials, pd.concat([items, recalled, unheard]))
    found = {name: row.verdict for name, row in judged.items()}
    assert found == dict.fromkeys(("pretrained_facts_beat_taught_facts", "rank_helps_new_facts"), "supported")


def with_recall(trials: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The items, and for trials that are taught new facts their held-out ones again as recall of them."""
    taught = trials.loc[trials["data.source"] == "lab:new-facts", "fingerprint"]
    recalled = items[items["fingerprint"].isin(taught) & (items["measure"] == "exact_match/held_out")]
    return pd.concat([items, recalled.assign(measure="recall/taught")])


def test_rank_vs_data_judges_recall_on_the_arms_that_are_asked_for_it() -> None:
    arms = {}
    for label, truth in truths("rank_vs_data").items():
        rank = float(str(truth.fields.get("adapter.rank", 128)))
        of_facts, few = "new-facts" in label, "250" in label
        ability = 1.0 if few or of_facts else np.log2(rank) / 4
        fields = {"data.source": "lab:curated", "data.n_examples": 4_000, **truth.fields, "trainable_parameters": 1e4 * rank}
        fields["train/steps"] = 750.0 if few else 3 * float(str(fields["data.n_examples"])) / 16
        arms[label] = ArmState(fields, ability, held_out=np.log2(rank) / 1.5)
    trials, items = question(arms, n_items=2_000)
    tables, found = of_frames("rank_vs_data", trials, with_recall(trials, items))
    assert (found["rank_buys_more_with_more_data"].verdict, found["rank_buys_more_with_new_facts"].verdict) == (
        "supported",
        "supported",
    )
    assert found["rank_buys_more_with_new_facts"].n_seeds == 4
    assert found["rank_buys_more_with_new_facts"].note == SEEDS_ALONE  # and nothing on steps: rows and steps are equal
    assert tables.panels["recall/taught"].crossed
    curated = next(arm for arm in tables.arms if "new-facts" not in arm.label)
    assert "recall/taught" not in tables.means[curated.label]
    _, without = of_frames("rank_vs_data", trials, items)
    assert "no recall" in without["rank_buys_more_with_new_facts"].note
    own = trials[~trials["arm"].str.contains("new-facts")].assign(**{"data.source": "mine.jsonl"})
    _, mine = of_frames("rank_vs_data", own, items[items["fingerprint"].isin(own["fingerprint"])])
    assert mine["rank_buys_more_with_more_data"].verdict == "supported"


def test_label_noise_tells_a_cost_from_a_cost_that_can_be_borne() -> None:
    arms = {label: ArmState(t.fields, 1.0 - 1.8 * float(str(t.fields["data.noise_share"])))
             for label, t in truths("label_noise").items()}  # fmt: skip
    _, found = answered("label_noise", arms, n_items=6_000, seed_sd=0.01, tuned=False)
    assert [row.verdict for row in found.values()] == ["supported"]
    worse = changed(arms, **{"share=0.1": {"ability": -1.0}})
    _, found = answered("label_noise", worse, tuned=False)
    assert [row.verdict for row in found.values()] == ["contradicted"]


def test_replay_compares_the_arms_of_one_domain_with_those_of_all() -> None:
    levels = {"replay_share=0": 1.0, "replay_share=0.4 replay_domain=code": -0.1, "replay_share=0.25 replay_domain=code": 0.6}
    arms = {label: dataclasses.replace(t, forgetting=levels.get(label, 0.2)) for label, t in truths("replay").items()}
    assert levels.keys() < arms.keys()
    _, found = answered("replay", arms, tuned=False, seed_sd=0.01)
    assert {
        found[name].verdict
        for name in (
            "replay_5_percent_reduces_forgetting",
            "replay_1_percent_halves_forgetting",
            "code_mix_halves_code_forgetting",
        )
    } == {"supported"}
    assert found["replay_1_percent_halves_forgetting"].value == pytest.approx(0.3, abs=0.05)


def scaled(**slopes: float) -> dict[str, ArmState]:
    """model_scale's arms, ability rising with log parameters and log examples, forgetting with log parameters."""
    arms = {}
    for label, truth in truths("model_scale").items():
        size = float(str(truth.fields["total_parameters"]))
        rank = float(str(truth.fields.get("adapter.rank", 16)))
        log_x, log_n = np.log(size / 9e5), np.log(float(str(truth.fields["data.n_examples"])) / 500)
        ability = slopes.get("size", 0.0) * log_x + slopes.get("data", 0.0) * log_n + slopes.get("rank", 0.0) * np.log(rank / 16)
        arms[label] = ArmState(truth.fields, ability, forgetting=0.5 + slopes.get("forgetting", 0.0) * log_x)
    return arms


def test_model_scale_tells_size_from_data_and_whether_the_recipe_carries_over() -> None:
    tables, found = answered("model_scale", scaled(size=0.6, data=0.2, forgetting=0.1), n_items=2_000)
    assert [
        found[name].verdict
        for name in ("larger_base_is_better", "size_buys_more_than_data", "larger_base_forgets_more", "rank_16_enough_on_largest")
    ] == ["supported"] * 4
    _, found = answered("model_scale", scaled(size=0.2, data=0.6, forgetting=-0.1, rank=0.5), n_items=2_000)
    assert [
        found[name].verdict
        for name in ("larger_base_is_better", "size_buys_more_than_data", "larger_base_forgets_more", "rank_16_enough_on_largest")
    ] == ["supported"] + ["contradicted"] * 3
    law = tables.own.law
    assert law is not None
    assert law.best.fit.law in model_scale.JOINT
    assert "limit − coefficient X^−alpha D^−beta" in "".join(model_scale.sections(tables))


def test_every_base_that_nothing_draws_is_a_size_of_its_own() -> None:
    names = ["org/phi-1", "org/phi-2", "./ladder-3", "lab:base-0", "lab:base-1"]
    trials = pd.DataFrame({"model.name": names, "total_parameters": [1.0, 2.0, 3.0, 9.0, np.nan]})
    drawn = {"lab:base-0": ("lab:base-0", "lab:base-1")}
    assert [*model_scale.parameters_of(trials, drawn)] == [1.0, 2.0, 3.0, 9.0, 9.0]
    assert [*proxy_transfer.recipes(trials)["size"]] == ["unknown", "unknown", "unknown", "middle", "middle"]  # claims name 0.9 M


def test_replay_says_what_its_shares_are_of_the_tokens() -> None:
    """Documents are as long as rows, and all of one is in the loss where 9 of a row's 48 tokens are."""
    arms = {}
    for label, truth in truths("replay").items():
        tokens = 48_000.0 / (1 - float(str(truth.fields["data.replay_share"])))
        arms[label] = dataclasses.replace(truth, fields={**truth.fields, "train/tokens": tokens})
    tables, _ = answered("replay", arms)
    text = replay.shares(tables)[1]
    assert "| replay_share=0 | 0 % | 0 % | 0 % |" in text
    assert "| replay_share=0.1 | 10 % | 10 % | 37 % |" in text  # 5,333 of 5,333 + 9,000


def test_the_largest_base_is_not_the_largest_that_finished() -> None:
    trials, items = question(scaled(size=0.6, data=0.2, forgetting=0.1))
    largest = trials["model.name"].str.contains("large") & (trials["phase"] == "final")
    trials = trials.assign(state=trials["state"].where(~largest, "failed"))
    _, found = of_frames("model_scale", trials, items)
    assert all(found[name].verdict == "not tested" for name in ("rank_16_enough_on_largest",))
    assert "no final trial of" in found["rank_16_enough_on_largest"].note


def test_quantization_tells_the_kinds_of_base_apart_and_shows_their_memory() -> None:
    arms = changed(truths("quantization", ability=1.0), nf4={"ability": 0.6}, fp4={"ability": 0.2}, int8={"ability": 1.1})
    trials, items = question(arms, seeds=6, n_items=6_000, seed_sd=0.01)
    trials["memory_base_gib"], trials["memory_estimate_gib"], trials["peak_memory_gib"] = 0.25, 1.5, 1.25
    answer = questions.answer("quantization", trials, items)
    verdicts = {one.id: one for one in answer.verdicts}
    assert verdicts["nf4_equals_whole_base"].value == pytest.approx(-0.11, abs=0.02)
    assert {name: one.verdict for name, one in verdicts.items()} == {
        "nf4_equals_whole_base": "contradicted",
        "nf4_beats_fp4": "supported",
        "quantized_scales_cost_nothing": "supported",
        "int8_costs_nothing": "supported",
    }
    text = "\n".join(questions.load("quantization").sections(answer.tables))
    assert "| lora quantization=nf4 | 0.250 | 1.500 | 1.250 |" in text
