"""One trial end to end: it trains, measures, saves, repeats bit for bit, and records what goes wrong."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MARKED

from core import preflight
from core.errors import BadInput
from core.fields import fingerprint
from core.hardware import Device
from core.result import Result
from core.settings import Adapter, Data, Evaluation, Full, Lora, Model, Train, Trial
from core.states import State

torch = pytest.importorskip("torch")

CLOCKS = ("seconds", "peak_memory_gib")  # what may differ between two runs of one trial


def tiny(path: str, rows_file: str, **changes: object) -> Trial:
    """A trial of about 0.3 s."""
    trial = Trial(
        model=Model(name=path),
        data=Data(source=rows_file, n_examples=24, eval_share=0.4),
        adapter=Lora(rank=4),
        train=Train(epochs=2, batch_size=8, learning_rate=3e-3),
        evaluation=Evaluation(drift_samples=4, drift_tokens=12),
    )
    return dataclasses.replace(trial, **changes)


def run(trial: Trial, output: Path) -> Result:
    from core import trial as trials

    return trials.run(trial, preflight.provenance(trial), output, Device())


def numbers(result: Result) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if not name.endswith(CLOCKS)}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gpt2"])
@pytest.mark.parametrize("adapter", [Lora(rank=4), Full()], ids=["lora", "full"])
def test_a_trial_trains_on_every_architecture(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, architecture: str, adapter: Adapter
) -> None:
    trial = tiny(make_model(architecture), rows_file, adapter=adapter, train=Train(epochs=6, batch_size=8, learning_rate=1e-2))
    result = run(trial, tmp_path / "out")
    assert (result.state, result.reason) == ("finished", "")
    metrics = result.metrics
    assert metrics["quality"] > metrics["quality_before"] + 0.5
    assert metrics["forgetting"] > 0
    assert metrics["before/kl/documents"] == pytest.approx(0, abs=1e-6)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert metrics["train/steps"] == 18 == result.history[-1]["step"]
    assert result.history[-1]["tokens"] == metrics["train/tokens"]


def test_what_a_trial_leaves_behind(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    trial = tiny(make_model("llama", MARKED), rows_file)
    result = run(trial, tmp_path)
    assert Result.read(tmp_path / "result.json") == result
    assert json.loads((tmp_path / "result.json").read_text()) == dataclasses.asdict(result)
    assert result.fingerprint == fingerprint(trial, result.provenance)
    assert {p.name for p in tmp_path.iterdir()} == {"result.json", "items.csv.gz", "adapter", "generations.json"}
    metrics = result.metrics
    for name in (
        "quality",
        "quality_se",
        "quality_before",
        "forgetting",
        "forgetting_se",
        "rows/skipped_empty",
    ):
        assert name in metrics
    with gzip.open(tmp_path / "items.csv.gz", "rt") as file:
        items = [row for row in csv.DictReader(file) if row["axis"] == "quality"]
    assert len(items) == metrics["rows/evaluated"]
    weights = [float(row["weight"]) for row in items]
    mean = sum(w * float(row["after"]) for w, row in zip(weights, items, strict=True)) / sum(weights)
    assert mean == pytest.approx(metrics["quality"])
    facts = result.facts
    assert facts["quality_measure"] == "log_likelihood/response"
    assert len(facts["drift_texts"]) == 16  # whichever machine draws others is told of
    assert facts["target_modules"] == "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert all(isinstance(value, str) for value in facts.values())


def test_same_seed_same_bits_also_in_a_warm_process(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from core import warm

    lora = tiny(make_model("llama-tied"), rows_file, adapter=Lora(rank=4, dropout=0.1))
    warm.clear()
    cold = run(lora, tmp_path / "cold")
    wild = dataclasses.replace(lora, adapter=Full(), train=Train(learning_rate=0.1))
    full = run(wild, tmp_path / "full")
    run(dataclasses.replace(lora, seed=7), tmp_path / "seed7")
    again = run(lora, tmp_path / "warm")
    assert numbers(again) == numbers(cold)
    assert again.history == cold.history
    warm.drop_base()
    assert numbers(run(dataclasses.replace(lora, adapter=Full(), train=Train(learning_rate=0.1)), tmp_path / "full2")) == numbers(
        full
    )
    adapter_files = [
        (tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("cold", "warm", "seed7")
    ]
    assert adapter_files[0] == adapter_files[1] != adapter_files[2]


def test_arms_of_a_seed_share_order_and_items(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    small = run(tiny(make_model("llama"), rows_file, adapter=Lora(rank=1)), tmp_path / "a")
    large = run(tiny(make_model("llama"), rows_file, adapter=Lora(rank=8)), tmp_path / "b")
    for same in ("train_rows_hash", "evaluation_rows_hash"):
        assert small.facts[same] == large.facts[same]
    assert small.history[0]["loss"] == pytest.approx(large.history[0]["loss"])  # LoRA begins as the base


def test_new_tokens_are_trained_in_and_out(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for architecture, expected in (("llama", {"embed_tokens", "lm_head"}), ("llama-tied", {"embed_tokens"})):
        run(tiny(make_model(architecture), rows_file), tmp_path / architecture)
        saved = load_file(tmp_path / architecture / "adapter" / "adapter_model.safetensors")
        rows = {name: value for name, value in saved.items() if "token_adapter" in name or "trainable_tokens" in name}
        assert {layer for layer in ("embed_tokens", "lm_head") if any(layer in name for name in rows)} == expected
        for value in rows.values():
            assert value.shape[0] == 2
            assert not torch.equal(value[0], value[1])  # both began as the mean


def test_accumulated_micro_batches_are_the_same_step(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    whole = run(tiny(make_model("llama"), rows_file, train=Train(epochs=1, batch_size=8)), tmp_path / "a")
    parts = run(tiny(make_model("llama"), rows_file, train=Train(epochs=1, batch_size=8, micro_batch_size=2)), tmp_path / "b")
    assert [p["loss"] for p in whole.history] == pytest.approx([p["loss"] for p in parts.history], rel=1e-4)
    assert parts.metrics["quality"] == pytest.approx(whole.metrics["quality"], rel=1e-4)


RATES = {  # warm-up of ceil(share × steps) steps, counted from 1, so that no step has a rate of 0
    ("linear", 6, 0.34): [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3],
    ("cosine", 6, 0.34): [1 / 3, 2 / 3, 1, 1, 0.75, 0.25],
    ("constant", 6, 0.34): [1 / 3, 2 / 3, 1, 1, 1, 1],
    ("linear", 1, 0.06): [1],
    ("cosine", 1, 0.06): [1],
    ("constant", 1, 0.06): [1],
    ("linear", 2, 0.06): [1, 1],
    ("cosine", 2, 0.99): [0.5, 1],
    ("linear", 2, 0.0): [1, 0.5],
    ("cosine", 2, 0.0): [1, 0.5],
    ("constant", 2, 0.0): [1, 1],
}


@pytest.mark.parametrize(("schedule", "steps", "warmup_share"), RATES)
def test_learning_rate_follows_the_schedule(schedule: str, steps: int, warmup_share: float) -> None:
    from core.schedule import rate_share, warmup_steps

    warmup = warmup_steps(warmup_share, steps)
    shares = [rate_share(schedule, step, warmup, steps) for step in range(steps)]
    assert shares == pytest.approx(RATES[schedule, steps, warmup_share])


def test_warm_up_is_no_step_longer_by_a_rounding_error() -> None:
    from core.schedule import warmup_steps

    assert [warmup_steps(*one) for one in ((0.07, 100), (0.06, 1), (0.0, 50), (0.999, 3))] == [7, 1, 0, 3]


@pytest.mark.parametrize(("schedule", "steps"), [("linear", 1), ("constant", 1), ("cosine", 2), ("linear", 6)])
def test_the_recorded_rates_are_the_schedules_and_the_first_step_trains(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, schedule: str, steps: int
) -> None:
    share = {1: 0.06, 2: 0.0, 6: 0.34}[steps]
    train = Train(steps=steps, batch_size=4, micro_batch_size=2, learning_rate=1e-2, schedule=schedule, warmup_share=share)
    result = run(tiny(make_model("llama"), rows_file, train=train), tmp_path)
    rates = [point["learning_rate"] for point in result.history]
    assert rates == pytest.approx([1e-2 * share for share in RATES[schedule, steps, share]])
    assert result.metrics["forgetting"] > 0


def test_divergence_is_a_row(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    trial = tiny(make_model("llama"), rows_file, adapter=Full(), train=Train(learning_rate=9.9, epochs=40, max_grad_norm=1e30))
    from core import train

    original = train.response_loss
    calls = []

    def explode(model, inputs):
        calls.append(1)
        return original(model, inputs) * (float("nan") if len(calls) > 3 else 1)

    train.response_loss = explode
    try:
        result = run(trial, tmp_path)
    finally:
        train.response_loss = original
    assert result.state == "diverged"
    assert "step 4 of" in result.reason
    assert len(calls) == 4  # stopped at once
    assert "quality" not in result.metrics
    assert Result.read(tmp_path / "result.json").state == "diverged"


@pytest.mark.parametrize(
    ("error", "state"),
    [(RuntimeError("boom"), "crashed"), (RuntimeError("CUDA out of memory"), "oom"), (torch.cuda.OutOfMemoryError("x"), "oom")],
)
def test_a_crash_is_a_row_and_the_next_trial_is_sound(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, state: str
) -> None:
    from core import train

    trial = tiny(make_model("llama"), rows_file)
    good = run(trial, tmp_path / "good")

    def fail(*args: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", fail)
        result = run(trial, tmp_path / "bad")
    assert (result.state, "\n" in result.reason) == (state, False)
    assert type(error).__name__ in (tmp_path / "bad" / "traceback.txt").read_text()
    assert numbers(run(trial, tmp_path / "again")) == numbers(good)


@pytest.mark.parametrize("crash", [False, True], ids=["finished", "crashed"])
def test_nothing_pins_a_base_that_is_let_go(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: bool
) -> None:
    """Samples of the base, traceback frames and reference cycles have each kept a base in memory beside the next one."""
    from core import model, warm

    trial = tiny(make_model("llama"), rows_file)
    run(trial, tmp_path / "first")
    base = weakref.ref(next(iter(warm.BASE.values.values())).model)
    assert base() is not None
    if crash:
        monkeypatch.setattr("core.summary.add_measurements", lambda *arguments: 1 / 0)
        assert run(trial, tmp_path / "bad").state == "crashed"
    else:
        model.load(Model(name=make_model("gpt2")), Device())
    assert base() is None


def test_peak_memory_is_the_trials_own(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import hardware

    trial = tiny(make_model("llama"), rows_file)
    if not os.access(hardware.CLEAR_REFS, os.W_OK):
        pytest.skip("the high-water mark cannot be reset here")
    run(trial, tmp_path / "warm")
    one = run(trial, tmp_path / "a").metrics["peak_memory_gib"]
    # 0.5 GiB that is gone before the next trial, in pieces between others that stay: libraries keep such memory for themselves
    ballast, kept = [torch.ones(25_000)], []
    for _ in range(5_000):
        ballast.append(torch.ones(25_000))
        kept.append(torch.ones(10))
    del ballast
    two = run(trial, tmp_path / "b").metrics["peak_memory_gib"]
    assert kept
    assert 0.1 < two < one + 0.2
    monkeypatch.setattr(hardware, "CLEAR_REFS", tmp_path / "none")
    assert "peak_memory_gib" not in run(trial, tmp_path / "c").metrics


def test_the_first_trials_peak_is_without_the_bases_own_measurement(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import hardware, warm
    from core import trial as trials

    trial = tiny(make_model("llama"), rows_file)
    if not os.access(hardware.CLEAR_REFS, os.W_OK):
        pytest.skip("the high-water mark cannot be reset here")
    before = trials._before

    def costly(*arguments):
        torch.ones(1 << 28).sum()  # 1 GiB, which is gone before training
        return before(*arguments)

    warm.clear()
    usual = run(trial, tmp_path / "a").metrics["peak_memory_gib"]
    monkeypatch.setattr(trials, "_before", costly)
    assert run(trial, tmp_path / "b").metrics["peak_memory_gib"] < usual + 0.5


def test_adams_moments_are_gone_when_the_tuned_model_is_measured(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import tasks, train

    optimizers: list[weakref.ref] = []
    create = train.ResponseTrainer.create_scheduler

    def noted(self, *arguments, **options):
        optimizers.append(weakref.ref(self.optimizer))
        return create(self, *arguments, **options)

    measure, alive = tasks.measure, []

    def watched(subject):
        alive.append([one() is not None for one in optimizers])
        return measure(subject)

    monkeypatch.setattr(train.ResponseTrainer, "create_scheduler", noted)
    monkeypatch.setattr(tasks, "measure", watched)
    assert run(tiny(make_model("llama"), rows_file, adapter=Full()), tmp_path).state == "finished"
    assert alive[-1] == [False]


def test_rounding_a_tuned_model_leaves_its_buffers_exact(make_model: Callable[..., str]) -> None:
    from core import model

    base = model.load(Model(name=make_model("llama")), Device())
    own = model.trial_copy(base, changes_base=True)
    model.round_parameters(own, torch.bfloat16)
    assert {parameter.dtype for parameter in own.parameters()} == {torch.bfloat16}
    buffers = dict(base.model.named_buffers())
    assert any("inv_freq" in name for name in buffers)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in own.named_buffers())


def test_bad_input_and_ctrl_c_leave_nothing(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import train

    trial = tiny(make_model("llama"), rows_file)
    with pytest.raises(BadInput, match="rank"):
        run(dataclasses.replace(trial, adapter=Lora(rank=999)), tmp_path / "out")
    with pytest.raises(BadInput, match="4-bit"):
        run(dataclasses.replace(trial, model=Model(name=trial.model.name, quantization="nf4"), adapter=Full()), tmp_path / "out")

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(trial, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_long_and_empty_rows_are_counted(make_model: Callable[..., str], tmp_path: Path) -> None:
    raws = [{"instruction": f"say {i}", "output": "five"} for i in range(40)]
    raws += [{"instruction": f"long {i} " + "word " * 60, "output": "five"} for i in range(5)]
    raws += [{"instruction": f"tell {i}", "output": "five " * 60} for i in range(5)]
    raws += [{"instruction": "empty", "output": ""}] * 3
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    data = Data(source=str(path), n_examples=None, seq_len_tokens=48, eval_share=0.3)
    metrics = run(tiny(make_model("llama"), str(path), data=data), tmp_path / "out").metrics
    assert metrics["rows/skipped_empty"] == 3
    total = metrics["rows/used"] + metrics["rows/skipped_too_long"]
    assert metrics["rows/skipped_too_long"] > 0
    assert metrics["rows/truncated"] > 0
    assert 25 <= total <= 45
    few = Data(source=str(path), n_examples=8, seq_len_tokens=48, eval_share=0.3)
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws[:40]))
    alike = run(tiny(make_model("llama"), str(path), data=few), tmp_path / "alike").metrics["rows/response_tokens"]
    assert alike == round(alike)  # every answer is "five"
    assert 1 < alike < metrics["rows/response_tokens"]  # some are 60 times as long, cut at 48 tokens


def test_base_text_becomes_the_forgetting_axis(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    text = tmp_path / "base.txt"
    text.write_text("the quick brown fox jumps over the lazy dog . " * 40)
    evaluation = Evaluation(base_text=str(text), drift_samples=4, drift_tokens=12)
    result = run(tiny(make_model("gpt2"), rows_file, evaluation=evaluation), tmp_path / "out")
    assert result.facts["forgetting_measures"] == "nll/base_text"
    assert result.metrics["forgetting"] == pytest.approx(result.metrics["delta/nll/base_text"])
    assert "after/kl/documents" in result.metrics


def test_quantized_bases_and_bfloat16_train_on_the_cpu(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    path = make_model("llama")
    packed = []
    for kind, double in (("nf4", True), ("fp4", False), ("int8", True)):
        asked = Model(name=path, quantization=kind, double_quantization=double)
        packed.append(run(tiny(path, rows_file, model=asked), tmp_path / kind))
        assert (packed[-1].state, packed[-1].reason) == ("finished", "")
        assert packed[-1].facts["quantization"] == (kind if double else f"{kind}, scales in float32")
        assert packed[-1].metrics["quality"] > packed[-1].metrics["quality_before"]
    half = run(tiny(path, rows_file, model=Model(name=path, dtype="bfloat16")), tmp_path / "bf16")
    assert (half.state, half.reason, half.facts["dtype"]) == ("finished", "", "bfloat16")
    plain = run(tiny(path, rows_file), tmp_path / "fp32")
    for other in (*packed, half):
        assert other.metrics["quality"] == pytest.approx(plain.metrics["quality"], abs=0.3)


def test_stories_on_lima(shared: Path, stories: str, tmp_path: Path) -> None:
    trial = tiny(stories, str(shared / "data" / "instruct" / "lima.jsonl.gz"), train=Train(epochs=1, batch_size=8))
    trial = dataclasses.replace(trial, data=dataclasses.replace(trial.data, eval_share=0.05, seq_len_tokens=96))
    result = run(trial, tmp_path)
    assert (result.state, result.reason) == ("finished", "")
    assert result.metrics["quality"] > result.metrics["quality_before"]
    assert result.metrics["rows/truncated"] > 0


def test_a_batch_is_the_same_rows_whatever_its_micro_batches() -> None:
    from core.batches import SeededOrder

    lengths = [7, 3, 9, 1, 5, 8, 2, 6, 4, 10]
    first, again = (SeededOrder(lengths, Train(batch_size=4), seed=1) for _ in range(2))
    epochs = [list(first), list(first)]
    assert epochs == [list(again), list(again)]
    assert sorted(epochs[0]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert [lengths[i] for i in epochs[0][:4]] == sorted((lengths[i] for i in epochs[0][:4]), reverse=True)
    plain = list(SeededOrder(lengths, Train(batch_size=1), seed=1))
    assert all(set(plain[at : at + 4]) == set(epochs[0][at : at + 4]) for at in (0, 4, 8))


def test_a_result_is_written_whole_and_read_back(tmp_path: Path) -> None:
    """Numbers that are not finite are left out; a trial that could not write its own row costs the time that it took."""
    trial = Trial()
    hung = Result.failure(trial, {"data": "d"}, State.CRASHED, "still running after its time limit", 21_600.0)
    assert (hung.metrics, hung.fingerprint) == ({"seconds": 21_600.0}, fingerprint(trial, {"data": "d"}))
    odd = dataclasses.replace(hung, metrics={"quality": 0.5, "loss": float("nan")}, history=[{"step": 1, "loss": float("inf")}])
    written = odd.write(tmp_path / "new" / "folder")
    assert (written.metrics, written.history) == ({"quality": 0.5}, [{"step": 1}])
    assert Result.read(tmp_path / "new" / "folder" / "result.json") == written
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["result.json"]
    keys = ["fingerprint", "state", "reason", "trial", "provenance", "metrics", "history", "facts", "seconds"]
    assert list(json.loads((tmp_path / "new" / "folder" / "result.json").read_text())) == keys


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"state": "lost", "metrics": {}, "seconds": 1}'])
def test_a_damaged_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(BadInput, match=r"result\.json is damaged .*delete it and the trial runs again"):
        Result.read(tmp_path / "result.json")


def test_what_is_kept_between_trials_is_bounded(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from core import warm

    made: list[int] = []
    store = warm.Store(2)
    for key in (1, 2, 1, 3, 1):
        store.get(key, lambda key=key: made.append(key))
    assert made == [1, 2, 3, 1]  # the oldest went
    run(tiny(make_model("llama"), rows_file), tmp_path)
    kept = (warm.BASE, warm.TOKENS, warm.NEAR, warm.BEFORE)
    assert all(0 < len(one.values) <= one.most for one in kept)
    assert len(warm.SAMPLES) == len(warm.BASE.values) == 1
    warm.clear()
    assert not any(one.values for one in kept)
    assert not warm.SAMPLES
