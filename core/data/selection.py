"""What a trial trains on and is asked: rows for evaluation set aside, nested seeded subsets of the others.

Every decision about a row follows from its content: the subset of 250 is contained in the subset of 500, and a question is
either for training, for validation or for test.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from core.data import apart, drawing, mixture
from core.data.choices import RANDOM
from core.data.drawing import NO_MEANS, Means
from core.data.drawn import Drawn, drawn_from
from core.data.kinds import Kind, Pool, kind_of, load
from core.data.rows import Loaded, Row, identity, share
from core.data.shapes import LABELS
from core.errors import BadInput
from core.settings import Data, Evaluation

Thing = TypeVar("Thing")
Take = Callable[[tuple[Row, ...]], tuple[Row, ...]]  # of some rows those that can be used


@dataclass(frozen=True)
class Selection:
    """What one trial trains on and is evaluated on, and what was left out."""

    train: tuple[Row, ...]
    evaluation: tuple[Row, ...]  # of the asked split
    n_in_evaluation: int  # training rows left out because evaluation asks their question
    n_available: int  # rows that could be trained on; data.n_examples may ask for more
    source: Loaded
    eval_source: Loaded | None = None
    n_of_trained_tasks: int | None = None  # evaluation rows whose cluster (where none is named: task) the source has too
    n_of_trained_templates: int | None = None  # evaluation rows whose template the source has too
    n_refused: int = 0  # rows that the chat template refuses, left out where that is asked for
    refused: str = ""  # why the first of them is
    shares: mixture.Shares = ()  # of several sources, those of the training rows

    @property
    def n_bad(self) -> int:
        """Rows of both sources that were left out as they are malformed, or refused by the chat template."""
        return self.source.n_bad + (self.eval_source.n_bad if self.eval_source else 0) + self.n_refused

    @property
    def by_source(self) -> tuple[str, ...]:
        """Of several sources, each with its share, how many of its rows are trained on and asked, and the hash of its content."""
        contents = dict((*self.source.parts, *(self.eval_source.parts if self.eval_source else ())))
        shares = dict(self.shares or self.source.shares)
        found = []
        for name, content in contents.items():
            share = f"{shares[name]:.3g} of the rows, " if name in shares else ""
            counts = [sum(row.origin == name for row in rows) for rows in (self.train, self.evaluation)]
            found.append(f"{name}: {share}{counts[0]:,} trained on, {counts[1]:,} asked (content {content})")
        return tuple(found)

    @property
    def rows_of_sources(self) -> dict[str, list[int]]:
        """Of several sources, how many rows of each are trained on, and how many different ones these are."""
        own = {name: [row.id for row in self.train if row.origin == name] for name, _ in self.shares}
        return {name: [len(ids), len(set(ids))] for name, ids in own.items()}


def nested_subset(rows: Iterable[Row], n: int | None, seed: int, by_prompt: bool = False) -> tuple[Row, ...]:
    """The first n rows in a seeded order: a larger n contains the smaller ones. `by_prompt`: in that of their prompts, so that
    sources which answer the same prompts in other ways give the same ones."""

    def place(row: Row) -> tuple[float, str, str]:
        return share(row.prompt if by_prompt else row.drawn_by, f"subset {seed}"), row.id, row.place

    return tuple(sorted(rows, key=place)[:n])


def restricted(rows: tuple[Row, ...], data: Data, seed: int) -> tuple[Row, ...]:
    """The `data.best_share` of the rows with the highest scores, and of these the rows from `data.n_clusters` clusters,
    `n_tasks` tasks and `n_templates` templates: the first so many in an order that the seed draws, so that more of them
    contain the fewer.

    Raises:
        BadInput: the rows have no score, or name no such label, or fewer.
    """
    if data.best_share < 1:
        rows = tuple(row for of_source in _by_origin(rows) for row in _best(of_source, data))
    for at, (label, wanted) in enumerate(zip(LABELS, (data.n_clusters, data.n_tasks, data.n_templates), strict=True)):
        if wanted is None:
            continue
        names = sorted({row.labels[at] for row in rows} - {""}, key=lambda name: (share(name, f"{label} {seed}"), name))
        if wanted > len(names):
            known = f"its rows name {len(names)}" if names else f'its rows have no field "{label}"'
            few = f"at most {len(names)}, or " if names else f"--field {label}=COLUMN where they have such a column, else "
            remedy = f"give {few}--set data.n_{label}s=none for all rows"
            text = f"data.n_{label}s={wanted}: more than {data.source} has: {known}; {remedy}"
            raise BadInput(text, field=f"data.n_{label}s")
        chosen = set(names[:wanted])
        rows = tuple(row for row in rows if row.labels[at] in chosen)
    return rows


def _by_origin(rows: tuple[Row, ...]) -> list[tuple[Row, ...]]:
    """The rows of each source by itself: what two of them hold to be good need not be comparable."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.origin, []).append(row)
    return list(map(tuple, found.values()))


