"""How long trials and sweeps are said to take, with made-up speeds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from driven import drive

import experiments
from core import cost, hardware, installation, memory, preflight, probe, remembered
from core.cost import Sizes, Speed
from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.fields import replace_field
from core.hardware import Device
from core.memory import Shape
from core.settings import Full, Lora, Model, Scalar, Trial
from core.states import Phase, State
from core.tasks.costs import Cost
from sweeps import describe, overrides, times
from sweeps.ledger import Outcome
from sweeps.plan import Plan
from sweeps.resources import START_SECONDS, Resources
from sweeps.search import Search

SHAPE = Shape(layers=2, hidden=8, inner=16, key=8)
SIZES = Sizes(SHAPE, body=1e6, head=5e5, weight_bytes=6e6)
SPEED = Speed(training=1e9, scoring=2e9, writing=1e8, pass_seconds=0.01)
WAY = memory.Fit(micro_batch_size=16, checkpointing=False, peak_gib=1.0)
EXPERIMENT = Experiment(
    name="made_up",
    question="?",
    base=Trial(),
    vary={"adapter.rank": (1, 4)},
    tune={"train.learning_rate": LogUniform(1e-4, 1e-2, grid=5)},
    tune_trials=6,
    seeds=(0, 1, 2),
)


def test_padding_is_counted_by_micro_batches_with_the_longest_rows_first() -> None:
    assert cost.padded((1, 9, 2, 8), 4, 4) == 9
    assert cost.padded((1, 9, 2, 8), 4, 2) == (9 + 9 + 2 + 2) / 4
    assert cost.padded((1, 9, 2, 8), 4, 1) == 5
    assert cost.padded((1, 9, 2, 8), 2, 2) == (9 + 9 + 8 + 8) / 4


def test_written_tokens_wait_for_one_another() -> None:
    read = Cost(read=1_000, scored=100, length=10)
    per_token = 2e6 + 4 * 2 * 8 * 10
    fixed = 2 * (cost.PASS_SECONDS + 2 * cost.LAYER_PASS_SECONDS)  # 100 texts in batches of 64
    assert cost.seconds(read, SIZES, SPEED, 64) == pytest.approx((1_000 * per_token + 100 * 1e6) / 2e9 + fixed)
    twice = cost.seconds(replace(read, both=True), SIZES, SPEED, 64) - fixed
    assert twice == pytest.approx(2 * (cost.seconds(read, SIZES, SPEED, 64) - fixed))
    written = Cost(length=10, written=200, passes=50)
    assert cost.seconds(written, SIZES, SPEED, 64) == pytest.approx(200 * (per_token + 1e6) / 1e8 + 50 * 0.01)


def test_a_probe_runs_the_code_of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **rest: (command, env))
    command, env = probe._started(["x"], None)  # type: ignore[misc]
    assert (command, env["PYTHONPATH"]) == (["x"], str(installation.ROOT))


def test_probes_on_cards_are_one_on_each_or_as_many_as_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Said:
        returncode = 0

        def communicate(self, timeout: float) -> tuple[str, str]:
            return json.dumps(dict.fromkeys(("training", "scoring", "writing", "pass_seconds"), 1.0)), ""

        kill = wait = lambda self: None

    monkeypatch.setattr(probe.subprocess, "Popen", lambda command, env, **_: seen.append(env[probe.VISIBLE]) or Said())
    asked = probe.Asked(tokens=10, rows=4, prompts=5)
    for visible, share, n, expected in (("", None, 3, "0 1 2"), ("4,6", None, 2, "4 6"), ("", 0.475, 4, "0 0 1 1")):
        monkeypatch.setenv(probe.VISIBLE, visible)
        seen.clear()
        probe.measure(Trial(), asked, Device("cuda", 1, share), n)
        assert seen == expected.split()


def test_a_probe_gives_back_the_speed_that_it_was_timed_with() -> None:
    asked = probe.Asked(tokens=10, rows=4, prompts=5)
    read = SIZES.read(40, 20, 10)
    each = SIZES.read(1, 1, 10)
    step = cost.STEP_SECONDS + 2 * cost.LAYER_STEP_SECONDS
    took = {"train": 2 * read / 1e9 + step, "score": read / 2e9}
    took |= {"one": probe.WRITTEN * (0.01 + each / 1e8), "several": probe.WRITTEN * (0.01 + 5 * each / 1e8)}
    assert probe.speeds(SIZES, asked, took, 2) == pytest.approx(
        {"training": 1e9, "scoring": 2e9, "writing": 1e8, "pass_seconds": 0.01}
    )


def test_a_measured_speed_is_kept_for_its_model_method_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path)
    lora, full, device = Trial(adapter=Lora()), Trial(adapter=Full()), Device()
    assert not cost.speed(lora, device, 2, "here").measured
    cost.keep(lora, device, 2, "here", replace(SPEED, measured=True))
    assert cost.speed(lora, device, 2, "here") == replace(SPEED, measured=True)
    others = [
        (full, device, 2, "here"),
        (lora, Device(threads=2), 2, "here"),
        (lora, device, 1, "here"),
        (lora, device, 2, "there"),
    ]
    assert not any(cost.speed(*other).measured for other in others)


def test_full_fine_tuning_computes_a_third_pass_and_checkpointing_one_more() -> None:
    trial, sizes = Trial(), replace(SIZES, shape=replace(SHAPE, layers=0))
    inputs = preflight.inspect(trial)
    inputs = replace(
        inputs, lengths=(round(inputs.mean_tokens),) * 16, mean_tokens=round(inputs.mean_tokens)
    )  # nothing is padding

    def operations(method: Trial, way: memory.Fit) -> float:
        fixed = inputs.steps * cost.STEP_SECONDS
        return cost.training(method, inputs, sizes, SPEED, way) - fixed

    lora, full = operations(trial, WAY), operations(replace(trial, adapter=Full()), WAY)
    assert full == pytest.approx(1.5 * lora)
    assert operations(trial, replace(WAY, checkpointing=True)) == pytest.approx(1.5 * lora)
    parts = cost.parts(trial, inputs, SPEED, WAY, Phase.FINAL)
    assert set(parts.named()) == {"loading", "training", "lab", "drift"}
    assert parts.seconds == pytest.approx(sum(parts.named().values()))


def test_a_sweep_takes_its_trials_over_the_slots_and_what_each_worker_does_once() -> None:
    plan, share = Plan.of(EXPERIMENT, preflight.provenance), Resources(1, 1)
    rows = times.rows(plan, share)
    assert [(row.label, row.n_tuning, row.n_final) for row in rows] == [("lora r=1", 6, 3), ("lora r=4", 6, 3)]
    trials = sum(6 * row.tuning.seconds + 3 * row.final.seconds for row in rows)
    assert times.total(plan, share, rows) == pytest.approx(START_SECONDS + 2 * rows[0].final.once + trials)
    assert times.corrected(rows, {("lora r=1", Phase.TUNE): [2 * rows[0].tuning.seconds] * 3}) == pytest.approx(2)
    assert times.corrected(rows, {}) == 1


def test_each_worker_measures_a_base_once_for_each_fold_that_changes_what_it_answers(make_model: Callable[..., str]) -> None:
    """Two folds of two bases: four sets of scores in the laboratory, whose questions differ by fold; two of generated ones."""
    other = make_model("llama"), make_model("qwen2")
    for source, models, n in (("lab:curated", ("lab:base-0", "lab:base-1"), 4), ("reasoning-gym:gcd", other, 2)):
        folds: dict[str, tuple[Scalar, ...]] = {"model.name": models * 2, "data.held_out_fold": (0, 0, 1, 1)}
        base = replace_field(replace_field(EXPERIMENT.base, "data.source", source), "model.name", models[0])
        asked = replace(EXPERIMENT, base=base, tune={}, tune_trials=0, with_seed=folds, seeds=tuple(range(4)))
        plan = Plan.of(asked, preflight.provenance)
        rows = times.rows(plan, Resources(1, 1))
        assert times.once(plan, rows) == pytest.approx(n * rows[0].final.once), source


def test_trials_that_wait_for_one_another_take_their_time_on_any_number_of_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 tuning trials 5 are the grid and one is proposed after it; the seeds wait for both."""
    monkeypatch.setattr(times, "n_cores", lambda: 64)
    plan, share = Plan.of(EXPERIMENT, preflight.provenance), Resources(64, 1)
    rows = times.rows(plan, share)
    longest = max(2 * row.tuning.seconds + row.final.seconds for row in rows)
    assert times.total(plan, share, rows) == pytest.approx(START_SECONDS + times.once(plan, rows) + longest)
    assert times.beyond(plan, share, rows) == max(row.tuning.seconds for row in rows)
    assert times.beyond(plan, share, []) == 0
    drive(search := Search(plan, {}), lambda job: Outcome(State.FINISHED, 0.5, 60.0), stop_after=plan.n_trials - 1)
    assert describe._time_left(search, rows, share) == describe._time_left(search, rows, Resources(1, 1))  # of one trial
    recipe = Plan.of(experiments.load("best_recipe"), preflight.provenance)
    rows = times.rows(recipe, share)
    assert times.least(recipe, rows) > sum(row.tuning.seconds for row in rows[:3])


