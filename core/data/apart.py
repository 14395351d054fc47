"""What is scored is not trained on: rows that say the same go into one split together, and what they share all the same is not
scored.

Two rows say the same if they open with the same question, or if both have an answer to the same question somewhere
(`Row.prompt`, `Row.answers`). Such rows form one component, which is for training or for evaluation as a whole. A turn that very
many rows have ("thanks", "you are welcome") would join all of them: it joins none, and is not scored where training has it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from core.data.rows import Row, identity, share
from core.data.wording import normal
from core.settings import SPLITS

LARGEST_COMPONENT = 0.5  # as a share of the rows that evaluation gets: with larger ones it could not have its share
COMMON_TURN = 0.05  # share of the evaluation rows whose later turn is not scored, as it says little and training would lose rows


def split_of(name: str) -> str:
    """Which evaluation split a question belongs to, whatever the file."""
    return SPLITS[share(name, "split") >= 0.5]


@dataclass
class _Components:
    """Rows, by number, in disjoint sets (a forest of parents, with the sizes at its roots)."""

    parents: list[int]
    sizes: list[int]
    by_turns: set[int] = field(default_factory=set)  # roots whose rows were joined by more than their opening

    @classmethod
    def of(cls, n: int) -> _Components:
        return cls(list(range(n)), [1] * n)

    def root(self, i: int) -> int:
        while self.parents[i] != i:
            self.parents[i] = self.parents[self.parents[i]]
            i = self.parents[i]
        return i

    def join(self, members: Iterable[int], by_turns: bool, most: int | None = None) -> None:
        """Makes one component of theirs, unless it would have more than `most` rows."""
        roots = sorted({self.root(i) for i in members})
        size = sum(self.sizes[i] for i in roots)
        if len(roots) < 2 or (most is not None and size > most):
            return
        first, *others = roots
        for other in others:
            self.parents[other] = first
        self.sizes[first] = size
        if by_turns or self.by_turns & set(roots):
            self.by_turns.add(first)


def splits(rows: Sequence[Row], eval_share: float) -> list[str | None]:
    """For each row the evaluation split that it is set aside for, None for training; about `eval_share` of them are set aside.

    It depends on what the rows say and not on their order. Rows joined by their opening alone go by a hash of it, which is the
    same in every file; of components joined by later turns as many are taken, in a hashed order, as make the share.
    """
    most = max(2, round(LARGEST_COMPONENT * eval_share * len(rows)))
    names, components = _joined(rows, most)
    members = defaultdict(list)
    for i in range(len(rows)):
        members[components.root(i)].append(i)
    found: list[str | None] = [None] * len(rows)
    linked = []
    for root, inside in members.items():
        name = _first({names[i] for i in inside})
        if root in components.by_turns:
            linked.append((share(name, "evaluation"), name, inside))
        elif share(name, "evaluation") < eval_share:
            for i in inside:
                found[i] = split_of(name)
    wanted, n_held = eval_share * sum(len(inside) for *_, inside in linked), Counter[str]()
    for _, _, inside in sorted(linked):
        if n_held.total() + len(inside) / 2 <= wanted:
            split = min(SPLITS, key=lambda one: n_held[one])
            n_held[split] += len(inside)
            for i in inside:
                found[i] = split
    return found


def _first(names: set[str]) -> str:
    return min(names, key=lambda name: (share(name, "component"), name)) if len(names) > 1 else next(iter(names))


def _joined(rows: Sequence[Row], most: int) -> tuple[list[str], _Components]:
    """The components, and for each row the name that it gives to its own: its opening, or all its answers where very many
    conversations open alike."""
    names, components, opened = [row.prompt for row in rows], _Components.of(len(rows)), defaultdict(list)
    for i, row in enumerate(rows):
        opened[row.prompt].append(i)
    for inside in opened.values():
        if len(inside) > most:
            for i in (longer := [i for i in inside if len(rows[i].answers) > 1]):
                names[i] = "\x1e".join(rows[i].answers.values())
            inside = sorted(set(inside) - set(longer))
        components.join(inside, by_turns=False)
    if not has_later_turns(rows):  # an answer is shared only where the opening is
        return names, components
    having = defaultdict(list)
    for i, row in enumerate(rows):
        for answer in set(row.answers.values()):
            having[answer].append(i)
    shared = [(len(inside), answer, inside) for answer, inside in having.items() if len(inside) > 1]
    for _, _, inside in sorted(shared):  # the rarest first: they join most surely what belongs together
        components.join(inside, by_turns=True, most=most)
    return names, components


def has_later_turns(rows: Iterable[Row]) -> bool:
    return any(sum(message["role"] == "assistant" for message in row.messages) > 1 for row in rows)


def unshared(asked: Iterable[Row], train: Iterable[Row]) -> tuple[Row, ...]:
    """The evaluation rows without what training has: such turns have weight 0, a conversation ends with its last turn that is
    scored, and rows of which nothing is scored are left out."""
    answers, prompts = set[str](), set[str]()
    for row in train:
        answers.update(row.answers.values())
        prompts.add(row.prompt)
    found = []
    for row in asked:
        known = {i for i, answer in row.answers.items() if answer in answers}
        if row.prompt in prompts:
            known |= set(list(row.answers)[:1])
        found.append(_without(row, known))
    return tuple(row for row in found if row is not None)


def without_common(asked: Sequence[Row]) -> tuple[Row, ...]:
    """The evaluation rows without later turns that many of them have, where anything else is scored."""
    later = [set(list(row.answers.values())[1:]) for row in asked]
    counts = Counter(answer for answers in later for answer in answers)
    common = {answer for answer, n in counts.items() if n > max(2, COMMON_TURN * len(asked))}
    found = []
    for row, answers in zip(asked, later, strict=True):
        if answers & common:
            row = _without(row, {i for i, answer in row.answers.items() if answer in common}) or row
        found.append(row)
    return tuple(found)


def _without(row: Row, unscored: set[int]) -> Row | None:
    """The row with these turns not scored, up to its last turn that is; None where none is left."""
    scored = [i for i in row.answers if i not in unscored and row.messages[i].get("weight") != 0]
    if not scored:
        return None
    if not unscored:
        return row
    messages = tuple({**m, "weight": 0} if i in unscored else m for i, m in enumerate(row.messages[: scored[-1] + 1]))
    solutions = row.solutions if len(messages) == len(row.messages) else ()  # they are of the last turn
    return replace(row, messages=messages, id=identity(messages, row.tools), solutions=solutions)


def each_once(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows without those that say the same as another in every turn; of these the one whose id is the lowest."""
    chosen: dict[object, Row] = {}
    for row in rows:
        said = (
            *((m["role"], normal(m["content"]), m.get("weight")) for m in row.messages),
            *row.answers.values(),
            repr(row.tools),
        )
        if said not in chosen or (row.id, row.place) < (chosen[said].id, chosen[said].place):
            chosen[said] = row
    kept = {id(row) for row in chosen.values()}
    return tuple(row for row in rows if id(row) in kept)


def scored_answers(rows: Iterable[Row]) -> set[str]:
    """All answers, each with its question, that are scored in these rows."""
    return {answer for row in rows for i, answer in row.answers.items() if row.messages[i].get("weight") != 0}
