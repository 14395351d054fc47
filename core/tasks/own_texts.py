"""What a base has written itself, drawn once: kept in the worker's memory, and in a file that all workers of a sweep see.

Another kind of processor rounds another way and draws other texts, so that arms whose trials ran on different machines would be
asked different things under the same names. The first worker that needs a set of texts writes it; all others read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from core import warm
from core.fields import content_hash
from core.result import write_whole

MOST_KEPT = 8  # sets of texts in memory
TRIALS, FOLDER = "trials", "texts"  # in a sweep's directory


def share(reference: nn.Module, trial_folder: Path, base: object) -> None:
    """Lets the base's texts be kept beside the trials of a sweep; a trial that runs by itself has nobody to share them with.
    `base`: what the texts depend on beside the prompts, with the hash of its content."""
    if trial_folder.parent.name == TRIALS:
        warm.SHARED[reference] = (trial_folder.parents[1] / FOLDER, content_hash(base))


def kept(reference: nn.Module, key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` has the base write: plain lists of numbers, as JSON has them. Made once for all that ask with this key."""
    drawn = (lambda: _shared(*warm.SHARED[reference], key, make)) if reference in warm.SHARED else make
    return warm.SAMPLES.setdefault(reference, warm.Store(MOST_KEPT)).get(key, drawn)


def _shared(folder: Path, base: str, key: Hashable, make: Callable[[], Any]) -> Any:
    """The texts of the file; made, and written whole, where there is none or a damaged one."""
    path = folder / f"{content_hash([base, repr(key)])}.json"
    if (found := _read(path)) is not None:
        return found
    texts = make()
    with suppress(OSError):  # of a node whose disk is full or another's: its own texts, whose hash is recorded
        own = path.with_name(f"{path.name}.{os.getpid()}")
        write_whole(own, json.dumps({"hash": content_hash(texts), "texts": texts}).encode())
        try:
            os.link(own, path)  # not over another worker's, which others may have read
        except FileExistsError:
            if _read(path) is None:
                own.replace(path)
        except OSError:  # a file system without links
            own.replace(path)
        finally:
            own.unlink(missing_ok=True)
    return texts if (found := _read(path)) is None else found


def _read(path: Path) -> Any:
    """The texts in the file, if they are those that were written."""
    try:
        found = json.loads(path.read_bytes())
        return found["texts"] if found["hash"] == content_hash(found["texts"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
