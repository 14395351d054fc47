"""Quality and forgetting along a training, and the best weights on validation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import along, preflight
from core.errors import BadInput
from core.fields import fingerprint
from core.result import Result
from core.settings import Evaluation, Full, Lora, Train, Trial

torch = pytest.importorskip("torch")

from test_trial import numbers, run, tiny  # noqa: E402


@pytest.mark.parametrize(
    ("every", "planned", "expected"),
    [
        (None, 100, []),
        (30, 100, [30, 60, 90, 100]),
        (1, 3, [1, 2, 3]),
        (500, 100, [100]),
        (0.25, 100, [25, 50, 75, 100]),
        (0.3, 10, [3, 6, 9, 10]),
        (0.1, 3, [1, 2, 3]),
        (0.001, 1, [1]),
    ],
)
def test_the_steps_at_which_a_model_is_measured(every: float | None, planned: int, expected: list[int]) -> None:
    assert along.stops(every, planned) == expected


@pytest.mark.parametrize("every", [0, -1, 1.5, 0.0001, float("nan"), float("inf")])
def test_what_is_no_number_of_steps_is_refused(every: float) -> None:
    with pytest.raises(BadInput, match="every"):
        Evaluation(every=every)


def test_the_best_of_nothing_is_refused(make_model: Callable[..., str], rows_file: str) -> None:
    asked = tiny(make_model("llama"), rows_file, train=Train(keep="best"))
    with pytest.raises(BadInput, match=r"train.keep=best: .* set evaluation.every too") as error:
        preflight.inspect(asked)
    assert error.value.field == "train.keep"


def test_at_the_default_a_trial_is_the_same_trial() -> None:
    assert fingerprint(Trial(), {}) == fingerprint(Trial(evaluation=Evaluation(every=None), train=Train(keep="last")), {})
    assert fingerprint(Trial(evaluation=Evaluation(every=0.5)), {}) != fingerprint(Trial(), {})


def measured(path: str, rows_file: str, **changes: Any) -> Trial:
    trial = tiny(path, rows_file, adapter=Lora(rank=4, dropout=0.1), train=Train(epochs=4, batch_size=8, learning_rate=1e-2))
    return replace(trial, evaluation=replace(trial.evaluation, every=0.25, generations=0), **changes)


def curve(result: Result) -> list[dict[str, float]]:
    return [point for point in result.history if "quality" in point]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_measuring_along_the_way_changes_nothing_else(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, split: str
) -> None:
    asked = measured(make_model("llama"), rows_file)
    asked = replace(asked, evaluation=replace(asked.evaluation, split=split))
    found = run(asked, tmp_path / "measured")
    plain = run(replace(asked, evaluation=replace(asked.evaluation, every=None)), tmp_path / "plain")
    assert numbers(found) == numbers(plain)
    assert [point for point in found.history if "loss" in point] == plain.history
    assert [point["step"] for point in curve(found)] == [0, 3, 6, 9, 12]
    assert [point["epoch"] for point in curve(found)] == [0, 1, 2, 3, 4]
    assert [point["step"] for point in found.history] == sorted(point["step"] for point in found.history)
    assert curve(found)[0]["forgetting"] == 0
    last = curve(found)[-1]
    same = (last["quality"], last["forgetting"]) == (found.metrics["quality"], found.metrics["forgetting"])
    assert same == (split == "validation")  # a trial that is scored on test items is measured on others
    assert json.loads((tmp_path / "measured" / "result.json").read_text())["history"] == found.history


def test_the_best_weights_on_validation_are_scored_and_saved(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import tasks
    from core.tasks.along import Along

    asked = measured(make_model("llama"), rows_file, train=Train(epochs=4, batch_size=8, learning_rate=1e-2, keep="best"))
    truth = Along.measure

    def worse_later(self: Along, step: int, epoch: float) -> None:
        with monkeypatch.context() as patched:
            if step > 6:  # so that the sixth step is the best
                found = tasks.measure

                def spoilt(subject: Any) -> list[Any]:
                    return [replace(one, scores=one.scores - 100) if one.axis == "quality" else one for one in found(subject)]

                patched.setattr(tasks, "measure", spoilt)
            truth(self, step, epoch)

    monkeypatch.setattr(Along, "measure", worse_later)
    best = run(asked, tmp_path / "best")
    assert best.metrics["train/kept_step"] == 6
    assert best.metrics["train/steps"] == 12
    monkeypatch.undo()

    from core import watcher

    weights = {}
    ended = watcher.Watcher.on_step_end

    def remember(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        ended(self, args, state, control, **more)
        if state.global_step == 6:
            trained = {name: one for name, one in self.trainer.model.named_parameters() if one.requires_grad}
            weights.update({name.replace(".default", ""): one.detach().clone() for name, one in trained.items()})

    monkeypatch.setattr(watcher.Watcher, "on_step_end", remember)
    last = run(replace(asked, train=replace(asked.train, keep="last")), tmp_path / "last")
    assert "train/kept_step" not in last.metrics
    assert last.metrics["quality"] != best.metrics["quality"]
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "best" / "adapter" / "adapter_model.safetensors")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weights[name]) for name in saved)


def test_a_tuning_trial_with_the_best_weights_has_the_best_points_quality(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    asked = measured(make_model("gpt2"), rows_file, adapter=Full())
    train, evaluation = replace(asked.train, keep="best", learning_rate=3e-2), replace(asked.evaluation, split="validation")
    found = run(replace(asked, train=train, evaluation=evaluation), tmp_path)
    points = curve(found)[1:]
    best = max(points, key=lambda point: point["quality"])
    assert found.metrics["train/kept_step"] == best["step"]
    assert found.metrics["quality"] == best["quality"]


def test_what_is_measured_along_the_way_takes_its_time() -> None:
    from core import cost
    from core.memory import Fit
    from core.states import Phase

    trial = Trial()
    inputs = preflight.inspect(trial)
    speed = cost.Speed(1e9, 1e9, 1e9, 1e-3)
    plain = cost.parts(trial, inputs, speed, Fit(16, False, 1.0), Phase.FINAL)
    four = cost.parts(
        replace(trial, evaluation=replace(trial.evaluation, every=0.25)), inputs, speed, Fit(16, False, 1.0), Phase.FINAL
    )
    assert four.evaluations[cost.ALONG] == pytest.approx(4 * (plain.evaluations["lab"] + plain.evaluations["drift"]))
    assert four.once > plain.once
    assert dataclasses.replace(four, evaluations={}, once=0) == dataclasses.replace(plain, evaluations={}, once=0)
