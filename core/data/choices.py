"""By what rows are selected, and in which order they are trained on: plain tables, which settings check against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RANDOM = "random"  # data.select, data.order
EXAMPLES, TOKENS = BUDGETS = ("examples", "tokens")  # data.budget


class Score(StrEnum):
    """What is told of a row; of all but its length a model tells it (core/row_scores.py)."""

    LENGTH = "length"  # characters of its answers
    LOSS = "loss"  # mean NLL of its taught tokens, in nats: the logarithm of their perplexity
    IFD = "ifd"  # that loss over the loss of the same tokens without what they answer (Li et al. 2023, arXiv 2308.12032)
    CENTRES = "centres"  # its place among farthest-first centres (Sener & Savarese 2018, arXiv 1708.00489)


class End(StrEnum):
    """Which rows are taken first."""

    LOW = "low"
    HIGH = "high"
    MIDDLE = "middle"


@dataclass(frozen=True)
class Choice:
    """A way to select rows: those at one end of a score. Rows with a score from `below` on come last: of an IFD of 1 and more
    the prompt makes the answer no likelier (Li et al. 2023 leave them out)."""

    score: Score
    end: End
    below: float | None = None


CHOICES: dict[str, Choice] = {
    "low-perplexity": Choice(Score.LOSS, End.LOW),
    "mid-perplexity": Choice(Score.LOSS, End.MIDDLE),
    "high-perplexity": Choice(Score.LOSS, End.HIGH),
    "low-ifd": Choice(Score.IFD, End.LOW),
    "high-ifd": Choice(Score.IFD, End.HIGH, below=1.0),
    "short": Choice(Score.LENGTH, End.LOW),
    "long": Choice(Score.LENGTH, End.HIGH),
    "k-centre": Choice(Score.CENTRES, End.LOW),
}


@dataclass(frozen=True)
class Order:
    """A curriculum: the hardest or the easiest rows come first, in every epoch or in the first one alone."""

    hard_first: bool
    every_epoch: bool = True


ORDERS: dict[str, Order] = {
    "easy-first": Order(hard_first=False),
    "hard-first": Order(hard_first=True),
    "easy-first-once": Order(hard_first=False, every_epoch=False),
    "hard-first-once": Order(hard_first=True, every_epoch=False),
}


def reads_scorer(select: str, order: str) -> bool:
    """Whether a model has to score rows."""
    return order != RANDOM or (select != RANDOM and CHOICES[select].score is not Score.LENGTH)
