"""A dozen prompts with what base and tuned model write to them, for people to look at: `generations.json` of a final trial.

The file is a table as MLflow's UI shows one: {"columns": [...], "data": [[...], ...]}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core import warm
from core.data import encode, gym, selection
from core.data.kinds import kind_of
from core.data.shapes import Message
from core.result import GENERATIONS, write_whole
from core.tasks import generation
from core.tasks.costs import MOST_SHOWN_TOKENS
from core.tasks.measurement import Subject

COLUMNS = ("prompt", "right answer", "base", "tuned")


def write(output: Path, tuned: Subject) -> None:
    """Writes the table of a trial that is scored on the test split. The laboratory's models have no words for people."""
    evaluation = tuned.trial.evaluation
    if evaluation.split != "test" or not evaluation.generations or kind_of(tuned.trial.data.source).laboratory:
        return
    asked = _asked(tuned)[: evaluation.generations]
    prompts, right = [messages for messages, _ in asked], [answer for _, answer in asked]
    how = generation.Decoding(
        encode.end_ids(tuned.tokenizer),
        min(MOST_SHOWN_TOKENS, generation.room(tuned, right)),
        evaluation.batch_size,
    )
    ids = generation.prompt_ids(tuned.tokenizer, prompts)
    known = warm.GENERATIONS.setdefault(tuned.reference, {})
    key = (how, tuple(map(tuple, ids)))
    if key not in known:
        known.clear()  # of another evaluation
        known[key] = generation.texts(tuned.tokenizer, generation.write(tuned.reference, ids, how))
    after = generation.texts(tuned.tokenizer, generation.write(tuned.model, ids, how))
    rows = [[_said(one), *texts] for one, *texts in zip(prompts, right, known[key], after, strict=True)]
    write_whole(
        output / GENERATIONS, (json.dumps({"columns": COLUMNS, "data": rows}, ensure_ascii=False, indent=1) + "\n").encode()
    )


def _asked(subject: Subject) -> list[tuple[Sequence[Message], str]]:
    """Conversations that end with the user, each with the right answer; of generated questions one of each family in turn."""
    evaluation, source = subject.trial.evaluation, subject.trial.data.source
    if not kind_of(source).own_questions:
        return [(row.messages[:-1], row.messages[-1]["content"]) for row in subject.asked]
    every = gym.questions(source, evaluation.split, evaluation.items_per_task)
    in_turn = selection.in_turn(every, lambda one: one.family)
    return [([{"role": "user", "content": one.question}], one.answer) for one in in_turn]


def _said(messages: Sequence[Message]) -> str:
    """The user's words; of a longer conversation every turn with its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
