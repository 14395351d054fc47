"""Texts that a base has written (core/tasks/own_texts.py), as the workers of a sweep share them: in files beside its trials, and
past these where workers see other disks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from core.fields import content_hash
from core.result import write_whole

FOLDER = "texts"  # in a sweep's directory


class Way(Protocol):
    """How workers that don't see one directory pass contents on, by name."""

    def take(self, name: str) -> bytes | None:
        """What was offered under this name."""

    def offer(self, name: str, content: bytes) -> bytes:
        """Lets all take this under the name; returns what counts: the first that was offered."""


ways: list[Way] = []  # one at most: whoever starts workers on several machines puts it here


def shared(path: Path, make: Callable[[], Any]) -> Any:
    """The texts that were passed on under this file's name, or of the file; made, passed on, and written whole, where there are
    none or damaged ones."""
    for way in ways:
        if (found := unpacked(way.take(path.name))) is not None:
            return found
    found = read(path)
    if found is not None and not ways:
        return found
    texts = make() if found is None else found
    for way in ways:  # before they are written, so that the file has what is passed on
        texts = unpacked(way.offer(path.name, packed(texts)))
    _write(path, texts)
    return texts if ways or (found := read(path)) is None else found


def packed(texts: Any) -> bytes:
    """Plain lists of numbers, with their hash."""
    return json.dumps({"hash": content_hash(texts), "texts": texts}).encode()


def unpacked(content: bytes | None) -> Any:
    """The texts, if they are those that were packed; None of damaged ones and of nothing."""
    try:
        found = json.loads(content or b"")
        return found["texts"] if found["hash"] == content_hash(found["texts"]) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(path: Path, texts: Any) -> None:
    with suppress(OSError):  # of a node whose disk is full or another's: its own texts, whose hash is recorded
        own = path.with_name(f"{path.name}.{os.getpid()}")
        write_whole(own, packed(texts))
        try:
            os.link(own, path)  # not over another worker's, which others may have read
        except FileExistsError:
            if read(path) is None:
                own.replace(path)
        except OSError:  # a file system without links
            own.replace(path)
        finally:
            own.unlink(missing_ok=True)


def read(path: Path) -> Any:
    """The texts in the file, if they are those that were written."""
    try:
        return unpacked(path.read_bytes())
    except OSError:
        return None
