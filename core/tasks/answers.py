"""Rows with a right answer: the model writes its own to the held-out prompts, and what it comes to is compared.

The prompt goes through the chat template, after `evaluation.shots` examples as earlier turns. How an answer is compared stands in
core/tasks/rules.py.
"""

from __future__ import annotations

import numpy as np

from core.tasks import examples, generation, prompts, rules
from core.tasks.measurement import Measurement, Subject


def measure(subject: Subject) -> list[Measurement]:
    """The share of right answers (the quality), and how answers are written."""
    evaluation = subject.trial.evaluation
    asked = examples.with_solutions(subject.asked, evaluation.split)
    before = prompts.answer_turns(subject)
    put = [prompts.of_row(row, before) for row in asked]
    answers = generation.answers(subject, put, [prompts.said(row) for row in asked])
    right = [rules.right(text, row.solutions, evaluation.answer) for text, row in zip(answers.texts, asked, strict=True)]
    groups, ids = tuple(row.group for row in asked), tuple(row.id for row in asked)
    quality = Measurement("accuracy/answers", "quality", groups, ids, np.array(right, dtype=float), np.ones(len(asked)))
    return [quality, *answers.measurements(groups, ids)]
