"""Adapter methods: one table from a method's name to what builds it on a base model.

A builder gets a module tree of the trial's own (core/model.py) and returns the model to train, its random initialisation
drawn from torch's global generator, which the trial seeds first. To add a method: its settings in core/settings.py, a
builder here, its line in BUILDERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from core import checkpoint, targets
from core.settings import Full, Lora


@dataclass(frozen=True)
class Adapted:
    """The model to train and the layers that the adapter is on (empty: all of them)."""

    model: nn.Module
    target_modules: tuple[str, ...]


def linear_names(model: PreTrainedModel) -> list[str]:
    """The names of the model's linear layers (also Conv1D and 4-bit), without the output head."""
    head = model.get_output_embeddings()
    return [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D) and layer is not head]


def _lora(model: PreTrainedModel, adapter: Lora, new_tokens: Sequence[int]) -> Adapted:
    checkpoint.check_rank(adapter.rank, checkpoint.hidden_size(model.config.get_text_config().to_dict()))
    chosen = targets.choose(adapter.targets, linear_names(model))
    layers = dict(model.named_modules())
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha_over_rank * adapter.rank,  # type: ignore[arg-type]  # a float works and may be needed
        use_rslora=adapter.rank_stabilized,
        lora_dropout=adapter.dropout,
        target_modules=chosen,
        fan_in_fan_out=any(isinstance(layers[name], Conv1D) for name in chosen),
        trainable_token_indices=_token_layers(model, new_tokens),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    return Adapted(adapted, tuple(chosen))


def _token_layers(model: PreTrainedModel, new_tokens: Sequence[int]) -> dict[str, list[int]] | None:
    """Which rows of which embeddings are trained. PEFT follows a tied output head by itself; an untied one is named."""
    if not new_tokens:
        return None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    layers = [embedding] if tied else [embedding, head]
    names = {id(layer): name for name, layer in model.named_modules()}
    return {names[id(layer)].rpartition(".")[2]: list(new_tokens) for layer in layers}


def _full(model: PreTrainedModel, adapter: Full, new_tokens: Sequence[int]) -> Adapted:
    return Adapted(model, ())


BUILDERS: dict[type, Callable[..., Adapted]] = {Lora: _lora, Full: _full}
TRAINS_WEIGHTS: dict[type, bool] = {Lora: False, Full: True}  # whether the base's own weights change


def build(model: PreTrainedModel, adapter: Lora | Full, new_tokens: Sequence[int]) -> Adapted:
    """The model with the adapter on it. Seed before calling: PEFT draws the initial weights here."""
    return BUILDERS[type(adapter)](model, adapter, new_tokens)


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes. PEFT's layers for single tokens share one tensor between tied heads: counted once."""
    return sum(p.numel() for p in {id(p): p for p in model.parameters() if p.requires_grad}.values())


def save(model: nn.Module, tokenizer: PreTrainedTokenizerBase, directory: str, full_limit_bytes: int) -> str:
    """Saves an adapter in PEFT's format, or small full weights as safetensors, with the tokenizer. Returns what was done."""
    if isinstance(model, PeftModel):
        # Not the embeddings: rows of new tokens are part of the adapter, the base's own rows did not change.
        model.save_pretrained(directory, save_embedding_layers=False)
    else:
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if size > full_limit_bytes:
            return f"not saved: {size / 1e6:.0f} MB of full weights are over the limit of {full_limit_bytes / 1e6:.0f} MB"
        assert isinstance(model, PreTrainedModel)
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return "saved"


def seed_everything(seed: int) -> None:
    """All generators of this process. TRL and PEFT seed too late or not at all."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the libraries underneath draw from the global generator
    torch.manual_seed(seed)
