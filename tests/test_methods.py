"""Every method of tuning, on one road: it trains, is counted, saved, loaded by others, merged where it can be, and repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MARKED

from core import leaving, preflight, saved
from core.adapters import METHODS
from core.errors import BadInput
from core.fields import replace_field
from core.hardware import Device
from core.settings import ADAPTERS, Data, Evaluation, Model, Train, Trial

torch = pytest.importorskip("torch")

# At which a tiny random model learns in a dozen steps.
RATES = {"vera": 1e-1, "ia3": 3e-1, "prefix": 1e-1, "prompt": 1e-1, "bitfit": 1e-1, "layernorm": 1e-1, "oft": 3e-2}
SMALL = {"lora": {"rank": 3}, "dora": {"rank": 3}, "pissa": {"rank": 2}, "lora-plus": {"rank": 3}, "oft": {"block_size": 5}}
IDS = [[5, 9, 30, 22, 7, 40, 41]]


def made(name: str, base: str, rows: str) -> Trial:
    """A short trial of the method."""
    return Trial(
        model=Model(name=base), data=Data(source=rows, n_examples=24, eval_share=0.2, seq_len_tokens=64),
        adapter=ADAPTERS[name](**SMALL.get(name, {})),
        train=Train(steps=12, batch_size=8, learning_rate=RATES.get(name, 1e-2)),
        evaluation=Evaluation(drift_samples=2, drift_tokens=12, generations=1),
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that trials save, as they are in memory."""
    found: list[Any] = []
    own = saved.save

    def save(model: Any, *rest: Any) -> str:
        found.append(model)
        return own(model, *rest)

    monkeypatch.setattr(saved, "save", save)
    return found


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor(IDS)).logits[:, -len(IDS[0]) :].float()


def loaded(base: str, folder: Path) -> Any:
    """By PEFT, or by transformers alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if not (folder / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


@pytest.mark.parametrize("name", list(METHODS))
def test_it_trains_is_counted_saved_loaded_merged_and_repeated(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, name: str, trained: list[Any]
) -> None:
    from core import trial as trials

    base = make_model("qwen2", MARKED)
    trial, method = made(name, base, rows_file), METHODS[name]
    told = preflight.inspect(trial)
    results = [trials.run(trial, told.provenance, tmp_path / which, Device()) for which in ("first", "second")]
    assert [(one.state, one.reason, one.facts.get("adapter")) for one in results] == [("finished", "", "saved")] * 2
    first, second = (one.history for one in results)
    assert results[0].metrics["trainable_parameters"] == told.trainable_parameters
    losses = [float(point["loss"]) for point in first]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert [point["loss"] for point in second] == losses
    one, other = trained[-2:]  # a rehearsal saves too
    assert torch.equal(logits(one), logits(other))
    assert not torch.allclose(logits(one), logits(loaded(base, Path(base))), atol=1e-3)

    torch.testing.assert_close(logits(loaded(base, tmp_path / "first" / "adapter")), logits(one), atol=2e-5, rtol=1e-4)
    source, target = leaving.source(tmp_path / "first"), tmp_path / "merged"
    target.mkdir()
    if not method.merges:
        with pytest.raises(BadInput, match=r"--merged: what .* learns is no part of any weight"):
            leaving.write(source, leaving.base_of(source, None, None), target, merged=True)
        return
    leaving.write(source, leaving.base_of(source, None, None), target, merged=True)
    assert not (target / "adapter_config.json").exists()
    torch.testing.assert_close(logits(loaded(base, target)), logits(one), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_what_is_rounded_after_training_leaves_quantized_weights_as_they_are(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, kind: str
) -> None:
    from core import model as models
    from core import trial as trials

    base = Model(name=make_model("qwen2", MARKED), quantization=kind, dtype="bfloat16")
    trial = replace_field(made("layernorm", base.name, rows_file), "model.quantization", kind)
    trial = replace_field(trial, "model.dtype", "bfloat16")
    before = models.load(base, Device()).model.state_dict()
    kept = {name: value.clone() for name, value in before.items() if isinstance(value, torch.Tensor)}
    results = [trials.run(trial, {}, tmp_path / which, Device()) for which in ("first", "second")]
    assert [(one.state, one.reason) for one in results] == [("finished", "")] * 2
    assert results[0].metrics["quality"] == results[1].metrics["quality"] > results[0].metrics["quality_before"]
    for name, value in models.load(base, Device()).model.state_dict().items():
        assert not isinstance(value, torch.Tensor) or torch.equal(value, kept[name]), name


@pytest.mark.parametrize(
    ("name", "architecture", "says"),
    [
        ("bitfit", "llama", "adapter.method=bitfit: this base has no biases"),
        ("prefix", "mamba", "layers of mamba keep no keys and values"),
        ("prefix", "falcon", "use adapter.method=prompt"),
        ("ia3", "mixtral", "PEFT adapts a mixture's experts by LoRA only"),
        ("vera", "mixtral", "use adapter.targets=attention or adapter.method=lora"),
        ("dora", "mixtral", "by plain LoRA only; use adapter.targets=attention"),
        ("ia3", "mamba", "keys and values cannot be told by the names of this model's layers"),
    ],
)
def test_what_a_method_cannot_do_is_refused_beforehand(
    make_model: Callable[..., str], rows_file: str, name: str, architecture: str, says: str
) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(made(name, make_model(architecture, MARKED), rows_file))
    assert says in str(error.value)


def test_tokens_that_no_row_can_be_trained_for_and_settings_that_do_not_fit(
    make_model: Callable[..., str], rows_file: str
) -> None:
    base = make_model("qwen2", MARKED)
    with pytest.raises(BadInput, match=r"adapter\.method=oft: this base has no chat template"):
        preflight.inspect(made("oft", make_model("llama"), rows_file))
    asked = {
        "adapter.n_layers": ("last-layers", 3, "the base has 2 blocks"),
        "adapter.rank": ("pissa", 17, "the narrowest adapted layer has 16 singular vectors"),
        "data.seq_len_tokens": ("prompt", 120, "the model's context has 128 tokens, of which virtual tokens take 20"),
        "train.checkpointing": ("prefix", "on", "prefix tuning cannot train through layers that are computed again"),
        "model.quantization": ("pissa", "nf4", "use adapter.method=lora or dora or"),
    }
    for field, (name, value, says) in asked.items():
        with pytest.raises(BadInput, match=says) as error:
            preflight.inspect(replace_field(made(name, base, rows_file), field, value))
        assert error.value.field == field


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_virtual_tokens_are_there_when_a_model_writes(make_model: Callable[..., str], name: str, architecture: str) -> None:
    """Each token is the likeliest after the whole of what is before it, whatever the neighbours' lengths."""
    from transformers import AutoModelForCausalLM

    from core import adapters
    from core.tasks import generation

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(make_model(architecture, MARKED)).requires_grad_(False)
    prompts, how = [[5, 9, 30, 22, 7], [8, 40]], generation.Decoding((319,), 6, 8)
    alone = generation.write(base, prompts, how)
    model: Any = adapters.build(base, ADAPTERS[name](virtual_tokens=5), ()).model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    written = generation.write(model, prompts, how)
    with torch.no_grad():
        for prompt, one in zip(prompts, written, strict=True):
            ids = [*prompt, *one.ids]
            likeliest = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].argmax(-1)
            assert likeliest[-len(one.ids) - 1 : -1].tolist() == list(one.ids)
    assert alone != written


