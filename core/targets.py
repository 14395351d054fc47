"""Which weights a target preset means, by the names that architectures give them. Pure: names and shapes in, names out.

Mixture-of-experts models keep all experts of a layer in 3-D parameters when they are loaded, whatever the checkpoint's files
have; a router decides which experts a token uses, and it stays frozen: no preset adapts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import BadInput

ATTENTION_PARENT = re.compile(r"attn|attention", re.IGNORECASE)
# Query and value where they stand alone; a fused projection holds both (and the key with them).
QUERY = frozenset({"q_proj", "query", "wq", "q_lin", "q"})
VALUE = frozenset({"v_proj", "value", "wv", "v_lin", "v"})
FUSED = frozenset({"c_attn", "qkv_proj", "query_key_value", "Wqkv", "wqkv", "qkv", "W_pack", "in_proj"})
# Never adapted: embeddings and the output head (under any of its names), and mixture-of-experts routers.
EXCLUDED = re.compile(r"(^|\.)(lm_head|output_layer|score|classifier|wte|wpe|router)$|embed|(^|\.)router\.", re.IGNORECASE)
# Of models that see or hear too: what is not of their language model, which no row of text goes through.
NOT_TEXT = re.compile(r"(^|\.)(vision_(?:tower|model)|visual|audio_tower|multi_modal_projector|embed_(?:vision|audio))(\.|$)")
# transformers reads these layers' weights in kernels of its own, past an adapter on them; PEFT refuses them.
NOT_BY_PEFT = dict.fromkeys(("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"), "out_proj")
TRANSPOSED = frozenset({"gpt2", "openai-gpt", "imagegpt"})  # types whose files have matrices as (inputs, outputs)
GATES = ("gate", "gate.wg", "shared_expert_gate")  # routers' names too, but only beside experts
EXPERT = re.compile(r"^(?P<block>.*\bexperts)\.(?P<index>\d+)\.(?P<leaf>\w+)\.weight$")
# Layers of these names PEFT takes for the matrices of experts as older versions had them, and adapts the experts in their place.
TAKEN_FOR_EXPERTS = frozenset({"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
# Matrices of one expert, and the 3-D parameters that transformers loads them into.
LOADED_AS: dict[frozenset[str], dict[str, tuple[str, ...]]] = {
    frozenset({"w1", "w2", "w3"}): {"gate_up_proj": ("w1", "w3"), "down_proj": ("w2",)},
    frozenset({"gate_proj", "up_proj", "down_proj"}): {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)},
    frozenset({"up_proj", "down_proj"}): {"up_proj": ("up_proj",), "down_proj": ("down_proj",)},
}
# What (IA)³ scales: outputs of the first, inputs of the second.
KEY_VALUE = frozenset({"k_proj", "v_proj", "key", "value", "wk", "wv", "k_lin", "v_lin", "k", "v"})
FEED_FORWARD_OUT = frozenset({"down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out", "lin2", "w2", "wo", "ffn_down"})

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Chosen:
    """What a preset means in a model, in its order: `layers` are linear, `experts` are 3-D parameters."""

    layers: tuple[str, ...]
    experts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.layers + self.experts


def of_text(name: str) -> bool:
    """Whether a weight or layer belongs to the language model."""
    return not NOT_TEXT.search(name)


def supported(model_type: str, linear_names: Iterable[str]) -> list[str]:
    """The linear layers that PEFT can adapt in models of this type, of the language model."""
    return [name for name in linear_names if of_text(name) and name.rpartition(".")[2] != NOT_BY_PEFT.get(model_type)]


def is_attention(name: str) -> bool:
    """Whether an ancestor of the layer is an attention block ("h.0.attn.c_proj")."""
    return bool(ATTENTION_PARENT.search(name.rpartition(".")[0]))


def adaptable(linear_names: Iterable[str], expert_names: Iterable[str]) -> list[str]:
    """The linear layers that may be adapted: no embedding, head or router."""
    blocks = {name.rpartition(".")[0] for name in expert_names}  # "layers.0.mlp.experts" or "layers.0.mlp"
    beside = {f"{parent}.{gate}" for block in blocks for parent in (block, block.rpartition(".")[0]) for gate in GATES}
    return [name for name in linear_names if not EXCLUDED.search(name) and name not in beside]


def choose(preset: str, linear_names: Sequence[str], expert_names: Sequence[str] = ()) -> Chosen:
    """The weights that the preset means, in the model's order.

    Raises:
        BadInput: none of the model's weights fits the preset, or only one half of it does.
    """
    names = adaptable(linear_names, expert_names)
    leaf = {name: name.rpartition(".")[2] for name in [*names, *expert_names]}
    fits = {
        "attention-qv": lambda name: is_attention(name) and leaf[name] in QUERY | VALUE | FUSED,
        "attention": is_attention,
        "mlp": lambda name: not is_attention(name),
        "all-linear": lambda name: True,
    }[preset]
    chosen = Chosen(tuple(filter(fits, names)), tuple(filter(fits, expert_names)))
    if not chosen.names:
        kinds = ", ".join(sorted(set(leaf.values()))) or "none"
        raise BadInput(
            f"adapter.targets={preset!r}: fits no linear layer of this model; its linear layers are: {kinds}",
            field="adapter.targets",
        )
    if preset == "attention-qv":
        _check_both({leaf[name] for name in chosen.names})
    return chosen


def _check_both(leaves: set[str]) -> None:
    """Refuses queries without values: compressed attention (DeepSeek's) makes keys and values of one layer."""
    if not leaves & FUSED and not (leaves & QUERY and leaves & VALUE):
        which, other = ("queries", "values") if leaves & QUERY else ("values", "queries")
        text = f"this model has layers of {which} ({', '.join(sorted(leaves))}) and none of {other}; use attention or all-linear"
        raise BadInput(f"adapter.targets='attention-qv': {text}", field="adapter.targets")


def scaled(linear_names: Iterable[str]) -> tuple[list[str], list[str]]:
    """What (IA)³ scales: keys and values (a fused projection whole), and the last matrices of the feed-forward parts.

    Raises:
        BadInput: the layers have names of which it is not known what they are.
    """
    names = adaptable(linear_names, ())
    leaf = {name: name.rpartition(".")[2] for name in names}
    attention = [name for name in names if is_attention(name) and leaf[name] in KEY_VALUE | FUSED]
    inner = [name for name in names if not is_attention(name) and leaf[name] in FEED_FORWARD_OUT]
    if not attention or not inner:
        what = "keys and values" if not attention else "the last matrix of the feed-forward part"
        text = f"{what} cannot be told by the names of this model's layers: {', '.join(sorted(set(leaf.values()))) or 'none'}"
        raise BadInput(f"adapter.method=ia3: {text}; use adapter.method=lora", field="adapter.method")
    return attention, inner


def experts(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The 3-D parameters (experts, a, b) of a checkpoint's experts once it is loaded, by names that tell them apart.

    Files hold them either as they are loaded, or one matrix for each expert: those are stacked, gate and up as one.

    Raises:
        BadInput: an expert has other matrices than are known, so that nobody can say what is loaded.
    """
    found = {name: shape for name, shape in shapes.items() if is_fused(name, shape)}
    blocks: dict[str, dict[str, dict[int, Shape]]] = {}
    for name, shape in shapes.items():
        if (part := EXPERT.match(name)) and len(shape) == 2:
            blocks.setdefault(part["block"], {}).setdefault(part["leaf"], {})[int(part["index"])] = shape
    for block, leaves in blocks.items():
        layout = LOADED_AS.get(frozenset(leaves))
        if layout is None:
            text = f"experts with {', '.join(sorted(leaves))} ({block}) are not known here; use adapter.targets=attention"
            raise BadInput(f"adapter.targets: {text}", field="adapter.targets")
        for loaded, parts in layout.items():
            rows, columns = zip(*(leaves[part][min(leaves[part])] for part in parts), strict=True)
            found[f"{block}.{loaded}"] = (len(leaves[parts[0]]), sum(rows), columns[0])
    return found


def is_fused(name: str, shape: Sequence[int]) -> bool:
    """Whether a weight holds all experts of a layer; convolutions have three axes too."""
    return len(shape) == 3 and min(shape) > 1 and "conv" not in name


def is_taken_for_experts(name: str) -> bool:
    """Whether PEFT mistakes this layer, in a model with experts, for an expert's; its weight can be named instead."""
    return name.rpartition(".")[2] in TAKEN_FOR_EXPERTS


def is_of_an_expert(name: str) -> bool:
    """Whether a checkpoint's matrix belongs to one expert and is loaded as a part of a 3-D parameter."""
    return EXPERT.match(name) is not None
