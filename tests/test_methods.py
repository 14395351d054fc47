"""Every method of tuning, on one road: it trains, is counted, goes on after a kill, is saved, loaded by others and merged."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MARKED, leave_out_what_is_there

from core import fields, leaving, preflight, saved
from core.adapters import METHODS
from core.errors import BadInput
from core.fields import replace_field
from core.hardware import Device
from core.method_settings.lora import INITS
from core.settings import ADAPTERS, Adapter, Data, Evaluation, Model, Train, Trial

torch = pytest.importorskip("torch")

# At which a tiny random model learns in a few steps; others 3e-2.
RATES = {
    "vera": 3e-1, "ia3": 3e-1, "prefix": 1e-1, "prompt": 1e-1, "bitfit": 1e-1, "layernorm": 1e-1, "road": 1e-1, "c3a": 1.0,
    "fourierft": 1e-1, "waveft": 1e-2, "vblora": 3e-1, "hira": 3e-1, "full": 1e-2, "last-layers": 1e-2, "osf": 1e-2,
    "adalora": 1e-1, "lora-plus": 3e-3,
}  # fmt: skip
# Settings that no width of the tiny models divides, where a method has such; ranks are 3 where they need not be even.
SMALL: dict[str, dict[str, Any]] = {
    "pissa": {"rank": 2}, "olora": {"rank": 2}, "oft": {"block_size": 5}, "hra": {"rank": 4}, "gralora": {"rank": 4},
    "c3a": {"block_size": 5}, "road": {"group_size": 5}, "vblora": {"rank": 3, "vector_length": 5, "num_vectors": 24},
    "fourierft": {"n_frequency": 20}, "waveft": {"n_frequency": 100}, "lokr": {"rank": 3, "factor": 5}, "vera": {"rank": 32},
    "shira": {"rank": 1}, "randlora": {"rank": 2}, "osf": {"rank": 7}, "miss": {"rank": 2},
}  # fmt: skip
IDS = [[5, 9, 30, 22, 7, 40, 41]]
STEPS, KILLED = 5, 3


def settings(name: str) -> Adapter:
    own = {"rank": 3} if "rank" in {one.name for one in dataclasses.fields(ADAPTERS[name])} else {}
    return ADAPTERS[name](**(own | SMALL.get(name, {})))


def made(name: str, base: str, rows: str) -> Trial:
    """A short trial of the method."""
    return Trial(
        model=Model(name=base), data=Data(source=rows, n_examples=10, eval_share=0.2, seq_len_tokens=64), adapter=settings(name),
        train=Train(steps=STEPS, batch_size=8, learning_rate=RATES.get(name, 3e-2), schedule="constant"),
        evaluation=Evaluation(drift_samples=2, drift_tokens=12, generations=0, max_rows=8),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def imports_apart(make_model: Callable[..., str]) -> None:
    """What tests import is not walked over each time that garbage is collected: a base is loaded and let go for each method that
    merges."""
    import peft  # noqa: F401

    from core import trial  # noqa: F401

    make_model("qwen2", MARKED)
    leave_out_what_is_there()


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


def sees_its_own_past_alone(model: Any) -> None:
    """What is said of a row depends on no other row, and of a token on none after it: batches, padding and the answer itself
    would else change what is learnt and scored."""
    alone, ids = logits(model), torch.tensor(IDS)
    other, later = (ids + 3) % 100, torch.cat([ids[:, :-1], (ids[:, -1:] + 7) % 100], dim=1)
    with torch.no_grad():
        several = model(input_ids=torch.cat([ids, other, later])).logits[:, -ids.shape[1] :].float()
    torch.testing.assert_close(several[0], alone[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(several[2, :-1], alone[0, :-1], atol=2e-5, rtol=1e-4)


def loaded(base: str, folder: Path) -> Any:
    """By PEFT, or by transformers alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if not (folder / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


def run(trial: Trial, provenance: dict[str, str], folder: Path, kill: bool = False) -> Any:
    """What comes of the trial; with `kill` after it was stopped at a step and had gone on."""
    from core import resume, watcher
    from core import trial as trials

    if not kill:
        return trials.run(trial, provenance, folder, Device(checkpoint_seconds=1e9))
    ended = watcher.Watcher.on_step_end

    def stop(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        ended(self, args, state, control, **more)
        if state.global_step == KILLED:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "LEAST_SHARE", 0)
        patch.setattr(watcher.Watcher, "on_step_end", stop)
        with pytest.raises(KeyboardInterrupt):
            trials.run(trial, provenance, folder, Device(checkpoint_seconds=1e-9))
        patch.setattr(watcher.Watcher, "on_step_end", ended)
        return trials.run(trial, provenance, folder, Device(checkpoint_seconds=1e9))


@pytest.mark.parametrize("name", list(METHODS))
def test_it_trains_is_counted_goes_on_is_saved_loaded_and_merged(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, name: str, trained: list[Any]
) -> None:
    base = make_model("qwen2", MARKED)
    trial, method = made(name, base, rows_file), METHODS[name]
    told = preflight.inspect(trial)
    results = [run(trial, told.provenance, tmp_path / which, which == "second") for which in ("first", "second")]
    assert [(one.state, one.reason, one.facts.get("adapter")) for one in results] == [("finished", "", "saved")] * 2
    assert [one.facts.get("resumed") for one in results] == [None, f"at step {KILLED - 1} of {STEPS}"]
    assert results[0].metrics["trainable_parameters"] == told.trainable_parameters
    losses = [float(point["loss"]) for point in results[0].history]
    assert losses[-1] < losses[0] - 0.01  # each step is on all rows
    assert [point["loss"] for point in results[1].history] == losses
    one, other = trained[-2:]  # a rehearsal saves too
    assert torch.equal(logits(one), logits(other))
    assert not torch.allclose(logits(one), logits(loaded(base, Path(base))), atol=1e-3)
    sees_its_own_past_alone(one)

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
        "adapter.n_frequency": ("waveft", 600, "at most 512 for the layers of this base"),
        "adapter.blocks": ("gralora", 1_000, "a divisor of adapter.rank=4"),
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
NOT_FOR_CONV1D = (
    "olora", "loha", "lokr", "delora", "peanut", "miss", "shira", "c3a", "osf", "oft", "hra", "road",
)  # fmt: skip
REFUSED = {name: {"gpt2"} for name in NOT_FOR_CONV1D} | {
    "bitfit": {"llama", "qwen3", "phi3", "gemma"},
    "ia3": {"mamba"},
    "prefix": {"mamba", "falcon"},
    "osf": {"gpt2", "mamba"},  # a layer of Mamba's has two inputs
}


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "phi3", "gpt2", "neox", "opt", "gemma", "falcon", "mamba"])
def test_files_tell_exactly_what_is_trained(make_model: Callable[..., str], architecture: str) -> None:
    from core import adapters
    from core import base as bases
    from core import model as models

    model = Model(name=make_model(architecture, MARKED))
    base, files = models.load(model, Device()), bases.read(model)
    for name, method in METHODS.items():
        trial = Trial(model=model, adapter=settings(name))
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


