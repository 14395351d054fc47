"""Rows with a right answer: the model writes its own to the held-out prompts, and what it comes to is compared.

The prompt goes through the chat template, after `evaluation.shots` examples as earlier turns. How an answer is compared stands in
core/tasks/rules.py.
"""

from __future__ import annotations

import numpy as np

from core.data.shapes import Message
from core.tasks import examples, generation, rules
from core.tasks.measurement import Measurement, Subject


def measure(subject: Subject) -> list[Measurement]:
    """The share of right answers (the quality), and how answers are written."""
    data, evaluation = subject.trial.data, subject.trial.evaluation
    asked = examples.with_solutions(subject.asked, evaluation.split)
    before = [message for row in examples.answer_shots(data, evaluation) for message in row.messages]
    prompts = [_prompt(before, [*row.messages[:-1]]) for row in asked]
    answers = generation.answers(subject, prompts, [row.messages[-1]["content"] for row in asked])
    right = [rules.right(text, row.solutions, evaluation.answer) for text, row in zip(answers.texts, asked, strict=True)]
    groups, ids = tuple(row.group for row in asked), tuple(row.id for row in asked)
    quality = Measurement("accuracy/answers", "quality", groups, ids, np.array(right, dtype=float), np.ones(len(asked)))
    return [quality, *answers.measurements(groups, ids)]


def _prompt(before: list[Message], own: list[Message]) -> list[Message]:
    """The row's own turns, the examples between its system prompt and the rest."""
    n_system = int(bool(own) and own[0]["role"] == "system")
    return [*own[:n_system], *before, *own[n_system:]]
