"""Keeps the weights of a sweep's trials together below `--disk-budget`: those go that can win least.

First the weights that nobody can export: of tuning trials, of trials that did not end. Then of final trials, arm by arm from the
lowest mean quality up, all but the one seed nearest to the arm's median, which an export would take; then, again from the lowest
mean, that one too, but never the last of the arm that leads. Rows and items stay, and a file beside them says what was removed.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core import saved
from core.errors import BadInput
from core.states import Phase
from core.tracking import TrialRecord
from sweeps.ledger import Outcome

OPTION = "--disk-budget"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
LIKE = "a size like 20GB, 500MB or 1.5TiB"
MOST_BYTES = 10**18  # beyond any disk
SHOWN = 12  # trials by their names


def size(text: str) -> int:
    """Bytes of "20GB", "500 MB", "1.5TiB".

    Raises:
        ValueError: it is no such text, or out of range.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?((?:[KMGT]I?)?)B", text.strip().upper())
    n = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 1 <= n <= MOST_BYTES:
        raise ValueError(text)
    return int(n)


def limit_bytes(asked: int | str | None) -> int | None:
    """The budget in bytes, which Python may also give as text.

    Raises:
        BadInput: it is none.
    """
    with suppress(ValueError):
        if asked is None or isinstance(asked, str):
            return None if asked is None else size(asked)
        if isinstance(asked, int) and not isinstance(asked, bool) and 1 <= asked <= MOST_BYTES:
            return asked
    raise BadInput(f"{OPTION} {asked!r}: must be {LIKE}, or a number of bytes", field=OPTION)


def in_words(n_bytes: float, digits: int = 3) -> str:
    """ "20GB", "1.5MB", as one would type it."""
    unit, name = _unit(n_bytes)
    return f"{n_bytes / unit:.{digits}g}{name}"


def at_least(n_bytes: float) -> str:
    """The same, rounded up."""
    unit, name = _unit(n_bytes)
    return f"{math.ceil(10 * n_bytes / unit) / 10:g}{name}"


def _unit(n_bytes: float) -> tuple[int, str]:
    name = next((name for name in "TGM" if n_bytes >= UNITS[name]), "K")
    return UNITS[name], f"{name}B".replace("KB", "kB")


@dataclass(frozen=True)
class Ended:
    """A trial that has ended, and the bytes of its weights."""

    record: TrialRecord
    quality: float | None  # None: it failed
    n_bytes: int


class Disk:
    """The weights below one sweep's directory. `sizes`: of a final trial of each arm, as estimated."""

    def __init__(self, limit: int, sizes: Mapping[str, int]) -> None:
        self.limit, self.sizes = limit, dict(sizes)
        self.ended = dict[str, Ended]()
        self.running = dict[str, int]()  # bytes that a running trial will take
        self.stuck = set[str]()  # could not be removed
        self.removed: list[tuple[str, int]] = []  # trials by name, with their bytes

    @property
    def option(self) -> str:
        return f"{OPTION} {in_words(self.limit, 6)}"

    def open(self, directory: Path, records: Mapping[str, TrialRecord], outcomes: Mapping[str, Outcome]) -> None:
        """Takes stock of the trials in `directory`, of which none runs, and makes room. `records`, `outcomes`: by key."""
        for folder in sorted(path for path in directory.glob("trials/*") if path.is_dir()):
            key, phase = folder.name, folder.name.rpartition("-")[2]
            saved.clear_leftovers(folder)
            unnamed = TrialRecord(key, key[:16], "", phase, (), folder)
            self._take(records.get(key, unnamed), outcomes.get(key))
        self._make_room()

    def started(self, record: TrialRecord) -> None:
        """Makes room for what the trial will keep."""
        if record.phase == Phase.FINAL:
            self.running[record.key] = self.sizes.get(record.arm, max(self.sizes.values(), default=0))
            self._make_room()

    def finished(self, record: TrialRecord, outcome: Outcome) -> None:
        """Counts what the trial has kept. Sizes that were estimated too low are corrected."""
        self.running.pop(record.key, None)
        n_bytes = self._take(record, outcome)
        self.sizes[record.arm] = max(n_bytes, self.sizes.get(record.arm, 0))
        self._make_room()

    def lines(self) -> list[str]:
        """What was removed, for the sweep's output."""
        found = []
        if self.removed:
            names = [name for name, _ in self.removed]
            rest = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
            which = ", ".join([*names[:SHOWN], *rest])
            total = in_words(sum(n_bytes for _, n_bytes in self.removed))
            found.append(f"{self.option}: removed the weights of {len(names)} trials ({total}), which could win least: {which}")
        kept = [one.n_bytes for one in self.ended.values() if one.n_bytes]
        found.append(f"{self.option}: {len(kept)} trials keep their weights ({in_words(sum(kept))})")
        if self.stuck:
            names = [self.ended[key].record.name for key in sorted(self.stuck)]
            found.append(f"caution: {self.option}: the weights of {', '.join(names[:SHOWN])} could not be removed")
        if sum(kept) > self.limit:
            found.append(f"caution: {self.option}: the kept weights are more than that, and the leading arm's last seed stays")
        return found

    def _take(self, record: TrialRecord, outcome: Outcome | None) -> int:
        n_bytes = saved.n_bytes(record.folder)
        quality = outcome.quality if outcome and not outcome.failed else None
        self.ended[record.key] = Ended(record, quality, n_bytes)
        return n_bytes

    def _make_room(self) -> None:
        """Removes weights until those that are there, and those to come from running trials, fit."""
        there = sum(one.n_bytes for key, one in self.ended.items() if key not in self.running)
        over = there + sum(self.running.values()) - self.limit
        for key in self._order() if over > 0 else ():
            if over <= 0:
                break
            one = self.ended[key]
            try:
                saved.remove(one.record.folder, self.option)
            except OSError:
                self.stuck.add(key)
                continue
            self.ended[key] = Ended(one.record, one.quality, 0)
            self.removed.append((one.record.name, one.n_bytes))
            over -= one.n_bytes

    def _order(self) -> list[str]:
        """The trials whose weights may go, in the order in which they go."""
        arms, useless = dict[str, list[tuple[str, float]]](), []
        for key, one in self.ended.items():
            if one.record.phase == Phase.FINAL and one.record.arm and one.quality is not None:
                arms.setdefault(one.record.arm, []).append((key, one.quality))
            else:
                useless.append(key)
        more, last = list[str](), list[str]()
        for seeds in sorted(arms.values(), key=lambda seeds: statistics.fmean(quality for _, quality in seeds)):
            median = statistics.median(quality for _, quality in seeds)
            far = sorted(((abs(quality - median), key) for key, quality in seeds if self._may_go(key)), reverse=True)
            more += [key for _, key in far[:-1]]
            last += [key for _, key in far[-1:]]
        return [key for key in useless if self._may_go(key)] + more + last[:-1]

    def _may_go(self, key: str) -> bool:
        return self.ended[key].n_bytes > 0 and key not in self.running and key not in self.stuck
