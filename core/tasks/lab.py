"""The laboratory's evaluation: questions in chat (quality), old text, raw skills and facts (the base battery).

Exact match by teacher-forced argmax over the answer's tokens equals greedy decoding of that answer and needs one forward
pass. In chat the end of the turn belongs to the answer, as in training: one that goes on is wrong.

What was forgotten is told by three numbers:
- `nll/DOMAIN` is the loss on ordinary old text: windows of held-out documents, packed as in pretraining, away from the ends of
  sentences and from special tokens. There a tuned model may expect the end of its turn; that stands apart in `nll_at_ends`.
- `nll_after_relearning` is the loss on the same text when the model has read a few windows of other old documents. What is left
  of the rise is lost, the rest was a mode (core/tasks/relearning.py). On the test split alone: nothing is chosen by it.
- `raw_accuracy` is whether skills and facts still complete a raw line, and `raw_continued` whether the document then goes on: a
  full stop behind the answer, and no end of a turn behind that.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.lab import corpus, instruct, requests, world
from core.lab import tokenizer as words
from core.lab.skills import SKILLS
from core.settings import SPLITS
from core.tasks import relearning
from core.tasks.measurement import Measurement, Subject, sequence_nll, token_scores

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from core.lab.requests import Question
    from core.settings import Evaluation

WINDOWS_PER_DOMAIN, WINDOW_TOKENS = 16, 128
ENDS = (".", "?", corpus.PARAGRAPH, words.EOS, words.USER, words.ASSISTANT, words.END)
RAW_ITEMS_PER_SKILL = 20
AT_ENDS = "nll_at_ends/documents"
# One way of telling each fact that ends with the value.
FACT_PROMPTS = {"city": "the home of {x} is", "trade": "{x} works as a", "pet": "{x} keeps a", "food": "{x} likes"}

Item = tuple[str, str, str, str]  # group, id, prompt, answer
Asked = tuple[Item, list[int], list[int]]  # an item, its prompt and its answer as ids


@functools.cache
def raw_items(split: str) -> tuple[Item, ...]:
    """Skills in raw notation: NAME ( input ) = answer. Facts have their own items."""
    items: list[Item] = []
    for skill in SKILLS:
        if skill.cluster == "facts":
            continue
        rng = random.Random(f"raw {split} {skill.name}")
        inputs: dict[str, str] = {}
        while len(inputs) < RAW_ITEMS_PER_SKILL:
            slots, answer = skill.example(rng, split)
            inputs[corpus.fill_raw(skill, slots)] = answer
        items += [(skill.name, f"{skill.name}/{x}", f"{skill.notation} ( {x} ) =", answer) for x, answer in inputs.items()]
    return tuple(items)


@functools.cache
def fact_items(split: str) -> tuple[Item, ...]:
    """Statements about the known entities of a split (about 50 for each attribute), to be completed."""
    return tuple(
        (attribute, f"{attribute}/{entity.name}", prompt.format(x=entity.name), entity.fact(attribute))
        for attribute, prompt in FACT_PROMPTS.items()
        for entity in world.known()
        if world.split_of(attribute, entity.name) == split
    )


@functools.cache
def documents(domain: str, split: str) -> tuple[str, ...]:
    """Held-out documents of a domain, enough for its windows: their hash keeps them out of pretraining."""
    stream = corpus.documents(domain, random.Random(f"held-out {split} {domain}"), split)
    found: dict[str, None] = {}
    while sum(text.count(" ") + 2 for text in found) < WINDOWS_PER_DOMAIN * WINDOW_TOKENS:
        found[next(stream)] = None
    return tuple(found)


def exact(name: str, axis: str, model: nn.Module, items: list[Asked], batch_size: int) -> Measurement:
    """Exact match of items given as (item, prompt ids, answer ids)."""
    sequences = [[*prompt, *answer] for _, prompt, answer in items]
    masks = [[0] * len(prompt) + [1] * len(answer) for _, prompt, answer in items]
    _, tokens, correct = sequence_nll(model, sequences, masks, batch_size)
    groups, ids = tuple(item[0] for item, _, _ in items), tuple(item[1] for item, _, _ in items)
    return Measurement(name, axis, groups, ids, (correct == tokens).astype(float), np.ones(len(items)))


class Words:
    """Texts of the world as token ids: a word a token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vocabulary = tokenizer.get_vocab()
        self.eos, self.end = self.vocabulary[words.EOS], self.vocabulary[words.END]
        self.ends = {self.vocabulary[word] for word in ENDS}

    def ids(self, text: str) -> list[int]:
        return [self.vocabulary[word] for word in text.split()]

    def request(self, text: str, chat: str = "template") -> list[int]:
        """A request as `Evaluation.chat` says that it is put."""
        return {
            "template": self.ids(f"{words.USER} {text} {words.END} {words.ASSISTANT}"),
            "plain": [self.eos, *self.ids(text)],
            "other": [self.eos, *self.ids(f"she said : {text} he said :")],  # words of the world, in no frame
        }[chat]

    def chat(self, question: Question, chat: str = "template", told: Sequence[Question] = ()) -> Asked:
        """A question as `exact` takes it, after others that were `told` with their answers."""
        item = (question.task, question.id, question.prompt, question.answer)
        before = [token for one in told for token in (*self.request(one.prompt, chat), *self.ids(one.answer), self.end)]
        return item, [*before, *self.request(question.prompt, chat)], [*self.ids(question.answer), self.end]

    def windows(self, domain: str, split: str) -> list[list[int]]:
        """WINDOWS_PER_DOMAIN windows of a domain's held-out documents, each ended by <eos>, packed: they cross its documents."""
        ids = [self.eos, *(i for text in documents(domain, split) for i in (*self.ids(text), self.eos))]
        return [ids[i * WINDOW_TOKENS : (i + 1) * WINDOW_TOKENS] for i in range(WINDOWS_PER_DOMAIN)]

    def ordinary(self, window: list[int]) -> list[bool]:
        """Of each token but the first, whether it is ordinary text: no end, and not behind one."""
        return [not {before, token} & self.ends for before, token in itertools.pairwise(window)]


