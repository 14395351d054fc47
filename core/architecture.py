"""What config.json says of a model and whether its weights fit to it, without torch; so that no sweep starts on a model that
cannot be loaded, or that would be filled up with random weights."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import limits
from core.checkpoint import hidden_size
from core.errors import BadInput, nearest, one_line
from core.limits import wrong
from core.weights import Shape, are_same, named, read_json

# Whole numbers of config.json: those that must be above 0 where they stand, and those that may be null too.
SIZES = (
    *("hidden_size", "n_embd", "d_model", "vocab_size", "num_hidden_layers", "n_layer", "num_attention_heads", "n_head"),
    *("max_position_embeddings", "n_positions", "word_embed_proj_dim"),
)
SIZES_OR_NULL = (
    "num_key_value_heads",
    "head_dim",
    "n_inner",
    "intermediate_size",
    "ffn_dim",
    "n_ctx",
    "dim",
)
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
CHOSEN_EXPERTS = ("num_experts_per_tok", "num_experts_per_token")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
MOST_LAYERS = 10_000  # of what has fewer a list is made
LAYER = re.compile(r"\b(layers|h|blocks)\.(\d+)\.(.+)$")
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in)\.weight$")
HEADS = ("lm_head.weight", "embed_out.weight")  # output heads of their own, not tied to the embeddings
# Their head is tied to the embeddings unless config.json says otherwise.
TIED = (
    *(
        "gpt2",
        "gpt_neo",
        "gpt_bigcode",
        "openai-gpt",
        "bloom",
        "opt",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3_text",
        "cohere",
        "cohere2",
    ),
    *("starcoder2", "smollm3", "mpt", "biogpt", "xglm", "ctrl", "mamba", "falcon_mamba"),
)
# Every layer of these has the same weights.
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "granite")
UNIFORM = (
    *GATED,
    "gpt2",
    "gpt_neox",
    "opt",
    "phi",
    "phi3",
    "falcon",
    "bloom",
    "olmo",
    "olmo2",
    "starcoder2",
    "stablelm",
    "cohere",
)
GATED_LAYER = (
    *(f"self_attn.{name}_proj.weight" for name in "qkvo"),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    *("input_layernorm.weight", "post_attention_layernorm.weight"),
)
# Read text in both directions unless is_decoder is set, so they write none.
ENCODERS = re.compile(r"bert|electra|roformer|roc_bert|data2vec|big_bird|^ernie$|^xlm$|^xmod$")


def read(directory: Path, trust_remote_code: bool) -> dict[str, Any]:
    """config.json, checked; a multimodal model's text part over the rest.

    Raises:
        BadInput: it is no configuration of a causal language model that can be loaded here.
    """
    path = directory / "config.json"
    settings = read_json(path)
    inner = settings.get("text_config")
    if inner is not None and not isinstance(inner, dict):
        raise wrong(path, "text_config", inner, "must be an object")
    whole = settings | (inner or {})
    _check_type(path, settings, trust_remote_code)
    quantization(directory, whole)
    for name in (*SIZES, *SIZES_OR_NULL):
        value = whole.get(name)
        if name in whole and (value is not None or name in SIZES) and (type(value) is not int or value < 1):
            raise wrong(path, name, value, "must be a whole number above 0")
        if name in LAYERS and isinstance(value, int) and value > MOST_LAYERS:
            raise wrong(path, name, value, f"must be at most {MOST_LAYERS:,}")
    limits.check_config(path, settings, whole)
    if not isinstance(whole.get("tie_word_embeddings", False), bool):
        raise wrong(path, "tie_word_embeddings", whole["tie_word_embeddings"], "must be true or false")
    _check_heads(path, whole)
    _check_experts(path, whole)
    return whole


def unusable(directory: Path, name: str, error: Exception) -> BadInput:
    """That the libraries cannot use a model, with the field of config.json that their error names, or whose value."""
    config, said = read_json(directory / "config.json"), str(error)
    told = [key for key in config if re.search(rf"['`]{re.escape(key)}\b|\b{re.escape(key)}=", said)]
    told += [key for key, value in config.items() if any(text in said for text in _quoted(value))]
    where = f"config.json: {told[0]}={config[told[0]]!r:.80}: " if told else ""
    text = f"{where}cannot be loaded ({one_line(error)}); correct config.json or fetch the model again"
    return BadInput(f"model.name={name}: {text}", field="model.name")


def _quoted(value: object) -> list[str]:
    """The texts in a field's value, as an error quotes them."""
    texts = [one for one in (value.values() if isinstance(value, dict) else [value]) if isinstance(one, str)]
    return [quoted for one in texts for quoted in (f"'{one}'", f'"{one}"')]


