"""Target presets on every architecture, ranks, what is trainable, and a saved adapter that PEFT loads to the same logits."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core import adapters, preflight, saved, targets
from core import base as bases
from core.errors import BadInput
from core.fields import flatten, from_flat, parse_value, replace_field
from core.hardware import Device
from core.settings import ADAPTERS, TARGET_PRESETS, Adapter, Data, Evaluation, Full, Lora, Model, Train, Trial

torch = pytest.importorskip("torch")

EXPECTED = {
    "llama": {"attention-qv": {"q_proj", "v_proj"}, "attention": {"q_proj", "k_proj", "v_proj", "o_proj"}},
    "qwen2": {"attention-qv": {"q_proj", "v_proj"}, "attention": {"q_proj", "k_proj", "v_proj", "o_proj"}},
    "qwen3": {"attention-qv": {"q_proj", "v_proj"}, "attention": {"q_proj", "k_proj", "v_proj", "o_proj"}},
    "phi3": {"attention-qv": {"qkv_proj"}, "attention": {"qkv_proj", "o_proj"}},
    "gpt2": {"attention-qv": {"c_attn"}, "attention": {"c_attn", "c_proj"}},
}
MLP = {"phi3": {"gate_up_proj", "down_proj"}, "gpt2": {"c_fc", "c_proj"}}


def load(path: str):
    from core import model

    return model.load(Model(name=path), Device())


@pytest.mark.parametrize("architecture", list(EXPECTED))
def test_presets_resolve_and_partition_the_linear_layers(make_model: Callable[..., str], architecture: str) -> None:
    names = adapters.linear_names(load(make_model(architecture)).model)
    chosen = {preset: list(targets.choose(preset, names).names) for preset in TARGET_PRESETS}
    leaves = {preset: {name.rpartition(".")[2] for name in found} for preset, found in chosen.items()}
    assert leaves["attention-qv"] == EXPECTED[architecture]["attention-qv"]
    assert leaves["attention"] == EXPECTED[architecture]["attention"]
    assert leaves["mlp"] == MLP.get(architecture, {"gate_proj", "up_proj", "down_proj"})
    assert sorted(chosen["attention"] + chosen["mlp"]) == sorted(chosen["all-linear"])
    assert not any("lm_head" in name for name in chosen["all-linear"])


def test_a_preset_that_fits_nothing_lists_the_layers() -> None:
    with pytest.raises(BadInput, match="alpha, beta"):
        targets.choose("attention", ["block.alpha", "block.beta"])


def test_queries_without_values_are_refused() -> None:
    latent = ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj"]  # DeepSeek-V2-Lite's
    with pytest.raises(BadInput) as error:
        targets.choose("attention-qv", [f"l.0.self_attn.{name}" for name in latent])
    says = "this model has layers of queries (q_proj) and none of values; use attention or all-linear"
    assert str(error.value) == f"adapter.targets='attention-qv': {says}"
    assert targets.choose("attention", [f"l.0.self_attn.{name}" for name in latent]).names
    assert targets.choose("attention-qv", ["l.0.attn.c_attn", "l.0.attn.c_proj"]).layers == ("l.0.attn.c_attn",)


def test_rank_above_the_width_is_refused_and_a_narrow_key_is_not(make_model: Callable[..., str]) -> None:
    from core import model

    base = load(make_model("llama"))  # 32 wide, keys and values 16 wide
    adapters.build(model.trial_copy(base, False), Lora(rank=32, targets="attention"), base.new_tokens)
    with pytest.raises(BadInput, match=r"adapter.rank=33: .*at most 32"):
        adapters.build(model.trial_copy(base, False), Lora(rank=33), base.new_tokens)


ARCHITECTURES = ["llama", "llama-tied", "qwen2", "qwen3", "phi3", "gpt2", "neox", "opt", "gemma", "falcon", "mamba"]
MIXTURES = ["mixtral", "qwen2-moe", "qwen3-moe", "olmoe", "deepseek", "gpt-oss"]


@pytest.mark.parametrize("architecture", ARCHITECTURES + MIXTURES)
def test_preflight_counts_exactly_what_will_be_trained(make_model: Callable[..., str], rows_file: str, architecture: str) -> None:
    from core import model

    path = make_model(architecture)
    base, trial = load(path), Trial(model=Model(name=path), data=Data(source=rows_file))
    for adapter in (Lora(rank=3), Lora(rank=2, targets="attention"), Lora(rank=2, targets="mlp"), Full()):
        if architecture == "mamba" and adapter == Lora(rank=2, targets="attention"):
            with pytest.raises(BadInput, match=r"its linear layers are: dt_proj, in_proj, x_proj$"):
                adapters.resolved_targets(adapter, bases.read(trial.model))
            continue
        changed = adapters.METHODS[adapter.method].changes_base
        built = adapters.build(model.trial_copy(base, changed), adapter, base.new_tokens).model
        told = preflight.inspect(dataclasses.replace(trial, adapter=adapter))
        assert told.trainable_parameters == adapters.trainable_parameters(built)
        assert told.n_parameters == base.model.num_parameters()
        assert told.new_tokens == len(base.new_tokens) == 2


def test_a_trial_copy_shares_frozen_tensors_and_a_full_one_does_not(make_model: Callable[..., str]) -> None:
    from core import model

    base = load(make_model("llama"))
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    lora = adapters.build(model.trial_copy(base, False), Lora(rank=2), base.new_tokens).model
    own = model.trial_copy(base, True)
    shared = {p.data_ptr() for p in base.model.parameters()}
    assert shared <= {p.data_ptr() for p in lora.parameters()}
    assert not shared & {p.data_ptr() for p in own.parameters()}
    assert not any(p.requires_grad for p in base.model.parameters())
    with torch.no_grad():
        for parameter in [*own.parameters(), *(p for p in lora.parameters() if p.requires_grad)]:
            parameter.add_(1)
    assert all(torch.equal(before[name], value) for name, value in base.model.state_dict().items())
    assert "lora" not in str(base.model)


@pytest.mark.parametrize("architecture", ["llama", "llama-tied", "gpt2"])
def test_a_saved_adapter_with_new_tokens_loads_by_peft_to_the_same_logits(
    make_model: Callable[..., str], tmp_path: Path, architecture: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core import model

    path = make_model(architecture)
    base = load(path)
    built = adapters.build(model.trial_copy(base, False), Lora(rank=2, dropout=0.1), base.new_tokens).model
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    assert saved.save(built, base.tokenizer, str(tmp_path), 0, Model(name=path)) == "saved"

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(path)
    plain.resize_token_embeddings(len(tokenizer))
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    ids = torch.tensor([[5, *base.new_tokens, 7]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, built.eval()(ids).logits)
    assert tokenizer.chat_template == base.tokenizer.chat_template


@pytest.mark.parametrize("preset", ["mlp", "all-linear"])
@pytest.mark.parametrize("architecture", ["mixtral", "qwen2-moe", "qwen3-moe", "deepseek", "gpt-oss"])
def test_experts_are_adapted_and_routers_are_not(
    make_model: Callable[..., str], tmp_path: Path, architecture: str, preset: str
) -> None:
    """Also layers that PEFT would take for experts by their names: those of a shared expert and of dense layers."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from core import model

    path = make_model(architecture)
    base = load(path)
    built = adapters.build(model.trial_copy(base, False), Lora(rank=2, targets=preset), base.new_tokens)
    trained = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
    assert not any(".gate.lora" in name or "router" in name or "shared_expert_gate" in name for name in trained)
    ids = torch.tensor([[5, *base.new_tokens, *range(7, 60)]])
    before = base.model(ids).logits
    assert torch.allclose(built.model(ids).logits, before)
    with torch.no_grad():
        for parameter in built.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    built.model(ids).logits.log_softmax(-1)[..., 3].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in built.model.parameters() if parameter.requires_grad)
    saved.save(built.model, base.tokenizer, str(tmp_path), 0, Model(name=path))
    plain = AutoModelForCausalLM.from_pretrained(path)
    plain.resize_token_embeddings(len(base.tokenizer))
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, built.model.eval()(ids).logits)
    assert not torch.allclose(before, loaded(ids).logits, atol=1e-3)