def _best(rows: tuple[Row, ...], data: Data) -> tuple[Row, ...]:
    """The `data.best_share` of the rows with the highest scores, in the order given."""
    if unscored := sum(row.score is None for row in rows):
        lack = f'{unscored:,} rows of {data.source} have no number in a field "score"'
        raise BadInput(f"data.best_share={data.best_share}: {lack}", field="data.best_share")
    ranked = sorted(rows, key=lambda row: (-(row.score or 0.0), row.drawn_by, row.place))
    kept = {id(row) for row in ranked[: max(1, round(data.best_share * len(rows)))]}
    return tuple(row for row in rows if id(row) in kept)


def noisy(rows: tuple[Row, ...], data: Data, seed: int) -> tuple[Row, ...]:
    """The rows, `data.noise_share` of them with a wrong answer: one that the source knows (`Kind.wrong_answers`), or else another
    row's that differs, of the same task where there is one. Which rows these are the seed draws, nested: a larger share contains
    the smaller ones.

    Raises:
        BadInput: all rows have the same answer.
    """
    if not data.noise_share:
        return rows
    known = kind_of(data.source).wrong_answers(rows)
    order = sorted(range(len(rows)), key=lambda i: (share(rows[i].drawn_by, f"noise {seed}"), rows[i].id))
    ordered = [rows[i] for i in order]
    of_task: dict[str, list[Row]] = {}
    changed = list(rows)
    places = []
    for row in ordered:
        own = of_task.setdefault(row.group, [])
        places.append(len(own))
        own.append(row)
    for place, i in enumerate(order[: round(data.noise_share * len(rows))]):
        others = itertools.chain(_from(of_task[rows[i].group], places[place] + 1), _from(ordered, place + 1))
        right, wrong = rows[i].messages[-1], known.get(rows[i].id)
        given = (other.messages[-1] for other in others if other.messages[-1] != right)
        answer = {**right, "content": wrong} if wrong is not None else next(given, None)
        if answer is None:
            text = "all rows have the same answer; there is no wrong one to give"
            raise BadInput(f"data.noise_share: {text}", field="data.noise_share")
        messages = (*rows[i].messages[:-1], answer)
        changed[i] = replace(rows[i], messages=messages, id=identity(messages, rows[i].tools))
    return tuple(changed)


def _from(rows: list[Row], place: int) -> Iterator[Row]:
    """All rows in their order, from this place on and round."""
    return (rows[i % len(rows)] for i in range(place, place + len(rows)))


def select(data: Data, evaluation: Evaluation, seed: int, take: Take = lambda rows: rows, means: Means = NO_MEANS) -> Selection:
    """The training subset and the evaluation rows of `evaluation.split`. No answer that is scored is trained on as the answer
    to the same question, and no two rows of training and evaluation open with the same question, of which the first answer is
    scored (core/data/apart.py). `take`: called before rows are counted and drawn, of those of training and of evaluation.
    `means`: by which rows are selected."""
    if (kind := kind_of(data.source)).own_questions:  # made by the task, disjoint by construction
        few = any(wanted is not None for wanted in (data.n_clusters, data.n_tasks, data.n_templates))
        loaded = load("data.source", data.source, Pool(data.held_out_fold, large=few))
        pool = drawn_from(restricted(take(_in_order(loaded, seed, kind)), data, seed), loaded, data)
        return Selection(_taken(pool, data, seed, means), (), 0, pool.n_available, loaded, shares=pool.shares)
    loaded, given = _loaded(data)
    aside = _set_aside(loaded, given, data.eval_share)
    asked, usable = take(aside.asked[evaluation.split]), take(aside.train)
    scored = _in_shares(nested_subset(asked, None, seed=0), given or loaded)[: evaluation.max_rows]
    if not scored:
        name = "data.eval_source" if data.eval_source else "data.eval_share"
        value, of = data.eval_source or data.eval_share, given or loaded
        text = f"leaves no row for the {evaluation.split} split of {len(of.rows)} rows; give more"
        if len({row.prompt for row in of.rows}) == 1 < len(of.rows):
            text = f"all {len(of.rows)} rows have one prompt, and rows of one prompt are never parted; give rows of other prompts"
        raise BadInput(f"{name}={value}: {text}", field=name)
    if not usable:
        text = "every row's prompt is in the evaluation rows; none is left to train on"
        raise BadInput(f"data.source={data.source}: {text}", field="data.source")
    left = restricted(usable, data, seed)  # of training rows alone: every arm is asked the same
    drawn = drawn_from(nested_subset(left, None, seed), loaded, data)
    subset, n = _taken(drawn, data, seed, means), drawn.n_available
    tasks, templates = _n_named(scored, usable, "cluster", "task"), _n_named(scored, usable, "template")
    return Selection(subset, scored, aside.n_in_evaluation, n, loaded, given, tasks, templates, shares=drawn.shares)


