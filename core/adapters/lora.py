"""LoRA and its relatives: which weights they adapt, how many parameters that takes, and how PEFT builds them."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core import checkpoint, targets
from core.adapters.method import Adapted
from core.base import BaseFiles
from core.errors import BadInput
from core.method_settings import KAIMING, Dora, Lora, LoraFa, LoraPlus, Olora, Pissa
from core.method_settings.lora import ORTHOGONAL

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

FROM_BASE = ("pissa", "olora")  # of PEFT's init_lora_weights: exact decompositions, the same bits every time


def _targets(adapter: Lora, base: BaseFiles) -> targets.Chosen:
    """What the preset means on this base.

    Raises:
        BadInput: it fits nothing, or PEFT cannot adapt it so.
    """
    checkpoint.check_rank(adapter.rank, base.width)
    experts = {} if adapter.targets.startswith("attention") else base.experts
    chosen = _chosen(adapter.targets, tuple(base.linear), tuple(experts))
    by_weight = chosen.experts or (base.has_experts and any(map(targets.is_taken_for_experts, chosen.layers)))
    if by_weight and adapter.dropout:
        text = "PEFT adapts a mixture's experts without dropout only; use 0, or adapter.targets=attention"
        raise BadInput(f"adapter.dropout={adapter.dropout:g}: {text}", field="adapter.dropout")
    if by_weight and isinstance(adapter, Dora | Pissa | LoraFa):
        text = "PEFT adapts a mixture's experts by plain LoRA only; use adapter.targets=attention"
        raise BadInput(f"adapter.method={adapter.method}: {text}", field="adapter.method")
    if by_weight and adapter.init == ORTHOGONAL:
        text = "PEFT has it not for a mixture's experts; use kaiming or gaussian, or adapter.targets=attention"
        raise BadInput(f"adapter.init={adapter.init}: {text}", field="adapter.init")
    if isinstance(adapter, Olora) and base.model_type in targets.TRANSPOSED:
        text = f"PEFT has it not for layers of {base.model_type}; use adapter.method=pissa"
        raise BadInput(f"adapter.method=olora: {text}", field="adapter.method")
    narrow = min((min(base.linear[name]) for name in chosen.layers), default=adapter.rank)
    if isinstance(adapter, Pissa) and adapter.rank > narrow:
        text = f"the narrowest adapted layer has {narrow} singular vectors; use at most that"
        raise BadInput(f"adapter.rank={adapter.rank}: {text}", field="adapter.rank")
    return chosen


@functools.lru_cache(maxsize=64)
def _chosen(preset: str, linear: tuple[str, ...], experts: tuple[str, ...]) -> targets.Chosen:
    """Once for all arms of a base."""
    return targets.choose(preset, list(linear), list(experts))


def resolved(adapter: Lora, base: BaseFiles) -> tuple[str, ...]:
    return _targets(adapter, base).names


def n_trained(adapter: Lora, base: BaseFiles) -> int:
    """Rank × (inputs + outputs) of every targeted matrix, an expert's too, DoRA's magnitude of each output, and the rows of new
    tokens. Of LoRA-FA's matrices B alone."""
    chosen, linear = _targets(adapter, base), base.linear
    if isinstance(adapter, LoraFa):
        return adapter.rank * sum(base.sizes(name)[0] for name in chosen.layers) + base.new_token_parameters
    in_layers = adapter.rank * sum(sum(linear[name]) for name in chosen.layers)
    magnitudes = sum(base.sizes(name)[0] for name in chosen.layers) if isinstance(adapter, Dora) else 0
    return in_layers + n_of_experts(adapter, base) + magnitudes + base.new_token_parameters


def n_of_experts(adapter: Lora, base: BaseFiles) -> int:
    """How many of them are of stacked experts."""
    sizes = [base.experts[name] for name in _targets(adapter, base).experts]
    return adapter.rank * sum(n * (rows + columns) for n, rows, columns in sizes)


def kept(adapter: Lora, base: BaseFiles, bf16: bool, packed: bool) -> float:
    """Weights that PEFT adapts as parameters are computed with changed: those of experts, and layers that it takes for such."""
    chosen = _targets(adapter, base)
    layers = [name for name in chosen.layers if base.has_experts and targets.is_taken_for_experts(name)]
    return sum(math.prod(base.experts[name]) for name in chosen.experts) + sum(math.prod(base.linear[name]) for name in layers)


