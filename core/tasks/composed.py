"""The evaluation of requests of two steps: the model writes its whole answer by itself, and the final answer counts.

Teacher forcing would hand a model that writes its steps the right ones; here it goes on from its own. The single skills that
the requests are made of are asked in the same way; the base battery is that of every laboratory source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from core.lab import composed, instruct
from core.lab.requests import Question
from core.tasks.lab import Words, battery
from core.tasks.measurement import Measurement, Subject, batches_by_length, device_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


MAX_ANSWER_TOKENS = 20  # that a model may write: the longest trace has 15, and its end


def written(model: nn.Module, prompts: Sequence[list[int]], eos: int, pad: int, batch_size: int) -> list[list[int] | None]:
    """Greedy continuations without their end; None for one that does not end within MAX_ANSWER_TOKENS."""
    found: list[list[int] | None] = [None] * len(prompts)
    for batch in batches_by_length([len(prompt) for prompt in prompts], batch_size):
        width = max(len(prompts[i]) for i in batch)
        padding = [width - len(prompts[i]) for i in batch]  # on the left, so that all of them go on at the same place
        ids = [[pad] * n + prompts[i] for n, i in zip(padding, batch, strict=True)]
        mask = [[0] * n + [1] * (width - n) for n in padding]
        continued = model.generate(  # type: ignore[operator]
            input_ids=torch.tensor(ids, device=device_of(model)),
            attention_mask=torch.tensor(mask, device=device_of(model)),
            do_sample=False,
            max_new_tokens=MAX_ANSWER_TOKENS,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=eos,
        )
        for i, answer in zip(batch, continued[:, width:].tolist(), strict=True):
            found[i] = answer[: answer.index(eos)] if eos in answer else None
    return found


def measure(subject: Subject) -> list[Measurement]:
    """Final answers on trained compositions (the quality), on those never trained and on single skills; the base battery."""
    model, tokenizer, data, evaluation = subject.model, subject.tokenizer, subject.trial.data, subject.trial.evaluation
    words, pad = Words(tokenizer), int(tokenizer.pad_token_id)

    def solved(name: str, axis: str, asked: Sequence[Question]) -> Measurement:
        prompts = [words.request(question.prompt, evaluation.chat) for question in asked]
        answers = written(model, prompts, words.eos, pad, evaluation.batch_size)
        right = [answer is not None and _final(tokenizer, answer) == q.answer for answer, q in zip(answers, asked, strict=True)]
        groups, ids = tuple(q.task for q in asked), tuple(q.id for q in asked)
        return Measurement(name, axis, groups, ids, np.array(right, dtype=float), np.ones(len(asked)))

    asked = composed.questions(evaluation.split, evaluation.items_per_task)
    single = [q for q in instruct.questions(evaluation.split, evaluation.items_per_task) if q.task in composed.LENGTHS]
    return [
        solved("exact_match/seen", "quality", [q for q in asked if q.cluster != str(data.held_out_fold)]),
        solved("exact_match/held_out", "other", [q for q in asked if q.cluster == str(data.held_out_fold)]),
        solved("exact_match/single", "other", single),
        *battery(model, words, evaluation),
    ]


def _final(tokenizer: PreTrainedTokenizerBase, answer: list[int]) -> str:
    return composed.final_answer(" ".join(tokenizer.convert_ids_to_tokens(answer)))
