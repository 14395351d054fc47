"""Where a trial runs: its share of a machine as plain data, and claiming that share. torch is imported when it is claimed."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import container
from core.errors import BadInput

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda")
FIELD = "device"  # to blame in a BadInput about this machine's hardware
FACT, LOST = "device_state", "lost"  # in a result's facts: this process can't use its device any more
LOST_SIGNS = (  # in messages of errors that torch raises as plain RuntimeError, in small letters
    *("cuda error", "hip error", "cuda driver", "device-side assert", "illegal memory access", "uncorrectable ecc"),
    *("cublas_status", "cudnn_status", "unspecified launch failure", "no cuda-capable device", "no cuda gpus"),
)

# Threads that wait for each other sleep instead of spinning. On two cores with other work on them, spinning makes a forward
# pass of two threads take eight times the processor's time (1.3 s against 0.17, 135 M parameters).
PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True)
class Device:
    """A CPU share (threads) or a GPU share, `memory_fraction` of the machine's or the GPU's memory (None: all of it), and of its
    disk: whether a final trial keeps weights of any size, and after how many seconds of training the state of it is kept, so that
    a trial which is killed goes on there."""

    kind: str = "cpu"
    threads: int = 1
    memory_fraction: float | None = None
    keep_weights: bool = False
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"device kind={self.kind!r}: must be one of {', '.join(KINDS)}", field="kind")
        if self.threads < 1:
            raise BadInput(f"device threads={self.threads}: must be at least 1", field="threads")
        if not self.checkpoint_seconds > 0:
            raise BadInput(
                f"device checkpoint_seconds={self.checkpoint_seconds}: must be above 0 seconds", field="checkpoint_seconds"
            )
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise BadInput(
                f"device memory_fraction={self.memory_fraction}: must be above 0 and at most 1", field="memory_fraction"
            )


CPU_INFO, BFLOAT16_UNITS = Path("/proc/cpuinfo"), ("amx_bf16", "avx512_bf16")
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def prepare(device: Device) -> torch.device:
    """Claims the device's share: threads on a CPU, memory on a GPU.

    Raises:
        BadInput: a GPU is asked for and there is none.
    """
    import torch

    torch.set_num_threads(device.threads)
    if device.kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BadInput("a GPU is asked for, but torch sees none on this machine", field=FIELD)
    if device.memory_fraction is not None:  # Ray's fractions of a GPU are bookkeeping only
        torch.cuda.set_per_process_memory_fraction(device.memory_fraction)
    return torch.device("cuda", 0)


def check_type(device: Device, dtype: torch.dtype) -> None:
    """Whether the device computes in this type.

    Raises:
        BadInput: it is a GPU from before bfloat16, where the Trainer would refuse.
    """
    import torch

    if device.kind == "cuda" and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        text = f"{torch.cuda.get_device_name()} does not compute in bfloat16; use model.dtype=float32"
        raise BadInput(f"model.dtype: {text}", field="model.dtype")


def reset_peak_memory(device: Device) -> None:
    """Begins a new peak; what the trial before left in reference cycles goes first."""
    import torch

    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif os.access(CLEAR_REFS, os.W_OK):
        trim()
        CLEAR_REFS.write_text("5")  # the resident set's high-water mark falls to what is resident now


def trim() -> None:
    """Gives the system back what was freed: glibc keeps it, and what comes after in other sizes is beside it."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_gib(device: Device) -> float:
    """The most memory held since `reset_peak_memory`: allocated on the GPU, or resident in the whole process (CPU).

    NaN, so that no number is recorded, where the CPU's mark cannot be reset: not on Linux.
    """
    import torch

    if device.kind == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    if not os.access(CLEAR_REFS, os.W_OK):
        return math.nan
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 2**20  # KiB


def available_gib(device: Device) -> float:
    """The memory that a trial may fill: its share of the GPU's, or of the machine's; unbounded where the system does not tell."""
    if device.kind == "cuda":
        import torch

        total = float(torch.cuda.get_device_properties(0).total_memory)
    else:
        try:
            total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (ValueError, OSError, AttributeError):
            total = math.inf
        total = min(total, container.memory_bytes())
    return total / 2**30 * (device.memory_fraction or 1.0)


def n_cores() -> int:
    """How many CPU cores this process may use; of a quota whole ones, and one at least."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(there, container.cpus())))


def bfloat16_unit() -> str:
    """The CPU's own instructions for matrices in bfloat16 by their name in Linux; "" where it has none or nobody tells."""
    try:
        flags = set(CPU_INFO.read_text().partition("flags")[2].partition("\n")[0].split())
    except OSError:
        return ""
    return next((name for name in BFLOAT16_UNITS if name in flags), "")


def device_name(device: Device) -> str:
    import torch

    if device.kind == "cuda":
        return torch.cuda.get_device_name()
    import platform

    return f"{platform.machine()} CPU, {device.threads} thread(s)"


def exact_name(device: Device) -> str:
    """With what decides in which order sums are taken: the GPU's model; threads and the instructions of the CPU."""
    import torch

    return device_name(device) + (f", {torch.backends.cpu.get_cpu_capability()}" if device.kind == "cpu" else "")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on the GPU or on the CPU."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()  # the CPU's allocator and cuBLAS raise RuntimeError
    signs = ("out of memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def is_lost(error: BaseException) -> bool:
    """Whether the error says that the device, or this process's hold on it, is broken: whatever comes next in this process
    fails too (after a device-side assert, say)."""
    torch: Any = sys.modules.get("torch")  # what nobody has imported has raised nothing
    if torch and is_out_of_memory(error):
        return False
    if torch and isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in LOST_SIGNS)
