"""Multiple choice by likelihood: which of the choices the model holds for the most likely after the question.

As the Language Model Evaluation Harness scores ARC: the text is "Question: …\\nAnswer:", a choice goes on with a space and its
text, without a chat template. `accuracy/choices` (its acc) takes the choice with the highest sum of log-likelihoods,
`accuracy_norm/choices` (its acc_norm) the highest after division by the choice's characters. Examples stand before the question
in the same form with their right choice, parted by an empty line. What does not fit the context is cut on the left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.data.encode import adds_bos
from core.tasks import examples
from core.tasks.measurement import Measurement, Subject, context_of, sequence_nll

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from core.settings import Evaluation
    from core.tasks.examples import Choice


def measure(subject: Subject) -> list[Measurement]:
    """The share of questions whose right choice is the most likely, by its sum and by its mean over characters."""
    evaluation = subject.trial.evaluation
    asked = examples.choices(evaluation, evaluation.split)
    scores = likelihoods(subject, asked)
    groups, ids = tuple(one.group for one in asked), tuple(one.id for one in asked)
    found = []
    for name, by_length in (("accuracy/choices", False), ("accuracy_norm/choices", True)):
        right = [chosen(one, score, by_length) == one.right for one, score in zip(asked, scores, strict=True)]
        found.append(Measurement(name, "other", groups, ids, np.array(right, dtype=float), np.ones(len(asked))))
    return found


def chosen(asked: Choice, score: np.ndarray, by_length: bool) -> int:
    """The place of the choice with the highest score (k,), the first of equals."""
    return int(np.argmax(score / [len(text) for text in asked.choices] if by_length else score))


def likelihoods(subject: Subject, asked: tuple[Choice, ...]) -> list[np.ndarray]:
    """For each question the log-likelihoods of its k choices, (k,) in nats."""
    evaluation, network = subject.trial.evaluation, subject.model
    context = context_of(network)
    pairs = []
    for one in asked:
        before = text_before(evaluation, one)
        pairs += [_tokens(subject.tokenizer, before, f" {text}", context) for text in one.choices]
    masks = [[0] * (len(ids) - n) + [1] * n for ids, n in pairs]
    nll, _, _ = sequence_nll(network, [ids for ids, _ in pairs], masks, evaluation.batch_size)
    ends = np.cumsum([len(one.choices) for one in asked])
    return np.split(-nll, ends[:-1])


def text_before(evaluation: Evaluation, asked: Choice) -> str:
    """The question, after its examples, up to where a choice goes on."""
    shots = examples.choice_shots(evaluation, evaluation.split, asked)
    told = [f"{_question(one)} {one.choices[one.right]}\n\n" for one in shots]
    return "".join(told) + _question(asked)


def _question(asked: Choice) -> str:
    return f"Question: {asked.question}\nAnswer:"


def _tokens(tokenizer: PreTrainedTokenizerBase, before: str, choice: str, context: int | None) -> tuple[list[int], int]:
    """The ids of both together, as many of the last as the context holds, and how many of these are the choice's: those beyond
    the ids of the text before it."""
    begin = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
    whole, first = (tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in (before + choice, before))
    n = max(1, len(whole) - len(first))
    ids = [*begin, *whole] if context is None else [*begin, *whole][-context:]
    return ids, min(n, len(ids))
