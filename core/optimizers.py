"""Which parameters an optimizer gets with which learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn


def with_ratios(model: nn.Module, decaying: Collection[str], weight_decay: float) -> list[tuple[float, dict[str, Any]]] | None:
    """Groups of trained parameters for an optimizer, each with its learning rate over `train.learning_rate`; None where all
    have one."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((getattr(parameter, "rate_ratio", 1.0), name in decaying), []).append(parameter)
    if {ratio for ratio, _ in groups} <= {1.0}:
        return None
    return [(ratio, {"params": own, "weight_decay": weight_decay if decays else 0.0}) for (ratio, decays), own in groups.items()]
