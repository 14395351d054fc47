"""What is dropped of what a model proposes, answers and rewrites, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from core.data.near import Index
from core.data.rows import Row
from core.data.turns import SURROGATE
from core.data.wording import WORD, normal, words_of
from core.endpoint import Said
from core.tasks import rules

LEAST_WORDS, MOST_WORDS = 3, 150  # of an instruction, as Wang et al. 2022
NEAR = 0.7  # of the Jaccard index of two instructions' pieces (core/data/near.py); theirs is 0.7 of ROUGE-L
UNSERVED = re.compile(r"\b(images?|pictures?|photos?|graphs?|plots?|maps?|videos?|audio|attached|attachment)\b", re.IGNORECASE)
# What of an answer speaks of how it was asked for.
TELLS = re.compile(
    r"\breference (answer|response|solution|text)|\b(my|your) (own )?(response|answer|turn)\b|\b(in )?(my|your) own words\b"
    r"|\A\W*(\w+ ){0,3}(answer|response)\W*:|\brewritten (answer|response|version)|\b(answer to the|the) task (is|was)\b"
    r"|\bsame answer in other words",
    re.IGNORECASE,
)
LONGER, SPARE_WORDS = 3, 100  # a reply may have so many times the reference's words, and so many beside; assumption
TELLING_LETTERS = 4  # of a word that says what an answer is about; small models ask for the task, or answer another one
SHORT_WORDS = 5  # a response of at most so many words is a final answer


class Dropped(StrEnum):
    """Why a proposal, or what a model answers, is not taken."""

    SHORT = "too short"
    LONG = "too long"
    UNSERVED = "needs more than text"
    NEAR_SEED = "near a seed"
    NEAR_KEPT = "near another proposal"
    NEAR_EVALUATION = "near an evaluation row"
    EMPTY = "empty answer"
    CUT = "answer cut at its limit"
    REPEATS = "answer repeats the task"
    HALF = "half a character"
    NOT_ASKED = "not asked: no plain answer to a user"
    SAME = "the same words"
    TELLS = "speaks of the reference"
    ELSEWHERE = "has no word of the reference's"
    LONGER = "much longer"
    OTHER_RESULT = "comes to another answer"


class Filters:
    """Which instructions are new. `seeds` and `asked` (the questions of evaluation rows): what they may not be near to."""

    def __init__(self, seeds: Iterable[str], asked: Iterable[str], least: float = NEAR) -> None:
        self.known = {why: Index(least) for why in (Dropped.NEAR_EVALUATION, Dropped.NEAR_SEED, Dropped.NEAR_KEPT)}
        for why, texts in ((Dropped.NEAR_SEED, seeds), (Dropped.NEAR_EVALUATION, asked)):
            for text in texts:
                self.known[why].add(text, text)

    def instruction(self, text: str) -> Dropped | None:
        """Why the instruction is dropped; None where it is kept, after which no other may be near to it."""
        if SURROGATE.search(text):
            return Dropped.HALF
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
    if SURROGATE.search(text):
        return Dropped.HALF
    return Dropped.REPEATS if words_of(text) == words_of(instruction) else None


def rewritten(row: Row, said: Said) -> Dropped | None:
    """Why the row keeps its answer and does not take this one, which was asked for with its own as the reference."""
    asked, reference = (str(message["content"]) for message in row.messages[-2:])
    if (why := answer(asked, said.text, said.whole)) is not None:
        return why
    words, own = words_of(said.text), words_of(reference)
    if words == own:
        return Dropped.SAME
    if TELLS.search(said.text) and not TELLS.search(f"{asked}\n{reference}"):
        return Dropped.TELLS
    if len(words) > LONGER * len(own) + SPARE_WORDS:
        return Dropped.LONGER
    if wanted := final_answers(row):
        return None if rules.reached(said.text, wanted) else Dropped.OTHER_RESULT
    told = {word for word in own if len(word) >= TELLING_LETTERS}
    return Dropped.ELSEWHERE if told and told.isdisjoint(words) else None


def final_answers(row: Row) -> tuple[str, ...]:
    """What a right answer to the row may come to, where that can be checked: its field "answer"; where that is its whole
    response, or missing, the response itself if it is short or ends with a mark as GSM8K's do."""
    reference = str(row.messages[-1]["content"])
    if named := tuple(one for one in row.solutions if normal(one) != normal(reference)):
        return named
    return (reference,) if rules.MARK in reference or len(words_of(reference)) <= SHORT_WORDS else ()
