"""What `answers` and `choices` ask, and the examples before it (`evaluation.shots`). Without torch: a dry run reads it.

A file of multiple-choice questions has rows with `question`; `choices` (a list, ARC's {"text", "label"}, or columns A, B, C, …);
and `answer` (or `answerKey`, `label`, `target`): a place from 0 on, a letter or label, or the choice itself. A field `subject`,
`category` or `task` groups them. Half of them, by the hash of the question, are for validation and half for test.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import checkpoint
from core.data import apart, files, kinds, selection, sources, turns
from core.data.rows import Row, share
from core.data.wording import normal
from core.errors import BadInput, of_field
from core.settings import Data, Evaluation, Trial
from core.tasks import rules

CHOICES, DEV = "evaluation.choices", "evaluation.choices_dev"
MOST_IN_LABORATORY = 2  # examples
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANSWER_FIELDS = ("answer", "answerKey", "answer_key", "label", "target")
GROUP_FIELDS = ("subject", "category", "task")


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question. `right`: the place of the right one among `choices`."""

    id: str
    group: str
    question: str
    choices: tuple[str, ...]
    right: int


# Own rows with an answer


def check_laboratory(trial: Trial) -> None:
    """The examples fit into the context of the laboratory's bases, of every style of answers."""
    if (asked := trial.evaluation.shots) > MOST_IN_LABORATORY:
        text = f"the laboratory's context of 256 tokens holds at most {MOST_IN_LABORATORY} of its longest"
        raise BadInput(f"evaluation.shots={asked}: {text}", field="evaluation.shots")


def check_answers(trial: Trial) -> None:
    """The rows that the trial is asked about name answers, and there are examples enough."""
    data, evaluation = trial.data, trial.evaluation
    field = "data.eval_source" if data.eval_source else "data.source"
    source = data.eval_source or data.source
    if not any(row.solutions for row in kinds.load(field, source, selection.pool_of(data)).rows):
        text = f'no row of {source} has a field "answer" with a text or a number; give one, or evaluation.tasks=text'
        raise BadInput(f"evaluation.tasks={evaluation.tasks!r}: {text}", field="evaluation.tasks")
    rules.check(evaluation.answer)
    answer_shots(data, evaluation)


def with_solutions(rows: Sequence[Row], split: str) -> tuple[Row, ...]:
    """The rows that name an answer, which are those that `answers` asks.

    Raises:
        BadInput: none does.
    """
    asked = tuple(row for row in rows if row.solutions)
    if not asked:
        text = f'none of the {len(rows)} rows of the {split} split has a field "answer"; give more rows with one'
        raise BadInput(f"evaluation.tasks: {text}", field="evaluation.tasks")
    return asked


def answer_shots(data: Data, evaluation: Evaluation) -> tuple[Row, ...]:
    """`evaluation.shots` rows that may be trained on, of one question and its answer: the same for every arm and seed.

    Raises:
        BadInput: there are fewer.
    """
    if not evaluation.shots:
        return ()
    usable = [row for row in selection.trainable(data) if row.solutions and [m["role"] for m in row.messages] == TURNS]
    if len(usable) < evaluation.shots:
        text = f"{data.source} has {len(usable)} rows to train on of one question and an answer"
        raise BadInput(f"evaluation.shots={evaluation.shots}: {text}", field="evaluation.shots")
    return tuple(sorted(usable, key=lambda row: (share(row.id, "shots"), row.id))[: evaluation.shots])


TURNS = ["user", "assistant"]


# Multiple choice


def check_choices(trial: Trial) -> None:
    """The file can be read, has questions for both splits, and examples enough."""
    for split in apart.SPLITS:
        choice_shots(trial.evaluation, split, choices(trial.evaluation, split)[0])


def choices(evaluation: Evaluation, split: str) -> tuple[Choice, ...]:
    """At most `evaluation.max_rows` questions of a split, in the order of their hashes.

    Raises:
        BadInput: no file is given, a row of it is malformed, or the split has none.
    """
    if evaluation.choices is None:
        text = f"needs {CHOICES}=FILE, with rows of question, choices and answer"
        raise BadInput(f"evaluation.tasks={evaluation.tasks!r}: choices {text}", field=CHOICES)
    every = _questions(CHOICES, evaluation.choices)
    mine = [one for _, of, one in every if of == split]
    if not mine:
        text = f"has no question for the {split} split ({len(every)} in all); give more"
        raise BadInput(f"{CHOICES}={evaluation.choices}: {text}", field=CHOICES)
    return tuple(mine[: evaluation.max_rows])


