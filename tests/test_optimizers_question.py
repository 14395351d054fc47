"""The question `optimizers`: what its rules say of sweeps whose effects are known."""

from __future__ import annotations

import dataclasses

import pytest
from simulated import Found, of_frames, question, truths

import experiments
from core.optimizers import OPTIMIZERS
from core.rates import RATE
from sweeps.plan import arms


def found_of(seeds: int = 8, tuned: bool = True, **levels: dict[str, float]) -> Found:
    """What is found of arms that are alike but for these: "full_lion" is all weights by Lion, "lora_64" LoRA in batches of 64.
    Lion's rates are a fifth of the others'."""
    alike = {}
    for label, truth in truths("optimizers").items():
        method, _, last = label.partition(" ")
        own = levels.get(f"{method}_{last.partition('=')[2].replace('-', '_')}", {})
        alike[label] = dataclasses.replace(truth, **own)
    trials, items = question(alike, seeds=seeds, tuned=tuned, n_items=4_000, seed_sd=0.005)
    trials.loc[trials["train.optimizer"] == "lion", RATE] *= 0.2
    return of_frames("optimizers", trials, items)


def test_each_optimizer_trains_lora_and_all_weights_and_batches_stand_beside() -> None:
    found = arms(experiments.load("optimizers"))
    grid = {(arm.overrides["adapter.method"], arm.overrides.get("train.optimizer")) for arm in found}
    assert grid == {(method, name) for method in ("lora", "full") for name in (*OPTIMIZERS, None)}
    assert {arm.overrides["train.batch_size"] for arm in found if "train.batch_size" in arm.overrides} == {4, 64}
    lion, adamw = (next(arm for arm in found if arm.label == f"full optimizer={name}").tune[RATE] for name in ("lion", "adamw"))
    assert lion.high == pytest.approx(0.2 * adamw.high)
    assert adamw.high == pytest.approx(3e-3)  # a tenth of LoRA's


def test_what_is_so_is_supported() -> None:
    lower = {"ability": 0.2}
    t, found = found_of(full_sgd=lower, full_muon={"forgetting": 0.2}, lora_64=lower, lora_4={"ability": 1.2})
    assert {name: row.verdict for name, row in found.items()} == dict.fromkeys(found, "supported")
    assert found["lion_takes_a_lower_rate"].value == pytest.approx(0.2)
    batches = ["batch 4", "batch 64"]
    assert [arm.label for arm in t.where({"adapter.method": "full"})] == [
        *(f"full optimizer={name}" for name in OPTIMIZERS), "full batch_size=4", "full batch_size=64",
    ]  # fmt: skip
    assert set(t.trials["recipe"]) == {*(one.label for one in OPTIMIZERS.values()), *batches}


def test_what_is_not_so_is_contradicted() -> None:
    lower, more = {"ability": 0.0}, {"ability": 1.2}
    full = {"full_adamw_8bit": lower, "full_adafactor": lower, "full_lion": lower, "full_sgd": more}
    found = found_of(**full, full_muon={"forgetting": 1.5}, full_64=lower, full_4=more)[1]
    assert found.pop("lion_takes_a_lower_rate").verdict == "supported"
    assert {name: row.verdict for name, row in found.items()} == dict.fromkeys(found, "contradicted")


def test_another_usual_batch_is_the_usual_one() -> None:
    """`--set train.batch_size=32`, without the arms that have their own."""
    alike = {label: one for label, one in truths("optimizers").items() if "batch_size=" not in label}
    other = {label: dataclasses.replace(one, fields=one.fields | {"train.batch_size": 32}) for label, one in alike.items()}
    t, found = of_frames("optimizers", *question(other, seeds=2, n_items=60))
    assert set(t.trials["recipe"]) == {one.label for one in OPTIMIZERS.values()}
    assert {name for name, one in found.items() if one.verdict == "not tested"} == {"lora_pays_for_large_batches"}


def test_batches_of_one_optimizer_alone_are_compared() -> None:
    """`--set train.optimizer=adamw`: as many arms of each batch."""
    some = {label: one for label, one in truths("optimizers").items() if "optimizer=" not in label or label.endswith("=adamw")}
    found = of_frames("optimizers", *question(some, seeds=2, n_items=60))[1]
    assert found["lora_pays_for_large_batches"].value is not None


def test_without_tuning_nothing_is_said_of_rates() -> None:
    assert found_of(seeds=2, tuned=False)[1]["lion_takes_a_lower_rate"].verdict == "not tested"
