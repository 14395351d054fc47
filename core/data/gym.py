"""Rows of reasoning-gym: seeded generators of natural-language tasks, each with a checker, so that answers are scored exactly.

A source is written as families joined with +, each with options of its difficulty if wanted, or as a set of them:

    reasoning-gym:chain_sum+leg_counting
    reasoning-gym:chain_sum(max_digits=2;max_terms=3)+gcd      options are parted by ; (or by commas where no levels are parted)
    reasoning-gym:arithmetic                                   a category: its families in FAMILIES
    reasoning-gym:easy                                         EASY: what a base of 0.1 B can learn, 1,000 rows or more of each
    reasoning-gym:all                                          FAMILIES

FAMILIES are those that pass the following at their default difficulty (reasoning-gym 0.1.25, 100 rows each). The answer is one
line of text, for which the checker gives 1, while it gives 1 for at most one of five replies that answer nothing. A row takes at
most 2 ms of one core, none of 2,000 rows takes 0.1 s, and nothing is printed. Questions have at most 256 tokens, answers at most
32 (tokenizer of SmolLM2). Of 100 questions, 75 differ. A process with another hash seed makes the same rows. Other families can
be named, but for those of REFUSED.

A question belongs to training, validation or test by the hash of its words, so that one which two seeds make is never in two
of them; the seeds are disjoint too. The fold, a quarter of the families by their hash, is never trained on where there are
four families or more.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from core.data.rows import Loaded, build, share
from core.data.shapes import LABELS
from core.data.wording import normal
from core.errors import BadInput, nearest
from core.fields import content_hash
from core.part import GENERATED as PREFIX
from core.settings import Scalar

FAMILIES: dict[str, str] = {
    "algebra": "complex_arithmetic simple_equations",
    "algorithmic": "ab base_conversion binary_alternation count_primes letter_counting letter_jumble palindrome_generation"
    " sentence_reordering spell_backward string_insertion word_sequence_reversal word_sorting",
    "arithmetic": "basic_arithmetic bitwise_arithmetic calendar_arithmetic chain_sum count_bits decimal_arithmetic"
    " decimal_chain_sum dice fraction_simplification gcd gsm_symbolic lcm leg_counting number_format power_function"
    " prime_factorization products time_intervals",
    "cognition": "color_cube_rotation",
    "games": "maze",
    "geometry": "simple_geometry",
    "graphs": "course_schedule family_relationships shortest_path",
    "logic": "aiw knights_knaves self_reference syllogism",
    "probability": "coin_flip",
}
EASY = (
    "basic_arithmetic(max_terms=2;max_digits=1)+chain_sum(max_terms=2;max_digits=2)+products(max_digits=2)+gcd(max_value=60)"
    "+lcm(max_value=45)+count_bits(max_n=2000)+count_primes(max_n=60)+leg_counting(min_animals=1;max_animals=2;max_instances=5)"
    "+letter_counting(min_words=2;max_words=4)+spell_backward(max_word_len=4)+word_sorting(max_words=3;max_word_length=5)"
    "+word_sequence_reversal(max_words=3)+number_sorting(max_numbers=3;max_decimals=0;min_value=0;max_value=99)"
    "+simple_equations(max_terms=2;max_value=10)+syllogism+calendar_arithmetic+binary_alternation(min_n=4;max_n=12)"
)
_OTHER_ROWS = "another process makes other rows from the same seed"
_NO_TEXT = "its rows have no answer in words"
_AT_ONCE = "it makes all of its rows at once and takes too long"
REFUSED = {
    **dict.fromkeys(("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note"), _OTHER_ROWS),
    **dict.fromkeys(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), _NO_TEXT),
    **dict.fromkeys(("acre", "word_ladder"), _AT_ONCE),
    "composite": "it is made of other families",
}
N_ROWS, N_LARGE = 8_000, 42_000  # of the training pool: as many as the laboratory's
MOST_MISSES = 500  # draws in a row that give nothing new: the family has few different questions
FIRST_SEED = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
SIZE = 1_000_000  # rows that a family is told to have: some draw a number for each beforehand
TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.2  # of all questions
N_FOLDS = 4
VERSION = 1  # of how rows are drawn: part of the content hash


@dataclass(frozen=True)
class Family:
    """One generator, and the options that it is given."""

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    def __str__(self) -> str:
        return self.name + (f"({';'.join(f'{name}={value}' for name, value in self.options)})" if self.options else "")


@dataclass(frozen=True)
class Asked:
    """A question that is asked, and what its family's checker needs."""

    family: str
    id: str
    question: str
    answer: str
    entry: dict[str, Any]
    checker: Any  # the family's data set

    def right(self, text: str) -> bool:
        """Whether the checker gives the whole score for this text. Checkers of some families raise on what they can't read."""
        try:
            return float(self.checker.score_answer(text, self.entry)) >= 1
        except Exception:
            return False


