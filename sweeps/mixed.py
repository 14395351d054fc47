"""`--data A,B` of a question whose axis is the shares of its sources."""

from __future__ import annotations

import dataclasses

from core.data import mixture, shares
from core.errors import BadInput
from core.experiment import Experiment
from core.fields import replace_field
from sweeps.labels import SHARES


def with_sources(experiment: Experiment, option: str, value: str) -> Experiment:
    """The experiment over the shares of other sources ("A,B"); held-out rows have the shares that are given (A=1,B=3), or equal
    ones."""
    replace_field(experiment.base, "data.source", value)  # what no system takes as a path is refused before one is asked
    source = mixture.absolute(mixture.equal(value))
    n = len(mixture.names_in(source))
    if n not in shares.PARTS:
        most = f"{shares.LEAST_SOURCES} to {shares.MOST_SOURCES} sources"
        text = f"{n} sources; {experiment.name} lays shares over {most}: {option} A,B or A,B,C"
        raise BadInput(f"{option} {value}: {text}", field=option)
    levels = shares.simplex(n)
    base = replace_field(replace_field(experiment.base, "data.source", source), SHARES, levels[0])
    return dataclasses.replace(experiment, base=base, vary={**experiment.vary, SHARES: levels})
