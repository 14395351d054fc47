"""The prompts of `ifeval`: a local file in IFEval's format (key, prompt, instruction_id_list, kwargs). Without torch."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from core import checkpoint
from core.data import apart, files, sources, turns
from core.data.rows import share
from core.data.wording import normal
from core.errors import BadInput, nearest, of_field
from core.settings import Evaluation, Trial

FIELD = "evaluation.ifeval"
FOLLOWING = 2  # how it is told whether one is followed: raise it when other scores come of the same answers
INSTALL = "pip install -e '.[ifeval]'"
MOST_TOKENS = 512  # of an answer, where evaluation.max_new_tokens does not say: prompts ask for up to 400 words and more
# Kinds of instructions with the options that each needs: a checker makes one up, at random, where it is not given.
KINDS: dict[str, tuple[str, ...]] = {
    "change_case:capital_word_frequency": ("capital_frequency", "capital_relation"),
    "change_case:english_capital": (),
    "change_case:english_lowercase": (),
    "combination:repeat_prompt": ("prompt_to_repeat",),
    "combination:two_responses": (),
    "detectable_content:number_placeholders": ("num_placeholders",),
    "detectable_content:postscript": ("postscript_marker",),
    "detectable_format:constrained_response": (),
    "detectable_format:json_format": (),
    "detectable_format:multiple_sections": ("num_sections", "section_spliter"),
    "detectable_format:number_bullet_lists": ("num_bullets",),
    "detectable_format:number_highlighted_sections": ("num_highlights",),
    "detectable_format:title": (),
    "keywords:existence": ("keywords",),
    "keywords:forbidden_words": ("forbidden_words",),
    "keywords:frequency": ("frequency", "keyword", "relation"),
    "keywords:letter_frequency": ("let_frequency", "let_relation", "letter"),
    "language:response_language": ("language",),
    "length_constraints:nth_paragraph_first_word": ("first_word", "nth_paragraph", "num_paragraphs"),
    "length_constraints:number_paragraphs": ("num_paragraphs",),
    "length_constraints:number_sentences": ("num_sentences", "relation"),
    "length_constraints:number_words": ("num_words", "relation"),
    "punctuation:no_comma": (),
    "startend:end_checker": ("end_phrase",),
    "startend:quotation": (),
}
RELATIONS = ("less than", "at least")
LANGUAGES = (
    *("en", "es", "pt", "ar", "hi", "fr", "ru", "de", "ja", "it", "bn", "uk", "th", "ur", "ta"),
    *("te", "bg", "ko", "pl", "he", "fa", "vi", "ne", "sw", "kn", "mr", "gu", "pa", "ml", "fi"),
)


@dataclass(frozen=True)
class Instructed:
    """A prompt with its instructions: their kinds, and what each asks for."""

    id: str
    prompt: str
    kinds: tuple[str, ...]
    options: tuple[dict[str, Any], ...]


def check(trial: Trial) -> None:
    """The checkers are installed, and the file has prompts for both splits.

    Raises:
        BadInput: they are not, or it has not.
    """
    for split in apart.SPLITS:
        questions(trial.evaluation, split)
    if importlib.util.find_spec("if_verifiable") is None:
        raise BadInput(f"{FIELD}={trial.evaluation.ifeval}: its checkers are not installed: {INSTALL}", field=FIELD)


def questions(evaluation: Evaluation, split: str) -> tuple[Instructed, ...]:
    """At most `evaluation.max_rows` prompts of a split, in the order of their hashes.

    Raises:
        BadInput: no file is given, a row of it is malformed, or the split has none.
    """
    if evaluation.ifeval is None:
        text = f"ifeval needs {FIELD}=FILE, prompts in IFEval's format"
        raise BadInput(f"evaluation.tasks={evaluation.tasks!r}: {text}", field=FIELD)
    every = _read(evaluation.ifeval, checkpoint.state(files.existing(FIELD, evaluation.ifeval)))
    mine = [one for one in every if apart.split_of(normal(one.prompt)) == split]
    if not mine:
        text = f"has no prompt for the {split} split ({len(every)} in all); give more"
        raise BadInput(f"{FIELD}={evaluation.ifeval}: {text}", field=FIELD)
    return tuple(sorted(mine, key=lambda one: (share(one.id, "ifeval"), one.id))[: evaluation.max_rows])


@functools.lru_cache(maxsize=4)
def _read(path: str, state: object) -> tuple[Instructed, ...]:
    found: dict[str, Instructed] = {}
    with of_field(FIELD):
        for place, raw in sources.read_readable(FIELD, path):
            one = _instructed(f"{FIELD}={path}: {place}", raw)
            found.setdefault(one.id, one)  # a prompt that stands twice is asked once
    return tuple(found.values())


def _instructed(where: str, raw: object) -> Instructed:
    fields = raw if isinstance(raw, dict) else {}
    prompt, kinds, options = fields.get("prompt"), fields.get("instruction_id_list"), fields.get("kwargs")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadInput(f"{where}: needs a text 'prompt'", field=FIELD)
    if not isinstance(kinds, list | tuple) or not kinds or not isinstance(options, list | tuple) or len(options) != len(kinds):
        raise BadInput(f"{where}: needs a list 'instruction_id_list', and in 'kwargs' an object for each", field=FIELD)
    for kind, option in zip(kinds, options, strict=True):
        if not isinstance(kind, str) or kind not in KINDS:
            raise BadInput(f"{where}: instruction_id_list: {nearest(str(kind), list(KINDS))}", field=FIELD)
        if option is not None and not isinstance(option, dict):
            raise BadInput(f"{where}: kwargs must hold objects, not {type(option).__name__}", field=FIELD)
    given = tuple({name: value for name, value in (option or {}).items() if value is not None} for option in options)
    for kind, own in zip(kinds, given, strict=True):
        if sorted(own) != sorted(KINDS[kind]):
            needs, has = (", ".join(sorted(some)) or "none" for some in (KINDS[kind], own))
            raise BadInput(f"{where}: kwargs of {kind} must be {needs}, not {has}", field=FIELD)
        for name, value in own.items():
            if not (must := _must(name)).fits(value):
                raise BadInput(f"{where}: kwargs of {kind}: {name}={value!r:.60}: must be {must.words}", field=FIELD)
    try:
        turns.check_text(fields)
    except turns.Malformed as error:
        raise BadInput(f"{where}: {error}", field=FIELD) from None
    return Instructed(f"{share(f'{prompt}{kinds}{given}', 'id'):.12f}", prompt, tuple(map(str, kinds)), given)


class _Must(NamedTuple):
    """What the value of an option must be."""

    words: str
    fits: Callable[[Any], bool]


def _must(name: str) -> _Must:
    if "relation" in name:
        return _Must(" or ".join(RELATIONS), lambda value: value in RELATIONS)
    if name.startswith(("num_", "nth_")) or "frequency" in name:
        return _Must("a whole number from 0", lambda value: type(value) is int and value >= 0)
    if name in ("keywords", "forbidden_words"):
        return _Must(
            "a list of words", lambda value: isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))
        )
    if name == "language":
        return _Must(f"one of {', '.join(LANGUAGES)}", lambda value: value in LANGUAGES)
    if name == "letter":
        return _Must("one character", lambda value: _is_text(value) and len(value) == 1)
    return _Must("a text", _is_text)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
