"""The state of a training in its trial's folder, from which a trial that was killed goes on.

Tensors lie in a safetensors file and all else in a JSON file, which is renamed into place last and says which tensors, with their
hash: after a kill at any line the older state is there or the newer one. Nothing is unpickled. The JSON file carries a mark of
what the training is; a state with another mark, or a damaged one, is not used, and why is told. A full disk costs a state and not
the trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.errors import one_line
from core.result import write_whole

FILE = ".training.json"  # files with a dot stay where they are when a trial's files are sent
TENSORS = ".training-{step}.safetensors"
FORMAT = 2  # of the JSON file
AFTER = "after"  # in the rest of a second stage's state: what the first stage came to
LEAST_SHARE = 20  # writing takes at most one part in so many of a trial's time
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass
class State:
    """A training at the beginning of optimizer step `step` (from 0); `rest`: what JSON holds of it."""

    step: int
    tensors: dict[str, torch.Tensor]
    rest: dict[str, Any]


@dataclass
class Keeper:
    """Keeps the states of one trial's training in its folder, every so many seconds, and gives back the last one. `mark` says
    what the training is: its fingerprint, and what computes it (versions, device, threads), so that sums come out as before."""

    folder: Path
    mark: Mapping[str, str]
    every_seconds: float
    trouble: str = ""  # why a state could not be used or written, or in what it was made otherwise
    made: Mapping[str, str] = field(default_factory=dict)  # by what micro-batches: others come to other last bits
    otherwise: list[str] = field(default_factory=list)  # what of it was other in earlier attempts, and from which step on
    saved: float = field(default_factory=time.monotonic)  # when the last one was written
    took_seconds: float = 0.0
    earlier_seconds: float | None = None  # of the processes before this one, from the state that the first `load` found

    def due(self) -> bool:
        return time.monotonic() - self.saved >= max(self.every_seconds, LEAST_SHARE * self.took_seconds)

    def save(self, state: State) -> None:
        """Writes the state over the older one."""
        began = time.monotonic()
        path = self.folder / TENSORS.format(step=state.step)
        try:
            digest = _write(path, state.tensors)
            row = {"format": FORMAT, "mark": dict(self.mark), "step": state.step, "sha256": digest, "rest": state.rest}
            row |= {"made": dict(self.made), "otherwise": self.otherwise}
            write_whole(self.folder / FILE, json.dumps(row | {"check": _check(row)}).encode())
        except OSError as error:
            self.trouble = f"could not be written: {one_line(error)}"
            with suppress(OSError):
                path.unlink(missing_ok=True)
        else:
            _remove(self.folder, but=path)
        self.saved = time.monotonic()
        self.took_seconds = self.saved - began

    def load(self) -> State | None:
        """The last state; None where there is none that can be used (`trouble` says why) and training begins anew."""
        try:
            found = self._load() if (self.folder / FILE).exists() else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            found, self.trouble = None, f"ignored: damaged ({one_line(error)})"
        if found is None:
            clear(self.folder)
        if self.earlier_seconds is None:
            self.earlier_seconds = float(found.rest.get("seconds", 0.0)) if found else 0.0
        return found

    def _load(self) -> State | None:
        row = json.loads((self.folder / FILE).read_text(encoding="utf-8"))
        if row["format"] != FORMAT or row["mark"] != self.mark:
            other = [f"{name} {row['mark'].get(name)}, now {value}" for name, value in self.mark.items()
                     if row["mark"].get(name) != value]  # fmt: skip
            self.trouble = "ignored: it has " + ("; ".join(other) or "another format")
            return None
        path = self.folder / TENSORS.format(step=int(row["step"]))
        if row.pop("check") != _check(row):
            raise ValueError(f"{FILE} has other words than were written")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                raise ValueError(f"{path.name} has other bytes than were written")
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
        before = row.get("made", {})
        new = [(name, was, now) for name, now in self.made.items() if (was := before.get(name, now)) != now]
        told = [f"{name} {was}, from step {row['step']} on {now}" for name, was, now in new]
        self.otherwise = list(dict.fromkeys([*row.get("otherwise", []), *told]))
        if self.otherwise:
            self.trouble = f"not to the last bit as if undisturbed: {'; '.join(self.otherwise)}"
        return State(int(row["step"]), tensors, dict(row["rest"]))


def clear(folder: Path) -> None:
    """Takes every state away, also one that a killed process left half-written."""
    with suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
        _remove(folder)


def _remove(folder: Path, but: Path | None = None) -> None:
    with suppress(OSError):
        for pattern in (f"{TENSORS.format(step='*')}*", f".{FILE}.*"):
            for path in folder.glob(pattern):
                if path != but:
                    path.unlink(missing_ok=True)


def _check(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Writes a safetensors file, one tensor after the other, so that none but it is held twice; returns its SHA-256."""
    header, at = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in chain((len(text).to_bytes(8, "little"), text), _pieces(tensors)):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    for tensor in tensors.values():
        if tensor.numel():
            yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