def test_the_published_table_is_of_methods_here_and_its_items_tell_some_apart() -> None:
    from analysis.questions.adapter_methods import peft

    assert set(peft.PUBLISHED) <= set(METHODS)
    assert peft.told_apart_by_items(peft.PUBLISHED["lora"], peft.PUBLISHED["vera"])
    assert not peft.told_apart_by_items(peft.PUBLISHED["lora"], peft.PUBLISHED["dora"])


@pytest.mark.parametrize(
    ("own", "scale"),
    [({"alpha": 8.0}, 2.0), ({"alpha": 8.0, "rank_stabilized": True}, 4.0), ({}, 2.0), ({"rank_stabilized": True}, 4.0)],
)
def test_alpha_is_one_number_or_follows_the_rank(make_model: Callable[..., str], own: dict[str, Any], scale: float) -> None:
    from core import adapters
    from core import model as models

    base = models.load(Model(name=make_model("qwen2", MARKED)), Device())
    built = adapters.build(models.trial_copy(base, False), ADAPTERS["lora"](rank=4, **own), ()).model
    assert {layer.scaling["default"] for layer in built.modules() if hasattr(layer, "lora_A")} == {scale}


def test_a_start_draws_other_numbers_and_is_the_base(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from core import adapters
    from core import model as models

    path = make_model("qwen2", MARKED)
    base, firsts = models.load(Model(name=path), Device()), {}
    for init in INITS:
        torch.manual_seed(0)
        built = adapters.build(models.trial_copy(base, False), ADAPTERS["lora"](rank=4, init=init), ()).model
        torch.testing.assert_close(logits(built), logits(base.model), atol=1e-5, rtol=1e-4)
        firsts[init] = next(one for name, one in built.named_parameters() if "lora_A" in name).detach()
    assert not any(torch.equal(firsts[one], firsts[other]) for one, other in itertools.combinations(INITS, 2))
    trial = replace_field(replace_field(made("lora", path, rows_file), "adapter.rank", 4), "adapter.init", "orthogonal")
    result = run(trial, preflight.inspect(trial).provenance, tmp_path / "trial")
    assert (result.state, result.reason) == ("finished", "")


def test_the_rank_of_adalora_is_left_on_average_and_goes_back_to_no_earlier_step(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    trial = made("adalora", make_model("qwen2", MARKED), rows_file)
    result = run(trial, preflight.inspect(trial).provenance, tmp_path)
    assert (result.state, result.reason) == ("finished", "")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["total_step"], config["tinit"], config["tfinal"]) == (STEPS, 0, 1)
    ranks = [sum(mask) for mask in config["rank_pattern"].values()]
    assert len(ranks) == 14
    assert sum(ranks) == 14 * trial.adapter.rank  # type: ignore[attr-defined]
    trial = replace_field(replace_field(trial, "evaluation.every", 2.0), "train.keep", "best")
    with pytest.raises(BadInput, match="what AdaLoRA has decided at its last step fits no earlier one's weights") as error:
        preflight.inspect(trial)
    assert error.value.field == "train.keep"


def test_an_alpha_or_a_start_that_does_not_fit_is_refused_and_the_usual_ones_change_no_identity() -> None:
    usual = ADAPTERS["lora"]()
    assert not {"adapter.alpha", "adapter.init"} & set(fields.identity(Trial(adapter=usual)))
    assert fields.identity(Trial(adapter=ADAPTERS["dora"](alpha=8.0)))["adapter.alpha"] == 8.0
    refused = {
        "adapter.alpha": [("lora", {"alpha": 0.0}), ("lora", {"alpha": 8.0, "alpha_over_rank": 1.0})],
        "adapter.init": [
            ("lora", {"init": "olora"}),
            ("lora", {"init": "orthogonal", "rank": 3}),
            ("pissa", {"init": "gaussian"}),
        ],
        "adapter.rank": [("hra", {"rank": 3}), ("shira", {"rank": 0})],
        "adapter.blocks": [("gralora", {"rank": 4, "blocks": 3})],
        "adapter.top": [("vblora", {"top": 300})],
        "adapter.strength": [("delora", {"strength": 0.0})],
    }
    for field, cases in refused.items():
        for name, own in cases:
            with pytest.raises(BadInput) as error:
                ADAPTERS[name](**own)
            assert error.value.field == field
