"""The warm process on a node that runs one trial after the other, and what it hands to the driver of each.

A report goes through Ray, as files may not: a node need not see the output directory, and a share may show a file late. It is
kept by the cluster's head until the driver takes it, so a worker that dies right afterwards has lost nothing.
"""

from __future__ import annotations

import base64
import faulthandler
import functools
import importlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.experimental import internal_kv

from core import hardware, installation, preflight, shared_texts
from core.errors import BadInput, one_line
from core.fields import from_flat
from core.hardware import Device
from core.result import FILE, Result, write_whole
from core.settings import Trial
from core.states import State
from sweeps.resources import Resources, n_cores
from sweeps.texts import MOST_BYTES, NAMESPACE, Texts

HANG_FILE = "hang.txt"


class Kind(StrEnum):
    """How a worker came out of a trial."""

    ROW = "row"  # there is a result, whatever its state
    REFUSED = "refused"  # the user must mend something: no trial of the sweep can be right
    BROKEN = "broken"  # there is a failed result, and this process's device can't be used any more
    UNFIT = "unfit"  # nothing was run: this node has other code, models or data than the driver


@dataclass(frozen=True)
class Report:
    """What the driver learns. `files` are a trial's small files by name, base64."""

    kind: Kind
    node: str = ""  # Ray's id of the node
    host: str = ""
    reason: str = ""
    files: dict[str, str] = field(default_factory=dict)
    to_blame: str = ""  # the field or option, of a REFUSED one

    def send(self, key: str) -> None:
        """Leaves the report with the cluster's head, under a key that the driver knows."""
        internal_kv._internal_kv_put(key.encode(), json.dumps(asdict(self)).encode(), overwrite=True, namespace=NAMESPACE)

    @classmethod
    def take(cls, key: str) -> Report | None:
        """The report under this key, which is removed; None if the worker left none."""
        found = internal_kv._internal_kv_get(key.encode(), namespace=NAMESPACE)
        if found is None:
            return None
        internal_kv._internal_kv_del(key.encode(), namespace=NAMESPACE)
        row = json.loads(found)
        return cls(**row | {"kind": Kind(row["kind"])})

    def write(self, folder: Path) -> None:
        """Writes the files of the report, each whole, the result last."""
        for name in sorted(self.files, key=lambda name: name == FILE):
            write_whole(folder / Path(name).name, base64.b64decode(self.files[name]))


class Unusable(Exception):
    """This process can run no further trial; Ray Tune ends it and starts another."""