def test_a_time_limit_below_the_estimate_is_told_with_what_to_do() -> None:
    plan = Plan.of(EXPERIMENT, preflight.provenance)
    rows = times.rows(plan, Resources(1, 1))
    assert times.timeout_trouble(Resources(1, 1), rows) == ""
    said = times.timeout_trouble(Resources(1, 1, trial_timeout_seconds=0.5), rows)
    assert said.startswith("--trial-timeout 0.5: a trial of lora r=")
    assert "give --trial-timeout " in said
    assert "data.n_examples" in said


def test_fewer_tuning_trials_make_a_coarser_grid_and_never_less_than_three_points() -> None:
    assert overrides.with_tune_trials(EXPERIMENT, 6) == EXPERIMENT
    fewer = overrides.with_tune_trials(EXPERIMENT, 4)
    assert (fewer.tune_trials, fewer.tune["train.learning_rate"].grid) == (4, 4)
    assert [len(arm.grid) for arm in Plan.of(fewer, preflight.provenance).arms] == [4, 4]
    with pytest.raises(BadInput, match="--tune-trials 2: must be between 3 and"):
        overrides.with_tune_trials(EXPERIMENT, 2)
    fixed = overrides.apply_settings(EXPERIMENT, ["train.learning_rate=1e-3"])
    with pytest.raises(BadInput, match="--tune-trials 4: made_up tunes nothing; leave it out"):
        overrides.with_tune_trials(fixed, 4)


