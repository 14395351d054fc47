"""The evaluation of reasoning-gym's families: the model answers through its chat template, each family's own checker scores.

Exact match: the checker gives the whole score for everything that the model wrote, white space at the ends left out; nothing is
cut out of it. An answer that goes on after the right one is right for the checkers of six families alone (among them
gsm_symbolic, knights_knaves, spell_backward), one wrapped in a sentence for two. The log-likelihood of the right answer beside it
tells progress where no answer is right yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.data import encode, gym
from core.data.rows import Row
from core.tasks import generation
from core.tasks.measurement import Measurement, Subject, sequence_nll
from core.tasks.prompts import Prompt, gym_turns

SEEN, HELD_OUT = "exact_match/seen", "exact_match/held_out"


def measure(subject: Subject) -> list[Measurement]:
    """Exact match on families outside the held-out fold (the quality) and on those in it, and how answers are written."""
    data, evaluation = subject.trial.data, subject.trial.evaluation
    asked = gym.questions(data.source, evaluation.split, evaluation.items_per_task)
    put = [Prompt.of(one.question, gym_turns(data.source, one.family, evaluation.shots)) for one in asked]
    answers = generation.answers(subject, put, [one.answer for one in asked])
    right = [one.right(text) for one, text in zip(asked, answers.texts, strict=True)]
    groups, ids = tuple(one.family for one in asked), tuple(one.id for one in asked)
    found = [Measurement(SEEN, "quality", groups, ids, np.array(right, dtype=float), np.ones(len(right)))]
    return [*in_fold(found, data.held_out_fold), *_likelihood(subject, asked), *answers.measurements(groups, ids)]


def in_fold(found: Sequence[Measurement], fold: int) -> list[Measurement]:
    """The measurements with exact match parted by the families of this fold, whatever fold it was parted by: what a model answers
    is the same for all. Families are in alphabetical order."""
    exact = {one.name: one for one in found if one.name in (SEEN, HELD_OUT)}
    if not exact:  # of tasks that leave this one out
        return list(found)
    asked = (asked for one in exact.values() for asked in zip(one.groups, one.items, one.scores, strict=True))
    scores = sorted(asked, key=lambda one: one[0])
    unseen = gym.held_out(tuple(dict.fromkeys(family for family, _, _ in scores)), fold)
    parted = []
    for name, axis, held in ((SEEN, exact[SEEN].axis, False), (HELD_OUT, "other", True)):
        if mine := [one for one in scores if (one[0] in unseen) == held]:
            families, items, values = zip(*mine, strict=True)
            parted.append(Measurement(name, axis, families, items, np.array(values), np.ones(len(mine))))
    first = next(i for i, one in enumerate(found) if one.name in exact)
    others = [one for one in found if one.name not in exact]
    return [*others[:first], *parted, *others[first:]]


def _likelihood(subject: Subject, asked: Sequence[gym.Asked]) -> list[Measurement]:
    """Of the right answers; of none where no question leaves room for its answer."""
    rows = [
        Row(one.id, ({"role": "user", "content": one.question}, {"role": "assistant", "content": one.answer})) for one in asked
    ]
    encoded = encode.encode_all(subject.tokenizer, rows, subject.seq_len).rows
    if not encoded:
        return []
    kept = {one.id: one.family for one in asked}
    batch_size = subject.trial.evaluation.batch_size
    nll, n_tokens, _ = sequence_nll(subject.model, [row.ids for row in encoded], [row.mask for row in encoded], batch_size)
    groups, ids = tuple(kept[row.id] for row in encoded), tuple(row.id for row in encoded)
    return [Measurement("log_likelihood/answer", "other", groups, ids, -nll / n_tokens, n_tokens)]
