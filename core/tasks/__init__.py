"""Evaluation tasks: which one measures a trial, by its data source. To add a task: a file here and its line in TASKS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from core.data.tokens import Encoded
    from core.definitions import Trial
    from core.evaluate import Measurement

    Task = Callable[[nn.Module, PreTrainedTokenizerBase, Trial, Sequence[Encoded], nn.Module, int], list[Measurement]]


def _lab(is_composed: bool) -> Task:
    """The task of a laboratory source, which makes its own questions; imported when it is needed."""

    def measure(
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        trial: Trial,
        rows: Sequence[Encoded],
        reference: nn.Module,
        seq_len: int,
    ) -> list[Measurement]:
        from core.tasks import composed, lab

        return (composed if is_composed else lab).measure(model, tokenizer, trial.evaluation, trial.data)

    return measure


def _text(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    trial: Trial,
    rows: Sequence[Encoded],
    reference: nn.Module,
    seq_len: int,
) -> list[Measurement]:
    from core.tasks import text

    return text.measure(model, tokenizer, trial.evaluation, rows, reference, seq_len)


# The beginning of a data source → what measures its trials. First match wins; "" is everything else.
TASKS: dict[str, Task] = {"lab:composed": _lab(is_composed=True), "lab:": _lab(is_composed=False), "": _text}


def task_of(source: str) -> Task:
    return next(task for beginning, task in TASKS.items() if source.startswith(beginning))
