"""Which of the rows that can be trained on a trial draws from: all in the seed's order; of several sources in their shares."""

from __future__ import annotations

from dataclasses import dataclass

from core.data import mixture, shares
from core.data.choices import RANDOM
from core.data.rows import Loaded, Row
from core.errors import BadInput
from core.settings import Data


@dataclass(frozen=True)
class Drawn:
    """The rows in the order in which they are taken, some more than once where a mixture repeats them; how many there could be;
    a mixture's shares."""

    rows: tuple[Row, ...]
    n_available: int
    shares: mixture.Shares = ()

    def in_shares(self, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """Of several sources as many rows as have their shares, so that every beginning has them; of one source all."""
        return mixture.in_shares(rows, self.shares, lambda row: row.origin) if self.shares else rows


def drawn_from(pool: tuple[Row, ...], loaded: Loaded, data: Data) -> Drawn:
    """The pool, up to `data.n_candidates`; of several sources in their shares, and as many as `data.amount` says.

    Raises:
        BadInput: shares or an amount of what is one source; a source has no row left; rows are repeated and selected.
    """
    wanted = shares.of_sources(data.shares, loaded.shares, data.source)
    again = data.amount != shares.EPOCHS
    if again and (not wanted or data.select != RANDOM or data.n_candidates is not None):
        text = "is about several sources, and this is one; give several: --data A=1,B=1"
        if wanted:
            text = "repeats rows, which data.select and data.n_candidates don't go with; use epochs"
        raise BadInput(f"data.amount={data.amount}: {text}", field="data.amount")
    if not wanted:
        rows = pool[: data.n_candidates]
        return Drawn(rows, len(rows))
    if again:
        n = min(len(pool), data.n_examples or len(pool))
        rows = mixture.repeated(pool, wanted, lambda row: row.origin, n, data.amount)
    else:
        rows = mixture.in_shares(pool, wanted, lambda row: row.origin)[: data.n_candidates]
    if not rows:
        text = "one of the sources has no row left to train on; give it more, or leave it out"
        raise BadInput(f"data.source={data.source}: {text}", field="data.source")
    return Drawn(rows, len(pool) if again else len(rows), wanted)
