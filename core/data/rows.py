"""Rows of messages with stable identities: loading, splitting into training and evaluation, nested seeded subsets.

Every decision about a row is a hash of its content, so it does not depend on the order or the number of other rows: the
subset of 250 is contained in the subset of 500, and a prompt is either for training, for validation or for test.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from core.data import sources
from core.data.shapes import Message, to_messages
from core.errors import BadInput, nearest
from core.fields import content_hash
from core.settings import Data, Evaluation

LAB_PREFIX = "lab:"
LABELS = ("cluster", "task", "template")


@dataclass(frozen=True)
class Row:
    """One conversation that ends with the assistant. `place` says where it stands in its source."""

    id: str
    messages: tuple[Message, ...]
    group: str = "all"
    place: str = ""
    labels: tuple[str, str, str] = ("", "", "")  # cluster, task, template, as far as the source names them
    score: float | None = None  # how good its source holds it to be

    @property
    def prompt(self) -> str:
        """What identifies the question: the first user turn, ignoring case and space."""
        return " ".join(next((m["content"] for m in self.messages if m["role"] == "user"), "").lower().split())


@dataclass(frozen=True)
class Loaded:
    """A source's rows, those with an empty response left out and counted."""

    rows: tuple[Row, ...]
    n_empty: int
    shapes: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """What one trial trains on and is evaluated on, and what was left out."""

    train: tuple[Row, ...]
    evaluation: tuple[Row, ...]  # of the asked split
    n_empty: int  # rows of the training source whose response is empty
    n_in_evaluation: int  # training rows left out because their prompt is evaluated
    n_available: int  # rows that could be trained on; data.n_examples may ask for more
    n_source: int  # rows of the source with a response
    shapes: tuple[str, ...]
    n_of_trained_tasks: int | None = None  # evaluation rows whose cluster (where none is named: task) the source has too


def share(text: str, salt: str) -> float:
    """A hash of the text as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\x1f{text}".encode(), digest_size=6).digest(), "big") / 2**48


def is_lab(source: str) -> bool:
    return source.startswith(LAB_PREFIX)


def _identity(messages: Iterable[Message]) -> str:
    joined = "\x1f".join(f"{m['role']}\x1e{m['content']}" for m in messages)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _build(placed: Iterable[tuple[str, object]], source: str) -> Loaded:
    rows, n_empty, shapes = [], 0, set()
    for place, raw in placed:
        messages, shape = to_messages(raw, f"{source}: {place}")
        shapes.add(shape)
        if any(m["role"] == "assistant" and not m["content"].strip() for m in messages):
            n_empty += 1
            continue
        group = raw.get("task") if isinstance(raw, dict) else None
        cluster, task, template = (str(raw.get(label) or "") if isinstance(raw, dict) else "" for label in LABELS)
        group = group if isinstance(group, str) else "all"
        rows.append(Row(_identity(messages), tuple(messages), group, place, (cluster, task, template), _score(raw)))
    return Loaded(tuple(rows), n_empty, tuple(sorted(shapes)))


def _score(raw: object) -> float | None:
    """The number in a row's field "score", if it has one."""
    value = raw.get("score") if isinstance(raw, dict) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


@functools.lru_cache(maxsize=4)
def _load_file(field: str, source: str, size: int, mtime_ns: int) -> Loaded:
    return _build(sources.read_file(field, source), source)


@functools.lru_cache(maxsize=4)
def _load_hub(field: str, source: str) -> Loaded:
    return _build(sources.read_hub(field, source), source)


@functools.lru_cache(maxsize=8)
def _load_lab(source: str, held_out_fold: int, large: bool) -> Loaded:
    from core.lab import instruct

    if source not in instruct.ALL_SOURCES:
        raise BadInput(f"data.source={source!r}: {nearest(source, instruct.ALL_SOURCES)}")
    placed = ((f"row {i}", raw) for i, raw in enumerate(instruct.training_rows(source, held_out_fold, large), 1))
    return _build(placed, source)


