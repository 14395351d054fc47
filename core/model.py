"""The base model: weights, tokenizer and chat template, placed on a device, kept warm between trials of one process.

A trial never trains the kept model itself: `trial_copy` gives it a module tree of its own. With frozen weights the tensors
are shared (no memory); for full fine-tuning they are copied. So every trial starts from the same bits, and the untouched
base stays at hand as the reference for drift.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from core import architecture, chat, checkpoint, memory, quantized, unchanged, warm
from core.data import encode
from core.errors import BadInput, one_line
from core.hardware import Device, check_type, is_out_of_memory, prepare
from core.settings import Model
from core.weights import BUFFER, named


@dataclass(frozen=True)
class Base:
    """A frozen base model. `new_tokens` are ids that ChatML added and every adapter must train."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    new_tokens: tuple[int, ...]
    path: str
    template_origin: str  # which chat template it is, in words
    key: tuple[object, ...]

    @property
    def context_tokens(self) -> int | None:
        return checkpoint.context_tokens(self.model.config.get_text_config().to_dict())


def resolved_dtype(model: Model, device: Device) -> torch.dtype:
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[memory.dtype(model, device.kind)]


def load(model: Model, device: Device, content: str = "") -> Base:
    """The base, kept warm if it was loaded before (`content`: its hash, so that a changed one is not)."""
    key = (model, device.kind, content)

    def read() -> Base:
        warm.drop_base()  # one base at a time: a second may not fit
        base = read_anew(model, device, key=key)
        read_now = checkpoint.model_hash(checkpoint.locate(model)) if content else ""
        unchanged.check("model.name", model.name, content, read_now)
        return base

    base: Base = warm.BASE.get(key, read)
    return base


def read_anew(model: Model, device: Device, place: torch.device | None = None, key: tuple[object, ...] = ()) -> Base:
    """The base, read from its files; at another `place` than the device's: "meta" has its shapes alone."""
    place = place or prepare(device)
    path = str(checkpoint.locate(model))
    transformers_logging.disable_progress_bar()
    config = _config(model, path)  # first: a tokenizer's loading reads it too
    tokenizer = load_tokenizer(model, path)
    chosen = chat.choose(tokenizer.chat_template, model.chat_template)
    if chosen.source is None:
        tokenizer.chat_template = None
    new_tokens = encode.give_template(tokenizer, chosen.source)
    dtype = resolved_dtype(model, device)
    check_type(device, dtype)
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    packed = getattr(config, "quantization_config", None) is not None  # the checkpoint's own; others than NF4 are refused
    if packed:
        config.quantization_config["bnb_4bit_compute_dtype"] = str(options["dtype"]).removeprefix("torch.")
        options |= {"device_map": {"": str(place)}}
    elif model.quantization != "none":
        how = quantized.config(model, memory.dtype(model, device.kind))
        options |= {"quantization_config": how, "device_map": {"": str(place)}}
    elif place.type != "cpu":  # straight there: by way of the host, every worker would hold a copy in its memory first
        options |= {"device_map": {"": str(place)}}
    network = _weights(model, path, config, options)
    if packed or model.quantization != "none":
        quantized.settle(network)
    else:
        network.to(place)  # type: ignore[arg-type]
    _add_rows(network, tokenizer, new_tokens)
    network.requires_grad_(False)
    network.eval()
    warm.settle()
    return Base(network, tokenizer, tuple(new_tokens), path, chosen.origin, key)


def _config(model: Model, path: str) -> Any:
    architecture.read(Path(path), model.trust_remote_code)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # a configuration's validation, or code that comes with it
        raise architecture.unusable(Path(path), model.name, error) from None


def _weights(model: Model, path: str, config: Any, options: dict[str, Any]) -> PreTrainedModel:
    """The model with all of its weights from the checkpoint, and nothing left over.

    Raises:
        BadInput: it cannot be loaded, or weights lack (transformers would draw random ones), are left over or do not fit.
    """
    options |= {"trust_remote_code": model.trust_remote_code, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, config=config, **options)
    except Exception as error:  # conversions and code of models raise what they like
        if is_out_of_memory(error):
            raise
        raise architecture.unusable(Path(path), model.name, error) from None
    network: PreTrainedModel
    info: dict[str, Any]
    network, info = loaded
    unfit = sorted(str(key[0]) for key in info["mismatched_keys"])
    for words, names in (
        ("the checkpoint lacks", sorted(info["missing_keys"])),
        ("config.json gives other shapes for", unfit),
        ("the model has no place for", [name for name in sorted(info["unexpected_keys"]) if not BUFFER.search(name)]),
    ):
        if names:
            text = f"{words} {named(names)}; fetch it again, or correct config.json"
            raise BadInput(f"model.name={model.name}: {text}", field="model.name")
    return network


def load_tokenizer(model: Model, path: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token (padding is masked everywhere, so any id will do)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # the tokenizers library raises bare Exceptions about its files
        raise BadInput(
            f"model.name={model.name}: its tokenizer cannot be loaded ({one_line(error)}); fetch the model again",
            field="model.name",
        ) from None
    if tokenizer.is_fast:
        encode.plain(tokenizer.backend_tokenizer)
        tokenizer.split_special_tokens = False  # or its next call would set that again
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _add_rows(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new_tokens: list[int]) -> None:
    """Room in the embeddings for tokens that were added; they start as the mean of the tokens that the base knows."""
    if not new_tokens:
        return
    embedding: Any = network.get_input_embeddings()
    needed = max(len(tokenizer), max(new_tokens) + 1)  # ids may have gaps
    if needed > embedding.weight.shape[0]:
        network.resize_token_embeddings(needed, mean_resizing=False)
    layers: list[Any] = [network.get_input_embeddings(), network.get_output_embeddings()]
    with torch.no_grad():
        for layer in layers:
            if layer is not None:
                layer.weight[new_tokens] = layer.weight[: new_tokens[0]].float().mean(0).to(layer.weight.dtype)


def trial_copy(base: Base, changes_base: bool) -> PreTrainedModel:
    """A module tree for one trial: sharing the frozen tensors, or with float32 weights of its own to train."""
    if changes_base:
        if quantized.is_quantized(base.model):
            raise BadInput("model.name: this base has 4-bit or 8-bit weights, which cannot be trained", field="model.name")
        own = copy.deepcopy(base.model).float()
        own.requires_grad_(True)
        return own
    tensors = [*base.model.parameters(), *base.model.buffers(), *quantized.shared_tensors(base.model)]
    return copy.deepcopy(base.model, memo={id(tensor): tensor for tensor in tensors})


def round_parameters(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Casts the parameters alone: buffers such as the frequencies of rotary positions stay as exact as the base has them, and
    weights of 4 or 8 bits, which are whole numbers or packed into others, as they are."""
    for parameter in network.parameters():
        if parameter.is_floating_point() and getattr(parameter, "quant_state", None) is None:
            parameter.data = parameter.data.to(dtype)


def seq_len_tokens(base: Base, asked: int | None, taken: int = 0) -> int:
    """The longest training sequence, beside so many virtual tokens.

    Raises:
        BadInput: more is asked for than the model has positions.
    """
    return checkpoint.resolve_seq_len(asked, base.context_tokens, taken)
