"""How what a sweep costs beside its trials grows with their number. Each part is a function that prints rows of one table:

    python tests/benchmarks/growth.py [PART …]

| part | what | 500 | 2,000 | 8,000 |
| --- | --- | --- | --- | --- |
| store | trials are read | 0.66 s | 2.78 s | 12.87 s |
| store | their items are read | 0.02 s | 0.08 s | 0.36 s |
| store | ten more are logged | 0.69 s | 0.74 s | 0.91 s |
| ledger | results are read (500 measured) | 0.03 s | 0.12 s | 0.46 s |

CPU seconds of one core, on a machine that was busy with other work.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from core import tracking  # noqa: E402
from core.fields import fingerprint, flatten  # noqa: E402
from core.settings import Trial  # noqa: E402
from core.tracking import Store, TrialRecord  # noqa: E402
from sweeps import ledger  # noqa: E402

SIZES = (500, 2_000, 8_000)  # trials


def row(part: str, what: str, measure: Callable[[int], float]) -> None:
    """Prints CPU seconds (of one core) of `measure` for each size."""
    print(f"| {part} | {what} | " + " | ".join(f"{measure(size):.2f} s" for size in SIZES) + " |", flush=True)


def seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


# The store


def trial(output: Path, seed: int) -> TrialRecord:
    """A trial's folder with as many metrics, steps and items as a trial of the laboratory has."""
    setting, provenance = Trial(seed=seed), {"data": "d" * 16, "model": "m" * 16}
    mark = fingerprint(setting, provenance)
    metrics = {f"measure/{number}": 0.5 for number in range(60)} | {"quality": 0.5, "forgetting": 0.3, "seconds": 5.0}
    history = [{"step": step, "loss": 1.0, "learning_rate": 1e-3} for step in range(20)]
    result = {
        "fingerprint": mark, "state": "finished", "reason": "", "trial": flatten(setting), "provenance": provenance,
        "metrics": metrics, "history": history, "facts": {f"fact {n}": "x" for n in range(25)}, "seconds": 5.0,
    }  # fmt: skip
    folder = output / "trials" / f"{mark}-final"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))
    lines = [f"exact_match/seen,quality,sort,q{item},1,0.0,1.0\n" for item in range(500)]
    table = "measure,axis,group,item,weight,before,after\n" + "".join(lines)
    (folder / "items.csv.gz").write_bytes(gzip.compress(table.encode()))
    return TrialRecord(folder.name, f"seed {seed}", "base", "final", (), folder)


def grown(output: Path, n_trials: int) -> str:
    """The URI of a store of so many trials: one is logged, the others are copies of its rows (logging takes 50 ms each)."""
    uri = tracking.default_uri(output)
    store = Store(uri, "growth", "s" * 16)
    store.open({}, "note")
    store.log_trial(trial(output, 0))
    with closing(sqlite3.connect(output / "mlflow.db")) as database:
        ((first,),) = database.execute("SELECT run_uuid FROM tags WHERE key = 'tunelab.kind' AND value = 'trial'")
        for number in range(1, n_trials):
            copy = uuid.uuid4().hex
            for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
                columns = [name for _, name, *_, hidden in database.execute(f"PRAGMA table_xinfo({table})") if not hidden]
                taken = ", ".join("?" if name == "run_uuid" else name for name in columns)
                into = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table} WHERE run_uuid = ?"
                database.execute(into, (copy, first))
            key = "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'tunelab.key'"
            database.execute(key, (f"{number:016x}-final", copy))
        database.commit()
    return uri


def the_store() -> None:
    uris, folders = {}, []
    for size in SIZES:
        folders.append(tempfile.TemporaryDirectory())
        uris[size] = grown(Path(folders[-1].name), size)

    def read(size: int) -> float:
        return seconds(lambda: tracking.read_trials(uris[size], "growth", "s" * 16))

    def read_items(size: int) -> float:
        trials = tracking.read_trials(uris[size], "growth", "s" * 16)
        return seconds(lambda: [tracking.read_items(uris[size], one["run_id"], one["artifacts"]) for one in trials])

    def log(size: int) -> float:
        store, output = Store(uris[size], "growth", "s" * 16), Path(uris[size].removeprefix("sqlite:///")).parent
        store.open({}, "note")
        records = [trial(output, seed) for seed in range(1, 11)]
        return seconds(lambda: [store.log_trial(record) for record in records])

    row("store", "trials are read", read)
    row("store", "their items are read", read_items)
    row("store", "ten more are logged", log)
    for folder in folders:
        folder.cleanup()


def the_ledger() -> None:
    with tempfile.TemporaryDirectory() as name:
        for seed in range(SIZES[0]):
            trial(Path(name), seed)
        each = seconds(lambda: ledger.read(Path(name))) / SIZES[0]
    row("ledger", "results are read (500 measured)", lambda size: each * size)


PARTS: dict[str, Callable[[], None]] = {"store": the_store, "ledger": the_ledger}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