def measure(subject: Subject) -> list[Measurement]:
    """Exact match on seen clusters (the quality) and on held-out ones, and the base battery."""
    model, data, evaluation = subject.model, subject.trial.data, subject.trial.evaluation
    known, size = Words(subject.tokenizer), evaluation.batch_size
    chat: dict[bool, list[Asked]] = {True: [], False: []}
    told = examples(evaluation)
    for question in instruct.questions(evaluation.split, evaluation.items_per_task):
        asked = known.chat(question, evaluation.chat, told.get((question.task, question.style), ()))
        chat[instruct.is_seen(question.cluster, data.held_out_fold)].append(asked)
    found = [
        exact("exact_match/seen", "quality", model, chat[True], size),
        exact("exact_match/held_out", "other", model, chat[False], size),
    ]
    if data.source == requests.NEW_FACTS:
        for name, facts in instruct.fact_questions(evaluation.split).items():
            found.append(exact(f"recall/{name}", "other", model, [known.chat(question) for question in facts], size))
    return found + battery(subject, known)


def examples(evaluation: Evaluation) -> dict[tuple[str, str], list[Question]]:
    """By task and style, `evaluation.shots` questions of the other split, in the order that they are told in."""
    found: dict[tuple[str, str], list[Question]] = {}
    other = next(split for split in SPLITS if split != evaluation.split)
    for question in instruct.questions(other, 16 * evaluation.shots) if evaluation.shots else ():
        told = found.setdefault((question.task, question.style), [])
        if len(told) < evaluation.shots:
            told.append(question)
    return found


def battery(subject: Subject, known: Words) -> list[Measurement]:
    """What the model holds of what the base did, without chat."""
    model, split, size = subject.model, subject.trial.evaluation.split, subject.trial.evaluation.batch_size
    found = [
        *raw("skills", raw_items(split), model, known, size),
        *raw("facts", fact_items(split), model, known, size),
        *old_text(model, known, split, size),
    ]
    if split == "test" and relearning.can_relearn(model):
        batches = relearning.windows(known.vocabulary, words.EOS)
        with relearning.relearned(model, subject.reference, batches):
            again = old_text(model, known, split, size)
        ordinary = [one for one in again if one.axis == "forgetting"]
        found.append(_of_all_domains("nll_after_relearning/documents", ordinary))
    return found


def raw(name: str, items: Sequence[Item], model: nn.Module, known: Words, batch_size: int) -> list[Measurement]:
    """Whether raw lines are completed by their answer, and whether a full stop follows it and no end of a turn."""
    stop, sequences, masks = known.ids("."), [], []
    for _, _, prompt, answer in items:
        before, right = [known.eos, *known.ids(prompt)], known.ids(answer)
        sequences.append([*before, *right, *stop, known.end])
        masks.append([0] * len(before) + [1] * (len(right) + 2))
    hits = [hit for _, hit in token_scores(model, sequences, masks, batch_size)]
    answered = np.array([hit[:-2].all() for hit in hits])
    goes_on = np.array([hit[-2] and not hit[-1] for hit in hits])
    groups, ids = tuple(item[0] for item in items), tuple(item[1] for item in items)
    scores = {"raw_accuracy": answered, "raw_continued": answered & goes_on}
    return [
        Measurement(f"{kind}/{name}", "other", groups, ids, score.astype(float), np.ones(len(items)))
        for kind, score in scores.items()
    ]


def old_text(model: nn.Module, known: Words, split: str, batch_size: int) -> list[Measurement]:
    """The loss on ordinary text of each domain (the forgetting), and on what is at the ends of sentences, of all."""
    found: list[Measurement] = []
    at_ends: list[Measurement] = []
    for domain in corpus.DOMAINS:
        windows = known.windows(domain, split)
        scores = token_scores(model, windows, [[1] * len(window) for window in windows], batch_size)
        ordinary = [np.array(known.ordinary(window)) for window in windows]
        nll = [loss for loss, _ in scores]
        named = tuple(f"{domain}/{i}" for i in range(len(windows)))
        for kept, measures, name, axis in ((True, found, f"nll/{domain}", "forgetting"), (False, at_ends, AT_ENDS, "other")):
            parts = [loss[mask == kept] for loss, mask in zip(nll, ordinary, strict=True)]
            n = np.array([max(1, len(part)) for part in parts], dtype=float)
            means = np.array([part.sum() for part in parts]) / n
            weights = np.array([len(part) for part in parts], dtype=float)
            measures.append(Measurement(name, axis, (domain,) * len(parts), named, means, weights))
    return [*found, _of_all_domains(AT_ENDS, at_ends)]


def _of_all_domains(name: str, of_each: Sequence[Measurement]) -> Measurement:
    """One measurement of all domains, each with the same weight."""
    return Measurement(
        name,
        "other",
        tuple(group for one in of_each for group in one.groups),
        tuple(item for one in of_each for item in one.items),
        np.concatenate([one.scores for one in of_each]),
        np.concatenate([one.weights / one.weights.sum() for one in of_each]),
    )
