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


def measure(subject: Subject) -> list[Measurement]:
    """Exact match on families outside the held-out fold (the quality) and on those in it, and how answers are written."""
    data, evaluation = subject.trial.data, subject.trial.evaluation
    asked = gym.questions(data.source, evaluation.split, evaluation.items_per_task)
    unseen = gym.held_out(tuple(dict.fromkeys(one.family for one in asked)), data.held_out_fold)
    put = [Prompt.of(one.question, gym_turns(data.source, one.family, evaluation.shots)) for one in asked]
    answers = generation.answers(subject, put, [one.answer for one in asked])
    right = np.array([one.right(text) for one, text in zip(asked, answers.texts, strict=True)], dtype=float)
    groups, ids = tuple(one.family for one in asked), tuple(one.id for one in asked)
    found = []
    for name, axis, held in (("exact_match/seen", "quality", False), ("exact_match/held_out", "other", True)):
        mine = [i for i, family in enumerate(groups) if (family in unseen) == held]
        if mine:
            named = tuple(groups[i] for i in mine), tuple(ids[i] for i in mine)
            found.append(Measurement(name, axis, *named, right[mine], np.ones(len(mine))))
    return [*found, *_likelihood(subject, asked), *answers.measurements(groups, ids)]


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
