"""A search that runs without training: jobs get made-up outcomes, in any order, with or without an end."""

from __future__ import annotations

import random
from collections.abc import Callable

from core.settings import Trial
from sweeps.ledger import Outcome
from sweeps.plan import Job
from sweeps.search import Search


def inspect(trial: Trial) -> dict[str, str]:
    return {"data": "d", "model": "m"}


def drive(
    search: Search,
    outcome: Callable[[Job], Outcome],
    slots: int = 1,
    order: random.Random | None = None,
    stop_after: int = 10**9,
) -> list[Job]:
    """Runs a search with `slots` at a time, outcomes arriving in random order; the jobs in the order in which they ended."""
    running: list[Job] = []
    ended: list[Job] = []
    while len(ended) < stop_after:
        while len(running) < slots and (job := search.next()) is not None:
            running.append(job)
        if not running:
            break
        job = running.pop(order.randrange(len(running)) if order else 0)
        search.tell(job, outcome(job))
        ended.append(job)
    return ended
