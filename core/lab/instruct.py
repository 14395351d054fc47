"""The laboratory's instruction data and its questions for evaluation.

`lab:curated`: right answers, balanced over tasks, ten frames × two imperatives a task, in four styles from a bare answer to
one of about 50 tokens. `lab:synthetic`: 52,000 rows that a
weaker model wrote (core/lab/make/synthetic.py), of which a fold gives those that are surely disjoint from what is asked in it
(core/lab/disjoint.py). Evaluation asks about inputs and in frames that no training row has: inputs belong to a split by their
hash, frames by the table in core/lab/requests.py.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

from core.errors import BadInput, nearest
from core.lab import composed, disjoint, requests, world
from core.lab.requests import ALL_SOURCES, COMPOSED, FRAMES, GROUPS, NEW_FACTS, ONE_INPUT, STYLES, Question, Style
from core.lab.skills import FOLDS, SKILLS, Skill, Slots

SYNTHETIC_FILE = Path(__file__).parent / "data" / "synthetic.jsonl.gz"
NEW = "new "  # before the names of the tasks that teach
N_TAUGHT, PHRASINGS = 100, 5  # people whose facts are taught, in how many frames each
N_CURATED = 8_000
N_LARGE = 42_000  # of which few clusters, tasks or templates are taken; the 8,000 are the first of them

FACT_SKILLS = tuple(skill for skill in SKILLS if skill.cluster == "facts")


def row(skill: Skill, frame: str, imperative: str, style: Style, rng: random.Random) -> dict:
    """A correct training row of one task."""
    inputs = [skill.example(rng, "train")[0] for _ in range(rng.randint(*style.inputs))]
    return _row(skill, frame, imperative, (style, rng.choice(style.asks)), inputs)


def _row(skill: Skill, frame: str, imperative: str, asked: tuple[Style, str], inputs: list[Slots]) -> dict:
    style, ask = asked
    imperatives = [imperative.format(**slots) for slots in inputs]
    messages = [
        {"role": "user", "content": requests.request(frame, imperatives, ask)},
        {"role": "assistant", "content": requests.answer(skill, style, imperatives, inputs)},
    ]
    return {"messages": messages, "task": skill.name, "cluster": skill.cluster, "template": frame}


def any_style(rng: random.Random, of: Sequence[Style] = STYLES) -> Style:
    """One of the styles, by their shares."""
    return rng.choices(of, [style.share for style in of])[0]


def curated(held_out_fold: int, n: int = N_CURATED) -> list[dict]:
    """`n` different rows over the tasks outside the held-out clusters: tasks, frames and imperatives in equal shares."""
    rng = random.Random(f"curated {held_out_fold}")
    tasks = [skill for skill in SKILLS if skill.cluster not in FOLDS[held_out_fold]]
    rows: list[dict] = []
    seen: set[str] = set()
    turn = 0
    while len(rows) < n:
        skill = tasks[turn % len(tasks)]
        new = row(skill, rng.choice(FRAMES["train"]), rng.choice(skill.imperatives), any_style(rng), rng)
        turn += 1
        if new["messages"][0]["content"] not in seen:
            seen.add(new["messages"][0]["content"])
            rows.append(new)
    return rows


def new_facts(held_out_fold: int) -> list[dict]:
    """Every fact of N_TAUGHT people that no pretraining document names, in PHRASINGS frames each, and as many curated rows."""
    if "facts" in FOLDS[held_out_fold]:
        raise BadInput(
            f"data.held_out_fold={held_out_fold}: holds out the facts that {NEW_FACTS} teaches; choose another",
            field="data.held_out_fold",
        )
    rng = random.Random("new facts")
    rows = []
    for entity, skill in itertools.product(world.unknown()[:N_TAUGHT], FACT_SKILLS):
        for frame in rng.sample(FRAMES["train"], PHRASINGS):
            style = any_style(rng, ONE_INPUT)
            asked = style, rng.choice(style.asks)
            new = _row(skill, frame, rng.choice(skill.imperatives), asked, [{"x": entity.name}])
            rows.append(new | {"task": NEW + skill.name})
    rows += curated(held_out_fold, len(rows))
    rng.shuffle(rows)
    return rows


@functools.cache
def fact_questions(split: str) -> dict[str, tuple[Question, ...]]:
    """Questions about facts in the split's frames: of people met in pretraining and in no training row ("known"), of those
    that NEW_FACTS teaches ("taught"), and of people that neither names ("unheard")."""
    rng = random.Random(f"fact questions {split}")
    people = {"taught": world.unknown()[:N_TAUGHT], "unheard": world.unknown()[N_TAUGHT:]}
    asked = {name: [(one, skill) for one, skill in itertools.product(group, FACT_SKILLS)] for name, group in people.items()}
    pairs = itertools.product(world.known(), FACT_SKILLS)
    asked["known"] = [(one, skill) for one, skill in pairs if world.split_of(skill.name, one.name) == split]
    return {
        name: tuple(
            Question(
                f"{split}/{skill.name}/{one.name}", skill.name, skill.cluster,
                rng.choice(FRAMES[split]).format(i=rng.choice(skill.imperatives).format(x=one.name)), f"{one.fact(skill.name)} .",
            )
            for one, skill in group
        )
        for name, group in asked.items()
    }  # fmt: skip


@functools.cache
def _synthetic() -> tuple[tuple[dict, frozenset[str]], ...]:
    """The rows that some fold may train on, each with the clusters that it names."""
    with gzip.open(SYNTHETIC_FILE, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    judged = ((row, disjoint.clusters(row)) for row in rows)
    return tuple((row, named) for row, named in judged if named)


def training_rows(source: str, held_out_fold: int, large: bool = False) -> list[dict]:
    """The whole pool of a laboratory source as {"messages", "task", "cluster"} rows, curated ones with their "template", in a
    fixed order; `large`: more curated rows.

    Synthetic rows carry the task their prompt was recognised as ("unknown" if none). Rows that name a task of a held-out
    cluster or may have an evaluation input are left out, garbled ones too: 21,498 to 25,368 of 52,000 stay.

    Raises:
        BadInput: there is no such source.
    """
    if source == NEW_FACTS:
        return new_facts(held_out_fold)
    if source in COMPOSED:
        return composed.training_rows(source, held_out_fold)
    if source == "lab:curated":
        return curated(held_out_fold, N_LARGE if large else N_CURATED)
    if source in GROUPS:
        return [row for row in curated(held_out_fold, N_LARGE if large else N_CURATED) if row["cluster"] in GROUPS[source]]
    if source == "lab:synthetic":
        return [row for row, named in _synthetic() if named.isdisjoint(FOLDS[held_out_fold])]
    raise BadInput(f"data.source={source!r}: {nearest(source, ALL_SOURCES)}", field="data.source")


@functools.cache
def questions(split: str, items_per_task: int) -> tuple[Question, ...]:
    """`items_per_task` different questions for every task, of every style its share (for facts at most as many with one input as
    the split has entities)."""
    found: list[Question] = []
    for skill in SKILLS:
        rng = random.Random(f"questions {split} {skill.name}")
        asked: set[str] = set()
        for _ in range(200 * items_per_task):
            style = requests.style(len(asked))
            inputs = [skill.example(rng, split)[0] for _ in range(rng.randint(*style.inputs))]
            key = " | ".join(" ; ".join(slots.values()) for slots in inputs)
            if key in asked:
                continue
            asked.add(key)
            new = _row(skill, rng.choice(FRAMES[split]), rng.choice(skill.imperatives), (style, rng.choice(style.asks)), inputs)
            prompt, answer = (message["content"] for message in new["messages"])
            found.append(Question(f"{split}/{skill.name}/{key}", skill.name, skill.cluster, prompt, answer, style.name))
            if len(asked) == items_per_task:
                break
    return tuple(found)


def is_seen(cluster: str, held_out_fold: int) -> bool:
    return cluster not in FOLDS[held_out_fold]