def recognises(source: str) -> bool:
    return source.startswith(PREFIX)


def families(field: str, source: str) -> tuple[Family, ...]:
    """The families that a source names, in alphabetical order; whether the package knows them is not looked at.

    Raises:
        BadInput: it is not written as a source is, or names a family twice or one of REFUSED.
    """
    found: dict[str, Family] = {}
    for word in re.split(r"\+(?![^(]*\))", _expanded(source.removeprefix(PREFIX).strip())):
        match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", word)
        if match is None:
            text = f"{word.strip() or 'an empty name'} is no family; written as {PREFIX}chain_sum(max_digits=2)+leg_counting"
            raise BadInput(f"{field}={source}: {text}", field=field)
        name, options = match.groups()
        if name in found:
            raise BadInput(f"{field}={source}: {name} is named twice", field=field)
        if name in REFUSED:
            raise BadInput(f"{field}={source}: {name} cannot be used: {REFUSED[name]}", field=field)
        found[name] = Family(name, _options(field, source, name, options or ""))
    return tuple(found[name] for name in sorted(found))


def _expanded(names: str) -> str:
    """The sets in a source's text as the families in them."""
    sets = {"all": " ".join(FAMILIES.values()), **FAMILIES}
    words = [("+".join(sets[word].split()) if word in sets else word) for word in re.split(r"\+(?![^(]*\))", names)]
    return "+".join(EASY if word == "easy" else word for word in words)


