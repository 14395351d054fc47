"""What a base has written itself, drawn once: kept in the worker's memory, and in a file that all workers of a sweep see.

Another kind of processor rounds another way and draws other texts, so that arms whose trials ran on different machines would be
asked different things under the same names. The first worker that needs a set of texts writes it; all others read it, or have
it passed on where they see another disk (core/shared_texts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from torch import nn

from core import shared_texts, warm
from core.fields import content_hash

MOST_KEPT = 8  # sets of texts in memory
TRIALS = "trials"  # in a sweep's directory


def share(reference: nn.Module, trial_folder: Path, base: object) -> None:
    """Lets the base's texts be kept beside the trials of a sweep; a trial that runs by itself has nobody to share them with.
    `base`: what the texts depend on beside the prompts, with the hash of its content."""
    if trial_folder.parent.name == TRIALS:
        warm.SHARED[reference] = (trial_folder.parents[1] / shared_texts.FOLDER, content_hash(base))


def kept(reference: nn.Module, key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` has the base write: plain lists of numbers, as JSON has them. Made once for all that ask with this key."""
    drawn = (lambda: _shared(*warm.SHARED[reference], key, make)) if reference in warm.SHARED else make
    return warm.SAMPLES.setdefault(reference, warm.Store(MOST_KEPT)).get(key, drawn)


def _shared(folder: Path, base: str, key: Hashable, make: Callable[[], Any]) -> Any:
    return shared_texts.shared(folder / f"{content_hash([base, repr(key)])}.json", make)
