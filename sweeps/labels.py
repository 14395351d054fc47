"""What arms are called: "lora r=16", "full", "n_examples=250"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core import naming
from core.data import mixture
from core.fields import reads
from core.settings import Scalar, Trial

SHARES, AMOUNT = "data.shares", "data.amount"
SHORT = {"adapter.rank": "r", "adapter.method": "", "prefer.method": "", SHARES: ""}
STAGES = {"none": "first stage", "chosen": "+ chosen", "dpo": "+ DPO", "ipo": "+ IPO"}  # prefer.method


def labels(trials: Sequence[Trial], settings: Sequence[Mapping[str, Scalar]]) -> list[str]:
    """ "lora r=16", "full", "n_examples=250": the method where it differs or its fields do, then what the arm changes."""
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    method_matters = any(name.startswith("adapter.") for name in names)
    tails = [name.rpartition(".")[2] for name in names]
    short = {name: SHORT.get(name, tail if tails.count(tail) == 1 else name) for name, tail in zip(names, tails, strict=True)}
    texts = {value for setting in settings for value in setting.values() if isinstance(value, str)}
    paths = naming.short(name for text in sorted(texts) for name in mixture.names_in(text))
    found = []
    for trial, setting in zip(trials, settings, strict=True):
        words = [trial.adapter.method] if method_matters else []
        shown = {name: _shown(value, paths) for name, value in setting.items() if reads(trial, name)}
        words += [STAGES[value] for name, value in shown.items() if name == "prefer.method"]
        words += [mixture.shares_label(trial.data.source, trial.data.shares)] if SHARES in setting else []
        told = {name: value for name, value in shown.items() if name not in SHORT or SHORT[name]}
        words += [f"equal {value}" if name == AMOUNT else f"{short[name]}={value}" for name, value in told.items()]
        found.append(" ".join(words) or "base")
    return found


def _shown(value: Scalar, paths: Mapping[str, str]) -> str:
    """A value in a label; `paths`: the short names of paths."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return mixture.label(value, paths) if isinstance(value, str) else str(value)
