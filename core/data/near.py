"""Near-duplicates between training and evaluation: rows that say nearly the same, by MinHash and locality-sensitive hashing
(datasketch). Exact ones are parted (core/data/apart.py); near ones are told, as where they end is a matter of taste.

Two rows are near if the sets of all pieces of PIECE characters in what is said (questions and answers as `normal` has them, the
first MOST_CHARACTERS of it) have a Jaccard index of NEAR at least. Candidates come from MinHash; the index is then counted, so
that none is told wrongly. With 64 permutations a pair just at NEAR is missed in one of ten cases, a pair at 0.9 hardly ever.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data.rows import Row
from core.data.wording import normal

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

NEAR = 0.8  # Lee et al. 2022 hold documents with 0.8 to be duplicates
PIECE = 5  # characters
MOST_CHARACTERS = 1_000
PERMUTATIONS, BANDS, IN_BAND = 64, 16, 4  # a candidate has all values of one band alike
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as Knuth multiplies
SCHEME = "affine32"  # of datasketch's permutations: those of 32 bits, which are the quickest
MOST_ROWS = 50_000  # of training that are looked at: seconds


@dataclass(frozen=True)
class Near:
    """How many evaluation rows have a near-duplicate among the training rows that were looked at, and the nearest pair's
    questions, cut."""

    n: int
    n_looked_at: int
    asked: str = ""
    trained: str = ""

    @property
    def told(self) -> str:
        """In words; nothing where there is none."""
        if not self.n:
            return ""
        rows = "1 evaluation row says" if self.n == 1 else f"{self.n:,} evaluation rows say"
        of = f" of the first {self.n_looked_at:,}" if self.n_looked_at == MOST_ROWS else ""
        return f"{rows} nearly the same as a training row{of} ({self.asked!r} and {self.trained!r})"


def said(row: Row) -> str:
    """What the row's user and assistant say, as it is compared."""
    return normal(" ".join(m["content"] for m in row.messages if m["role"] in ("user", "assistant")))[:MOST_CHARACTERS]


def pieces(text: str) -> np.ndarray:
    """The text's pieces as hashes of 32 bits, some more than once: (n,)."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    n = max(1, len(points) - PIECE + 1)
    hashes = np.zeros(n, dtype=np.uint64)
    for at in range(min(PIECE, len(points))):
        hashes = hashes * FACTOR + points[at : at + n]
    return (hashes ^ (hashes >> np.uint64(29))) * FACTOR >> np.uint64(32)


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    first, second = set(one.tolist()), set(other.tolist())
    return len(first & second) / len(first | second)


def _signature(found: np.ndarray) -> MinHash:
    from datasketch import MinHash

    signature = MinHash(PERMUTATIONS, hashfunc=int, permutations=_permutations(), scheme=SCHEME)
    signature.update_batch(found.tolist())
    return signature


@functools.cache
def _permutations() -> Any:
    """The same for all: making them takes longer than a signature."""
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, scheme=SCHEME).permutations


class Index:
    """Texts, each with a name, that can be asked which of them says nearly the same as another: a Jaccard index of `least` at
    least (at 0.7 one in a hundred is missed, at 0.6 one in ten)."""

    def __init__(self, least: float = NEAR) -> None:
        from datasketch import MinHashLSH

        self.least, self.known = least, list[tuple[np.ndarray, str]]()
        self.index: MinHashLSH = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, IN_BAND))

    def add(self, text: str, name: str) -> None:
        own = pieces(normal(text)[:MOST_CHARACTERS])
        self.index.insert(len(self.known), _signature(own))
        self.known.append((own, name))

    def nearest(self, text: str) -> tuple[float, str] | None:
        """The index and the name of the nearest text, if one is near."""
        own = pieces(normal(text)[:MOST_CHARACTERS])
        found = [(_jaccard(own, self.known[i][0]), -i) for i in self.index.query(_signature(own))]
        alike, i = max(found, default=(0.0, 0))
        return (alike, self.known[-i][1]) if alike >= self.least else None


def between(train: Sequence[Row], evaluation: Sequence[Row]) -> Near:
    """The near-duplicates of the evaluation rows among the training rows."""
    from datasketch import MinHashLSH

    index: MinHashLSH = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, IN_BAND))
    asked = [pieces(said(row)) for row in evaluation]
    for i, own in enumerate(asked):
        index.insert(i, _signature(own))
    looked_at = train[:MOST_ROWS] if asked else ()
    best: dict[int, tuple[float, int]] = {}
    for at, row in enumerate(looked_at):
        own = pieces(said(row))
        for i in index.query(_signature(own)):
            alike = _jaccard(own, asked[i])
            if alike >= NEAR and alike > best.get(i, (0.0, 0))[0]:
                best[i] = alike, at
    if not best:
        return Near(0, len(looked_at))
    nearest = max(best, key=lambda i: (best[i][0], -i))
    return Near(len(best), len(looked_at), _cut(evaluation[nearest]), _cut(looked_at[best[nearest][1]]))


def _cut(row: Row, n: int = 60) -> str:
    return row.prompt if len(row.prompt) <= n else f"{row.prompt[: n - 1]}…"
