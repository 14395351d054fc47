"""What a question's report shows beside its arms: what models wrote to a few prompts, and what was measured along trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import load
from analysis.claims.annotation import Costs, Prices, costs
from analysis.claims.comparable import Remark
from analysis.claims.tables import Tables
from analysis.claims.verdicts import NO_LOOKS
from analysis.figures import along as drawing
from analysis.figures import style
from analysis.reports import along, annotation, generations
from core import tracking
from core.looks import Looks


@dataclass(frozen=True)
class Further:
    """`written` by arm; `along` as `load.along` reads it; `looks` that reports took before; `claims`: claims.json;
    `costs` of the rows, where prices are given; `status` of the sweep as `tracking.read_status` tells it. Any of them may be
    empty."""

    written: generations.Written = field(default_factory=dict)
    along: pd.DataFrame = field(default_factory=pd.DataFrame)
    looks: Looks = NO_LOOKS
    claims: str = ""
    prices: Prices | None = None
    costs: Costs | None = None
    status: str = "FINISHED"

    @classmethod
    def read(cls, uri: str, name: str, sweep: str, trials: pd.DataFrame) -> Further:
        """Of a sweep of the question called `name`."""
        before = tracking.read_looks(uri, name, sweep), tracking.read_claims(uri, name, sweep)
        status = tracking.read_status(uri, name, sweep)
        return cls(load.generations(uri, trials), load.along(uri, trials), *before, status=status)

    @property
    def unfinished(self) -> list[Remark]:
        """What must be known where trials may be missing that the sweep has planned."""
        how = {"RUNNING": "is not through", "KILLED": "was interrupted"}.get(self.status)
        rest = ": trials of its plan may be missing, and a claim that is estimated now was looked at (the same command goes on)"
        return [Remark(f"the sweep {how}", rest)] if how else []

    def with_costs(self, t: Tables[Any]) -> Further:
        """The same with what the arms' rows cost, where there are prices.

        Raises:
            BadInput: a source has no price, or a price is of none of them.
        """
        return self if self.prices is None else replace(self, costs=costs(t, self.prices))

    def sections(self, t: Tables[Any]) -> list[str]:
        return [
            *annotation.section(t, self.costs), *along.section(self.along, t.units), *generations.section(self.written)
        ]  # fmt: skip

    def frames(self, t: Tables[Any]) -> Mapping[str, pd.DataFrame]:
        """What is kept as CSV."""
        found = {} if self.along.empty else {"along": self.along}
        return found | ({"cost": annotation.frame(t, self.costs)} if self.costs else {})

    def figures(self, t: Tables[Any], output: Path) -> list[Path]:
        files = [] if self.along.empty else style.save(drawing.draw(self.along, t.arms, t.units), output / "along")
        return files + (style.save(annotation.draw(t, self.costs), output / "cost") if self.costs else [])