def build(model: PreTrainedModel, adapter: Lora, new_tokens: Sequence[int]) -> Adapted:
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    checkpoint.check_rank(adapter.rank, checkpoint.hidden_size(model.config.get_text_config().to_dict()))
    experts = expert_names(model)
    chosen = targets.choose(adapter.targets, linear_names(model), experts)
    by_weight = [name for name in chosen.layers if experts and targets.is_taken_for_experts(name)]
    layers = dict(model.named_modules())
    if isinstance(adapter, Pissa):
        _own_weights([layers[name] for name in chosen.layers])
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.lora_alpha,  # type: ignore[arg-type]  # a float works and may be needed
        use_rslora=adapter.rank_stabilized,
        lora_dropout=adapter.dropout,
        target_modules=[name for name in chosen.layers if name not in by_weight],
        target_parameters=[*chosen.experts, *(f"{name}.weight" for name in by_weight)] or None,
        fan_in_fan_out=any(isinstance(layers[name], Conv1D) for name in chosen.layers),
        trainable_token_indices=_token_layers(model, new_tokens),
        use_dora=isinstance(adapter, Dora),
        init_lora_weights=_start(adapter),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    _check_adapted(adapted, chosen)
    if isinstance(adapter, Pissa):
        _keep_start(adapted)
    for name, parameter in adapted.named_parameters():
        if isinstance(adapter, LoraFa) and "lora_A" in name:
            parameter.requires_grad_(False)
        if isinstance(adapter, LoraPlus) and "lora_B" in name:
            parameter.rate_ratio = adapter.rate_ratio  # type: ignore[attr-defined]  # core/optimizing.py asks for it
    return Adapted(adapted, chosen.names)


def _start(adapter: Lora) -> Any:
    """PEFT's name for how the matrices begin."""
    return adapter.method if isinstance(adapter, Pissa) else True if adapter.init == KAIMING else adapter.init


def _check_adapted(adapted: nn.Module, chosen: targets.Chosen) -> None:
    """PEFT changes what it is asked for in models whose layers have got other names; a few are known, see `targets`.

    Raises:
        BadInput: it adapts more or fewer weights than were chosen.
    """
    from peft.tuners.lora import LoraLayer

    n_adapted = sum(isinstance(layer, LoraLayer) for layer in adapted.modules())
    if n_adapted != len(chosen.names):
        text = f"of this model PEFT adapts {n_adapted} weights where {len(chosen.names)} were chosen; use another preset"
        raise BadInput(f"adapter.targets: {text}", field="adapter.targets")


def expert_names(model: PreTrainedModel) -> list[str]:
    """The names of the model's 3-D parameters that hold the experts of a layer."""
    return [name for name, parameter in model.named_parameters() if targets.is_fused(name, parameter.shape)]


def linear_names(model: PreTrainedModel) -> list[str]:
    """The names of the model's linear layers (also Conv1D and 4-bit) that PEFT can adapt, without the output head."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D) and layer is not head]
    return targets.supported(model.config.get_text_config().model_type, found)


def _token_layers(model: PreTrainedModel, new_tokens: Sequence[int]) -> dict[str, list[int]] | None:
    """Which rows of which embeddings are trained. PEFT follows a tied output head by itself; an untied one is named."""
    if not new_tokens:
        return None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    layers = [embedding] if tied else [embedding, head]
    names = {id(layer): name for name, layer in model.named_modules()}
    return {names[id(layer)].rpartition(".")[2]: list(new_tokens) for layer in layers}


def _own_weights(layers: Sequence[Any]) -> None:
    """Copies of the weights that PiSSA and OLoRA take their part from: the base's are shared by all trials."""
    from torch import nn

    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)


def _layers(adapted: Any) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: layer for name, layer in adapted.named_modules() if isinstance(layer, LoraLayer)}


def _keep_start(adapted: Any) -> None:
    """Keeps where these matrices began, which is what was taken from the base's weights."""
    for layer in _layers(adapted).values():
        layer.start = tuple(part["default"].weight.detach().clone().cpu() for part in (layer.lora_A, layer.lora_B))


def starts_from_base(adapted: Any) -> bool:
    """Whether it is LoRA that began with a part of the base's weights."""
    return getattr(adapted.peft_config["default"], "init_lora_weights", None) in FROM_BASE


def plain(adapted: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """PiSSA and OLoRA as LoRA of twice the rank on the base as it was: what it learnt, less where it began. PEFT's
    configuration of that, and the whole model's state with its matrices."""
    import torch

    config = copy.copy(adapted.peft_config["default"])
    alpha = config.lora_alpha * (math.sqrt(2) if config.use_rslora else 2)
    config.r, config.lora_alpha, config.init_lora_weights = 2 * config.r, alpha, True
    state = adapted.state_dict()
    for name, layer in _layers(adapted).items():
        first_A, first_B = layer.start
        state[f"{name}.lora_A.default.weight"] = torch.cat([state[f"{name}.lora_A.default.weight"].cpu(), first_A])
        state[f"{name}.lora_B.default.weight"] = torch.cat([state[f"{name}.lora_B.default.weight"].cpu(), -first_B], dim=1)
    return config, state
