"""How planning and looking grow with the size of a sweep: seconds of CPU time, and how far from linear.

    python tests/benchmarks/growth_plan.py

A ratio of 1: twice the jobs take twice as long. Nothing is trained, outcomes are made up. On one core of a busy machine:

| what | size | seconds | ratio to linear |
| --- | --- | --- | --- |
| search: next and tell, jobs | 496 | 0.03 | |
| search: next and tell, jobs | 2,000 | 0.14 | 1.00 |
| search: next and tell, jobs | 8,000 | 0.60 | 1.09 |
| --dry-run, arms | 1,000 | 3.21 | 0.96 |
| --status, arms | 1,000 | 1.42 | |
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.experiment import Experiment
from core.settings import Lora, Trial
from core.states import State
from sweeps.ledger import Outcome
from sweeps.plan import Plan
from sweeps.run import main
from sweeps.search import Search

SEEDS = 8


def search(n_arms: int) -> int:
    """Plans a sweep and tells the search every outcome; how many jobs there were."""
    levels = tuple(range(1, n_arms + 1))
    asked = Experiment(
        name="growth",
        question="?",
        base=Trial(adapter=Lora(rank=4)),
        vary={"data.n_examples": levels},
        seeds=tuple(range(SEEDS)),
    )
    made = Search(Plan.of(asked, lambda trial: {"data": "d", "model": "m"}), {})
    n = 0
    while (job := made.next()) is not None:
        made.tell(job, Outcome(State.FINISHED, 0.5, 1.0))
        n += 1
    assert made.finished()
    return n


def looked_at(option: str) -> Callable[[int], int]:
    """The command line with `--dry-run` or `--status`."""

    def look(n_arms: int) -> int:
        epochs = ",".join(f"{1 + i / 100:g}" for i in range(n_arms))
        with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(io.StringIO()):
            assert main(["epochs", option, "--set", f"train.epochs={epochs}", "--output", output]) == 0
        return n_arms

    return look


CASES: dict[str, tuple[Callable[[int], int], tuple[int, ...]]] = {
    "search: next and tell, jobs": (search, (62, 250, 1_000)),
    "--dry-run, arms": (looked_at("--dry-run"), (10, 250, 1_000)),
    "--status, arms": (looked_at("--status"), (10, 250, 1_000)),
}


def table() -> None:
    print(f"{'what':<28} {'size':>6} {'seconds':>8} {'ratio to linear':>16}")
    for name, (run, sizes) in CASES.items():
        before: tuple[int, float] | None = None
        for size in sizes:
            began = time.process_time()
            n = run(size)
            seconds = time.process_time() - began
            ratio = f"{seconds / before[1] / (n / before[0]):.2f}" if before else ""
            print(f"{name:<28} {n:>6,} {seconds:>8.2f} {ratio:>16}")
            before = (n, seconds)


if __name__ == "__main__":
    table()
