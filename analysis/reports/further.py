"""What a question's report shows beside its arms: what models wrote to a few prompts, and what was measured along trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import load
from analysis.claims.tables import Tables
from analysis.claims.verdicts import NO_LOOKS
from analysis.figures import along as drawing
from analysis.figures import style
from analysis.reports import along, generations
from core import tracking
from core.looks import Looks


@dataclass(frozen=True)
class Further:
    """`written` by arm; `along` as `load.along` reads it; `looks` that reports took before; `claims`: claims.json. Any of them
    may be empty."""

    written: generations.Written = field(default_factory=dict)
    along: pd.DataFrame = field(default_factory=pd.DataFrame)
    looks: Looks = NO_LOOKS
    claims: str = ""

    @classmethod
    def read(cls, uri: str, name: str, sweep: str, trials: pd.DataFrame) -> Further:
        """Of a sweep of the question called `name`."""
        before = tracking.read_looks(uri, name, sweep), tracking.read_claims(uri, name, sweep)
        return cls(load.generations(uri, trials), load.along(uri, trials), *before)

    def sections(self, t: Tables[Any]) -> list[str]:
        return [*along.section(self.along, t.units), *generations.section(self.written)]

    def frames(self) -> Mapping[str, pd.DataFrame]:
        """What is kept as CSV."""
        return {} if self.along.empty else {"along": self.along}

    def figures(self, t: Tables[Any], output: Path) -> list[Path]:
        return [] if self.along.empty else style.save(drawing.draw(self.along, t.arms, t.units), output / "along")
