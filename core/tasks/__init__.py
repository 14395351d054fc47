"""Evaluation tasks: which one measures a trial, by its data source. To add a task: a file here and its branch below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.data.rows import is_lab

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from core.data.encode import Encoded
    from core.settings import Trial
    from core.tasks.measurement import Measurement


def measure(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    trial: Trial,
    rows: Sequence[Encoded],
    reference: nn.Module,
    seq_len: int,
) -> list[Measurement]:
    """What the trial's task finds. Laboratory sources make their own questions; other data are asked `rows`."""
    if not is_lab(trial.data.source):
        from core.tasks import text

        return text.measure(model, tokenizer, trial.evaluation, rows, reference, seq_len)
    from core.tasks import composed, lab

    task = composed if trial.data.source.startswith("lab:composed") else lab
    return task.measure(model, tokenizer, trial.evaluation, trial.data)
