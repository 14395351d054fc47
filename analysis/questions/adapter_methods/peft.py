"""What PEFT's comparison of methods found, and how far our order is theirs. Pure.

Facts read from the files at URL: Llama-3.2-3B tuned on MetaMathQA for 5,000 steps of 4 rows with one seed, scored on the 1,319
questions of GSM8K's test set; forgetting is the rise of the loss on texts of Wikipedia. Of a method with several entries the one
whose settings are the nearest to ours. FourierFT and LayerNorm learnt nothing at their rate, so their forgetting says little.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arms import Arm, seeds_of
from analysis.claims.tables import Tables, has
from analysis.stats import Estimate, holm, t_quantile
from analysis.stats.best import pairwise
from analysis.stats.ranks import rank_correlation

URL = "https://github.com/huggingface/peft/tree/5d602fdb/method_comparison/MetaMathQA/results"
N_QUESTIONS = 1_319
ALPHA = 0.05
LEAST_SEEDS = 2


@dataclass(frozen=True)
class Entry:
    """A method in their table: accuracy, forgetting (nats a token), trained parameters, peak memory and the learning rate."""

    name: str
    accuracy: float
    forgetting: float
    n_trained: int
    memory_gib: float
    learning_rate: float = 1e-4


PUBLISHED: dict[str, Entry] = {
    "lora": Entry("lora, rank32", 0.4784, 0.0500, 9_175_040, 20.8),
    "dora": Entry("lora, rank32-dora", 0.4693, 0.0506, 9_289_728, 22.8),
    "lora-fa": Entry("lora, rank32-lorafa", 0.4041, 0.0607, 3_670_016, 20.7),
    "adalora": Entry("adalora, rank32", 0.3730, 0.0221, 18_353_664, 21.2),
    "vera": Entry("vera, default", 0.3541, 0.0995, 129_024, 20.1, 0.001),
    "randlora": Entry("randlora, default", 0.4776, 0.2033, 9_289_728, 21.2),
    "vblora": Entry("vblora, default", 0.3336, 0.0514, 1_212_416, 20.7),
    "loha": Entry("loha, rank32", 0.3927, 0.0325, 18_350_080, 22.3),
    "lokr": Entry("lokr, rank32-factor4-lr0.003", 0.4663, 0.1050, 2_294_656, 22.0, 0.003),
    "hira": Entry("hira, rank32-lr4.5e-3", 0.5133, 0.1300, 9_175_040, 22.0, 0.0045),
    "gralora": Entry("gralora, rank32", 0.4951, 0.0575, 9_175_040, 20.8, 0.0002),
    "delora": Entry("delora, rank32", 0.4678, 0.0461, 9_175_096, 20.8, 0.001),
    "deft": Entry("deft, rank32", 0.4822, 0.0630, 9_175_040, 22.0),
    "peanut": Entry("peanut, rank32-relu-depth0-s2.0", 0.4488, 0.0684, 7_340_032, 23.5),
    "miss": Entry("miss, default", 0.4867, 0.1973, 7_340_032, 18.9),
    "shira": Entry("shira, lr_0.0003-random_seed_42", 0.5102, 0.0521, 9_175_040, 20.2, 0.0003),
    "c3a": Entry("c3a, default", 0.4875, 0.1651, 5_505_024, 20.5, 0.3),
    "fourierft": Entry("fourierft, default", 0.0000, 0.0194, 56_000, 22.0),
    "waveft": Entry("waveft, n_frequency-5000", 0.4026, 0.1084, 280_000, 23.2),
    "osf": Entry("osf, rank128", 0.4268, 0.0165, 194_535_936, 35.9, 5e-5),
    "ia3": Entry("ia3, lr_0.001", 0.3980, 0.0504, 286_720, 21.6, 0.001),
    "oft": Entry("oft, rank32", 0.4913, 0.0412, 8_171_520, 20.8),
    "road": Entry("road, lr_0.001", 0.3851, 0.0735, 229_376, 21.3, 0.001),
    "prefix": Entry("prefixtuning, lr_0.001", 0.1857, 1.7852, 11_468_800, 20.4, 0.001),
    "prompt": Entry("prompt_tuning, sample_vocab-lr_0.001", 0.3434, 0.1451, 614_400, 22.7, 0.001),
    "p-tuning": Entry("ptuning, default", 0.3495, 0.1286, 28_382_208, 19.5),
    "layernorm": Entry("ln_tuning, default", 0.0000, 0.0090, 175_104, 19.7),
    "full": Entry("full-finetuning, lr_0.00001", 0.4716, 0.0300, 3_212_749_824, 36.2, 1e-5),
}


@dataclass(frozen=True)
class Pairs:
    """Of a measure: how many pairs of methods our intervals tell apart (5 % over all pairs, Holm), how many of these have the
    order of PEFT's table, and those that have the opposite one, the better in ours first. And the rank correlation."""

    n_methods: int
    n_pairs: int
    n_told: int
    n_agree: int
    opposite: tuple[tuple[str, str], ...]
    correlation: Estimate


