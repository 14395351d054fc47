"""The laboratory's evaluation: questions in chat (quality), held-out documents, raw skills and facts (the base battery).

Exact match by teacher-forced argmax over the answer's tokens equals greedy decoding of that answer and needs one forward
pass. In chat the end of the turn belongs to the answer, as in training: one that goes on is wrong. Raw answers are scored
without an end: documents go on after them, and tuned models end them.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.lab import corpus, instruct, requests, world
from core.lab.skills import SKILLS
from core.settings import SPLITS
from core.tasks.measurement import Measurement, Subject, sequence_nll

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from core.lab.requests import Question
    from core.settings import Evaluation

DOCUMENTS_PER_DOMAIN = 40
RAW_ITEMS_PER_SKILL = 20
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
    """Held-out documents of a domain: their hash keeps them out of pretraining."""
    stream = corpus.documents(domain, random.Random(f"held-out {split} {domain}"), split)
    found: dict[str, None] = {}
    while len(found) < DOCUMENTS_PER_DOMAIN:
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
        self.eos = self.vocabulary[str(tokenizer.eos_token)]

    def ids(self, text: str) -> list[int]:
        return [self.vocabulary[word] for word in text.split()]

    def request(self, text: str, chat: str = "template") -> list[int]:
        """A request as `Evaluation.chat` says that it is put."""
        return {
            "template": self.ids(f"<|user|> {text} <|assistant|>"),
            "plain": [self.eos, *self.ids(text)],
            "other": [self.eos, *self.ids(f"she said : {text} he said :")],  # words of the world, in no frame
        }[chat]

    def chat(self, question: Question, chat: str = "template", told: Sequence[Question] = ()) -> Asked:
        """A question as `exact` takes it, after others that were `told` with their answers."""
        item = (question.task, question.id, question.prompt, question.answer)
        before = [token for one in told for token in (*self.request(one.prompt, chat), *self.ids(one.answer), self.eos)]
        return item, [*before, *self.request(question.prompt, chat)], [*self.ids(question.answer), self.eos]


def measure(subject: Subject) -> list[Measurement]:
    """Exact match on seen clusters (the quality) and on held-out ones, and the base battery."""
    model, data, evaluation = subject.model, subject.trial.data, subject.trial.evaluation
    words, size = Words(subject.tokenizer), evaluation.batch_size
    chat: dict[bool, list[Asked]] = {True: [], False: []}
    told = examples(evaluation)
    for question in instruct.questions(evaluation.split, evaluation.items_per_task):
        asked = words.chat(question, evaluation.chat, told.get(question.task, ()))
        chat[instruct.is_seen(question.cluster, data.held_out_fold)].append(asked)
    found = [
        exact("exact_match/seen", "quality", model, chat[True], size),
        exact("exact_match/held_out", "other", model, chat[False], size),
    ]
    if data.source == requests.NEW_FACTS:
        for name, facts in instruct.fact_questions(evaluation.split).items():
            found.append(exact(f"recall/{name}", "other", model, [words.chat(question) for question in facts], size))
    return found + battery(model, words, evaluation)


def examples(evaluation: Evaluation) -> dict[str, list[Question]]:
    """By task, `evaluation.shots` questions of the other split, in the order that they are told in."""
    found: dict[str, list[Question]] = {}
    other = next(split for split in SPLITS if split != evaluation.split)
    for question in instruct.questions(other, evaluation.shots) if evaluation.shots else ():
        found.setdefault(question.task, []).append(question)
    return found


def battery(model: nn.Module, words: Words, evaluation: Evaluation) -> list[Measurement]:
    """What the base holds, without chat: raw skills and facts, and NLL per domain (the forgetting)."""
    found, size = [], evaluation.batch_size
    for name, raw in (("raw_accuracy/skills", raw_items(evaluation.split)), ("raw_accuracy/facts", fact_items(evaluation.split))):
        items = [(item, [words.eos, *words.ids(item[2])], words.ids(item[3])) for item in raw]
        found.append(exact(name, "other", model, items, size))
    for domain in corpus.DOMAINS:
        texts = documents(domain, evaluation.split)
        sequences = [[words.eos, *words.ids(text)] for text in texts]
        nll, tokens, _ = sequence_nll(model, sequences, [[1] * len(s) for s in sequences], size)
        named = tuple(f"{domain}/{i}" for i in range(len(texts)))
        groups = (domain,) * len(texts)
        found.append(Measurement(f"nll/{domain}", "forgetting", groups, named, nll / tokens, tokens))
    return found
