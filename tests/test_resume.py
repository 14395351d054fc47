"""A trial that was killed in its training goes on there, and ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.fields import flatten
from core.result import Result
from core.settings import Adapter, Data, Evaluation, Full, Lora, Model, Prefer, Train, Trial

torch = pytest.importorskip("torch")

from core import resume  # noqa: E402
from core.resume import Keeper, State  # noqa: E402

HERE = Path(__file__).parent
AFTER_TRAINING = -1
CLOCKS = ("seconds", "peak_memory_gib")


def made(path: str, rows_file: str, adapter: Adapter, train: Train, **evaluation: Any) -> Trial:
    return Trial(
        model=Model(name=path),
        data=Data(source=rows_file, n_examples=22, eval_share=0.4),  # three steps an epoch, the last one of six rows
        adapter=adapter,
        train=replace(train, epochs=3, batch_size=8, learning_rate=3e-3, weight_decay=0.1),
        evaluation=Evaluation(drift_samples=4, drift_tokens=12, generations=2, **evaluation),
    )


@pytest.fixture(scope="module")
def ended(make_model: Callable[..., str], rows_file: str, pairs_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of trials that were killed and went on, and of the same ones undisturbed."""
    llama, gpt2 = make_model("llama-tied"), make_model("gpt2")
    small = Train(micro_batch_size=4, checkpointing="on", schedule="cosine")
    dropped, along = Lora(rank=4, dropout=0.2), {"every": 0.25}
    prefer = Prefer(method="dpo", source=pairs_file, n_pairs=None, epochs=2, rate_ratio=1.0)
    staged = replace(made(llama, rows_file, dropped, replace(small, steps=3)), prefer=prefer)
    cases = {
        "second stage": (staged, [2, 5]),  # killed in the first stage, of three steps, and in the second one, of six
        "lora": (made(llama, rows_file, Lora(rank=4), Train(kl_to_base=0.2, kl_on="prompts", l2_to_base=9.0)), [5]),
        "dropout": (made(llama, rows_file, dropped, small), [2, 8]),
        "full": (made(gpt2, rows_file, Full(), replace(small, schedule="linear")), [3, 7]),  # gpt2 has dropout of its own
        "measured": (made(llama, rows_file, dropped, Train(), split="validation"), [AFTER_TRAINING]),
        "best": (made(llama, rows_file, dropped, replace(small, keep="best"), **along), [4, 8]),
    }
    folder = tmp_path_factory.mktemp("killed")
    rows = {name: {"trial": flatten(trial), "kills": kills, "every": 1e-9} for name, (trial, kills) in cases.items()}
    (folder / "cases.json").write_text(json.dumps(rows))
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / "killed.py"), str(folder / "cases.json"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr[-2000:]
    return folder


def numbers(result: Result) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if not name.endswith(CLOCKS)}


@pytest.mark.parametrize(
    ("name", "went_on"),
    [("lora", "at step 4 of 9"), ("dropout", "at step 7 of 9"), ("full", "at step 6 of 9"), ("measured", "at step 9 of 9"),
     ("best", "at step 7 of 9"), ("second stage", "at step 4 of 6 of the second stage")],
)  # fmt: skip
def test_a_killed_trial_ends_as_if_undisturbed(ended: Path, name: str, went_on: str) -> None:
    results = [Result.read(ended / folder / "result.json") for folder in (name, f"{name}-whole")]
    assert results[0].facts["resumed"] == went_on
    assert "resumed" not in results[1].facts
    assert results[0].state == results[1].state == "finished"
    assert numbers(results[0]) == numbers(results[1])
    assert results[0].history == results[1].history
    weights = [ended / folder / "adapter" for folder in (name, f"{name}-whole")]
    tensors = sorted(path.name for path in weights[0].glob("*.safetensors"))
    assert bool(tensors) == (results[0].trial["evaluation.split"] == "test")  # a tuning trial keeps none
    for file in tensors:
        assert (weights[0] / file).read_bytes() == (weights[1] / file).read_bytes()
    items = [gzip.decompress((ended / folder / "items.csv.gz").read_bytes()) for folder in (name, f"{name}-whole")]
    assert items[0] == items[1]
    assert not list((ended / name).glob(".training*"))  # it has ended
    assert results[0].metrics["train/seconds"] > 0


def kept(folder: Path, mark: str = "a", every: float = 1e-9) -> Keeper:
    return Keeper(folder, {"fingerprint": mark, "version.torch": "2"}, every)


