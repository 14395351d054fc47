"""The methods that are compared, LoRA of three ranks and full fine-tuning, and their arms along the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.arms import Arm
from analysis.claims.tables import Tables
from core import adapters

EPOCHS = 3.0  # the usual length of a training


@dataclass(frozen=True)
class Method:
    """How a model is tuned: the adapter and, of LoRA, the rank."""

    adapter: str
    rank: int | None = None

    @property
    def name(self) -> str:
        """In tables and in the trials' column "method"."""
        return self._with_rank("r=")

    @property
    def label(self) -> str:
        """On a figure."""
        return self._with_rank("r = ")

    def _with_rank(self, sign: str) -> str:
        known = adapters.METHODS[self.adapter].label
        return known if self.rank is None else f"{known} {sign}{self.rank}"


FULL, RANK_16 = Method("full"), Method("lora", 16)
LORA = (Method("lora", 4), RANK_16, Method("lora", 64))
METHODS = (*LORA, FULL)


def with_method(trials: pd.DataFrame) -> pd.DataFrame:
    """Adds what makes a curve: the method with its rank."""
    ranks = zip(trials["adapter.method"], trials["adapter.rank"], strict=True)
    return trials.assign(method=[Method(str(name), None if pd.isna(rank) else int(rank)).name for name, rank in ranks])


def epochs_of(arm: Arm) -> float:
    """How often the arm's training goes over its rows."""
    return float(str(arm.fields["train.epochs"]))


def lengths(t: Tables[Any], method: Method) -> list[float]:
    """The numbers of epochs that a method ran with, rising."""
    return sorted({epochs_of(arm) for arm in t.where({"method": method.name})})


def along_rates(t: Tables[Any], method: Method, epochs: float = EPOCHS) -> list[Arm]:
    """A method's arms of one length along the learning rate; of the usual length, or of the only one that a sweep has."""
    there = lengths(t, method)
    chosen = there[0] if epochs == EPOCHS and epochs not in there and len(there) == 1 else epochs
    return t.where({"method": method.name, "train.epochs": chosen})
