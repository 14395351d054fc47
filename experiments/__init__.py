"""One question per file; each module defines EXPERIMENT. `load` finds one by name, `names` lists them."""

from __future__ import annotations

import importlib
import pkgutil

from core.errors import BadInput, nearest
from core.experiment import Experiment


def names() -> list[str]:
    """Every experiment's name, sorted: the names of the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Experiment:
    """The experiment called `name`.

    Raises:
        BadInput: there is none, with the nearest name.
    """
    if name not in names():
        raise BadInput(f"experiment {name!r} is unknown: {nearest(name, names())}")
    experiment: Experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    return experiment