class Worker(tune.Trainable):
    """A warm process that runs one trial per step and keeps what it has loaded for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self.task = config["task"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.task = new_config["task"]
        return True

    def step(self) -> dict[str, Any]:
        report = replace(run_task(self.task), node=ray.get_runtime_context().get_node_id(), host=socket.gethostname())
        report.send(self.task["report"])
        if report.kind in (Kind.BROKEN, Kind.UNFIT):
            raise Unusable(report.reason)
        return {"done": True, "quality": 0.0}


def run_task(task: Mapping[str, Any]) -> Report:
    """One trial in this process: a time limit around it, and a row even if it raises."""
    trial = from_flat(task["trial"])
    if task["joined"] and (other := _other(task, trial)):
        return Report(Kind.UNFIT, reason=other)
    shared_texts.ways[:] = [Texts(task["texts"])] if task["joined"] else []
    folder, shared = _folder(Path(task["folder"]))
    with (folder / HANG_FILE).open("w") as hang:
        # a stuck trial can't be interrupted from inside: the process says where it hangs and ends itself
        faulthandler.dump_traceback_later(task["timeout"], exit=True, file=hang)
        try:
            report = _run(task, trial, folder)
        finally:
            faulthandler.cancel_dump_traceback_later()
    (folder / HANG_FILE).unlink()
    if report.kind is Kind.REFUSED:
        return report
    if not shared:
        _say_where(folder)
    return replace(report, files=_packed(folder, [FILE] if shared else [path.name for path in folder.iterdir()]))


def _run(task: Mapping[str, Any], trial: Trial, folder: Path) -> Report:
    """The trial itself, with what it comes to."""
    module, _, name = task["function"].partition(":")
    started = time.perf_counter()
    device = _device(task)
    try:
        result = getattr(importlib.import_module(module), name)(trial, task["provenance"], folder, device)
    except BadInput as error:  # what could not be seen before: the sweep stops, as no trial of it can be right
        if not (task["joined"] and error.field == hardware.FIELD):  # of one node among others
            return Report(Kind.REFUSED, reason=error.text, to_blame=error.field)
        lost, reason = True, one_line(error)
    except Exception as error:
        lost, reason = hardware.is_lost(error), one_line(error)
    else:
        lost = isinstance(result, Result) and result.facts.get(hardware.FACT) == hardware.LOST
        return Report(Kind.BROKEN if lost else Kind.ROW, reason=result.reason if lost else "")
    seconds = time.perf_counter() - started
    Result.failure(trial, task["provenance"], State.CRASHED, reason, seconds).write(folder)
    return Report(Kind.BROKEN if lost else Kind.ROW, reason=reason)


def _folder(asked: Path) -> tuple[Path, bool]:
    """Where the trial's files go, and whether the driver sees them: it has made the folder."""
    if asked.is_dir():
        return asked, True
    with suppress(OSError):
        asked.mkdir(parents=True, exist_ok=True)
        if os.access(asked, os.W_OK):
            return asked, False
    folder = Path(tempfile.mkdtemp(prefix=f"{asked.name[:16]}-"), *asked.parts[-2:])
    folder.mkdir(parents=True)
    return folder, False


def _say_where(folder: Path) -> None:
    """The row says where what stays here is: saved adapters are too large to be sent."""
    result = Result.read(folder / FILE)
    result.facts["kept_on"] = f"{socket.gethostname()}:{folder}"
    result.write(folder)


def _packed(folder: Path, names: list[str]) -> dict[str, str]:
    paths = [folder / name for name in names if not name.startswith(".")]
    small = [path for path in paths if path.is_file() and path.stat().st_size <= MOST_BYTES]
    return {path.name: base64.b64encode(path.read_bytes()).decode() for path in small}


def _other(task: Mapping[str, Any], trial: Trial) -> str:
    """In what this machine differs from the driver's, so that its results would be others; "" if in nothing."""
    if found := installation.difference(task["installed"], installation.identity()):
        return found
    if not task["function"].startswith("core."):
        return ""  # of a test: its inputs are made up
    return _other_inputs(trial, tuple(sorted(task["provenance"].items())))


@functools.lru_cache(maxsize=64)
def _other_inputs(trial: Trial, planned: tuple[tuple[str, str], ...]) -> str:
    try:
        return installation.difference(dict(planned), preflight.provenance(trial))
    except (BadInput, OSError) as error:
        return one_line(error)


def _device(task: Mapping[str, Any]) -> Device:
    """The trial's share of this machine. On a cluster the driver does not know how many cores and how much memory it has."""
    device = Device(**task["device"])
    if not task["joined"]:
        return device
    room = _room(task["slots"], task["gpus_per_trial"])
    threads = max(n_cores() // room, 1)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)  # read when torch is imported
    return replace(device, threads=threads, memory_fraction=1 / room if device.kind == "cpu" else device.memory_fraction)


@functools.cache
def _room(slots: int, gpus_per_trial: float) -> int:
    """How many of the sweep's trials this machine may hold at a time."""
    here = ray.get_runtime_context().get_node_id()
    found = [node["Resources"] for node in ray.nodes() if node["NodeID"] == here]
    room = sum(Resources(slots, 1, gpus_per_trial).room(resources) for resources in found)
    return max(min(room, slots), 1)