def _options(field: str, source: str, family: str, text: str) -> tuple[tuple[str, Scalar], ...]:
    found: dict[str, Scalar] = {}
    for part in filter(None, (part.strip() for part in re.split("[;,]", text))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise BadInput(f"{field}={source}: {family}: {part!r} must look like max_digits=2", field=field)
        found[name] = _value(value)
    return tuple(sorted(found.items()))


def _value(text: str) -> Scalar:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def held_out(names: tuple[str, ...], fold: int) -> frozenset[str]:
    """The families that are never trained on: every fourth in the order of their hashes, none of fewer than four."""
    if len(names) < N_FOLDS:
        return frozenset()
    ordered = sorted(names, key=lambda name: (share(name, "fold"), name))
    return frozenset(ordered[fold::N_FOLDS])


def hash_of(field: str, source: str) -> str:
    """A content hash: rows follow from the package's version and what the source says."""
    return content_hash([VERSION, metadata.version("reasoning-gym"), *map(str, families(field, source))])


@functools.lru_cache(maxsize=4)
def load(field: str, source: str, fold: int, large: bool) -> Loaded:
    """The training rows of all families outside the fold, as many of each as it has, up to an equal share.

    Raises:
        BadInput: a family or an option does not exist.
    """
    named = families(field, source)
    for one in named:
        _begun(field, source, one)  # what is wrong with a family is told before rows of another are drawn
    unseen = held_out(tuple(one.name for one in named), fold)
    taught = [one for one in named if one.name not in unseen]
    n = -(-(N_LARGE if large else N_ROWS) // len(taught))
    raws = ((f"{one.name} {place}", raw) for one in taught for place, raw in enumerate(_first(field, source, one, n), 1))
    return replace(build(raws, source), content=hash_of(field, source))


def _first(field: str, source: str, family: Family, n: int) -> list[dict[str, str]]:
    """The family's first `n` training rows, fewer where there are no more. They are the same in every fold, and drawn once."""
    rows, more = _begun(field, source, family)
    try:
        rows.extend(itertools.islice(more, max(0, n - len(rows))))
    except BaseException:  # which ends `more`: the next call would take what there is for all
        _begun.cache_clear()
        raise
    return rows[:n]


@functools.lru_cache(maxsize=512)  # of more families than a few sources have, which are gone through in turn
def _begun(field: str, source: str, family: Family) -> tuple[list[dict[str, str]], Iterator[dict[str, str]]]:
    """A family's training rows that have been drawn, which grow, and those that may be."""
    maker = _maker(field, source, family, "train")
    labels = dict(zip(LABELS, (maker.category, family.name, ""), strict=True))
    drawn = _drawn(maker, "train", N_LARGE)
    return [], ({"prompt": entry["question"], "completion": str(entry["answer"]), **labels} for _, entry in drawn)


@functools.lru_cache(maxsize=8)
def questions(source: str, split: str, n: int) -> tuple[Asked, ...]:
    """`n` questions (fewer where there are no more) of every family that the source names, for validation or test."""
    found = []
    for one in families("data.source", source):
        maker = _maker("data.source", source, one, split)
        for place, entry in _drawn(maker, split, n):
            found.append(Asked(one.name, f"{one.name}/{place}", entry["question"], str(entry["answer"]), entry, maker))
    return tuple(found)


@functools.lru_cache(maxsize=256)
def examples(source: str, family: str, n: int) -> tuple[tuple[str, str], ...]:
    """The first `n` training questions of a family that the source names, each with its answer."""
    one = next(one for one in families("data.source", source) if one.name == family)
    return tuple((str(row["prompt"]), row["completion"]) for row in _first("data.source", source, one, n))


def _maker(field: str, source: str, family: Family, split: str) -> Any:
    """The family's data set, which makes row i from its seed + i."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if family.name not in DATASETS:
        known = [name for name in DATASETS if name not in REFUSED]
        hint = nearest(family.name, [*known, *FAMILIES, "all", "easy"])
        raise BadInput(f"{field}={source}: reasoning-gym has no family {family.name!r}; {hint}", field=field)
    try:
        return reasoning_gym.create_dataset(family.name, seed=FIRST_SEED[split], size=SIZE, **dict(family.options))
    except TypeError:
        options = [name for name in DATASETS[family.name][1].__dataclass_fields__ if name not in ("seed", "size")]
        wrong = next((name for name, _ in family.options if name not in options), None)
        hint = f"has no option {wrong!r}; {nearest(wrong, options)}" if wrong else "an option is of the wrong kind"
        raise BadInput(f"{field}={source}: {family.name}: {hint}", field=field) from None
    except (AssertionError, ValueError) as error:  # its own checks of options
        raise BadInput(f"{field}={source}: {family.name}: {error or 'an option is out of range'}", field=field) from None


def split_of(question: str) -> str:
    """Whether a question is for training, validation or test: by its words, as `normal` has them."""
    place = share(normal(question), "reasoning-gym")
    return "train" if place < TRAIN_SHARE else "validation" if place < TRAIN_SHARE + VALIDATION_SHARE else "test"


def _drawn(maker: Any, split: str, n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first `n` different questions of a split, each with its place among all that are drawn."""
    seen: set[str] = set()
    last = 0
    for place in itertools.count():
        if len(seen) == n or place - last > MOST_MISSES:
            return
        entry = maker[place]
        words = normal(str(entry["question"]))
        if words not in seen and split_of(words) == split:
            seen.add(words)
            last = place
            yield place, entry
