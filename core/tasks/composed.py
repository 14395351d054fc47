"""The evaluation of requests of two steps: the model writes its whole answer by itself, and the final answer counts.

Teacher forcing would hand a model that writes its steps the right ones; here it goes on from its own. The single skills that
the requests are made of are asked in the same way; the base battery is that of every laboratory source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.lab import composed, instruct
from core.lab.requests import BARE, Question
from core.tasks import generation
from core.tasks.costs import COMPOSED_NEW_TOKENS as MAX_ANSWER_TOKENS
from core.tasks.generation import Written
from core.tasks.lab import Words, battery
from core.tasks.measurement import Measurement, Subject

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def written(model: nn.Module, prompts: Sequence[list[int]], end: int, batch_size: int) -> list[Written]:
    """Greedy continuations; one that does not end within MAX_ANSWER_TOKENS is no answer."""
    return generation.write(model, prompts, generation.Decoding((end,), MAX_ANSWER_TOKENS, batch_size))


def measure(subject: Subject) -> list[Measurement]:
    """Final answers on trained compositions (the quality), on those never trained and on single skills; the base battery."""
    model, tokenizer, data, evaluation = subject.model, subject.tokenizer, subject.trial.data, subject.trial.evaluation
    words = Words(tokenizer)

    def solved(name: str, axis: str, asked: Sequence[Question]) -> list[Measurement]:
        prompts = [words.request(question.prompt, evaluation.chat) for question in asked]
        answers = written(model, prompts, words.end, evaluation.batch_size)
        right = [
            one.stopped and _final(tokenizer, list(one.ids)) == composed.final_answer(q.answer)
            for one, q in zip(answers, asked, strict=True)
        ]
        groups, ids = tuple(q.task for q in asked), tuple(q.id for q in asked)
        score = Measurement(name, axis, groups, ids, np.array(right, dtype=float), np.ones(len(asked)))
        how = generation.Answers((), tuple(answers)).measurements(groups, ids) if axis == "quality" else []
        return [score, *how]

    asked = composed.questions(evaluation.split, evaluation.items_per_task)
    single = [
        q
        for q in instruct.questions(evaluation.split, evaluation.items_per_task)
        if q.task in composed.LENGTHS and q.style == BARE.name
    ]
    return [
        *solved("exact_match/seen", "quality", [q for q in asked if q.cluster != str(data.held_out_fold)]),
        *solved("exact_match/held_out", "other", [q for q in asked if q.cluster == str(data.held_out_fold)]),
        *solved("exact_match/single", "other", single),
        *battery(subject, words),
    ]


def _final(tokenizer: PreTrainedTokenizerBase, answer: list[int]) -> str:
    return composed.final_answer(" ".join(tokenizer.convert_ids_to_tokens(answer)))
