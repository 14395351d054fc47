"""Whether a file is still the one that was looked at: a stamp for caches, and a trial's refusal of other than planned content."""

from __future__ import annotations

import time
from pathlib import Path

from core.errors import BadInput

# A change within the grain of the file system's clock (up to 2 s on FAT, 4 ms on ext4) leaves the times as they were.
GRAIN_NS = 2_000_000_000

Stamp = tuple[int, int, int, int, int]


def stamp(path: Path) -> Stamp | None:
    """Device, inode, size and both times of change in ns: equal as long as nobody wrote to the file (the time of the inode's
    change cannot be set back). None while the last change is so recent that another one would not show.

    Raises:
        OSError: there is no such file.
    """
    stat = path.stat()
    if time.time_ns() - stat.st_ctime_ns < GRAIN_NS:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def check(field: str, value: object, planned: str | None, read: str) -> None:
    """The content that a trial reads must be the one that its plan names; without a plan (None, "") any is.

    Raises:
        BadInput: it is another.
    """
    if planned and planned != read:
        raise BadInput(
            f"{field}={value}: changed after the sweep was planned (its content hash was {planned} and is {read} now);"
            " put the old content back, or give the same command again for a sweep of the new content",
            field=field,
        )
