"""What the backward pass keeps of changed weights, counted on small models, is what a method's entry says."""

from __future__ import annotations

import math
import tempfile
import weakref
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MARKED, make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from core import adapters, memory, targets
from core import base as bases
from core import model as models
from core.adapters import METHODS
from core.hardware import Device
from core.settings import ADAPTERS, Adapter, Lora, Model, Trial

SIZES = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 320}
OWN: dict[str, dict[str, int]] = {
    "vblora": {"vector_length": 32, "num_vectors": 24}, "fourierft": {"n_frequency": 20}, "waveft": {"n_frequency": 20},
    "oft": {"block_size": 16}, "c3a": {"block_size": 16}, "p-tuning": {"encoder_width": 16},
}  # fmt: skip
TOKENS = 4  # so that nothing of a row is as large as a weight


class Held:
    """A tensor that the backward pass needs; it goes with the graph."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def base_of(layers: int, kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "mixtral":
        return MixtralForCausalLM(MixtralConfig(**SIZES, num_hidden_layers=layers, num_local_experts=2, num_experts_per_tok=1))
    if kind == "qwen2-moe":  # of whose shared experts PEFT adapts the parameters too
        experts = {"num_experts": 2, "moe_intermediate_size": 80, "shared_expert_intermediate_size": 96}
        return Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **experts, num_hidden_layers=layers, num_experts_per_tok=1))
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=layers))


def settings(name: str) -> Adapter:
    rank = {"rank": 4} if "rank" in {one.name for one in fields(ADAPTERS[name])} else {}
    return ADAPTERS[name](**rank | OWN.get(name, {}))


def made(layers: int, model: Model) -> Any:
    """The base of so many layers, in the model's precision; its name is the kind."""
    base = base_of(layers, Path(model.name).name)
    if model.quantization == "none":
        return base.to(getattr(torch, model.dtype))
    with tempfile.TemporaryDirectory() as folder:
        base.save_pretrained(folder)
        make_tokenizer(MARKED).save_pretrained(folder)
        return models.load(replace(model, name=folder), Device()).model


def counted(adapter: Adapter, base: Any, bf16: bool) -> int:
    """Bytes of tensors as large as a weight, but for parameters and buffers."""
    model = adapters.build(base.requires_grad_(False), adapter, ()).model
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    live: weakref.WeakSet[Held] = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> Held:
        live.add(held := Held(tensor))
        return held

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        output = model.train()(input_ids=torch.randint(0, 64, (1, TOKENS)), use_cache=False, logits_to_keep=1)
    least = SIZES["hidden_size"] ** 2
    tensors = [one.tensor for one in live if one.tensor.layout is torch.strided and one.tensor.numel() >= least]
    found = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    assert output.logits.requires_grad
    return sum(size for place, size in found.items() if place not in own)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each kind a base of two layers."""
    whole = tmp_path_factory.mktemp("bases")
    for kind in ("llama", "mixtral", "qwen2-moe"):
        base_of(2, kind).save_pretrained(whole / kind)
        make_tokenizer(MARKED).save_pretrained(whole / kind)
    return whole


def check(adapter: Adapter, folder: Path, bf16: bool, quantization: str = "none") -> None:
    model = Model(name=str(folder), dtype="bfloat16" if bf16 else "float32", quantization=quantization)
    files = bases.read(model)
    load = memory.load(Trial(model=model, adapter=adapter), files, 1, TOKENS, "cuda" if bf16 else "cpu")
    bytes_each, of_a_layer = 2 if bf16 else 4, load.kept_weights / load.shape.layers
    stacked = files.experts if files.has_experts else {}
    linear = [files.linear[name] for name in targets.adaptable(files.linear, stacked)]
    weights = sum(map(math.prod, (*linear, *stacked.values()))) / load.shape.layers
    one_more = [counted(adapter, made(layers, model), bf16) for layers in (2, 3)]
    found = (one_more[1] - one_more[0]) / bytes_each
    assert abs(found - of_a_layer) <= weights / 2, (found / weights, of_a_layer / weights)
    for checkpointing, n_layers in ((False, load.shape.layers), (True, 1)):
        without = replace(load, kept_weights=0.0).peak_bytes(1, checkpointing)
        assert load.peak_bytes(1, checkpointing) - without == pytest.approx(of_a_layer * n_layers * bytes_each)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.changes_base])
def test_what_is_kept_of_changed_weights_is_what_is_counted(folders: Path, name: str, bf16: bool) -> None:
    check(settings(name), folders / "llama", bf16)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", ["lora", "hira", "miss", "oft"])
def test_on_quantized_bases_too(folders: Path, name: str, quantization: str) -> None:
    check(settings(name), folders / "llama", False, quantization)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", ["mixtral", "qwen2-moe"])
def test_experts_are_computed_with_as_copies(folders: Path, kind: str, bf16: bool) -> None:
    check(Lora(rank=4), folders / kind, bf16)
