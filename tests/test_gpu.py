"""The GPU road: bfloat16, placement, a fraction of the memory, peak memory, NF4, out of memory as a row. Skipped without CUDA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from core import preflight
from core.hardware import Device
from core.result import Result
from core.settings import Adapter, Data, Evaluation, Full, Lora, Model, Train, Trial

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]
SHARE = 0.25
GPU = Device(kind="cuda", memory_fraction=SHARE)


@pytest.fixture
def trial(make_model: Callable[..., str], rows_file: str) -> Trial:
    return Trial(
        model=Model(name=make_model("llama")),
        data=Data(source=rows_file, n_examples=24, eval_share=0.4),
        adapter=Lora(rank=4),
        train=Train(epochs=4, batch_size=8, learning_rate=1e-2),
        evaluation=Evaluation(drift_samples=4, drift_tokens=12),
    )


def run(trial: Trial, output: Path, device: Device = GPU) -> Result:
    from core import trial as trials

    result = trials.run(trial, preflight.provenance(trial), output, device)
    return result


@pytest.mark.parametrize("adapter", [Lora(rank=4), Full()], ids=["lora", "full"])
def test_bfloat16_by_default_near_the_cpu(trial: Trial, tmp_path: Path, adapter: Adapter) -> None:
    trial = dataclasses.replace(trial, adapter=adapter)
    gpu, cpu = run(trial, tmp_path / "gpu"), run(trial, tmp_path / "cpu", Device())
    assert (gpu.state, gpu.facts["dtype"], gpu.facts["device_kind"]) == ("finished", "bfloat16", "cuda")
    assert gpu.metrics["quality"] == pytest.approx(cpu.metrics["quality"], abs=0.25)
    assert gpu.metrics["quality"] > gpu.metrics["quality_before"] + 0.3


def test_nf4_base(trial: Trial, tmp_path: Path) -> None:
    result = run(dataclasses.replace(trial, model=Model(name=trial.model.name, quantization="nf4")), tmp_path)
    assert (result.state, result.reason) == ("finished", "")
    assert result.metrics["quality"] > result.metrics["quality_before"]


def test_peak_memory_is_the_trials_own(trial: Trial, tmp_path: Path) -> None:
    one = run(trial, tmp_path / "a").metrics["peak_memory_gib"]
    ballast = torch.zeros(1 << 28, device="cuda")  # 1 GiB that is gone before the next trial
    del ballast
    torch.cuda.empty_cache()
    two = run(trial, tmp_path / "b").metrics["peak_memory_gib"]
    assert two == pytest.approx(one, rel=0.1)
    assert two < 0.9


def test_the_memory_fraction_is_a_limit_and_beyond_it_is_oom(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import train

    total = torch.cuda.get_device_properties(0).total_memory

    def greedy(*args: object, **options: object) -> None:
        torch.zeros(int(total * SHARE * 1.2), dtype=torch.uint8, device="cuda")

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", greedy)
        assert run(trial, tmp_path / "greedy").state == "oom"
    assert run(trial, tmp_path / "modest").state == "finished"
