"""What mitigations prepares: each way at equal quality with the plain training of its method, on tasks trained on and on held-out
ones, and how far the KL divergence on the task tells forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arms import seeds_of
from analysis.claims.curves import RANDOM_STATE, before
from analysis.claims.tables import Tables
from analysis.claims.told import Cloud, cloud
from analysis.questions.mitigations.ways import PLAIN, Way, ways
from analysis.stats import Estimate
from analysis.stats.equal_quality import Matched, SeedPair, matched_over_seeds
from analysis.stats.front import Scores

HELD_OUT, LEFT = "exact_match/held_out", "nll_after_relearning/documents"
QUALITIES = ("quality", HELD_OUT)


@dataclass(frozen=True)
class Mitigations:
    """Everything that the question makes of its arms."""

    ways: Sequence[Way]
    saved: Mapping[tuple[str, str], Matched]  # way, quality → forgetting of the way, and of the plain training of its method
    cloud: Cloud | None
    told: Estimate | None  # the R² of forgetting on the divergence

    def way(self, method: str, kind: str) -> Way | None:
        return next((one for one in self.ways if (one.method, one.kind) == (method, kind)), None)


def prepare(t: Tables[Any]) -> Mitigations:
    """All comparisons of the question."""
    qualities = [name for name in QUALITIES if name in t.panels]
    found, runs = ways(t, [*qualities, "forgetting"]), cloud([t.trials])
    plain = {one.method: one for one in found if one.kind == PLAIN}
    saved = {
        (one.name, quality): matched
        for one in found
        for quality in qualities
        if one.kind != PLAIN and one.method in plain and (matched := at_equal_quality(t, one, plain[one.method], quality))
    }
    return Mitigations(found, saved, runs, runs.r_squared if runs else None)


def at_equal_quality(t: Tables[Any], first: Way, second: Way, quality: str) -> Matched | None:
    """Forgetting of two ways at equal quality, and how much more the second forgets; None without two points of each and a
    common seed."""
    arms = [*first.arms, *second.arms]
    seeds = seeds_of(*arms)
    if min(len(first.places_K), len(second.places_K)) < 2 or not seeds:
        return None
    of_quality, lost = (
        np.concatenate([one.scores(t, seeds, name) for one in (first, second)]) for name in (quality, "forgetting")
    )
    panel, other = t.panels[quality], t.panels["forgetting"]
    scores = Scores(of_quality, lost, panel.strata_I, other.strata_I, panel.n_items, panel.bases(arms, seeds))
    untuned = before(t, {arm.final[seed] for arm in arms for seed in seeds}, quality)
    pair = SeedPair((first.places_K, second.places_K), scores, untuned)
    return matched_over_seeds(pair, np.random.default_rng(RANDOM_STATE))
