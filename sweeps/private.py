"""A directory of our own for Ray's sockets, logs and sessions: made by us, readable by nobody else, gone with the sweep."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import BadInput

SOCKET_PATH_BYTES = 107  # Linux's limit
RAYS_OWN_BYTES = 65  # what Ray adds to its temporary directory
PREFIX = "tl-"
LENGTH = len(f"/{PREFIX}12345678/r")  # of what mkdtemp adds, and the folder inside that Ray is given
NEW_SECONDS = 60.0  # after which a directory that is still empty was left by a process that was killed as it made it
ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")  # where TMPDIR will not do


@contextmanager
def directory() -> Iterator[Path]:
    """A new directory of mode 0700, removed at the end.

    What a sweep left that was ended by kill -9 is removed by the next: its lock, which the kernel drops, can be taken.

    Raises:
        BadInput: there is no place for it.
    """
    base = place()
    for left in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # in use
            _remove_left(left)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # 0700, under a name that nobody had
    try:
        with (made / "lock").open("w") as mine:
            fcntl.flock(mine, fcntl.LOCK_EX)
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def place() -> Path:
    """TMPDIR, or the first usual place, that is short and plain enough for Ray's sockets and safe from other users.

    Raises:
        BadInput: there is none.
    """
    try:
        first = [tempfile.gettempdir()]
    except OSError:  # nothing that Python knows can be written to
        first = []
    reasons = {}
    for candidate in dict.fromkeys([*first, *ELSEWHERE]):
        reasons[candidate] = unfit(candidate)
        if not reasons[candidate]:
            return Path(candidate)
    told = ", ".join(f"{candidate} {reason}" for candidate, reason in reasons.items())
    raise BadInput(
        f"TMPDIR: no directory for Ray's files: {ascii(told)[1:-1]}; set TMPDIR to a short one that is yours", "TMPDIR"
    )


def unfit(candidate: str) -> str:
    """Why Ray's files can't lie below this directory; "" if they can."""
    if not candidate.isascii() or any(letter.isspace() or not letter.isprintable() for letter in candidate):
        return "has letters that Ray does not take"
    if len(os.fsencode(candidate)) + LENGTH + RAYS_OWN_BYTES > SOCKET_PATH_BYTES:
        return "is too long for a socket"
    try:
        found = os.stat(candidate)
    except OSError as error:
        return f"can't be used ({error.strerror})"
    try:
        os.rmdir(tempfile.mkdtemp(prefix=PREFIX, dir=candidate))
    except OSError as error:
        return f"can't be written to ({error.strerror})"
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if others_write or found.st_uid not in (0, os.getuid()):  # others could put their own directory in our one's place
        return "can be changed by other users"
    return ""


def is_ours(path: Path) -> bool:
    """Whether it is a directory (no link) that belongs to this user and that nobody else can enter."""
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700


def _remove_left(path: Path) -> None:
    """Removes what an earlier sweep of ours left.

    Raises:
        OSError: it is in use, or not ours.
    """
    if not is_ours(path):
        return
    if time.time() - path.stat().st_mtime > NEW_SECONDS:
        with suppress(OSError):  # not empty: it has a lock
            path.rmdir()
            return
    handle = os.open(path / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
