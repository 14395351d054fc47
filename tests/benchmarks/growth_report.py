"""How a report grows with the number of trials: `python tests/benchmarks/growth_report.py [TRIALS …]`.

Makes a store of simulated trials of data_quantity (eight seeds an arm, 3,120 items a trial: an embedded SQLite store with its
artifacts, as a sweep leaves it), then times each part of a report, without what is logged of it. Nothing is trained.

| trials | read trials (CPU s) | read items | report | all |
| --- | --- | --- | --- | --- |
| 400 | 0.4 | 0.4 | 3.6 | 4.3 |
| 1000 | 1.1 | 1.6 | 5.0 | 7.7 |
| 2000 | 1.9 | 3.6 | 9.4 | 14.9 |

On a machine that was busy with other work.
"""

from __future__ import annotations

import cProfile
import gzip
import pstats
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
from simulated import ArmState, question  # noqa: E402

import experiments  # noqa: E402
from analysis import load, questions  # noqa: E402
from analysis.reports import question as page  # noqa: E402
from core import tracking  # noqa: E402
from core.tracking import Store  # noqa: E402

NAME, SWEEP, SEEDS = "data_quantity", "0" * 16, 8


def fill(output: Path, n_trials: int, n_items: int) -> str:
    """A store with this many trials, written as MLflow's tables have them; its URI."""
    levels = np.unique(np.geomspace(20, 1e6, n_trials // SEEDS).round().astype(int))
    levels = [*levels, *(10**6 + 1 + i for i in range(n_trials // SEEDS - len(levels)))]
    arms = {f"n_examples={n}": ArmState({"data.n_examples": int(n), "rows/used": int(n)}) for n in levels}
    trials, items = question(arms, seeds=SEEDS, n_items=n_items, tuned=False)
    output.mkdir(parents=True)
    uri = tracking.default_uri(output)
    store = Store(uri, NAME, SWEEP)
    store.open({}, "a simulated sweep")
    store.close("FINISHED")
    place = output / "mlartifacts"
    by_trial = dict(list(items.groupby("fingerprint", sort=False)))
    with closing(sqlite3.connect(output / "mlflow.db")) as database:
        for row in trials.to_dict("records"):
            run_id = uuid.uuid4().hex
            folder = place / run_id / "artifacts"
            folder.mkdir(parents=True)
            text = by_trial[row["fingerprint"]].drop(columns="fingerprint").to_csv(index=False)
            (folder / "items.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
            _insert(database, store.experiment_id, run_id, folder.as_uri(), row)
        database.commit()
    return uri


def _insert(database: sqlite3.Connection, experiment: str, run_id: str, artifacts: str, row: dict[str, object]) -> None:
    numbers = {name: value for name, value in row.items() if isinstance(value, float) and "." not in name and value == value}
    tags = {f"tunelab.{name}": row[name] for name in ("fingerprint", "arm", "phase", "state", "reason")}
    tags |= {"tunelab.sweep": SWEEP, "tunelab.kind": "trial", "tunelab.key": f"{row['fingerprint']}-{row['phase']}"}
    database.execute(
        "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'me', 'FINISHED', 1, 2, 'active', ?, ?)", (run_id, run_id, artifacts, experiment),
    )  # fmt: skip
    own = {*numbers, "run_id", "status", "fingerprint", "arm", "phase", "state", "reason"}
    words = [(name, str(value), run_id) for name, value in row.items() if name not in own]
    database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", words)
    database.executemany(
        "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(k, str(v), run_id) for k, v in tags.items()]
    )
    database.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 1, 0, 0, ?)",
        [(name, value, run_id) for name, value in numbers.items()],
    )


def measure(n_trials: int, n_items: int = 1_000, profiled: bool = False) -> list[float]:
    """Seconds of CPU time, which other work on the machine does not lengthen, for the trials, the items, and the report."""
    folder = Path(tempfile.mkdtemp())
    profile = cProfile.Profile()
    try:
        uri, times = fill(folder / "runs", n_trials, n_items), [time.process_time()]
        if profiled:
            profile.enable()
        trials = load.trials(uri, NAME)
        times.append(time.process_time())
        items = load.items(uri, trials)
        times.append(time.process_time())
        page.report(questions.load(NAME), experiments.load(NAME), (trials, items), folder / "report")
        times.append(time.process_time())
        if profiled:
            profile.disable()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    finally:
        shutil.rmtree(folder)
    return list(np.diff(times))


if __name__ == "__main__":
    wanted = [int(text) for text in sys.argv[1:] if text.isdigit()] or [400, 1_000, 2_000]
    print("| trials | read trials (CPU s) | read items | report | all |\n| --- | --- | --- | --- | --- |")
    for n in wanted:
        parts = measure(n, profiled="--profile" in sys.argv)
        print(f"| {n} | " + " | ".join(f"{seconds:.1f}" for seconds in (*parts, sum(parts))) + " |", flush=True)
