"""The executor on a real Ray: workers stay warm, every way of dying leaves a row, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.experiment import Experiment
from core.settings import Lora, Trial
from core.states import State
from sweeps import executor, ledger, places, private
from sweeps.cluster import cluster, session_directory
from sweeps.plan import Job, Plan
from sweeps.resources import Resources
from sweeps.search import Search

ROOT = Path(__file__).parents[1]
FUNCTION = "executor_functions:record"
SLOTS = 2
DRIVER = f"""
import sys
from pathlib import Path
from sweeps import executor
from sweeps.cluster import cluster
from test_executor import FUNCTION, Heard, Resources, sweep
resources, folder = Resources(slots={SLOTS}, threads=1), Path(sys.argv[1])
with cluster(resources):
    executor.execute(sweep(seeds=(0, 13, 1)), folder, resources, Heard().events(), FUNCTION)  # 13 sleeps for ten minutes
"""


def sweep(ranks: tuple[int, ...] = (1,), seeds: tuple[int, ...] = (0,), known: dict[str, ledger.Outcome] | None = None) -> Search:
    experiment = Experiment(name="made_up", question="?", base=Trial(adapter=Lora()), vary={"adapter.rank": ranks}, seeds=seeds)
    return Search(Plan.of(experiment, lambda trial: {"data": "d"}), known or {})


class Heard:
    """The executor's events, in order."""

    def __init__(self) -> None:
        self.started: list[Job] = []
        self.ended: list[tuple[Job, ledger.Outcome]] = []
        self.again: list[tuple[Job, str]] = []

    def events(self) -> executor.Events:
        ended, again = (lambda job, outcome: self.ended.append((job, outcome))), (lambda *what: self.again.append(what))
        return executor.Events(self.started.append, ended, again)


