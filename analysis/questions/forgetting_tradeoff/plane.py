"""The plane of quality and forgetting: which arms make a curve, what each seed's mix asks about, curves at equal quality,
points of forgetting against loss and against steps. Pure.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arms import Arm, seeds_of
from analysis.claims.curves import RANDOM_STATE, matched_arms, scores
from analysis.claims.tables import Tables
from analysis.questions.forgetting_tradeoff.laws import shapes
from analysis.stats import Estimate
from analysis.stats.equal_quality import Matched
from analysis.stats.front import Box, Scores, front_probability, hypervolume_interval
from core.lab.corpus import DOMAIN_SHARES
from core.lab.skills import FOLDS, SKILLS

METHODS = ("LoRA r=4", "LoRA r=16", "LoRA r=64", "full")
EPOCHS = 3.0
LEAST_POINTS = 5  # that a straight line and its AICc need
DOMAINS = tuple(DOMAIN_SHARES)
CLUSTER_OF = {skill.name: skill.cluster for skill in SKILLS}
# The clusters of instructions that ask for what a domain tells. All others stand in the domain "skills"; nothing asks for
# code or everyday prose. The second language is met in translation, as single words.
ASKED = {"facts": "facts", "arithmetic": "arithmetic", "prose2": "translate"}


def methods(trials: pd.DataFrame) -> pd.DataFrame:
    """What makes a curve: the method with its rank."""
    ranks = zip(trials["adapter.method"], trials["adapter.rank"], strict=True)
    return trials.assign(method=["full" if name == "full" else f"LoRA r={int(rank)}" for name, rank in ranks])


def share_of_mix(domain: str, fold: int) -> float:
    """Share of a domain's tasks among those that are trained on when this fold of the clusters is held out (the curated rows
    are balanced over tasks)."""
    trained = [skill.cluster for skill in SKILLS if skill.cluster not in FOLDS[fold]]
    if domain in ASKED:
        return trained.count(ASKED[domain]) / len(trained)
    return sum(cluster not in ASKED.values() for cluster in trained) / len(trained) if domain == "skills" else 0.0


def folds(t: Tables, arm: Arm) -> list[int]:
    """The held-out fold of each of the arm's seeds, in the order of `arm.final`."""
    by_name = t.trials.set_index("fingerprint")["data.held_out_fold"]
    return [int(by_name[name]) for name in arm.final.values()]


def curve(t: Tables, method: str, epochs: float | None = EPOCHS) -> list[Arm]:
    """A method's arms along the learning rate."""
    lengths = {arm.fields.get("train.epochs") for arm in t.where({"method": method})}
    if epochs == EPOCHS and epochs not in lengths and len(lengths) == 1:  # a sweep with another length throughout
        epochs = float(str(lengths.pop()))
    return t.where({"method": method, "train.epochs": epochs})


@functools.lru_cache(maxsize=32)  # rules, tables and figure ask for the same
def matched(t: Tables, first: str, second: str, measure: str = "forgetting", epochs: float = EPOCHS) -> Matched | None:
    """Two methods at equal quality; None without two rates of each and a common seed."""
    return matched_arms(t, (curve(t, first, epochs), curve(t, second, epochs)), measure)


@dataclass(frozen=True)
class Cloud:
    """Points of several arms in each of S seeds: x (loss or steps) and forgetting, each (S, K)."""

    arms: list[Arm]
    x_SK: np.ndarray
    y_SK: np.ndarray


def _cloud(t: Tables, arms: list[Arm], column: str, least: int) -> Cloud | None:
    seeds = seeds_of(*arms)
    if len(arms) < least or len(seeds) < 2 or column not in t.trials:
        return None
    x_by_name = t.trials.set_index("fingerprint")[column].astype(float)
    x_SK = np.array([[x_by_name[arm.final[seed]] for arm in arms] for seed in seeds])
    y_SK = scores(t, arms, seeds, "forgetting").mean(axis=2).T
    return Cloud(arms, x_SK, y_SK) if np.isfinite(x_SK).all() and (x_SK > 0).all() and np.ptp(x_SK.mean(axis=0)) > 0 else None


def up_to_best(t: Tables, method: str) -> list[Arm]:
    """A method's arms of every length, up to the rate that is best for quality."""
    arms = curve(t, method)
    seeds = seeds_of(*arms)
    if not seeds:
        return []
    best = arms[int(scores(t, arms, seeds, "quality").mean(axis=(1, 2)).argmax())].rate
    return [arm for arm in t.where({"method": method}) if arm.rate <= best]


def loss_points(t: Tables, kind: str) -> Cloud | None:
    """Forgetting against the fine-tuning loss at the end, of "lora" (all ranks) or "full"."""
    arms = [arm for method in METHODS if (method == "full") == (kind == "full") for arm in up_to_best(t, method)]
    return _cloud(t, arms, "train/loss_last_tenth", LEAST_POINTS)


def step_points(t: Tables, method: str) -> Cloud | None:
    """Forgetting against the steps, at the rate that has the most numbers of epochs."""
    arms = t.where({"method": method})
    rates = {arm.rate: [other for other in arms if other.rate == arm.rate] for arm in arms}
    most = max(rates.values(), key=len, default=[])
    return _cloud(t, sorted(most, key=lambda arm: float(str(arm.fields["train.epochs"]))), "train/steps", 3)


def said_of_shapes(points: Cloud) -> str:
    """Which law has the least error at points left out, in a few words."""
    found = shapes(points.x_SK.mean(axis=0), points.y_SK.mean(axis=0))
    return "error at arms left out: " + ", ".join(f"{one.law} {one.left_out_error:.2f}" for one in found) if found else ""


def on_the_front(t: Tables) -> dict[str, float]:
    """How surely each arm, of whatever length, is on the front of all: arm → probability."""
    arms = t.where({})
    seeds = seeds_of(*arms)
    if not seeds:
        return {}
    strata = t.panels["quality"].strata_I, t.panels["forgetting"].strata_I
    quality, forgetting = (scores(t, arms, seeds, name) for name in ("quality", "forgetting"))
    found = front_probability(Scores(quality, forgetting, *strata), np.random.default_rng(RANDOM_STATE))
    return dict(zip((arm.label for arm in arms), map(float, found), strict=True))


def box(t: Tables) -> Box:
    """From the untouched base to the best quality and the largest forgetting of any arm of the usual length."""
    arm_rows = t.arm_rows[t.arm_rows["arm"].isin([arm.label for method in METHODS for arm in curve(t, method)])]
    before = float(t.trials["quality_before"].astype(float).mean())
    return Box(before, float(arm_rows["quality"].max()), float(arm_rows["forgetting"].max()))


def hypervolumes(t: Tables) -> dict[str, Estimate]:
    """The share of the plane's box that each method dominates along its learning rates."""
    found = {}
    for method in METHODS:
        arms = curve(t, method)
        if seeds := seeds_of(*arms):
            strata = t.panels["quality"].strata_I, t.panels["forgetting"].strata_I
            quality, forgetting = (scores(t, arms, seeds, name) for name in ("quality", "forgetting"))
            rng = np.random.default_rng(RANDOM_STATE)
            found[method] = hypervolume_interval(Scores(quality, forgetting, *strata), box(t), rng)
    return found
