"""Rounds of proposals and answers until there are rows enough. All that is random follows from the seed and the replies so far,
so a run that goes on from its journal comes to the same rows."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from core.data.turns import Message
from core.endpoint import Said
from core.selfinstruct import filters, prompts
from core.selfinstruct.filters import Dropped, Filters
from core.selfinstruct.journal import Journal
from core.selfinstruct.prompts import Task

OF_SEEDS, OF_KEPT = 6, 2  # examples of a proposal, as Wang et al. 2022
PROPOSALS = 4  # requests a round
ANSWER_EXAMPLES = 3  # before a task that a text goes on with
IDLE_ROUNDS = 25  # without a new row, after which a model has no more to say


@dataclass(frozen=True)
class Request:
    """One thing that a model is asked: for tasks like the examples, or, where there is an `instruction`, for its answer; where
    there is a `reference` too, for that answer in its own words."""

    key: str
    examples: tuple[Task, ...] = ()
    instruction: str | None = None
    seed: int = 0  # of what is sampled
    reference: str | None = None
    before: tuple[Message, ...] = ()  # turns before the instruction
    place: str = ""  # of the row that it is about, for messages

    @property
    def chat(self) -> tuple[Message, ...]:
        """As turns, of which the last is the user's."""
        asked = self.instruction
        if asked is None:
            asked = prompts.proposal_chat(self.examples)
        elif self.reference is not None:
            asked = prompts.rewriting_chat(asked, self.reference)
        return (*self.before, {"role": "user", "content": asked})

    @property
    def text(self) -> str:
        """As a text that a model goes on with."""
        if self.instruction is None:
            return prompts.proposal_text(self.examples)
        if self.reference is None:
            return prompts.answer_text(self.examples, self.instruction)
        return prompts.rewriting_text([str(turn["content"]) for turn in self.before], self.instruction, self.reference)


Writer = Callable[[Sequence[Request]], Iterator[dict[str, Said]]]  # replies by key, some at a time


@dataclass(frozen=True)
class Job:
    """What is made: so many rows from these seeds, none near to the questions `asked`."""

    seeds: tuple[Task, ...]
    rows: int
    asked: tuple[str, ...] = ()
    near: float = filters.NEAR
    seed: int = 0


@dataclass
class Tally:
    """What was dropped so far. `examples`: of each reason the first that was dropped for it."""

    dropped: Counter[Dropped] = field(default_factory=Counter)
    examples: dict[Dropped, str] = field(default_factory=dict)

    def drop(self, why: Dropped, text: str) -> None:
        self.dropped[why] += 1
        self.examples.setdefault(why, text)

    @property
    def told(self) -> str:
        return ", ".join(f"{n:,} {why}" for why, n in self.dropped.most_common())


@dataclass
class Made(Tally):
    """What came of a job so far."""

    rows: list[Task] = field(default_factory=list)
    n_proposed: int = 0
    rounds: int = 0


def run(job: Job, write: Writer, journal: Journal, told: Callable[[Made], None] = lambda made: None) -> Made:
    """The rows, `job.rows` of them or as many as the model had to say. `told`: called after each round."""
    made, idle = Made(), 0
    new = Filters((seed.instruction for seed in job.seeds), job.asked, job.near)
    while len(made.rows) < job.rows and idle < IDLE_ROUNDS:
        before = len(made.rows)
        _round(job, made, new, lambda requests: replies(requests, write, journal))
        idle = 0 if len(made.rows) > before else idle + 1
        made.rounds += 1
        told(made)
    return made


def replies(requests: Sequence[Request], write: Writer, journal: Journal) -> list[Said]:
    """A reply to each request; only those that the journal lacks are asked."""
    missing = list({one.key: one for one in requests if one.key not in journal.known}.values())
    for found in write(missing) if missing else ():
        journal.add(found)
    return [journal.known[one.key] for one in requests]


def _round(job: Job, made: Made, new: Filters, ask: Callable[[Sequence[Request]], list[Said]]) -> None:
    """Proposals, and answers to as many of them as are needed: which are kept does not depend on how many rows are wanted, so
    that more rows begin with the fewer."""
    wanted = [_proposal(job, made, i) for i in range(PROPOSALS)]
    accepted: list[str] = []
    for said in ask(wanted):
        for text in prompts.proposed(said.text):
            made.n_proposed += 1
            if (why := new.instruction(text)) is not None:
                made.drop(why, text)
            else:
                accepted.append(text)
    shown = _some(job.seeds, ANSWER_EXAMPLES, random.Random(f"answers {job.seed}"))
    while accepted and (n := job.rows - len(made.rows)) > 0:
        asked, accepted = accepted[:n], accepted[n:]
        answers = ask([Request(f"answer {_hash(text)}", shown, text) for text in asked])
        for text, said in zip(asked, answers, strict=True):
            if (why := filters.answer(text, said.text, said.whole)) is not None:
                made.drop(why, text)
            else:
                made.rows.append(Task(text, said.text.strip()))
    made.n_proposed -= len(accepted)  # which nobody has answered


def _proposal(job: Job, made: Made, i: int) -> Request:
    key = f"propose {made.rounds} {i}"
    rng = random.Random(f"{key} {job.seed}")
    examples = [*_some(job.seeds, OF_SEEDS, rng), *_some(made.rows, OF_KEPT, rng)]
    rng.shuffle(examples)
    return Request(key, tuple(examples), seed=int(_hash(f"{key} {job.seed}")[:7], 16))


def _some(tasks: Sequence[Task], n: int, rng: random.Random) -> tuple[Task, ...]:
    return tuple(rng.sample(list(tasks), min(n, len(tasks))))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
