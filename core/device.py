"""Where a trial runs: plain data that schedulers build without importing torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.definitions import BadInput

KINDS = ("cpu", "cuda")


@dataclass(frozen=True)
class Device:
    """A CPU share (threads) or a GPU share (`memory_fraction` of the GPU's memory, None: all of it)."""

    kind: str = "cpu"
    threads: int = 1
    memory_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"device kind={self.kind!r}: must be one of {', '.join(KINDS)}")
        if self.threads < 1:
            raise BadInput(f"device threads={self.threads}: must be at least 1")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise BadInput(f"device memory_fraction={self.memory_fraction}: must be above 0 and at most 1")
