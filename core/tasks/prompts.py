"""What models are asked in words: conversations that end with the user, with the row's tools and examples before the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.data import gym, selection
from core.data.kinds import kind_of
from core.data.rows import Row
from core.data.turns import Message
from core.lab import composed, instruct
from core.lab.requests import COMPOSED, Question
from core.settings import Data, Evaluation
from core.tasks import examples

if TYPE_CHECKING:
    from core.tasks.measurement import Subject


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends with the user, and what the chat template is told of callable tools."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None

    @classmethod
    def of(cls, question: str, before: Sequence[Message] = ()) -> Prompt:
        return cls((*before, {"role": "user", "content": question}))


def said(row: Row) -> str:
    """The row's last answer, with the thoughts that it has before it."""
    last = row.messages[-1]
    return f"{last.get('reasoning_content') or ''}{last.get('content') or ''}"


def of_row(row: Row, before: Sequence[Message] = ()) -> Prompt:
    """The row's own turns but for its last answer, the examples between its system prompt and the rest."""
    own = row.messages[:-1]
    n_system = int(bool(own) and own[0]["role"] == "system")
    return Prompt((*own[:n_system], *before, *own[n_system:]), row.tools)


def held_out(subject: Subject, shots: bool = True) -> list[tuple[Prompt, str]]:
    """The tuning task's prompts of the trial's split, each with the right answer: its held-out rows, or of generated questions
    one of each family in turn, of the laboratory's those of tasks that are trained on. `shots`: after the examples of
    `evaluation.shots`, which the laboratory's own tasks tell otherwise."""
    data, evaluation = subject.trial.data, subject.trial.evaluation
    if not kind_of(data.source).own_questions:
        before = answer_turns(subject) if shots and "answers" in evaluation.task_names else []  # else shots are those of choices
        return [(of_row(row, before), row.messages[-1]["content"]) for row in subject.asked]
    if kind_of(data.source).laboratory:
        return [(Prompt.of(one.prompt), one.answer) for one in _of_the_laboratory(data, evaluation)]
    every = gym.questions(data.source, evaluation.split, evaluation.items_per_task)
    in_turn = selection.in_turn(every, lambda one: one.family)
    n_shots = evaluation.shots if shots else 0
    return [(Prompt.of(one.question, gym_turns(data.source, one.family, n_shots)), one.answer) for one in in_turn]


def _of_the_laboratory(data: Data, evaluation: Evaluation) -> tuple[Question, ...]:
    """Questions of tasks, or of compositions, outside the held-out fold, one of each in turn."""
    if data.source in COMPOSED:
        found = [
            one
            for one in composed.questions(evaluation.split, evaluation.items_per_task)
            if one.cluster != str(data.held_out_fold)
        ]
    else:
        every = instruct.questions(evaluation.split, evaluation.items_per_task)
        found = [one for one in every if instruct.is_seen(one.cluster, data.held_out_fold)]
    return selection.in_turn(found, lambda one: one.task)


def answer_turns(subject: Subject) -> list[Message]:
    """The examples of `evaluation.shots` from rows that may be trained on, as turns."""
    return [turn for row in examples.answer_shots(subject.trial.data, subject.trial.evaluation) for turn in row.messages]


def gym_turns(source: str, family: str, n_shots: int) -> list[Message]:
    """`n_shots` training questions of the family with their answers, as turns; of held-out families too, which are not trained
    on: examples are all that a model sees of them."""
    told = gym.examples(source, family, n_shots) if n_shots else ()
    return [
        turn for question, answer in told
        for turn in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]  # fmt: skip
