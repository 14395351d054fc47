"""Which linear layers a target preset means, by the names that architectures give them. Pure: names in, names out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.errors import BadInput

ATTENTION_PARENT = re.compile(r"attn|attention", re.IGNORECASE)
# Query and value where they stand alone; a fused projection holds both (and the key with them).
QUERY_VALUE = frozenset({"q_proj", "v_proj", "query", "value", "wq", "wv", "q_lin", "v_lin", "q", "v"})
FUSED = frozenset({"c_attn", "qkv_proj", "query_key_value", "Wqkv", "wqkv", "qkv", "W_pack", "in_proj"})
# Never adapted: embeddings and the output head (under any of its names), and mixture-of-experts routers.
EXCLUDED = re.compile(r"(^|\.)(lm_head|output_layer|score|classifier|wte|wpe|router)$|embed", re.IGNORECASE)


def is_attention(name: str) -> bool:
    """Whether an ancestor of the layer is an attention block ("h.0.attn.c_proj")."""
    return bool(ATTENTION_PARENT.search(name.rpartition(".")[0]))


def choose(preset: str, linear_names: Sequence[str]) -> list[str]:
    """The names the preset means, in the model's order.

    Raises:
        BadInput: none of the model's linear layers fits the preset.
    """
    names = [name for name in linear_names if not EXCLUDED.search(name)]
    leaf = {name: name.rpartition(".")[2] for name in names}
    fits = {
        "attention-qv": lambda name: is_attention(name) and leaf[name] in QUERY_VALUE | FUSED,
        "attention": is_attention,
        "mlp": lambda name: not is_attention(name),
        "all-linear": lambda name: True,
    }[preset]
    chosen = [name for name in names if fits(name)]
    if not chosen:
        kinds = ", ".join(sorted(set(leaf.values()))) or "none"
        raise BadInput(
            f"adapter.targets={preset!r}: fits no linear layer of this model; its linear layers are: {kinds}",
            field="adapter.targets",
        )
    return chosen