def _check_heads(path: Path, whole: Mapping[str, Any]) -> None:
    heads, groups = whole.get("num_attention_heads"), whole.get("num_key_value_heads")
    width = hidden_size(whole)
    if type(heads) is int and width and not whole.get("head_dim") and width % heads:
        raise wrong(path, "num_attention_heads", heads, f"must divide the width of {width}")
    if type(heads) is int and type(groups) is int and heads % groups:
        raise wrong(path, "num_key_value_heads", groups, f"must divide num_attention_heads={heads}")


def _check_experts(path: Path, whole: Mapping[str, Any]) -> None:
    """A token goes through one expert at least, and not through more than there are; some models have none, which is 0."""
    known = {name: whole[name] for name in (*EXPERTS, *CHOSEN_EXPERTS) if type(whole.get(name)) in (int, float, str, bool)}
    for name, value in known.items():
        if type(value) is not int or value < 0:
            raise wrong(path, name, value, "must be a whole number from 0")
    n_experts = next((known[name] for name in EXPERTS if known.get(name)), 0)
    for name in CHOSEN_EXPERTS:
        if n_experts and name in known and not 0 < known[name] <= n_experts:
            raise wrong(path, name, known[name], f"must be from 1 to the {n_experts} experts that there are")


def _check_type(path: Path, settings: Mapping[str, Any], trust_remote_code: bool) -> None:
    if settings.get("is_encoder_decoder"):
        raise wrong(path, "is_encoder_decoder", True, "only a model that is a decoder alone can be tuned here")
    kind, known = settings.get("model_type"), causal_types()
    own_code = isinstance(settings.get("auto_map"), dict)
    if own_code and trust_remote_code:
        return
    if not isinstance(kind, str) or not kind:
        raise wrong(path, "model_type", kind, "must be a name")
    if own_code and kind not in known:
        text = "comes with code of its own, which runs here; add --set model.trust_remote_code=true if you trust it"
        raise BadInput(f"model: {path}: model_type={kind!r}: {text}", field="model.trust_remote_code")
    if kind not in known:
        raise wrong(path, "model_type", kind, f"no causal language model of this transformers ({nearest(kind, sorted(known))})")
    classes = settings.get("architectures")
    if ENCODERS.search(kind) and settings.get("is_decoder") is not True:
        raise wrong(path, "model_type", kind, "an encoder, which reads in both directions and writes no text")
    if classes is not None and not (isinstance(classes, list) and set(map(str, classes)) & set(known.values())):
        raise wrong(path, "architectures", classes, f"must be a causal language model such as {known[kind]}")


@functools.cache
def causal_types() -> dict[str, str]:
    """The causal language models that transformers knows: model_type → class. From its source: importing it takes seconds."""
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent / "models" / "auto" / "modeling_auto.py"
    table = source.read_text(encoding="utf-8").partition("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = ")[2].partition("\n)")[0]
    return dict(re.findall(r'\("([^"]+)", "([^"]+)"\)', table))


def quantization(directory: Path, settings: Mapping[str, Any]) -> str:
    """What the weights in the files are quantized to: "none", or "nf4" by bitsandbytes, which adapters can train on.

    Raises:
        BadInput: to something else.
    """
    path = directory / "config.json"
    name = "quantization_config" if settings.get("quantization_config") is not None else "compression_config"
    config = settings.get(name)
    if config is None:
        return "none"
    if not isinstance(config, dict):
        raise wrong(path, name, config, "must be an object")
    method = str(config.get("quant_method", "bitsandbytes" if config.get("load_in_4bit") or config.get("load_in_8bit") else None))
    four = config.get("load_in_4bit") or config.get("_load_in_4bit")
    if method == "bitsandbytes" and four and config.get("bnb_4bit_quant_type") == "nf4":
        return "nf4"
    kind = f"{method}, {config.get('bnb_4bit_quant_type') if four else '8 bits'}" if method == "bitsandbytes" else method
    text = f"{name}: its weights are quantized ({kind:.60}), and only bitsandbytes' NF4 can be tuned on here"
    remedy = "take the unquantized model, with --set model.quantization=nf4 if it has to be small"
    raise BadInput(f"model: {path}: {text}; {remedy}", field="model.name")