def choice_shots(evaluation: Evaluation, split: str, asked: Choice) -> tuple[Choice, ...]:
    """`evaluation.shots` examples, of the question's own group first: from the file for them, or the other split's questions."""
    if not evaluation.shots:
        return ()
    own = evaluation.choices_dev is None
    field, path = (CHOICES, evaluation.choices) if own else (DEV, evaluation.choices_dev)
    words, told = normal(asked.question), _questions(field, str(path))

    def usable(of_group: bool) -> Iterator[Choice]:
        for said, of, one in told:
            if (one.group == asked.group) == of_group and said != words and not (own and of == split):
                yield one

    found = tuple(itertools.islice(itertools.chain(usable(True), usable(False)), evaluation.shots))
    if len(found) < evaluation.shots:
        text = f"{evaluation.choices_dev or evaluation.choices} has {len(found)} questions that can be examples"
        raise BadInput(f"evaluation.shots={evaluation.shots}: {text}; give {DEV}=FILE", field="evaluation.shots")
    return found


def _questions(field: str, path: str) -> tuple[tuple[str, str, Choice], ...]:
    return _read(field, path, checkpoint.state(files.existing(field, path)))


@functools.lru_cache(maxsize=4)
def _read(field: str, path: str, state: object) -> tuple[tuple[str, str, Choice], ...]:
    """The file's questions in the order of their hashes, each with its words and its split."""
    found: dict[str, Choice] = {}
    with of_field(field):
        for place, raw in sources.read_readable(field, path):
            one = _choice(f"{path}: {place}", raw)
            found.setdefault(f"{normal(one.question)}\x1f{one.choices}", one)  # a question that stands twice is asked once
    ordered = sorted(found.values(), key=lambda one: (share(one.id, "choices"), one.id))
    said = [(normal(one.question), one) for one in ordered]
    return tuple((words, apart.split_of(words), one) for words, one in said)


def _choice(where: str, raw: object) -> Choice:
    if not isinstance(raw, dict):
        raise BadInput(f"{where}: must be an object with fields, not {type(raw).__name__}")
    try:
        turns.check_text(raw)
    except turns.Malformed as error:
        raise BadInput(f"{where}: {error}") from None
    question = raw.get("question")
    if not isinstance(question, str) or not question.strip():
        raise BadInput(f"{where}: needs a text 'question'; its fields are: {', '.join(map(str, raw))[:200] or 'none'}")
    labels, texts = _offered(where, raw)
    group = next((str(raw[name]) for name in GROUP_FIELDS if raw.get(name)), Path(where.split(": ")[0]).name)
    right = _place(where, raw, labels, texts)
    return Choice(f"{share(normal(question) + repr(texts), 'id'):.12f}", group, question.strip(), texts, right)


def _offered(where: str, raw: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """The choices' labels and texts."""
    given = raw.get("choices", raw.get("options"))
    if isinstance(given, dict) and isinstance(given.get("text"), list | tuple):  # ARC
        texts = _plain(given["text"])
        own = given.get("label") or list(LETTERS[: len(texts)])
        labels = _plain(own if isinstance(own, list | tuple) else [])
    elif isinstance(given, list | tuple):
        texts = _plain(given)
        labels = list(LETTERS[: len(texts)])
    else:
        labels = [letter for letter in LETTERS if str(raw.get(letter) if raw.get(letter) is not None else "").strip()]
        texts = [str(raw[letter]).strip() for letter in labels]
    if len(texts) < 2 or len(labels) != len(texts) or len(set(labels)) < len(labels) or not all(texts):
        needs = f"needs two to {len(LETTERS)} choices, texts or numbers, with a label of its own each"
        raise BadInput(f"{where}: {needs}: a list 'choices', or columns A, B, C, …, none of them empty")
    return labels, tuple(texts)


def _plain(given: Sequence[object]) -> list[str]:
    """Texts and numbers as texts; anything else as an empty one, which is refused."""
    return [str(one).strip() if isinstance(one, str | int | float) else "" for one in given]


def _place(where: str, raw: dict[str, Any], labels: list[str], texts: tuple[str, ...]) -> int:
    """The place of the right choice, which is told by its label, its text, or from 0 on."""
    name = next((name for name in ANSWER_FIELDS if raw.get(name) is not None), None)
    if name is None:
        raise BadInput(f"{where}: needs a field {' or '.join(map(repr, ANSWER_FIELDS))}")
    value = raw[name]
    said = str(value).strip()
    upper = [label.upper() for label in labels]
    if isinstance(value, str) and said.upper() in upper:
        return upper.index(said.upper())
    by_text = texts.index(said) if isinstance(value, str) and said in texts else None
    by_place = (
        int(said)
        if not isinstance(value, bool) and said.isascii() and said.isdigit() and len(said) < 3 and int(said) < len(texts)
        else None
    )
    if by_text is not None and by_place is not None and by_text != by_place:
        raise BadInput(f"{where}: {name}={said!r}: is a place and another choice's text; give its letter")
    for found in (by_text, by_place):
        if found is not None:
            return found
    choose = f"a place from 0 to {len(texts) - 1}, one of {', '.join(labels)}, or the choice's text"
    raise BadInput(f"{where}: {name}={said[:60]!r}: must be {choose}")