def load(field: str, source: str, held_out_fold: int = 0, large: bool = False) -> Loaded:
    """All rows of a source (cached in the process until the file changes); `large`: of the laboratory's curated rows more.

    Raises:
        BadInput: the source cannot be read, a row is malformed or without a response, or no row is left.
    """
    if is_lab(source):
        loaded = _load_lab(source, held_out_fold, large)
    elif sources.is_file(source):
        stat = sources.existing_file(field, source).stat()
        loaded = _load_file(field, source, stat.st_size, stat.st_mtime_ns)
    else:
        loaded = _load_hub(field, source)
    if not loaded.rows:
        raise BadInput(f"{field}={source}: has no row with a response ({loaded.n_empty} with an empty one)")
    return loaded


def nested_subset(rows: Iterable[Row], n: int | None, seed: int, by_prompt: bool = False) -> tuple[Row, ...]:
    """The first n rows in a seeded order: a larger n contains the smaller ones. `by_prompt`: in that of their prompts, so that
    sources which answer the same prompts in other ways give the same ones."""
    ordered = sorted(rows, key=lambda row: (share(row.prompt if by_prompt else row.id, f"subset {seed}"), row.id, row.place))
    return tuple(ordered[:n])


def restricted(rows: tuple[Row, ...], data: Data, seed: int) -> tuple[Row, ...]:
    """The `data.best_share` of the rows with the highest scores, and of these the rows from `data.n_clusters` clusters,
    `n_tasks` tasks and `n_templates` templates: the first so many in an order that the seed draws, so that more of them
    contain the fewer.

    Raises:
        BadInput: the rows have no score, or name no such label, or fewer.
    """
    rows = _best(rows, data)
    for at, (label, wanted) in enumerate(zip(LABELS, (data.n_clusters, data.n_tasks, data.n_templates), strict=True)):
        if wanted is None:
            continue
        names = sorted({row.labels[at] for row in rows} - {""}, key=lambda name: (share(name, f"{label} {seed}"), name))
        if wanted > len(names):
            known = f"its rows name {len(names)}" if names else f'its rows have no field "{label}"'
            raise BadInput(f"data.n_{label}s={wanted}: more than {data.source} has: {known}")
        chosen = set(names[:wanted])
        rows = tuple(row for row in rows if row.labels[at] in chosen)
    return rows


def _best(rows: tuple[Row, ...], data: Data) -> tuple[Row, ...]:
    """The `data.best_share` of the rows with the highest scores, in the order given."""
    if data.best_share == 1:
        return rows
    if unscored := sum(row.score is None for row in rows):
        raise BadInput(f'data.best_share={data.best_share}: {unscored:,} rows of {data.source} have no number in a field "score"')
    ranked = sorted(rows, key=lambda row: (-(row.score or 0.0), row.id, row.place))
    kept = {id(row) for row in ranked[: max(1, round(data.best_share * len(rows)))]}
    return tuple(row for row in rows if id(row) in kept)


def noisy(rows: tuple[Row, ...], noise_share: float, seed: int) -> tuple[Row, ...]:
    """The rows, a share of them with another row's answer: one that differs, of the same task where there is one. Which rows
    these are the seed draws, nested: a larger share contains the smaller ones.

    Raises:
        BadInput: all rows have the same answer.
    """
    order = sorted(range(len(rows)), key=lambda i: (share(rows[i].id, f"noise {seed}"), rows[i].id))
    ordered = [rows[i] for i in order]
    of_task: dict[str, list[Row]] = {}
    changed = list(rows)
    places = []
    for row in ordered:
        own = of_task.setdefault(row.group, [])
        places.append(len(own))
        own.append(row)
    for place, i in enumerate(order[: round(noise_share * len(rows))]):
        others = itertools.chain(_from(of_task[rows[i].group], places[place] + 1), _from(ordered, place + 1))
        answer = next((other.messages[-1] for other in others if other.messages[-1] != rows[i].messages[-1]), None)
        if answer is None:
            raise BadInput("data.noise_share: all rows have the same answer; there is no wrong one to give")
        messages = (*rows[i].messages[:-1], answer)
        changed[i] = replace(rows[i], messages=messages, id=_identity(messages))
    return tuple(changed)


