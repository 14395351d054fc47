"""What test_executor.py runs in workers instead of core.trial:run: cheap, and able to fail in every way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from core import installation, shared_texts
from core.errors import BadInput
from core.hardware import Device
from core.result import Result
from core.settings import Trial
from sweeps import worker

# How a made-up node differs, by variables of its workers: a device that is broken, a disk of its own, other code.
FLAGS = {"broken": "TUNELAB_TEST_BROKEN", "blind": "TUNELAB_TEST_BLIND", "other": "TUNELAB_TEST_OTHER"}
AWAITED = "TUNELAB_TEST_AWAITED"  # a directory: trials wait in it until a worker of every kind of node has taken part
STEPS_TAKEN = [0]  # by this process, over all its trials


class MarkedWorker(worker.Worker):
    """A worker on a node that may differ."""

    def step(self) -> dict[str, Any]:
        for mark, name in FLAGS.items():
            if os.environ.get(name) and AWAITED in os.environ:
                (Path(os.environ[AWAITED]) / mark).touch()
        if os.environ.get(FLAGS["other"]):
            installation.identity = lambda: {"the code": "other"}
        if place := os.environ.get(FLAGS["blind"]):

            def elsewhere(asked: Path) -> tuple[Path, bool]:
                (there := Path(place) / asked.name).mkdir(parents=True, exist_ok=True)
                return there, False

            worker._folder = elsewhere
        return super().step()


def record(trial: Trial, provenance: Mapping[str, str], folder: Path, device: Device) -> None:
    """Writes who ran it, when, and with what; `misbehave` first, by the trial's seed."""
    started = time.time()
    (folder / "pid").write_text(str(os.getpid()))
    STEPS_TAKEN[0] += 1
    misbehave(trial)
    if os.environ.get(FLAGS["broken"]):
        raise RuntimeError("CUDA error: device-side assert triggered")
    meet(trial, folder.parent)
    ends = time.time() + 60  # less than a trial may take
    while AWAITED in os.environ and time.time() < ends and not all((Path(os.environ[AWAITED]) / mark).exists() for mark in FLAGS):
        time.sleep(0.05)
    time.sleep(0.1)
    facts = {
        "pid": os.getpid(),
        "steps_taken": STEPS_TAKEN[0],
        "started": started,
        "ended": time.time(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "directory": os.getcwd(),
        "marks": [mark for mark, name in FLAGS.items() if os.environ.get(name)],
        "key": folder.name,
        "device": [device.kind, device.threads, device.memory_fraction],
    }
    texts = folder.parents[1] / shared_texts.FOLDER / "base.json"  # every worker would draw others
    facts["texts"] = shared_texts.shared(texts, lambda: [os.getpid()])
    (folder / "items.csv.gz").write_bytes(b"items")
    result = Result.begun(trial, provenance)
    replace(result, metrics={"quality": 0.5 + trial.seed / 1000}, facts=facts, seconds=0.1).write(folder)


def misbehave(trial: Trial) -> None:
    if trial.seed == 11:
        os._exit(7)
    if trial.seed == 12:
        raise RuntimeError("the shoe is\ntied")
    if trial.seed == 13:
        time.sleep(600)
    if trial.seed == 14:
        os.kill(os.getpid(), 9)
    if trial.seed == 15:
        raise BadInput("data.source=rows.jsonl: nobody can read it")


def meet(trial: Trial, place: Path) -> None:
    """Seeds 21 and 22 wait for each other: they end only if they run at the same time."""
    if trial.seed in (21, 22):
        (place / f"here-{trial.seed}").touch()
        ends = time.time() + 120
        while not (place / f"here-{43 - trial.seed}").exists():
            if time.time() > ends:
                raise RuntimeError("the other one never came")
            time.sleep(0.02)


def kill_when(who: str, ready: Callable[[], bool], ends: list[float], how: signal.Signals = signal.SIGKILL) -> None:
    """Kills this process's descendants whose command line names `who`, once it is time; says when."""
    while not ready():
        time.sleep(0.1)
    family = [os.getpid()]
    for each in family:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                family += map(int, (task / "children").read_text().split())
    for each in family[1:]:
        with suppress(OSError):
            if who in Path(f"/proc/{each}/cmdline").read_bytes().split(b"--")[0].decode():
                os.kill(each, how)
                ends.append(time.monotonic())
