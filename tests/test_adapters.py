"""Target presets on every architecture, ranks, what is trainable, and a saved adapter that PEFT loads to the same logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core import preflight, targets
from core.errors import BadInput
from core.hardware import Device
from core.settings import TARGET_PRESETS, Data, Full, Lora, Model, Trial

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
    from core import adapters

    names = adapters.linear_names(load(make_model(architecture)).model)
    chosen = {preset: targets.choose(preset, names) for preset in TARGET_PRESETS}
    leaves = {preset: {name.rpartition(".")[2] for name in found} for preset, found in chosen.items()}
    assert leaves["attention-qv"] == EXPECTED[architecture]["attention-qv"]
    assert leaves["attention"] == EXPECTED[architecture]["attention"]
    assert leaves["mlp"] == MLP.get(architecture, {"gate_proj", "up_proj", "down_proj"})
    assert sorted(chosen["attention"] + chosen["mlp"]) == sorted(chosen["all-linear"])
    assert not any("lm_head" in name for name in chosen["all-linear"])


def test_a_preset_that_fits_nothing_lists_the_layers() -> None:
    with pytest.raises(BadInput, match="alpha, beta"):
        targets.choose("attention", ["block.alpha", "block.beta"])


def test_rank_above_the_width_is_refused_and_a_narrow_key_is_not(make_model: Callable[..., str]) -> None:
    from core import adapters, model

    base = load(make_model("llama"))  # 32 wide, keys and values 16 wide
    adapters.build(model.trial_copy(base, False), Lora(rank=32, targets="attention"), base.new_tokens)
    with pytest.raises(BadInput, match=r"adapter.rank=33: .*at most 32"):
        adapters.build(model.trial_copy(base, False), Lora(rank=33), base.new_tokens)


@pytest.mark.parametrize("architecture", ["llama", "llama-tied", "qwen2", "qwen3", "phi3", "gpt2"])
@pytest.mark.parametrize(
    "adapter", [Lora(rank=3), Lora(rank=2, targets="attention-qv"), Full()], ids=["all-linear", "qv", "full"]
)
def test_preflight_counts_exactly_what_will_be_trained(
    make_model: Callable[..., str], rows_file: str, architecture: str, adapter: Lora | Full
) -> None:
    from core import adapters, model

    path = make_model(architecture)
    base = load(path)
    built = adapters.build(model.trial_copy(base, isinstance(adapter, Full)), adapter, base.new_tokens).model
    told = preflight.inspect(Trial(model=Model(name=path), data=Data(source=rows_file), adapter=adapter))
    assert told.trainable_parameters == adapters.trainable_parameters(built)
    assert told.n_parameters == base.model.num_parameters()
    assert told.new_tokens == len(base.new_tokens) == 2


def test_a_trial_copy_shares_frozen_tensors_and_a_full_one_does_not(make_model: Callable[..., str]) -> None:
    from core import adapters, model

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

    from core import adapters, model

    path = make_model(architecture)
    base = load(path)
    built = adapters.build(model.trial_copy(base, False), Lora(rank=2, dropout=0.1), base.new_tokens).model
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    assert adapters.save(built, base.tokenizer, str(tmp_path), 0) == "saved"

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(path)
    plain.resize_token_embeddings(len(tokenizer))
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    ids = torch.tensor([[5, *base.new_tokens, 7]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, built.eval()(ids).logits)
    assert tokenizer.chat_template == base.tokenizer.chat_template


def test_rank_stabilised_scaling_and_alpha(make_model: Callable[..., str]) -> None:
    from core import adapters, model

    base = load(make_model("llama"))

    def scale(adapter: Lora) -> float:
        built = adapters.build(model.trial_copy(base, False), adapter, base.new_tokens).model
        return next(layer.scaling["default"] for layer in built.modules() if hasattr(layer, "lora_A"))

    assert scale(Lora(rank=4, alpha_over_rank=2)) == pytest.approx(2)
    assert scale(Lora(rank=3, alpha_over_rank=0.5)) == pytest.approx(0.5)
    assert scale(Lora(rank=4, alpha_over_rank=2, rank_stabilized=True)) == pytest.approx(4)
