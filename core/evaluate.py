"""Measures a model with the tasks of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

if TYPE_CHECKING:
    from core.data.encode import Encoded
    from core.settings import Trial
from core.tasks.measurement import Measurement


def measure(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    trial: Trial,
    rows: Sequence[Encoded],
    reference: nn.Module | None = None,
    seq_len: int = 1_024,
) -> list[Measurement]:
    """Every measurement of the trial's task; exactly one is on the axis "quality".

    `rows` are held-out rows (real data); `reference` is the untouched base, for drift (None: the model itself is it).
    """
    from core import tasks

    model.eval()
    with torch.no_grad():
        found = tasks.measure(model, tokenizer, trial, rows, reference if reference is not None else model, seq_len)
    axes = [one.axis for one in found]
    assert axes.count("quality") == 1, axes
    assert "forgetting" in axes, axes
    return found