def test_a_mixture_trains_and_what_peft_cannot_do_is_refused_beforehand(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    from core import trial as trials

    trial = Trial(
        model=Model(name=make_model("mixtral")), data=Data(source=rows_file, n_examples=24, eval_share=0.4),
        adapter=Lora(rank=4, targets="mlp"), train=Train(epochs=2, batch_size=8, learning_rate=1e-2),
        evaluation=Evaluation(drift_samples=4, drift_tokens=12, generations=2, split="test"),
    )  # fmt: skip
    told = preflight.inspect(trial)
    result = trials.run(trial, told.provenance, tmp_path, Device())
    assert (result.state, result.reason) == ("finished", "")
    assert len(json.loads((tmp_path / "generations.json").read_text())["data"]) == 2
    assert result.metrics["trainable_parameters"] == told.trainable_parameters
    assert result.metrics["forgetting"] > 0
    assert result.facts["target_modules"] == "down_proj, gate_up_proj"
    with pytest.raises(BadInput, match=r"adapter\.dropout=0\.1: .*use 0, or adapter\.targets=attention") as error:
        preflight.inspect(replace_field(trial, "adapter.dropout", 0.1))
    assert error.value.field == "adapter.dropout"
    with pytest.raises(BadInput, match=r"model\.quantization='nf4': .*adapter\.targets=attention"):
        preflight.inspect(replace_field(trial, "model.quantization", "nf4"))
    preflight.inspect(replace_field(replace_field(trial, "adapter.dropout", 0.1), "adapter.targets", "attention"))


def test_experts_of_an_unknown_form_are_refused() -> None:
    shapes = {f"h.0.experts.{i}.{leaf}.weight": (4, 8) for i in range(3) for leaf in ("a", "b")}
    with pytest.raises(BadInput, match=r"experts with a, b .* use adapter\.targets=attention"):
        targets.experts(shapes)


def test_settings_that_come_to_the_same_layers_are_told(make_model: Callable[..., str]) -> None:
    def resolved(architecture: str, adapter: Adapter) -> tuple[str, ...]:
        return adapters.resolved_targets(adapter, bases.read(Model(name=make_model(architecture))))

    assert resolved("mamba", Lora(targets="mlp")) == resolved("mamba", Lora(targets="all-linear"))
    assert resolved("mixtral", Lora(targets="attention")) != resolved("mixtral", Lora(targets="all-linear"))
    assert resolved("llama", Lora(targets="mlp")) == resolved("llama", Lora(targets="mlp", rank=2))
    assert resolved("llama", Full()) == tuple(bases.read(Model(name=make_model("llama"))).shapes)


def test_rank_stabilised_scaling_and_alpha(make_model: Callable[..., str]) -> None:
    from core import model

    base = load(make_model("llama"))

    def scale(adapter: Lora) -> float:
        built = adapters.build(model.trial_copy(base, False), adapter, base.new_tokens).model
        return next(layer.scaling["default"] for layer in built.modules() if hasattr(layer, "lora_A"))

    assert scale(Lora(rank=4, alpha_over_rank=2)) == pytest.approx(2)
    assert scale(Lora(rank=3, alpha_over_rank=0.5)) == pytest.approx(0.5)
    assert scale(Lora(rank=4, alpha_over_rank=2, rank_stabilized=True)) == pytest.approx(4)


def test_methods_are_known_without_torch_and_under_the_names_of_their_settings() -> None:
    assert {name: method.settings for name, method in adapters.METHODS.items()} == ADAPTERS
    assert all(cls().method == name for name, cls in ADAPTERS.items())
    code = "import sys; from core import adapters; assert not {'torch', 'peft', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
    with pytest.raises(ValueError, match="cannot be trained"):
        dataclasses.replace(adapters.METHODS["full"], on_quantized_base=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOnly(Adapter):
    """A made-up method: only the output head is trained, in a share of its rows."""

    method: str = dataclasses.field(default="head", init=False)
    share: float = 1.0

    def __post_init__(self) -> None:
        self._require(0 < self.share <= 1, "share", "above 0 and at most 1")


@pytest.fixture
def head_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up method, registered as a real one is: its settings in ADAPTERS, its entry in METHODS."""

    def build(model, adapter: HeadOnly, new_tokens) -> adapters.Adapted:
        own = model.float()
        own.requires_grad_(False)
        own.get_output_embeddings().requires_grad_(True)
        return adapters.Adapted(own, ("lm_head",))

    def n_trained(adapter: HeadOnly, base) -> int:
        return (base.vocabulary + base.new_tokens) * base.width

    entry = adapters.Method(
        settings=HeadOnly, label="head", colour="#009E73", marker="s", changes_base=True, on_quantized_base=False,
        n_trained=n_trained, build=build,
    )  # fmt: skip
    monkeypatch.setitem(ADAPTERS, "head", HeadOnly)
    monkeypatch.setitem(adapters.METHODS, "head", entry)


@pytest.mark.usefixtures("head_only")
def test_a_method_is_its_settings_and_one_entry(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from core import trial as trials

    base = Trial(
        model=Model(name=make_model("llama")), data=Data(source=rows_file, n_examples=24, eval_share=0.4),
        train=Train(epochs=1, batch_size=8), evaluation=Evaluation(drift_samples=4, drift_tokens=12),
    )  # fmt: skip
    trial = replace_field(replace_field(base, "adapter.method", "head"), "adapter.share", 0.5)
    assert trial.adapter == HeadOnly(share=0.5)
    assert flatten(trial)["adapter.share"] == 0.5
    assert from_flat(flatten(trial)) == trial
    assert parse_value(trial, "adapter.share", "0.25") == 0.25
    with pytest.raises(BadInput, match=r"adapter\.share=2: must be above 0") as error:
        replace_field(trial, "adapter.share", 2)
    assert error.value.field == "adapter.share"
    with pytest.raises(BadInput, match=r"adapter\.method='heat': did you mean 'head'"):
        replace_field(trial, "adapter.method", "heat")
    with pytest.raises(BadInput, match=r"4-bit weights cannot be trained; use adapter\.method=lora or"):
        preflight.inspect(replace_field(trial, "model.quantization", "nf4"))
    result = trials.run(trial, {}, tmp_path, Device())
    assert (result.state, result.reason) == ("finished", "")
    assert result.metrics["trainable_parameters"] == preflight.inspect(trial).trainable_parameters
    assert result.facts["target_modules"] == "lm_head"
