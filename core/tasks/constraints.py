"""Whether answers keep to what a prompt asks of their form: ten kinds of constraints on the same topics, checked by program.

Made here, so nobody has trained on them. An answer that is cut is checked as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

MOST_TOKENS = 96
TOPICS = ("the sea", "bread", "a bicycle", "winter", "a library", "bees")


def words(text: str) -> list[str]:
    return re.findall(r"[\w'’-]+", text)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _keys(text: str) -> set[str] | None:
    """The keys of the JSON object that the text is, a fence around it left out; None of anything else."""
    bare = re.sub(r"^```\w*\s*|\s*```$", "", text.strip())
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    return set(found) if isinstance(found, dict) else None


@dataclass(frozen=True)
class Constraint:
    """A prompt with {topic} in it, and whether an answer keeps to it."""

    prompt: str
    kept: Callable[[str], bool]


CONSTRAINTS: dict[str, Constraint] = {
    "word count": Constraint("Describe {topic} in exactly six words.", lambda text: len(words(text)) == 6),
    "at most": Constraint("Say something about {topic} in at most ten words.", lambda text: 1 <= len(words(text)) <= 10),
    "at least": Constraint("Write at least forty words about {topic}.", lambda text: len(words(text)) >= 40),
    "lines": Constraint(
        "Name three things that go with {topic}, each on its own line, without any other text.",
        lambda text: len(lines(text)) == 3,
    ),
    "upper case": Constraint("Write a sentence about {topic} in capital letters only.", lambda text: text.isupper()),
    "lower case": Constraint("Write a sentence about {topic} in lower case letters only.", lambda text: text.islower()),
    "json": Constraint(
        'Describe {topic} as a JSON object with the keys "name" and "use", without any other text.',
        lambda text: _keys(text) == {"name", "use"},
    ),
    "no comma": Constraint(
        "Write two sentences about {topic} without using a comma.", lambda text: bool(words(text)) and "," not in text
    ),
    "beginning": Constraint(
        "Write a sentence about {topic} that begins with the word Yesterday.", lambda text: words(text)[:1] == ["Yesterday"]
    ),
    "end": Constraint(
        "Write about {topic} and end your answer with the words: That is all.",
        lambda text: text.rstrip(" *\"'").endswith("That is all."),
    ),
}
