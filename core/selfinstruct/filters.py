"""What is dropped of what a model proposes and answers, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from core.data.near import Index
from core.data.wording import normal

LEAST_WORDS, MOST_WORDS = 3, 150  # of an instruction, as Wang et al. 2022
NEAR = 0.7  # of the Jaccard index of two instructions' pieces (core/data/near.py); theirs is 0.7 of ROUGE-L
# A word, or a character of a script that writes without spaces.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")
UNSERVED = re.compile(r"\b(images?|pictures?|photos?|graphs?|plots?|maps?|videos?|audio|attached|attachment)\b", re.IGNORECASE)


class Dropped(StrEnum):
    """Why a proposal, or its answer, is not kept."""

    SHORT = "too short"
    LONG = "too long"
    UNSERVED = "needs more than text"
    NEAR_SEED = "near a seed"
    NEAR_KEPT = "near another proposal"
    NEAR_EVALUATION = "near an evaluation row"
    EMPTY = "empty answer"
    CUT = "answer cut at its limit"
    REPEATS = "answer repeats the task"


class Filters:
    """Which instructions are new. `seeds` and `asked` (the questions of evaluation rows): what they may not be near to."""

    def __init__(self, seeds: Iterable[str], asked: Iterable[str], least: float = NEAR) -> None:
        self.known = {why: Index(least) for why in (Dropped.NEAR_EVALUATION, Dropped.NEAR_SEED, Dropped.NEAR_KEPT)}
        for why, texts in ((Dropped.NEAR_SEED, seeds), (Dropped.NEAR_EVALUATION, asked)):
            for text in texts:
                self.known[why].add(text, text)

    def instruction(self, text: str) -> Dropped | None:
        """Why the instruction is dropped; None where it is kept, after which no other may be near to it."""
        n = len(WORD.findall(text))
        if n < LEAST_WORDS or n > MOST_WORDS:
            return Dropped.SHORT if n < LEAST_WORDS else Dropped.LONG
        if UNSERVED.search(text):
            return Dropped.UNSERVED
        for why, index in self.known.items():
            if index.nearest(text):
                return why
        self.known[Dropped.NEAR_KEPT].add(text, text)
        return None


def answer(instruction: str, text: str, whole: bool) -> Dropped | None:
    """Why an answer is dropped."""
    if not text.strip():
        return Dropped.EMPTY
    if not whole:
        return Dropped.CUT
    said, asked = (WORD.findall(normal(one)) for one in (text, instruction))
    return Dropped.REPEATS if said == asked else None
