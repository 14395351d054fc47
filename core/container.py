"""What a container or a batch system lets this process have: Linux's control groups, of both versions, which the counts of the
machine's cores and memory do not know of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpus() -> float:
    """CPU cores by quota; unbounded where nobody limits them."""
    quotas = [text.split() for text in _texts("cpu", "cpu.max")]
    shares = zip(_texts("cpu", "cpu.cfs_quota_us"), _texts("cpu", "cpu.cfs_period_us"), strict=False)
    quotas += [[quota, period] for quota, period in shares if quota != "-1"]
    return min((int(quota) / int(period) for quota, period in quotas if quota != "max" and int(period)), default=math.inf)


def memory_bytes() -> float:
    """Memory; unbounded where nobody limits it."""
    limits = [*_texts("memory", "memory.max"), *_texts("memory", "memory.limit_in_bytes")]
    return min((int(limit) for limit in limits if limit != "max"), default=math.inf)


def _texts(controller: str, name: str) -> Iterator[str]:
    """What the file says in this process's group and in all above it: the least of them holds."""
    for top, below in _groups(controller):
        for folder in (top / below, *(top / below).parents):
            if folder.is_relative_to(top):
                with suppress(OSError):
                    yield (folder / name).read_text(encoding="ascii").strip()


def _groups(controller: str) -> Iterator[tuple[Path, str]]:
    """Where the process's group lies, from where its controller's are; a container sees its own as the uppermost."""
    with suppress(OSError):
        for line in OWN.read_text(encoding="utf-8").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers:
                yield ROOT, path.lstrip("/")
            elif controller in controllers.split(","):
                yield ROOT / controller, path.lstrip("/")
