"""What each seed's tuning mix asks about: a quarter of the laboratory's clusters, the fold, is held out of it."""

from __future__ import annotations

from typing import Any

from analysis.arms import Arm
from analysis.claims.tables import Tables
from core.lab.corpus import DOMAIN_SHARES
from core.lab.skills import FOLDS, SKILLS

DOMAINS = tuple(DOMAIN_SHARES)  # of pretraining
CLUSTER_OF = {skill.name: skill.cluster for skill in SKILLS}
# The clusters of instructions that ask for what a domain tells. All others stand in the domain "skills"; nothing asks for
# code or everyday prose. The second language is met in translation, as single words.
ASKED = {"facts": "facts", "arithmetic": "arithmetic", "prose2": "translate"}


def share_of_mix(domain: str, fold: int) -> float:
    """Share of a domain's tasks among those that are trained on when this fold of the clusters is held out (the curated rows
    are balanced over tasks)."""
    trained = [skill.cluster for skill in SKILLS if skill.cluster not in FOLDS[fold]]
    if domain in ASKED:
        return trained.count(ASKED[domain]) / len(trained)
    return sum(cluster not in ASKED.values() for cluster in trained) / len(trained) if domain == "skills" else 0.0


def folds(t: Tables[Any], arm: Arm) -> list[int]:
    """The held-out fold of each of the arm's seeds, in the order of `arm.final`."""
    by_name = t.trials.set_index("fingerprint")["data.held_out_fold"]
    return [int(by_name[name]) for name in arm.final.values()]


def measured_domains(t: Tables[Any]) -> list[str]:
    """The laboratory's domains whose NLL was measured."""
    return [name for name in DOMAINS if f"nll/{name}" in t.panels]
