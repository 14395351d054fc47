"""Chaos: a sweep whose driver, workers, raylet and process group are killed at seeded moments, and which is started with the
same command each time, ends with the tables of an undisturbed one, byte for byte but for clocks and random ids."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_executor import rays_of, wait_until

from core import tracking
from sweeps import private

ROOT = Path(__file__).parents[1]
NAME = "rank_vs_quality"
# A task that is learned: quality rises above 0, so that the proposed rate of each arm follows from what was measured.
COMMAND = [
    *(sys.executable, "sweeps/run.py", NAME, "--without", "full", "--seeds", "2", "--set", "adapter.rank=4,16"),
    *("--set", "data.n_examples=250", "--set", "train.epochs=2", "--set", "evaluation.items_per_task=4"),
]
N_TRIALS = 16
SEED = 12
ROUNDS = int(os.environ.get("TUNELAB_CHAOS_ROUNDS", "12"))
RESTARTED = 3  # exit code where Ray died
ABORTED = -signal.SIGABRT  # of a C++ library that is interrupted while it is imported, which no handler of ours can prevent
ENDS = {"driver": {-9}, "group": {-9}, "interrupt": {130, ABORTED}, "terminate": {130, ABORTED}}
KINDS = ("driver", "worker", "raylet", "group", "interrupt", "terminate", "gcs_server")
CLOCKS = re.compile(r"second|run_id|artifact|peak_memory|per_second|started|ended|commit|created", re.IGNORECASE)


@dataclass
class Chaos:
    """One sweep in its directory, and what was done to it."""

    output: Path
    temporary: Path
    injected: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        command = [*COMMAND, "--output", str(self.output)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload]

    def finished(self) -> set[str]:
        return {path.parent.name for path in self.output.glob(f"{NAME}-*/trials/*/result.json")}

    def strike(self, kind: str, sweep: subprocess.Popen[str], rng: random.Random) -> bool:
        """Does it; whether there was something to strike."""
        if kind in ("driver", "interrupt", "terminate"):
            how = {"driver": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}[kind]
            sweep.send_signal(how)
            return True
        if kind == "group":
            os.killpg(sweep.pid, signal.SIGKILL)
            return True
        sign = "ray::ResourceTrainable" if kind == "worker" else f"/{kind} "
        found = [pid for pid, line in processes(self.temporary) if sign in line]
        if not found:
            return False
        os.kill(rng.choice(found), signal.SIGKILL)
        return True


def processes(folder: Path) -> Iterator[tuple[int, str]]:
    """Processes of the sweep whose temporary directory this is."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"TMPDIR={folder}".encode() in (entry / "environ").read_bytes():
                yield int(entry.name), line


def tables(output: Path) -> dict[str, str]:
    """The report's tables as text, without what a clock, a random id or a path decides."""
    (report,) = output.glob(f"{NAME}-*/report")
    found = {}
    for path in sorted(report.glob("*.csv")):
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
        kept = [name for name in (rows[0] if rows else {}) if not CLOCKS.search(name)]
        text = io.StringIO()
        writer = csv.DictWriter(text, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        found[path.name] = text.getvalue()
    verdicts = json.loads((report / "verdicts.json").read_text())
    found["verdicts.json"] = json.dumps(without_clocks(verdicts), sort_keys=True)
    found["results"] = json.dumps(results(output), sort_keys=True)
    return found


def without_clocks(value: object) -> object:
    if isinstance(value, dict):
        return {name: without_clocks(inner) for name, inner in value.items() if not CLOCKS.search(name)}
    return [without_clocks(inner) for inner in value] if isinstance(value, list) else value


def results(output: Path) -> dict[str, object]:
    """Every trial's state, metrics and history."""
    found: dict[str, object] = {}
    for path in output.glob(f"{NAME}-*/trials/*/result.json"):
        row = json.loads(path.read_text())
        found[path.parent.name] = without_clocks({name: row[name] for name in ("state", "metrics", "history", "provenance")})
    return found


def endure(chaos: Chaos, rng: random.Random, pause: float) -> None:
    """Starts the sweep again and again, and strikes at moments that the generator draws, `pause` seconds apart at most."""
    order = [KINDS[i % len(KINDS)] for i in range(ROUNDS)]
    rng.shuffle(order)
    sweep, kinds = chaos.start(), iter(order)
    for kind in kinds:
        enough = min(len(chaos.finished()) + rng.choice((0, 1, 1)), N_TRIALS - 1)
        wait_until(lambda enough=enough: len(chaos.finished()) >= enough or sweep.poll() is not None, 240)  # noqa: B023
        time.sleep(rng.uniform(0, pause))
        before = chaos.finished()
        if sweep.poll() is not None and len(before) < N_TRIALS:
            sweep = chaos.start()
            continue
        if len(before) >= N_TRIALS or not chaos.strike(kind, sweep, rng):
            continue
        chaos.injected[kind] += 1
        if kind != "worker":
            said, _ = sweep.communicate(timeout=180)
            assert "Traceback" not in said, said
            assert sweep.returncode in ENDS.get(kind, {RESTARTED}), (kind, said)
            assert sweep.returncode != RESTARTED or "the same command goes on" in said
            assert wait_until(lambda: not rays_of(chaos.temporary), 120), rays_of(chaos.temporary)
            sweep = chaos.start()
        chaos.lost |= before - chaos.finished()
    said, _ = sweep.communicate(timeout=600)
    sweep = chaos.start()  # it had come to its end, or it goes on a last time
    said, _ = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, said


@pytest.mark.slow
def test_struck_again_and_again_it_ends_with_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = Path(f"/tmp/tc{os.getpid()}")  # short enough for Ray's sockets
    temporary.mkdir()
    quiet, chaos = Chaos(tmp_path / "quiet", temporary), Chaos(tmp_path / "chaos", temporary)
    try:
        began, calm = time.monotonic(), quiet.start()
        said, _ = calm.communicate(timeout=900)
        assert calm.returncode == 0, said
        endure(chaos, random.Random(SEED), (time.monotonic() - began) / N_TRIALS)
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        for left in temporary.glob("tl-*"):
            os.utime(left, (0, 0))
        with private.directory():  # what was left, the next sweep that starts Ray removes
            pass
        assert not list(temporary.glob("tl-*"))
    finally:
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
    runs = Counter(run["tags"]["tunelab.key"] for run in tracking.read_trials(tracking.default_uri(chaos.output), NAME))
    duplicated = [key for key, count in runs.items() if count > 1]
    survived = tables(chaos.output) == tables(quiet.output)
    counts = dict(sorted(chaos.injected.items()))
    print(f"\ninjected {sum(counts.values())} {counts}, survived {sum(counts.values()) if survived else 0},", end=" ")
    print(f"lost {len(chaos.lost)}, duplicated {len(duplicated)}")
    for name, text in tables(quiet.output).items():
        assert tables(chaos.output)[name] == text, name
    assert set(runs) == chaos.finished()
    assert len(runs) == N_TRIALS
    assert (chaos.lost, duplicated) == (set(), [])
    assert sum(counts.values()) >= ROUNDS // 2
