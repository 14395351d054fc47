"""How a model is asked for tasks and for their answers: in a chat, or as a text that it goes on with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.fields import content_hash

NEW_TASKS = 8  # that one request asks for
LINE = re.compile(r"^\s*(?:(?:task|aufgabe)\s+)?\d{1,3}\s*[.):]\s*(.*\S)\s*$", re.IGNORECASE)
STOPS = ("\nTask:", "\n\n\n")  # where a text that goes on begins something else
QUOTES = "\"'“”*`"


@dataclass(frozen=True)
class Task:
    """What a user asks, and the answer."""

    instruction: str
    answer: str = ""

    @property
    def line(self) -> str:
        """The instruction in one line."""
        return " ".join(self.instruction.split())


def proposal_chat(examples: Sequence[Task]) -> str:
    """A message that asks for tasks in the manner of these."""
    n = len(examples)
    listed = "\n".join(f"{i}. {one.line}" for i, one in enumerate(examples, 1))
    return (
        f"Here are {n} tasks that users gave to an assistant:\n\n{listed}\n\n"
        f"Write {NEW_TASKS} more tasks that differ from these and from each other in topic and in what is asked. Each must be "
        f"clear without further input. One task a line, numbered from {n + 1}, and nothing else."
    )


def proposal_text(examples: Sequence[Task]) -> str:
    """A list of tasks that goes on."""
    listed = "\n".join(f"{i}. {one.line}" for i, one in enumerate(examples, 1))
    return f"A list of different tasks for an assistant, one a line:\n\n{listed}\n{len(examples) + 1}."


def proposed(text: str) -> list[str]:
    """The tasks in a reply: its numbered lines, NEW_TASKS at most; of a list that was gone on with the number before the first is
    in the prompt (`begun`)."""
    found = [match[1].strip(QUOTES).strip() for line in text.splitlines() if (match := LINE.match(line))]
    return [one for one in found if one][:NEW_TASKS]


def begun(text: str, n_examples: int) -> str:
    """What was written after `proposal_text`, with the number that the prompt ends with."""
    return f"{n_examples + 1}.{text}"


def answer_text(examples: Sequence[Task], instruction: str) -> str:
    """Tasks with their answers, of which the last lacks its own."""
    told = "".join(f"Task: {one.line}\nAnswer: {one.answer.strip()}\n\n\n" for one in examples)
    return f"{told}Task: {' '.join(instruction.split())}\nAnswer:"


def rewriting_chat(instruction: str, reference: str) -> str:
    """A message that asks for an answer in the model's own words, after the manner of Yang et al. 2024. It ends where the answer
    begins: a model of 135 M parameters told what to do at the end asked for the task, or spoke of it."""
    return (
        "Below are a task and a reference answer to it. Use the reference answer as a guide and answer the task in your own "
        f"words, with the same result. Write the answer alone.\n\nTask:\n{instruction}\n\nReference answer:\n{reference}\n\n"
        "Your answer:"
    )


def rewriting_text(before: Sequence[str], instruction: str, reference: str) -> str:
    """A task and its answer, of which other words are to follow. `before`: what was said before the task."""
    told = "".join(f"{one}\n\n" for one in before)
    return f"{told}Task: {instruction}\n\nReference answer: {reference}\n\nThe same answer in other words:"


def wording() -> str:
    """A hash of all that models are asked in: replies to other words are another run's."""
    task = Task("task", "answer")
    asked = [proposal_chat([task]), proposal_text([task]), answer_text([task], "task")]
    return content_hash([*asked, rewriting_chat("task", "answer"), rewriting_text(["before"], "task", "answer")])


def until_stop(text: str) -> tuple[str, bool]:
    """The text up to where something else begins, and whether there was such a place."""
    ends = [at for stop in STOPS if (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