def _taken(pool: Drawn, data: Data, seed: int, means: Means) -> tuple[Row, ...]:
    """Of the pool, which is in the seed's order, the rows that are trained on. Wrong answers are there before rows are selected,
    or counted by their tokens: a selection may leave them out."""
    if data.select == RANDOM:
        return noisy(pool.rows[: data.n_examples], data, seed)
    return drawing.taken(noisy(pool.rows, data, seed), data, means, pool.in_shares)


def _in_shares(rows: tuple[Row, ...], loaded: Loaded) -> tuple[Row, ...]:
    """Of several sources as many rows as have their shares, so that every beginning has them; of one source all."""
    return mixture.in_shares(rows, loaded.shares, lambda row: row.origin) if loaded.shares else rows


def trainable(data: Data) -> tuple[Row, ...]:
    """All rows that may be trained on, whatever the trial takes of them; for sources that rows are held out of."""
    loaded, given = _loaded(data)
    return _set_aside(loaded, given, data.eval_share).train


def askable(data: Data) -> tuple[Row, ...]:
    """All rows that may be scored, of either split and whatever the trial takes of them."""
    loaded, given = _loaded(data)
    return tuple(row for rows in _set_aside(loaded, given, data.eval_share).asked.values() for row in rows)


def pool_of(data: Data) -> Pool:
    """How sources that rows are held out of are read."""
    return Pool(skip_bad=data.skip_bad_rows, fields=data.fields)


def _loaded(data: Data) -> tuple[Loaded, Loaded | None]:
    """The rows of the training source, and those of the evaluation source where there is one."""
    pool = pool_of(data)
    given = load("data.eval_source", data.eval_source, pool) if data.eval_source is not None else None
    return load("data.source", data.source, pool), given


@dataclass(frozen=True)
class _Aside:
    """The rows that may be trained on, and by split those that may be asked."""

    train: tuple[Row, ...]
    asked: Mapping[str, tuple[Row, ...]]
    n_in_evaluation: int = 0


@functools.lru_cache(maxsize=4)
def _set_aside(loaded: Loaded, given: Loaded | None, eval_share: float) -> _Aside:
    """Evaluation rows: a share of the source's, without what the others have too; or those given, without which the source's
    are trained on, so that sources are compared on the same rows."""
    if given is not None:
        rows = apart.without_common(apart.each_once(given.rows))
        scored, prompts = apart.scored_answers(rows), {row.prompt for row in rows}
        train = tuple(row for row in loaded.rows if row.prompt not in prompts and scored.isdisjoint(row.answers.values()))
        split = [apart.split_of(row.prompt) for row in rows]
        asked = {name: tuple(row for row, one in zip(rows, split, strict=True) if one == name) for name in apart.SPLITS}
        return _Aside(train, asked, len(loaded.rows) - len(train))
    chosen = list(zip(loaded.rows, apart.splits(loaded.rows, eval_share), strict=True))
    train = tuple(row for row, split in chosen if split is None)
    held = {name: [row for row, split in chosen if split == name] for name in apart.SPLITS}
    if not apart.has_later_turns(loaded.rows):  # openings alone, which no two splits share
        return _Aside(train, {name: apart.each_once(rows) for name, rows in held.items()})
    return _Aside(train, {name: apart.each_once(apart.unshared(rows, train)) for name, rows in held.items()})


def _n_named(evaluation: Sequence[Row], source: Sequence[Row], *labels: str) -> int | None:
    """How many evaluation rows name what the source names too, by the first of the labels that all rows have; None where they
    have none of them."""
    for place in map(LABELS.index, labels):
        theirs, ours = [row.labels[place] for row in evaluation], {row.labels[place] for row in source}
        if all(theirs) and all(ours):
            return sum(label in ours for label in theirs)
    return None


@functools.lru_cache(maxsize=16)
def _in_order(loaded: Loaded, seed: int, kind: Kind) -> tuple[Row, ...]:
    """A pool in the order of `nested_subset`, which takes a second for the larger ones."""
    rows = nested_subset(loaded.rows, None, seed, kind.same_prompts)
    return in_turn(rows, lambda row: row.group) if kind.in_turn else rows


def in_turn(things: Iterable[Thing], group: Callable[[Thing], str]) -> tuple[Thing, ...]:
    """Rows, or questions, with one of each group in turn, each group's own in their order."""
    before: Counter[str] = Counter()
    placed = []
    for one in things:
        placed.append((before[group(one)], one))
        before[group(one)] += 1
    return tuple(one for _, one in sorted(placed, key=lambda pair: pair[0]))


def n_replayed(data: Data, n_rows: int) -> int:
    """How many pretraining documents are added to `n_rows` rows to be `data.replay_share` of all sequences."""
    return round(n_rows * data.replay_share / (1 - data.replay_share))
