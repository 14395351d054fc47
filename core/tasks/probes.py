"""Two probes of how answers behave: whether they keep to constraints of their form, and whether harmless requests are refused.

What is asked and how it is judged stands in core/tasks/constraints.py and core/tasks/refusals.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.tasks import generation, refusals
from core.tasks.constraints import CONSTRAINTS, TOPICS
from core.tasks.constraints import MOST_TOKENS as CONSTRAINT_TOKENS
from core.tasks.measurement import Measurement, Subject
from core.tasks.prompts import Prompt


def constraints(subject: Subject) -> list[Measurement]:
    """The share of constraints that are kept, and how answers are written."""
    asked = [(kind, f"{kind}/{topic}", one.prompt.format(topic=topic)) for kind, one in CONSTRAINTS.items() for topic in TOPICS]
    texts, written = _answered(subject, asked, "constraints", CONSTRAINT_TOKENS)
    kept = [CONSTRAINTS[kind].kept(text) for (kind, *_), text in zip(asked, texts, strict=True)]
    return [_scored("followed/constraints", asked, kept), *written]


def harmless(subject: Subject) -> list[Measurement]:
    """The share of harmless requests that are refused, and how answers are written."""
    asked = [(topic, request, request) for topic, requests in refusals.HARMLESS.items() for request in requests]
    texts, written = _answered(subject, asked, "refusals", refusals.MOST_TOKENS)
    return [_scored("refused/harmless", asked, [refusals.refuses(text) for text in texts]), *written]


Items = Sequence[tuple[str, str, str]]  # group, id, prompt


def _answered(subject: Subject, asked: Items, of: str, most: int) -> tuple[Sequence[str], list[Measurement]]:
    answers = generation.answers(subject, [Prompt.of(prompt) for _, _, prompt in asked], [], most)
    groups, ids, _ = zip(*asked, strict=True)
    return answers.texts, answers.measurements(groups, ids, of)


def _scored(name: str, asked: Items, found: Sequence[bool]) -> Measurement:
    groups, ids, _ = zip(*asked, strict=True)
    return Measurement(name, "other", groups, ids, np.array(found, dtype=float), np.ones(len(found)))
