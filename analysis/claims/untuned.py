"""The base before tuning, as arms have scores: a row of the table, a line in figures of quality, a candidate of the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import arms as a
from analysis.arms import Arm, Frames, Panel
from analysis.load import field_types
from analysis.stats.estimate import Estimate
from core.settings import Evaluation, Model

NAME = "untuned base"
ASKED_BY = ("template_hash", "evaluation_rows_hash")  # facts of a trial that decide what its base is asked


@dataclass(frozen=True)
class Untuned:
    """A base before tuning: the arms that were tuned from it and are asked the same, and of each seed the trial that knows its
    scores. `means`: measure → its level (what a change starts from is no level and has none)."""

    label: str
    of: tuple[str, ...]
    final: Mapping[int, str]
    means: Mapping[str, Estimate]


def before(frames: Frames, fingerprints: Sequence[str], measure: str) -> Panel | None:
    """The scores on a measure before these trials' tuning; None where some were not recorded."""
    trials, items = frames
    column = "axis" if measure in a.AXES else "measure"
    own = items[items["fingerprint"].isin(fingerprints) & (items[column] == measure)]
    if own.empty or own["before"].isna().any() or set(own["fingerprint"].unique()) != set(fingerprints):
        return None
    return a.panel(own.assign(after=own["before"]), list(fingerprints), measure, trials)


def bases(arms: Sequence[Arm], trials: pd.DataFrame, items: pd.DataFrame, measures: Sequence[str]) -> tuple[Untuned, ...]:
    """The untuned bases of the arms: one, unless arms are tuned from several or ask them differently."""
    groups: list[dict[int, tuple[str, str]]] = []  # seed → what the base is, and a trial that was tuned from it
    members: list[list[str]] = []
    known = _identities(trials)
    for arm in (arm for arm in arms if arm.final):
        own = {seed: (known[name], name) for seed, name in arm.final.items()}
        fits = (i for i, group in enumerate(groups) if all(group[s][0] == own[s][0] for s in group.keys() & own.keys()))
        at = next(fits, len(groups))
        if at == len(groups):
            groups.append({})
            members.append([])
        groups[at] |= {seed: one for seed, one in own.items() if seed not in groups[at]}
        members[at].append(arm.label)
    finals = [{seed: name for seed, (_, name) in sorted(group.items())} for group in groups]
    labels = _labels(trials, finals, members)
    levels = [name for name in measures if not a.is_change(name)]
    return tuple(
        Untuned(label, tuple(of), final, means((trials, items), final, levels))
        for label, of, final in zip(labels, members, finals, strict=True)
    )


def _identities(trials: pd.DataFrame) -> dict[str, str]:
    """Fingerprint → what the base of this trial is and how it is asked."""
    prefixes = (Model.PREFIX, Evaluation.PREFIX)
    fields = [name for name in field_types() if name.startswith(prefixes)]
    columns = [name for name in (*fields, *ASKED_BY) if name in trials]
    return dict(zip(trials["fingerprint"], map(str, trials[columns].itertuples(index=False, name=None)), strict=True))


def _labels(trials: pd.DataFrame, finals: Sequence[Mapping[int, str]], members: Sequence[Sequence[str]]) -> list[str]:
    """One base needs no further name; of several each has its model's, or that of an arm that is asked as it is."""
    if len(finals) == 1:
        return [NAME]
    names = trials.set_index("fingerprint")["model.name"]
    models = [", ".join(dict.fromkeys(str(names[name]) for name in final.values())) for final in finals]
    unique = len(set(models)) == len(models)
    return [f"{NAME} {model}" if unique else f"{NAME} of {own[0]}" for model, own in zip(models, members, strict=True)]


def means(frames: Frames, final: Mapping[int, str], measures: Sequence[str]) -> dict[str, Estimate]:
    """What a base scores on the measures that were recorded of it. `final`: seed → the trial that knows its scores."""
    panels = {name: before(frames, list(final.values()), name) for name in measures}
    return {name: a.mean(Arm("", "", None, final=dict(final)), panel) for name, panel in panels.items() if panel is not None}


def scores(base: Untuned, frames: Frames, like: Panel, measure: str, seeds: Sequence[int]) -> np.ndarray | None:
    """The base's scores as those of arms in the panel `like`: (seeds, items); None where they cannot be paired with these."""
    names = [base.final[seed] for seed in seeds if seed in base.final]
    if len(names) < len(seeds):
        return None
    own = before(frames, names, measure)
    if own is None:
        return None
    found = own.of(names)
    if not like.crossed:
        return found.mean(axis=1, keepdims=True)
    return found if own.crossed and found.shape[1] == like.scores_FI.shape[1] else None
