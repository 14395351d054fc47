"""Methods that leave all weights as they are and put trained positions before every sequence: prefix, prompt and P-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from core import architecture, checkpoint
from core.adapters.method import Adapted
from core.base import BaseFiles
from core.errors import BadInput
from core.method_settings import Prefix, Prompt, PTuning

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Types whose layers keep other things than keys and values of every head, or not in the shape that PEFT expects.
NO_PREFIX = frozenset({
    "mamba", "mamba2", "falcon_mamba", "falcon_h1", "rwkv", "jamba", "bamba", "zamba", "zamba2", "recurrent_gemma", "nemotron_h",
    "granitemoehybrid", "lfm2", "qwen3_next", "deepseek_v2", "deepseek_v3", "falcon", "gpt_bigcode", "mpt",
})  # fmt: skip
UNUSED = 1  # heads: PEFT asks for their number, which only a prefix needs, and bases without attention have none
NO_EMBEDDINGS = frozenset({"mpt"})  # whose code takes no embeddings in the place of tokens


def _first(settings: Mapping[str, Any], *names: str) -> int:
    return next((int(settings[name]) for name in names if type(settings.get(name)) is int), 0)


def prefix_trains(adapter: Prefix, base: BaseFiles) -> int:
    """A key and a value for each position, in each layer.

    Raises:
        BadInput: the base's layers do not keep keys and values as PEFT makes them.
    """
    if base.model_type in NO_PREFIX:
        text = f"layers of {base.model_type} keep no keys and values in the form that PEFT makes; use adapter.method=prompt"
        raise BadInput(f"adapter.method=prefix: {text}", field="adapter.method")
    settings = checkpoint.of_text(base.config)
    heads = _first(settings, "num_attention_heads", "n_head", "num_heads")
    width = _first(settings, "head_dim") or base.width // max(1, heads)
    kept = next((rows for name, (rows, _) in base.linear.items() if name.endswith("k_proj")), 0)
    kept = kept or (_first(settings, "num_key_value_heads") or heads) * width
    return adapter.virtual_tokens * _first(settings, *architecture.LAYERS) * 2 * kept


def prompt_trains(adapter: Prompt | PTuning, base: BaseFiles) -> int:
    """An embedding for each position; of P-tuning its network too.

    Raises:
        BadInput: the base takes no embeddings.
    """
    if base.model_type in NO_EMBEDDINGS:
        text = f"{base.model_type} takes tokens only, no embeddings; use adapter.method=lora"
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    network = 0
    if isinstance(adapter, PTuning):
        inner = adapter.encoder_width
        network = (base.width + 1) * inner + (inner + 1) * inner + (inner + 1) * base.width
    return adapter.virtual_tokens * base.width + network


def _wrapped(model: PreTrainedModel, config: Any) -> Adapted:
    from peft import get_peft_model

    return Adapted(get_peft_model(model, config), ("virtual tokens",))


def prefix(model: PreTrainedModel, adapter: Prefix, new_tokens: Sequence[int]) -> Adapted:
    from peft import PrefixTuningConfig

    start: Literal["zero"] | None = "zero" if adapter.zero_start else None
    config = PrefixTuningConfig(num_virtual_tokens=adapter.virtual_tokens, init_weights=start, task_type="CAUSAL_LM")
    return _wrapped(model, config)


def prompt(model: PreTrainedModel, adapter: Prompt, new_tokens: Sequence[int]) -> Adapted:
    from peft import PromptTuningConfig, PromptTuningInit

    start = PromptTuningInit.SAMPLE_VOCAB
    config = PromptTuningConfig(
        num_virtual_tokens=adapter.virtual_tokens, prompt_tuning_init=start, num_attention_heads=UNUSED, task_type="CAUSAL_LM"
    )
    return _wrapped(model, config)


def p_tuning(model: PreTrainedModel, adapter: PTuning, new_tokens: Sequence[int]) -> Adapted:
    from peft import PromptEncoderConfig

    config = PromptEncoderConfig(
        num_virtual_tokens=adapter.virtual_tokens,
        encoder_hidden_size=adapter.encoder_width,
        num_attention_heads=UNUSED,
        task_type="CAUSAL_LM",
    )
    return _wrapped(model, config)


def continued(model: Any, ids: torch.Tensor, mask: torch.Tensor, settings: Any) -> torch.Tensor:
    """What the model writes after left-padded prompts (b, l) with their mask: (b, new tokens).

    The virtual positions are put before the prompts here: PEFT 0.21 hands them over under the name that the cache had before
    transformers 5.24, so that a prefix is ignored, and prompts are put before every single token again.
    """
    import torch

    own: Any = getattr(model, "peft_config", {}).get("default")
    n_virtual, width = getattr(own, "num_virtual_tokens", 0), ids.shape[1]
    if not n_virtual:
        found: torch.Tensor = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        return found[:, width:]
    network, n_rows = model.get_base_model(), len(ids)
    mask = torch.cat([mask.new_ones(n_rows, n_virtual), mask], dim=1)
    if own.peft_type == "PREFIX_TUNING":
        ids = torch.cat([ids[:, :1].expand(n_rows, n_virtual), ids], dim=1)  # any token: what is in the cache is not read
        cache = model.get_prompt(n_rows, max_cache_len=-1)
        found = network.generate(input_ids=ids, attention_mask=mask, generation_config=settings, past_key_values=cache)
        return found[:, n_virtual + width :]
    words = model.word_embeddings(ids)
    embedded = torch.cat([model.get_prompt(n_rows).to(words.dtype), words], dim=1)
    found = network.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=settings)
    return found


def resolved(adapter: Any, base: BaseFiles) -> tuple[str, ...]:
    return ("virtual tokens",)