def _from(rows: list[Row], place: int) -> Iterator[Row]:
    """All rows in their order, from this place on and round."""
    return (rows[i % len(rows)] for i in range(place, place + len(rows)))


def split_of(row: Row) -> str:
    """Which evaluation split the row's prompt belongs to, whatever the file."""
    return "validation" if share(row.prompt, "split") < 0.5 else "test"


def select(data: Data, evaluation: Evaluation, seed: int) -> Selection:
    """The training subset and the evaluation rows of `evaluation.split`, disjoint by prompt."""
    if is_lab(data.source):  # the laboratory's questions are made by core/tasks/lab.py, disjoint by construction
        few = any(wanted is not None for wanted in (data.n_clusters, data.n_tasks, data.n_templates))
        n_empty, shapes, ordered = _lab_in_order(data.source, data.held_out_fold, few, seed)
        pool = restricted(ordered, data, seed)
        return Selection(noisy(pool[: data.n_examples], data.noise_share, seed), (), n_empty, 0, len(pool), len(ordered), shapes)
    loaded = load("data.source", data.source)
    if data.eval_source is not None:
        asked = load("data.eval_source", data.eval_source).rows
        prompts = {row.prompt for row in asked}
        train = [row for row in loaded.rows if row.prompt not in prompts]
        n_in_evaluation = len(loaded.rows) - len(train)
    else:
        held = {row.prompt: share(row.prompt, "evaluation") < data.eval_share for row in loaded.rows}
        asked = tuple(row for row in loaded.rows if held[row.prompt])
        train = [row for row in loaded.rows if not held[row.prompt]]
        n_in_evaluation = 0
    scored = nested_subset((row for row in asked if split_of(row) == evaluation.split), evaluation.max_rows, seed=0)
    if not scored:
        name = "data.eval_source" if data.eval_source else "data.eval_share"
        value = data.eval_source or data.eval_share
        n_rows = len(asked if data.eval_source else loaded.rows)
        raise BadInput(f"{name}={value}: leaves no row for the {evaluation.split} split of {n_rows} rows; give more")
    if not train:
        raise BadInput(f"data.source={data.source}: every row's prompt is in the evaluation rows; none is left to train on")
    pool = restricted(tuple(train), data, seed)  # of training rows alone: every arm is asked the same
    subset = noisy(nested_subset(pool, data.n_examples, seed), data.noise_share, seed)
    trained = _n_of_trained_tasks(scored, train)
    return Selection(subset, scored, loaded.n_empty, n_in_evaluation, len(pool), len(loaded.rows), loaded.shapes, trained)


def _n_of_trained_tasks(evaluation: Sequence[Row], source: Sequence[Row]) -> int | None:
    """How many evaluation rows name a cluster that the source names too; by tasks where rows name no cluster, None where they
    name neither."""
    for place in (LABELS.index("cluster"), LABELS.index("task")):
        theirs, ours = [row.labels[place] for row in evaluation], {row.labels[place] for row in source}
        if all(theirs) and all(ours):
            return sum(label in ours for label in theirs)
    return None


@functools.lru_cache(maxsize=16)
def _lab_in_order(source: str, fold: int, large: bool, seed: int) -> tuple[int, tuple[str, ...], tuple[Row, ...]]:
    """A laboratory source in the order of `nested_subset`, which takes a second for its larger pools."""
    from core.lab.instruct import COMPOSED

    loaded = load("data.source", source, fold, large)
    return loaded.n_empty, loaded.shapes, nested_subset(loaded.rows, None, seed, by_prompt=source in COMPOSED)


def n_replayed(data: Data, n_rows: int) -> int:
    """How many pretraining documents are added to `n_rows` rows to be `data.replay_share` of all sequences."""
    return round(n_rows * data.replay_share / (1 - data.replay_share))


def rows_hash(rows: Iterable[Row]) -> str:
    """A content hash of these rows in this order."""
    return content_hash([row.id for row in rows])