def check_weights(directory: Path, settings: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Weights that the configuration asks for, as far as it tells without the model's code; the rest when it is loaded.

    Raises:
        BadInput: weights lack or have other shapes.
    """
    width = hidden_size(settings)
    for name, shape in shapes.items():
        if EMBEDDING.search(name) and len(shape) == 2:
            _check_embedding(directory, settings, (name, shape), width)
    _check_layers(directory, settings, shapes)
    untied = settings.get("model_type") in GATED and settings.get("tie_word_embeddings") is False
    if untied and not any(name.endswith(HEADS) for name in shapes):
        raise lacking(directory, ["lm_head.weight"])


def without_tied_head(directory: Path, settings: Mapping[str, Any], shapes: dict[str, Shape]) -> dict[str, Shape]:
    """The shapes without an output head that is stored beside the embeddings that it is tied to.

    Raises:
        BadInput: it has other values than they, and would be lost where tokens are added, or not, as libraries take it.
    """
    heads = [name for name in shapes if name.endswith(HEADS)]
    embeddings = [name for name in shapes if EMBEDDING.search(name)]
    tied = settings.get("tie_word_embeddings", settings.get("model_type") in TIED)
    if not tied or len(heads) != 1 or len(embeddings) != 1 or shapes[heads[0]] != shapes[embeddings[0]]:
        return shapes
    if not are_same(directory, heads[0], embeddings[0]):
        text = f"tie_word_embeddings=True, and {heads[0]} has other values than {embeddings[0]}"
        remedy = "set it to false if the model has a head of its own, or fetch the model again"
        raise BadInput(f"model: {directory / 'config.json'}: {text}; {remedy}", field="model.name")
    return {name: shape for name, shape in shapes.items() if name not in heads}


def lacking(directory: Path, names: list[str]) -> BadInput:
    text = f"lacks {named(names)}, which would be random; fetch it again, or correct config.json"
    return BadInput(f"model: the checkpoint in {directory} {text}", field="model.name")


def unfit(directory: Path, name: str, shape: Shape, expected: Shape) -> BadInput:
    text = f"has {name} with shape {list(shape)} where config.json says {list(expected)}; one of them belongs to another model"
    return BadInput(f"model: the checkpoint in {directory} {text}", field="model.name")


def _check_embedding(directory: Path, settings: Mapping[str, Any], weight: tuple[str, Shape], width: int) -> None:
    name, shape = weight
    expected = (settings.get("vocab_size", shape[0]), settings.get("word_embed_proj_dim") or width or shape[1])
    if settings.get("model_type") in UNIFORM and shape != expected:
        raise unfit(directory, name, shape, expected)


def _check_layers(directory: Path, settings: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    n_layers = next((settings[name] for name in LAYERS if type(settings.get(name)) is int), 0)
    stacks: dict[str, dict[int, dict[str, Shape]]] = {}
    for name, shape in shapes.items():
        if part := LAYER.search(name):
            stacks.setdefault(name[: part.start(2)], {}).setdefault(int(part[2]), {})[part[3]] = shape
    kind = settings.get("model_type")
    if kind not in UNIFORM or len(stacks) > 1:  # images have layers of their own
        return
    if not stacks:
        raise lacking(directory, ["all of its layers"])
    ((prefix, layers),) = stacks.items()
    every = {leaf: shape for layer in layers.values() for leaf, shape in layer.items()}
    wanted = [*every, *(leaf for leaf in (GATED_LAYER if kind in GATED else ()) if leaf not in every)]
    lost = [f"{prefix}{i}.{leaf}" for i in range(n_layers) for leaf in wanted if leaf not in layers.get(i, {})]
    if lost:
        raise lacking(directory, lost)
    if beyond := [f"{prefix}{i}" for i in layers if i >= n_layers]:
        text = f"has {named(beyond)} where config.json says {n_layers} layers; correct it or fetch the model again"
        raise BadInput(f"model: the checkpoint in {directory} {text}", field="model.name")
    expected = _gated_shapes(settings) if kind in GATED else {}
    for i, layer in layers.items():
        for leaf, shape in layer.items():
            if shape != expected.get(leaf, shape):
                raise unfit(directory, f"{prefix}{i}.{leaf}", shape, expected[leaf])


def _gated_shapes(settings: Mapping[str, Any]) -> dict[str, Shape]:
    """The matrices of a layer (out, in), where config.json has all the sizes."""
    names = ("hidden_size", "intermediate_size", "num_attention_heads")
    if any(type(settings.get(name)) is not int for name in names):
        return {}
    width, inner, heads = (settings[name] for name in names)
    head = settings.get("head_dim") or (width // heads if settings.get("model_type") in ("llama", "mistral", "qwen2") else None)
    found: dict[str, Shape] = {f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
    found["mlp.down_proj.weight"] = (width, inner)
    if head:
        narrow = head * (settings.get("num_key_value_heads") or heads)
        found |= {"self_attn.q_proj.weight": (head * heads, width), "self_attn.o_proj.weight": (width, head * heads)}
        found |= {f"self_attn.{name}_proj.weight": (narrow, width) for name in "kv"}
    return found
