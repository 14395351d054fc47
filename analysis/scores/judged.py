"""Which of two answers to a prompt is better, by a judge that sees both orders; the win rate of one side over prompts.

A judge that prefers whatever stands first says A both times. A side wins where the judge prefers it in both orders; all else is a
tie, and counts half.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import ndtri

from analysis.stats.estimate import LEVEL
from core.data import files, turns
from core.errors import BadInput

ASK = (
    "Two assistants have answered the same request. Say which answer is better: more correct, more helpful, closer to what was "
    "asked. Length alone makes no answer better.\n\n[Request]\n{prompt}\n\n[Answer A]\n{a}\n\n[Answer B]\n{b}\n\n"
    "Reply with one letter, A or B, or with the word tie."
)
# A verdict that a reply opens with: a capital alone, or any letter that is all or says "is". "A" before these is a word.
WORDS = "tie|draw|toss|close|slight|hard|tough|difficult|careful|bit|few|little|small|fair|good|great"
ARTICLE = re.compile(rf"\A\W*A (?={WORDS})")
OPENING = re.compile(r"\A\W*(?:(?:[Aa]nswer|[Oo]ption|[Rr]esponse) )?(?:([AB])\b|([ab])(?=\W*\Z|[.,:;)*]|\s+is\b))")
SIDE = re.compile(r"\b[AB]\b")
NEITHER = re.compile(r"\b(tie|tied|draw|neither|equal|equally|equivalent)\b", re.IGNORECASE)
BOTH = re.compile(r"\bboth\b", re.IGNORECASE)
PROMPT_FIELDS = ("prompt", "instruction", "question", "input")
ANSWER_FIELDS = ("tuned", "answer", "output", "response", "completion")
Judge = Callable[[str], str]  # what it is asked → "A", "B" or "tie"


@dataclass(frozen=True)
class Pair:
    """A prompt with what two sides answered."""

    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Outcome:
    """A pair's score for the first side: 1, 0, or 0.5 for a tie; what the judge said in the two orders."""

    pair: Pair
    score: float
    said: tuple[str, str]


@dataclass(frozen=True)
class Rate:
    """How often the first side wins over n prompts, with Wilson's 95 % interval (ties make it wider than need be), and how often
    the judge kept to one side when the order was turned."""

    value: float
    low: float
    high: float
    n: int
    consistent: float


def judge(pairs: Sequence[Pair], ask: Judge) -> list[Outcome]:
    """Every pair, asked in both orders."""
    found = []
    for pair in pairs:
        forward = ask(ASK.format(prompt=pair.prompt, a=pair.first, b=pair.second))
        backward = ask(ASK.format(prompt=pair.prompt, a=pair.second, b=pair.first))
        score = {("A", "B"): 1.0, ("B", "A"): 0.0}.get((forward, backward), 0.5)
        found.append(Outcome(pair, score, (forward, backward)))
    return found


def reply(text: str) -> str:
    """What a judge's text says: the side that it opens with, else a tie where a word of it says so, else the first of A and B.

    Raises:
        BadInput: none of them.
    """
    rest = ARTICLE.sub("", text)
    if rest == text and (opening := OPENING.match(text)):
        return (opening[1] or opening[2]).upper()
    if NEITHER.search(rest):
        return "tie"
    if found := SIDE.search(rest):
        return found[0]
    if BOTH.search(rest):
        return "tie"
    said = repr(" ".join(text.split())[:80]) if text.strip() else "nothing, as one does that thinks before it answers"
    raise BadInput(f"the judge answers neither A nor B nor tie: {said}; take another judge", field="--judge")


def rate(outcomes: Sequence[Outcome]) -> Rate:
    """The win rate of the first side."""
    n, value = len(outcomes), sum(one.score for one in outcomes) / len(outcomes)
    z = float(ndtri(0.5 + LEVEL / 2))
    middle, half = value + z * z / (2 * n), z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    consistent = sum(set(one.said) in ({"A", "B"}, {"tie"}) for one in outcomes) / n
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Rate(value, max(0.0, low), min(1.0, high), n, consistent)


def paired(first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> list[Pair]:
    """The prompts that both sides answered, in the first one's order; several answers to one are paired in theirs.

    Raises:
        BadInput: there is none, or the two have different numbers of answers to one.
    """
    other: dict[str, list[str]] = {}
    for prompt, answer in second:
        other.setdefault(prompt, []).append(answer)
    for prompt, n in Counter(prompt for prompt, _ in first if prompt in other).items():
        if n != len(other[prompt]):
            said = " ".join(prompt.split())[:80]
            raise BadInput(f"{said!r} has {n} answers on one side and {len(other[prompt])} on the other; give each as many")
    waiting = {prompt: iter(answers) for prompt, answers in other.items()}
    found = [Pair(prompt, answer, next(waiting[prompt])) for prompt, answer in first if prompt in other]
    if not found:
        raise BadInput(f"the two sides share no prompt ({len(first)} and {len(second)} of them)")
    return found


def read(path: str, base: bool = False) -> list[tuple[str, str]]:
    """Prompts with their answers: a trial's generations.json (`base`: what the base wrote), or JSONL with a prompt and an answer.

    Raises:
        BadInput: the file cannot be read so.
    """
    file = files.existing("answers", path)
    try:
        rows = _rows(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise BadInput(
            f"{path}: cannot be read as generations.json or JSONL ({why}); give one object with prompt and answer a line"
        ) from None
    return [said(row, f"{path}: row {i}", base) for i, row in enumerate(rows, 1)]


def _rows(text: str) -> list[Any]:
    try:
        whole = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]  # other line ends can be part of an answer
    if isinstance(whole, dict) and "columns" in whole:
        return [dict(zip(whole["columns"], row, strict=True)) for row in whole["data"]]
    return whole if isinstance(whole, list) else [whole]


def said(row: Any, where: str, base: bool = False) -> tuple[str, str]:
    """A row's prompt and answer."""
    fields = row if isinstance(row, dict) else {}
    prompt = next((fields[name] for name in PROMPT_FIELDS if isinstance(fields.get(name), str)), None)
    answer = next((fields[name] for name in (("base",) if base else ANSWER_FIELDS) if isinstance(fields.get(name), str)), None)
    if prompt is None or answer is None:
        wanted = f"'{PROMPT_FIELDS[0]}' and '{'base' if base else ANSWER_FIELDS[0]}' or '{ANSWER_FIELDS[1]}'"
        raise BadInput(f"{where}: needs texts {wanted}; its fields are: {', '.join(map(str, fields))[:120] or 'none'}")
    try:
        turns.check_text([prompt, answer])
    except turns.Malformed as error:
        raise BadInput(f"{where}: {error}; mend it or leave the row out") from None
    return prompt, answer