@dataclass(frozen=True)
class Beside:
    """Our order beside theirs, by quality and by forgetting; None where that was not measured."""

    methods: tuple[str, ...]  # in both tables, the best quality of ours first
    quality: Pairs | None
    forgetting: Pairs | None

    @property
    def n_pairs(self) -> int:
        return math.comb(len(self.methods), 2)


def prepare(t: Tables[object]) -> Beside:
    arms = [arm for arm in t.where({}) if arm.method in PUBLISHED and arm.label not in t.same]
    once = {arm.method: arm for arm in arms if sum(other.method == arm.method for other in arms) == 1}
    scored = [arm for arm in once.values() if has(arm, t.panels["quality"])]
    ranked = sorted(scored, key=lambda arm: -t.means[arm.label]["quality"].value)
    theirs = {name: one.accuracy for name, one in PUBLISHED.items()}
    forgets = {name: -one.forgetting for name, one in PUBLISHED.items()}
    return Beside(
        tuple(arm.method for arm in ranked),
        compare(t, ranked, "quality", theirs),
        compare(t, ranked, "forgetting", forgets) if "forgetting" in t.panels else None,
    )


def compare(t: Tables[object], arms: Sequence[Arm], measure: str, theirs: dict[str, float]) -> Pairs | None:
    """How far our arms' order on a measure is theirs (`theirs`: larger is better); None without two arms with two common seeds:
    of one seed only new questions are known."""
    panel, seeds = t.panels[measure], seeds_of(*arms) if arms else []
    if len(arms) < 2 or len(seeds) < LEAST_SEEDS or not all(has(arm, panel) for arm in arms):
        return None
    sign = -1.0 if measure == "forgetting" else 1.0
    scores_KSI = sign * np.stack([panel.of([arm.final[seed] for seed in seeds]) for arm in arms])
    pairs = pairwise(scores_KSI, panel.strata_I, panel.n_items, panel.bases(arms, seeds))
    names, p_KK = [arm.method for arm in arms], pairs.p_KK()
    both = list(itertools.combinations(range(len(names)), 2))
    p_values = holm(np.array([min(1.0, 2 * min(p_KK[i, j], p_KK[j, i])) for i, j in both]))
    told = [(j, i) if pairs.gain_KK[i, j] > 0 else (i, j) for (i, j), p in zip(both, p_values, strict=True) if p <= ALPHA]
    opposite = tuple((names[i], names[j]) for i, j in told if theirs[names[i]] < theirs[names[j]])
    n_agree = sum(theirs[names[i]] > theirs[names[j]] for i, j in told)
    correlation = rank_correlation(scores_KSI.mean(axis=(1, 2)), np.array([theirs[name] for name in names]))
    return Pairs(len(names), len(both), len(told), n_agree, opposite, correlation)


def told_apart_by_items(one: Entry, other: Entry) -> bool:
    """Whether their difference is beyond what other questions would make of it, at 5 %: they have one seed, so that nothing says
    what another would."""
    variance = sum(entry.accuracy * (1 - entry.accuracy) for entry in (one, other)) / N_QUESTIONS
    return abs(one.accuracy - other.accuracy) > t_quantile(math.inf) * math.sqrt(variance)