def test_evaluation_rows_are_questions_of_each_task_where_these_are_generated() -> None:
    assert overrides.with_eval_rows(EXPERIMENT, 7).base.evaluation.items_per_task == 7
    own = replace(EXPERIMENT, base=replace_field(EXPERIMENT.base, "data.source", "rows.jsonl"))
    assert overrides.with_eval_rows(own, 7).base.evaluation.max_rows == 7
    with pytest.raises(BadInput, match="--eval-rows 0: must be at least 1"):
        overrides.with_eval_rows(own, 0)


@pytest.mark.parametrize(
    ("flags", "name", "dtype", "told"),
    [
        ("fpu avx512f avx512_bf16 sse", "own/model", "auto", "avx512_bf16"),
        ("amx_tile amx_bf16 avx512_bf16", "own/model", "float32", "amx_bf16"),
        ("fpu avx512f", "own/model", "auto", ""),
        ("avx512_bf16", "own/model", "bfloat16", ""),
        ("avx512_bf16", "lab:base-0", "auto", ""),
    ],
)
def test_a_cpu_with_instructions_for_bfloat16_is_told_where_a_model_computes_in_float32(
    flags: str, name: str, dtype: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    monkeypatch.setattr(hardware, "CPU_INFO", info)
    plan = SimpleNamespace(probes=[Trial(model=Model(name=name, dtype=dtype))])
    share = Resources(slots=2, threads=1)
    (note,) = times.in_bfloat16(cast(Plan, plan), share) or [""]
    assert f"({told})" in note if told else note == ""
    assert times.in_bfloat16(cast(Plan, plan), replace(share, gpus_per_trial=1.0)) == []