# What is refused there, with a reason of its own.
REFUSED = {
    "bitfit": {"llama", "qwen3", "phi3", "gemma"},
    "ia3": {"mamba"},
    "oft": {"gpt2"},
    "prefix": {"mamba", "falcon"},
}


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "phi3", "gpt2", "neox", "opt", "gemma", "falcon", "mamba"])
def test_files_tell_exactly_what_is_trained(make_model: Callable[..., str], architecture: str) -> None:
    from core import adapters
    from core import base as bases
    from core import model as models

    settings = Model(name=make_model(architecture, MARKED))
    base, files = models.load(settings, Device()), bases.read(settings)
    for name, method in METHODS.items():
        trial = Trial(model=settings, adapter=ADAPTERS[name](**SMALL.get(name, {})))
        if architecture in REFUSED.get(name, ()):
            with pytest.raises(BadInput):
                adapters.n_trained(trial, files)
            continue
        told, resolved = adapters.n_trained(trial, files), adapters.resolved_targets(trial.adapter, files)
        built = adapters.build(models.trial_copy(base, method.changes_base), trial.adapter, ())
        assert (name, told) == (name, adapters.trainable_parameters(built.model))
        assert len(resolved) == len(built.target_modules) or name == "full"
        logits(built.model)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_each_method_of_the_question_has_a_range_of_its_own() -> None:
    from core.experiment import LogUniform
    from experiments.adapter_methods import EXPERIMENT
    from sweeps import moved

    rate = "train.learning_rate"
    ranges = {
        name: EXPERIMENT.space(rate, replace_field(EXPERIMENT.base, "adapter.method", name))
        for name in ("lora", "full", "prompt")
    }
    assert ranges == {
        "lora": EXPERIMENT.tune[rate], "full": LogUniform(3e-5, 3e-3, 4), "prompt": LogUniform(9e-3, 0.9, 4),
    }  # fmt: skip
    assert "9e-3 to 9e-1 for prompt tuning" in moved.ranges(EXPERIMENT)
    assert moved.moved(EXPERIMENT, EXPERIMENT, given=True).rate_times == {}