def rays_of(folder: Path) -> list[str]:
    """Command lines of running processes that name the folder, or that Ray started as workers of it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry.parent / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if (str(folder) in line or f"TMPDIR={folder}" in environment) and int(entry.parent.name) != os.getpid():
            found.append(line)
    return found


def wait_until(condition: Any, seconds: float = 180) -> bool:
    ends = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < ends:
        time.sleep(0.2)
    return bool(met)


@pytest.fixture(scope="module")
def resources() -> Iterator[Resources]:
    """One Ray for the module; its own temporary directory, of which nothing may be left."""
    used = Resources(slots=SLOTS, threads=1, trial_timeout_seconds=180)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import executor_functions
        ours = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "RAY_AIR_NEW_OUTPUT")
        before = {name: os.environ.get(name) for name in ours}
        with cluster(used):
            made = session_directory()
            yield used
        assert {name: os.environ.get(name) for name in ours} == before
        assert not made.exists()
        assert wait_until(lambda: not rays_of(made), 20), rays_of(made)


def listening(process: int) -> list[str]:
    """Addresses (in hexadecimal) on which the process and its descendants accept connections."""
    family, sockets, found = [process], set[str](), list[str]()
    for each in family:
        with suppress(OSError):
            family += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
            sockets |= {os.readlink(entry) for entry in Path(f"/proc/{each}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.append(words[1].partition(":")[0])
    return found


def test_ray_of_our_own_listens_to_this_machine_alone(resources: Resources) -> None:
    addresses = listening(os.getpid())
    assert len(addresses) >= 3
    assert set(addresses) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert os.environ["RAY_AUTH_MODE"] == "token"  # by default since Ray 2.60, for other users of the machine


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/result.json"))]


def test_trials_run_side_by_side_on_warm_workers(resources: Resources, tmp_path: Path) -> None:
    heard, search = Heard(), sweep(seeds=(21, 22, *range(10)))
    executor.execute(search, tmp_path, resources, heard.events(), FUNCTION)
    assert search.finished()
    assert [outcome.state for _, outcome in heard.ended] == [State.FINISHED] * 12
    assert sorted(job.key for job in heard.started) == sorted(job.key for job, _ in heard.ended)
    found = [row["facts"] for row in rows(tmp_path)]
    assert len(found) == len({job.key for job in heard.started}) == 12
    assert len({row["pid"] for row in found}) == SLOTS  # the two that met; each served others afterwards
    assert max(row["steps_taken"] for row in found) >= 6
    starts = sorted((row["started"], row["ended"]) for row in found)
    assert all(sum(s <= start < e for s, e in starts) <= SLOTS for start, _ in starts)
    assert {(row["threads"], row["gpus"], row["directory"]) for row in found} == {("1", "", os.getcwd())}
    assert found[0]["device"] == ["cpu", 1, 1 / SLOTS]
    assert not list(tmp_path.rglob(executor.HANG_FILE))


def test_every_way_of_dying_leaves_a_row_and_the_others_go_on(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "RERUNS", 1)
    heard, search = Heard(), sweep(seeds=(0, 11, 1, 12, 2, 13, 3, 14, 4, 5, 6, 7))
    executor.execute(search, tmp_path, Resources(SLOTS, 1, trial_timeout_seconds=4), heard.events(), FUNCTION)
    assert search.finished()
    found = {job.trial.seed: outcome for job, outcome in heard.ended}
    assert len(found) == len(heard.ended) == 12
    starts = Counter(job.trial.seed for job in heard.started)
    assert {seed: count for seed, count in starts.items() if count > 1} == {11: 2, 14: 2}  # whose workers were taken
    assert Counter(job.trial.seed for job, _ in heard.again) == {11: 1, 14: 1}
    crashed = {seed: outcome.reason for seed, outcome in found.items() if outcome.state is State.CRASHED}
    assert sorted(crashed) == [11, 12, 13, 14]
    assert crashed[12] == "RuntimeError: the shoe is tied"
    assert crashed[13] == "still running after its time limit of 4 s (see traceback.txt)"
    for seed in (11, 14):
        assert crashed[seed].startswith("the worker process died")
        assert crashed[seed].endswith(", 2 times in a row")
    assert not any(reason.endswith("None") for reason in crashed.values())
    assert all("\n" not in reason and "\x1b" not in reason for reason in crashed.values())
    by_seed = {row["trial"]["seed"]: row for row in rows(tmp_path) if row["state"] == "crashed"}
    assert sorted(by_seed) == [11, 12, 13, 14]
    assert all(row["metrics"]["seconds"] == row["seconds"] for row in by_seed.values())
    assert by_seed[13]["seconds"] >= 4  # what hung has cost its time
    keys = {job.trial.seed: job.key for job in heard.started}
    assert "misbehave" in (ledger.trial_directory(tmp_path, keys[13]) / "traceback.txt").read_text()
    pids = {seed: int((ledger.trial_directory(tmp_path, key) / "pid").read_text()) for seed, key in keys.items()}
    order = [job.trial.seed for job in heard.started]
    for dead in (11, 13, 14):  # its worker was replaced and served nobody afterwards
        later = order[len(order) - order[::-1].index(dead) + 1 :]
        assert pids[dead] not in {pids[seed] for seed in later}
    assert len(set(pids.values())) <= SLOTS + 5


def test_bad_input_that_a_worker_finds_stops_the_sweep(resources: Resources, tmp_path: Path) -> None:
    heard, search = Heard(), sweep(seeds=(0, 15, *range(1, 9)))
    with pytest.raises(BadInput, match=r"^data.source=rows.jsonl: nobody can read it$"):
        executor.execute(search, tmp_path, resources, heard.events(), FUNCTION)
    assert {outcome.state for _, outcome in heard.ended} == {State.FINISHED}
    assert len(heard.started) < len(search.jobs())
    assert len(rows(tmp_path)) == len(list(tmp_path.glob("trials/*/*.json"))) == len(heard.ended)  # the refused one left nothing


def test_only_what_is_missing_runs(resources: Resources, tmp_path: Path) -> None:
    heard = Heard()
    executor.execute(sweep((1,), (0,)), tmp_path, resources, heard.events(), FUNCTION)
    assert len(heard.started) == 1
    again, heard = sweep((1, 2), (0, 1), ledger.read(tmp_path)), Heard()
    executor.execute(again, tmp_path, resources, heard.events(), FUNCTION)
    assert len(heard.started) == 3
    finished, heard = sweep((1, 2), (0, 1), ledger.read(tmp_path)), Heard()
    executor.execute(finished, tmp_path, resources, heard.events(), FUNCTION)
    assert heard.started == []


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_sweep_leaves_no_process(tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C and kill -9 of the driver, while one of its trials hangs."""
    temporary = Path(f"/tmp/tt{os.getpid()}{how:d}")
    temporary.mkdir()
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": path}
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert wait_until(lambda: len(list(tmp_path.glob("trials/*/pid"))) >= 2 or driver.poll() is not None)
        assert driver.poll() is None
        assert rays_of(temporary)
        driver.send_signal(how)
        output, _ = driver.communicate(timeout=180)
        assert wait_until(lambda: not rays_of(temporary)), rays_of(temporary)
        if how == signal.SIGINT:
            assert "KeyboardInterrupt" in output
        else:
            assert len(list(temporary.glob("tl-*"))) == 1
            monkeypatch.setattr(tempfile, "tempdir", str(temporary))
            with private.directory() as next_one:  # the next sweep cleans up
                assert list(temporary.glob("tl-*")) == [next_one]
                with private.directory():
                    assert next_one.exists()  # but not what is in use
        assert not list(temporary.glob("tl-*"))
        assert all(outcome.state is State.FINISHED for outcome in ledger.read(tmp_path).values())
    finally:
        driver.kill()
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