def state(step: int) -> State:
    tensors = {
        "weight|a": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
        "half": torch.ones(3, dtype=torch.bfloat16),
        "step": torch.tensor(3.0),
        "counts": torch.tensor([1, 2]),
        "generator": torch.get_rng_state(),
        "none": torch.zeros(0),
    }
    return State(step, tensors, {"rates": [0.1, 1e-17], "along": {}})


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    assert kept(tmp_path).load() is None
    keeper = kept(tmp_path)
    keeper.save(state(3))
    keeper.save(state(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".training-4.safetensors", ".training.json"]
    found = kept(tmp_path).load()
    assert found is not None
    assert (found.step, found.rest) == (4, state(4).rest)
    for tensors in (found.tensors, load_file(tmp_path / ".training-4.safetensors")):
        assert tensors.keys() == state(4).tensors.keys()
        for name, tensor in state(4).tensors.items():
            assert tensors[name].dtype == tensor.dtype
            assert torch.equal(tensors[name], tensor)
    resume.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_trainings_state_is_ignored_and_that_is_said(tmp_path: Path) -> None:
    kept(tmp_path).save(state(3))
    keeper = kept(tmp_path, mark="b")
    assert keeper.load() is None
    assert keeper.trouble == "ignored: it has fingerprint a, now b"
    assert not list(tmp_path.iterdir())


def test_other_micro_batches_go_on_and_that_is_said(tmp_path: Path) -> None:
    keeper = kept(tmp_path)
    keeper.made = {"micro_batch_size": "8", "checkpointing": "off"}
    keeper.save(state(3))
    told = "not to the last bit as if undisturbed: micro_batch_size 8, from step 3 on 4"
    for made, trouble in (("8", ""), ("4", told), ("4", told)):  # an attempt after the next knows of it too
        again = kept(tmp_path)
        again.made = {"micro_batch_size": made, "checkpointing": "off"}
        assert again.load() is not None
        assert again.trouble == trouble
        again.save(state(3))


def cut(folder: Path) -> None:
    path = folder / ".training-3.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def turn_a_bit(folder: Path) -> None:
    path = folder / ".training-3.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def cut_words(folder: Path) -> None:
    path = folder / ".training.json"
    path.write_text(path.read_text()[:-20])


def change_words(folder: Path) -> None:
    path = folder / ".training.json"
    path.write_text(path.read_text().replace("1e-17", "2e-17"))


def other_json(folder: Path) -> None:
    (folder / ".training.json").write_text("[]")


def lose_tensors(folder: Path) -> None:
    (folder / ".training-3.safetensors").unlink()


def not_text(folder: Path) -> None:
    (folder / ".training.json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("damage", [cut, turn_a_bit, cut_words, change_words, other_json, lose_tensors, not_text])
def test_a_damaged_state_is_ignored_and_that_is_said(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    kept(tmp_path).save(state(3))
    damage(tmp_path)
    keeper = kept(tmp_path)
    assert keeper.load() is None
    assert keeper.trouble.startswith("ignored: damaged (")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = kept(tmp_path)
    keeper.save(state(3))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(resume.os, "fsync", full)
        keeper.save(state(4))
    assert keeper.trouble == "could not be written: OSError: [Errno 28] No space left on device"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".training-3.safetensors", ".training.json"]
    found = kept(tmp_path).load()
    assert found is not None
    assert found.step == 3


def test_states_take_little_of_a_trials_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    keeper = kept(tmp_path, every=300)
    keeper.saved = now[0]
    assert not keeper.due()
    now[0] += 300
    assert keeper.due()
    keeper.saved, keeper.took_seconds = now[0], 40.0  # a slow disk
    now[0] += 300
    assert not keeper.due()
    now[0] += 500
    assert keeper.due()


def test_a_short_trial_writes_no_state(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_trial import run, tiny

    saved = []
    monkeypatch.setattr(Keeper, "save", lambda self, state: saved.append(state))
    run(tiny(make_model("llama"), rows_file), tmp_path)
    assert not saved


def test_a_trial_that_ran_out_of_memory_goes_on_smaller_where_it_was(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import preflight, train, training_state, trial
    from core.hardware import Device

    monkeypatch.setattr(resume, "LEAST_SHARE", 0)
    loss, calls, captured = train.response_loss, [], training_state.captured

    def limited(model: Any, inputs: Any) -> Any:
        calls.append(len(inputs["n_tokens"]))
        if len(calls) == 6:
            raise RuntimeError("CPU: out of memory")
        return loss(model, inputs)

    monkeypatch.setattr(train, "response_loss", limited)
    monkeypatch.setattr(training_state, "captured", lambda trainer, rates, seconds: captured(trainer, rates, seconds + 1_000))
    asked = made(make_model("llama"), rows_file, Lora(rank=4), Train())
    found = trial.run(asked, preflight.provenance(asked), tmp_path, Device(checkpoint_seconds=1e-9))
    assert found.state == "finished"
    assert found.facts["ran_out_of_memory"].startswith("micro-batches of ")
    assert found.facts["resumed"] == "at step 5 of 9"
    assert found.metrics["train/steps"] == 9
    assert found.seconds < 1_000  # those of its first try in this process stand on the clock already
    assert calls[:5] == [8, 8, 6, 8, 8]
    assert max(calls[6:]) < 8
    assert not list(tmp_path.glob(".training*"))


def test_a_trial_that_failed_keeps_its_state_for_another_try(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import preflight, trial
    from core.hardware import Device

    monkeypatch.setattr(resume, "LEAST_SHARE", 0)
    asked = made(make_model("llama"), rows_file, Lora(rank=4), Train())

    def broken(*arguments: object) -> None:
        raise RuntimeError("it broke")

    with monkeypatch.context() as patched:
        patched.setattr(trial, "_score", broken)
        failed = trial.run(asked, preflight.provenance(asked), tmp_path, Device(checkpoint_seconds=1e-9))
    assert (failed.state, failed.reason) == ("crashed", "RuntimeError: it broke")
    assert list(tmp_path.glob(".training*"))
    again = trial.run(asked, preflight.provenance(asked), tmp_path, Device(checkpoint_seconds=1e-9))
    assert (again.state, again.facts["resumed"]) == ("finished", "at step 9 of 9")
    assert again.seconds > failed.metrics["train/seconds"]
    assert again.history == failed.history
    assert not list(tmp_path.glob(".training*"))


def test_what_goes_on_lies_where_the_steps_to_come_will_be() -> None:
    from types import SimpleNamespace

    from core import training_state

    trainer: Any = SimpleNamespace(model=torch.nn.Linear(1, 1, bias=False), args=SimpleNamespace(device="meta"))
    tensors = {"weight|weight": torch.ones(1, 1), "losses": torch.ones(2), "token_counts": torch.tensor([7, 9])}
    training_state.restore_weights(trainer, State(2, tensors, {}))
    assert [one.device.type for one in (*trainer.losses, *trainer.token_counts)] == ["meta"] * 4
