"""What was counted once and can be looked up again by the content that it was counted from, as JSON files in the user's cache.

Only a cache: a directory that cannot be written, or a file that cannot be read, means counting again. The key holds a hash of
all inputs and of the code that counts, so that neither changed data nor changed code can bring back an old number.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.fields import content_hash

# A relative path is no cache, says the standard; nor is "~" where nobody knows this user's home.
_CACHE = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
DIRECTORY = (_CACHE if _CACHE.is_absolute() else Path(os.devnull)) / "tunelab" / "counted"
MOST_FILES = 4_000  # of some 300 bytes; the oldest go first


@functools.cache
def code_hash(paths: tuple[str, ...]) -> str:
    """A hash of these files and of the Python files in these folders, given relative to core/."""
    here, found = Path(__file__).parent, hashlib.sha256()
    for path in paths:
        for file in sorted((here / path).glob("*.py")) if (here / path).is_dir() else [here / path]:
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def recall(key: Sequence[object]) -> dict[str, Any] | None:
    """What is kept under this key; None where there is nothing, or nothing that can be read."""
    try:
        found = json.loads(_file(key).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def keep(key: Sequence[object], value: dict[str, Any]) -> None:
    """Keeps a value under this key, whole or not at all."""
    file = _file(key)
    temporary = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a home directory that is read-only or full
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value))
        temporary.replace(file)
        prune(DIRECTORY, MOST_FILES)


def trouble() -> str:
    """Why nothing can be kept, as a caution; "" where it can."""
    with suppress(OSError):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        if os.access(DIRECTORY, os.W_OK | os.X_OK):
            return ""
    return f"caution: no cache, as {DIRECTORY} can't be written to: every command hashes large files and counts rows again"


def _file(key: Sequence[object]) -> Path:
    return DIRECTORY / f"{content_hash(list(key))}.json"


def prune(folder: Path, most: int) -> None:
    """Takes the oldest files away where there are more than `most`."""
    with suppress(OSError):  # of another process that prunes too
        files = list(folder.glob("*.json"))
        if len(files) > most:
            for old in sorted(files, key=lambda file: file.stat().st_mtime)[: most // 4]:
                old.unlink(missing_ok=True)
