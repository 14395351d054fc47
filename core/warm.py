"""What a worker keeps from one trial for the next: its base, tokens of rows and texts, near-duplicates among rows, scores of
the untouched base.

Every store is bounded, and none keeps a base in memory that has been let go: there is room for one, and a second may not fit.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch
from torch import nn

KEPT = 32  # entries in a store, but for the base's own


class Store:
    """Values by key, made when they are first asked for; the oldest goes when there are more than `most`."""

    def __init__(self, most: int = KEPT) -> None:
        self.most, self.values = most, dict[Hashable, Any]()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self.values:
            value = make()
            while len(self.values) >= self.most:
                self.values.pop(next(iter(self.values)))
            self.values[key] = value
        return self.values[key]

    def clear(self) -> None:
        self.values.clear()


BASE = Store(1)  # core.model.Base
TOKENS = Store()  # of the rows of a trial: core.data.encode.Batch
NEAR = Store()  # near-duplicates between the rows of a trial: core.data.near.Near
TEXTS = Store(2)  # the tokens of base texts
BEFORE = Store()  # what the untouched base scores: lists of Measurement
# Texts that a base has written, by the base. Weak keys: a base that is let go is freed with its samples.
SAMPLES: weakref.WeakKeyDictionary[nn.Module, Store] = weakref.WeakKeyDictionary()
# Where such texts are shared (core/tasks/own_texts.py): the folder, and a hash that tells the base.
SHARED: weakref.WeakKeyDictionary[nn.Module, tuple[Path, str]] = weakref.WeakKeyDictionary()
# What a base has written to prompts (core/tasks/samples.py), by the base, alike.
GENERATIONS: weakref.WeakKeyDictionary[nn.Module, Store] = weakref.WeakKeyDictionary()


def drop_base() -> None:
    """Lets the base go, with its memory and what is held in reference cycles."""
    BASE.clear()
    gc.unfreeze()  # what `settle` froze
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def settle() -> None:
    """To be called when a base is loaded: the Trainer collects garbage in every trial, which takes 0.25 s over all that is
    imported by now, and 0.01 s when that is frozen."""
    gc.collect()
    gc.freeze()


def clear() -> None:
    """Forgets everything: after a crash nothing that was kept is trusted."""
    for store in (TOKENS, NEAR, TEXTS, BEFORE):
        store.clear()
    SAMPLES.clear()
    SHARED.clear()
    GENERATIONS.clear()
    drop_base()
