"""Which verifiable instructions answers follow: IFEval (Zhou et al. 2023) by its own checkers (`pip install -e '.[ifeval]'`).

An instruction is followed strictly if the checker takes the answer, loosely if it takes the answer or one without its first line,
its last, or asterisks. A prompt is followed if all of its instructions are. The checkers count sentences with NLTK's Punkt: where
its English data are not installed (nltk.download("punkt_tab")) an untrained one counts, which knows no abbreviations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.tasks import generation, instructions
from core.tasks.instructions import Instructed
from core.tasks.measurement import Measurement, Subject
from core.tasks.prompts import Prompt

LETTERS = "keywords:letter_frequency"  # of the kinds of instructions


def measure(subject: Subject) -> list[Measurement]:
    """The share of prompts (the quality) and of instructions that are followed, strictly and loosely; how answers are written."""
    evaluation = subject.trial.evaluation
    asked = instructions.questions(evaluation, evaluation.split)
    answers = generation.answers(subject, [Prompt.of(one.prompt) for one in asked], [], instructions.MOST_TOKENS)
    groups, ids = tuple(one.kinds[0] for one in asked), tuple(one.id for one in asked)
    followed = {how: [_followed(one, text, how == "loose") for one, text in zip(asked, answers.texts, strict=True)]
                for how in ("strict", "loose")}  # fmt: skip
    kinds = tuple(kind for one in asked for kind in one.kinds)
    each = tuple(f"{one.id}/{i}" for one in asked for i in range(len(one.kinds)))
    found = []
    for how, by_prompt in followed.items():
        axis, whole = ("quality" if how == "strict" else "other"), np.array([all(one) for one in by_prompt], dtype=float)
        found.append(Measurement(f"followed/prompts_{how}", axis, groups, ids, whole, np.ones(len(asked))))
    for how, by_prompt in followed.items():
        flat = np.array([one for prompt in by_prompt for one in prompt], dtype=float)
        found.append(Measurement(f"followed/instructions_{how}", "other", kinds, each, flat, np.ones(len(flat))))
    return [*found, *answers.measurements(groups, ids, "ifeval")]


def _followed(asked: Instructed, text: str, loosely: bool) -> list[bool]:
    """Of each instruction, whether the text follows it."""
    forms = variants(text) if loosely else [text]
    checkers = [_checker(asked, kind, options) for kind, options in zip(asked.kinds, asked.options, strict=True)]
    return [any(form.strip() and check(form) for form in forms) for check in checkers]


def variants(text: str) -> list[str]:
    """What is looked at for a loose score: the text, without its first line, its last, both; each with and without asterisks."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(one.replace("*", "") for one in cut)]


def _checker(asked: Instructed, kind: str, options: Mapping[str, Any]) -> Callable[[str], bool]:
    if kind == LETTERS and not "a" <= (letter := options["letter"].lower()) <= "z":  # "#", "!": the checker would draw another
        return lambda text: _kept(text.lower().count(letter), options["let_relation"], options["let_frequency"])
    checker = registry()[kind](kind)
    checker.build_description(**{name: value for name, value in options.items() if value is not None})
    needed = checker.get_instruction_args()
    if needed and "prompt" in needed:
        checker.build_description(prompt=asked.prompt)
    check: Callable[[str], bool] = checker.check_following
    return check


def _kept(n: int, relation: str, limit: int) -> bool:
    return n < limit if relation == instructions.RELATIONS[0] else n >= limit


def registry() -> Mapping[str, Any]:
    """The checkers by the names of their instructions, made to give the same every time and without a download."""
    import langdetect
    import nltk
    from if_verifiable.ifeval import instructions_util
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTokenizer

    langdetect.DetectorFactory.seed = 0  # else it draws
    sentences: Any = PunktSentenceTokenizer()
    with contextlib.suppress(LookupError):
        sentences = PunktTokenizer("english")
    instructions_util.count_sentences = lambda text: len(sentences.tokenize(text))
    words = NLTKWordTokenizer()
    nltk.word_tokenize = lambda text, *_: [word for one in sentences.tokenize(text) for word in words.tokenize(one)]
    found: Mapping[str, Any] = INSTRUCTION_DICT
    return found
