"""Whether an answer that a model wrote is right: `evaluation.answer` says how it is compared. Without torch.

`exact`: the same text, ignoring case, white space and a full stop at the end. `number`: the last number in the text has the same
value; signs of currency and commas between thousands are left out (lm-eval's "flexible-extract" of GSM8K takes the same number,
and compares its text). `regex:PATTERN`: the first match, of it the first group where there is one, is the same number or text.
`auto`: `number` where the right answer is written as in GSM8K, with "#### 18" at its end, else `exact`. What stands after the
last "####" is the answer, on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from core.data.wording import normal, words_of
from core.errors import BadInput
from core.settings import AUTO, REGEX

MARK = "####"  # GSM8K: before the final answer
NUMBER = re.compile(r"-?[$€£]?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")

LIMIT_SECONDS, PROBE_SECONDS = 10.0, 0.5  # of a pattern on one answer; when it is tried
PROBED_CHARACTERS = 2_000  # of an answer of some 500 tokens


def right(text: str, solutions: Sequence[str], rule: str) -> bool:
    """Whether the text is one of the solutions."""
    if rule == AUTO:
        rule = "number" if any(MARK in one for one in solutions) else "exact"
    return any(_same(text, _final(one), rule) for one in solutions)


def reached(text: str, solutions: Sequence[str]) -> bool:
    """Whether the text, which says more than a final answer, comes to one of the solutions: of one that is a number the last
    number in the text has the value; else its words stand in the text."""
    return any(_reached(text, _final(one)) for one in solutions)


def _reached(text: str, solution: str) -> bool:
    if NUMBER.fullmatch(solution.strip().rstrip(".")):
        return _same(text, solution, "number")
    words, wanted = (f" {' '.join(words_of(one))} " for one in (text, solution))
    return wanted in words if wanted.strip() else _bare(solution) in normal(text)


def _same(text: str, solution: str, rule: str) -> bool:
    if rule == "number":
        found, wanted = last_number(text), last_number(solution)
        return found is not None and found == wanted
    if rule.startswith(REGEX):
        match = _searched(rule, text, LIMIT_SECONDS)
        found_text = next((one for one in match.groups() if one is not None), match[0]) if match else None
        return found_text is not None and _equal(found_text, solution)
    return _bare(_final(text)) == _bare(solution)


def check(rule: str) -> None:
    """Tries a pattern on answers that go wrong late: one with repeats inside repeats would take for ever on some.

    Raises:
        BadInput: it takes too long, or cannot be used.
    """
    if not rule.startswith(REGEX):
        return
    pattern = rule.removeprefix(REGEX)
    pieces = {*pattern, *re.findall(r"\w{2,}", pattern), *"a0 .,-\n"}
    for piece in sorted(pieces, key=lambda one: (len(one), one)):
        for end in ("\x00", "!\x00"):
            _searched(rule, piece * (PROBED_CHARACTERS // len(piece)) + end, PROBE_SECONDS)


def _searched(rule: str, text: str, seconds: float) -> Any:
    """The first match of a rule's pattern; none where there is none."""
    import regex  # as re, and it can be stopped

    try:
        return regex.search(rule.removeprefix(REGEX), text, timeout=seconds)
    except TimeoutError:
        said = f"the pattern takes more than {seconds:g} s on an answer of {len(text):,} characters ({text[:20]!r}…)"
        remedy = "write it without repeats inside repeats, such as regex:answer: (\\S+)"
        raise BadInput(f"evaluation.answer={rule}: {said}; {remedy}", field="evaluation.answer") from None
    except regex.error as error:
        raise BadInput(
            f"evaluation.answer={rule}: cannot be read as a pattern ({error}); mend it", field="evaluation.answer"
        ) from None


def _equal(one: str, other: str) -> bool:
    """The same number where both are nothing but one, else the same text."""
    numbers = [last_number(text) if NUMBER.fullmatch(text.strip().rstrip(".")) else None for text in (one, other)]
    return numbers[0] == numbers[1] if None not in numbers else _bare(one) == _bare(other)


def last_number(text: str) -> float | None:
    """The value of the last number in the text; None without one."""
    found = NUMBER.findall(text)
    return float(re.sub(r"[$€£,]", "", found[-1]).replace("--", "-")) if found else None


def _final(text: str) -> str:
    return text.rpartition(MARK)[2]


def _bare(text: str) -> str:
    return normal(text).removesuffix(".").strip()
