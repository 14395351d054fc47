"""How a sweep shares out its machine: trials at a time, CPU threads and GPUs for each. Plain data; Ray enforces it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import BadInput, redacted
from core.hardware import Device, n_cores

START_SECONDS = 15  # of Ray, and of the first import of torch and transformers in each worker
MOST_AT_ONCE = 10_000  # beyond any cluster
LONGEST_TIMEOUT = 366 * 24 * 3600  # far beyond any trial, and below what the operating system's timers take
DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, WSL2's, AMD's


@dataclass(frozen=True)
class Resources:
    """What a sweep may use: `slots` trials at a time, each with `threads` CPU threads and GPUs or a share of one."""

    slots: int
    threads: int
    gpus_per_trial: float = 0.0
    trial_timeout_seconds: float = 6 * 3600
    local: bool = True  # trials run on this machine and share its memory
    keep_weights: bool = False  # of final trials, however large
    disk_bytes: int | None = None  # for all weights that are kept
    checkpoint_seconds: float = 300.0  # of training, between states from which a killed trial goes on

    @property
    def device(self) -> Device:
        """What a trial is told of its share."""
        if not self.gpus_per_trial:
            fraction = 1 / self.slots if self.local else None
            return Device("cpu", self.threads, fraction, self.keep_weights, self.checkpoint_seconds)
        # Ray's fractions are bookkeeping: the limit is torch's, less 5 % for what CUDA takes outside torch's allocator
        fraction = None if self.gpus_per_trial >= 1 else 0.95 * self.gpus_per_trial
        return Device("cuda", self.threads, fraction, self.keep_weights, self.checkpoint_seconds)

    def fit(self, node: Mapping[str, float]) -> bool:
        """Whether a node with these resources, as Ray counts them, holds a trial."""
        return node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= self.gpus_per_trial

    def room(self, node: Mapping[str, float]) -> int:
        """How many trials such a node holds at a time."""
        cpus = int(node.get("CPU", 0))
        return min(cpus, fitting(self.gpus_per_trial, node.get("GPU", 0))) if self.gpus_per_trial else cpus

    def __str__(self) -> str:
        each = f"{self.threads} CPU thread{'s' * (self.threads > 1)}"
        each += f" and {self.gpus_per_trial:g} GPU each" if self.gpus_per_trial else " each, on the CPU"
        return f"{self.slots} trial{'s' * (self.slots > 1)} at a time, {each}"


def fitting(gpus_per_trial: float, gpus: float) -> int:
    """How many trials Ray puts on so many GPUs: a share of a GPU is never made of two."""
    return int(gpus) * int(1 / gpus_per_trial + 1e-9)


def share_out(
    gpus_per_trial: float | None, concurrency: int | None, trial_timeout: float, remote: bool = False, lab: bool = False
) -> Resources:
    """As many trials at a time as GPUs or cores allow, or as asked for; cores shared out evenly.

    Unless told otherwise each trial takes one GPU where there is one; the laboratory's trials take none, as a model of 1 M
    parameters runs faster on a CPU core. A remote cluster's machines are not looked at: both numbers must be given.

    Raises:
        BadInput: more is asked for than there is, or a number out of range.
    """
    if concurrency is not None and concurrency < 1:
        raise BadInput(f"--concurrency {concurrency}: must be at least 1", field="--concurrency")
    if concurrency is not None and concurrency > MOST_AT_ONCE:
        raise BadInput(f"--concurrency {concurrency}: must be at most {MOST_AT_ONCE:,}", field="--concurrency")
    if remote and concurrency is None:
        more = " and with --gpus-per-trial what each takes (1, a fraction, or 0 for the CPU)" * (gpus_per_trial is None)
        raise BadInput(f"--ray-address: say with --concurrency how many trials the cluster shall run at a time{more}")
    if not 0 < trial_timeout <= LONGEST_TIMEOUT:
        raise BadInput(f"--trial-timeout {trial_timeout:g}: must be above 0 and at most {LONGEST_TIMEOUT:,} seconds")
    wanted = 0.0 if gpus_per_trial is None and lab else gpus_per_trial
    if wanted is not None and not 0 <= wanted <= 1:  # with two, Trainer would wrap the model in DataParallel
        raise BadInput(f"--gpus-per-trial {wanted:g}: must be between 0 and 1, as a trial trains on one GPU")
    if remote and wanted is None:
        raise BadInput("--ray-address: say with --gpus-per-trial what each trial takes (1, a fraction, or 0 for the CPU)")
    gpus = n_gpus() if wanted != 0 and not remote else 0
    if wanted is None:
        wanted = float(gpus > 0)
    if wanted > gpus and not remote:
        there = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "no GPU"
        raise BadInput(f"--gpus-per-trial {wanted:g}: torch finds {there} on this machine; leave it out to use the CPU")
    if wanted and not remote and (concurrency or 1) > (fit := fitting(wanted, gpus)):
        raise BadInput(f"--concurrency {concurrency}: at most {fit}, as each trial takes {wanted:g} of {gpus} GPUs")
    cores = n_cores()
    slots = concurrency or (fitting(wanted, gpus) if wanted and not remote else cores)
    return Resources(slots, max(cores // slots, 1), wanted, trial_timeout, local=not remote)


def cautions(share: Resources) -> list[str]:
    """What may be slower than meant, on this machine."""
    cores = n_cores()
    if share.gpus_per_trial or share.slots <= cores:
        return []
    return [f"caution: --concurrency {share.slots}: this machine has {cores} cores; more trials than that slow each other down"]


def check_cluster(address: str, timeout_seconds: float = 4) -> None:
    """Whether something answers at a Ray cluster's address; Ray itself would try for minutes.

    Raises:
        BadInput: the address is malformed, or nothing answers there.
    """
    if address == "auto":  # Ray finds the cluster of this machine
        return
    check_address(address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_seconds).close()
    except (OSError, UnicodeError) as error:  # a host of dots can't be encoded
        why = f"no answer ({getattr(error, 'strerror', None) or error}); is Ray running there (`ray status`)?"
        raise BadInput(f"--ray-address {address}: {why}", "--ray-address") from None


def check_address(address: str | None) -> None:
    """Whether an address has the form of a cluster's; nobody is asked.

    Raises:
        BadInput: it has not.
    """
    if address is None or address == "auto":
        return
    if "://" in address:
        why = "not served: give the head node's HOST:PORT (port 6379 unless told otherwise), on a machine of the cluster"
        raise BadInput(f"--ray-address {redacted(address)}: {why}", "--ray-address")
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise BadInput(f"--ray-address {address}: must look like HOST:PORT", "--ray-address")


def n_gpus() -> int:
    """How many GPUs torch can use; without a driver on the machine, known without importing torch."""
    if os.name == "posix" and not any(map(os.path.exists, DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()
