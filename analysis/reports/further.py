"""What a question's report shows beside its arms: what models wrote to a few prompts, and what was measured along trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import load
from analysis.claims.tables import Tables
from analysis.figures import along as drawing
from analysis.figures import style
from analysis.reports import along, generations


@dataclass(frozen=True)
class Further:
    """`written` by arm; `along` as `load.along` reads it. Either may be empty."""

    written: generations.Written = field(default_factory=dict)
    along: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def read(cls, uri: str, trials: pd.DataFrame) -> Further:
        return cls(load.generations(uri, trials), load.along(uri, trials))

    def sections(self, t: Tables[Any]) -> list[str]:
        return [*along.section(self.along, t.units), *generations.section(self.written)]

    def frames(self) -> Mapping[str, pd.DataFrame]:
        """What is kept as CSV."""
        return {} if self.along.empty else {"along": self.along}

    def figures(self, t: Tables[Any], output: Path) -> list[Path]:
        return [] if self.along.empty else style.save(drawing.draw(self.along, t.arms, t.units), output / "along")
