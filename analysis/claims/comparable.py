"""The confound guard: in what the arms of a comparison differ beyond its axes, a remark for each thing. Pure.

Looked at over the seeds that all arms share: fields and resolved facts, steps and tokens, the scale of LoRA's update where
ranks differ, the length of the answers trained on, a learning rate that was not retuned.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arms import Arm, seeds_of
from analysis.escaping import escaped
from analysis.load import field_types
from core.adapters import METHODS
from core.preference_settings import NONE, Prefer
from core.settings import Adapter
from core.states import FAILED

RESOLVED = (  # what a trial's fields turned into, and on what it ran
    "dtype", "device", "threads", "optimizer", "seq_len_tokens", "template_hash", "target_modules", "data", "model", "eval_data",
    "base_text", "train_rows_hash", "evaluation_rows_hash", "git_commit", "drift_texts",
)  # fmt: skip

# Which of these facts follow from which axis.
FOLLOWS = {
    "data.": ("data", "train_rows_hash"),
    "model.": ("model", "template_hash", "dtype", "seq_len_tokens", "target_modules", "evaluation_rows_hash", "drift_texts"),
    "evaluation.drift": ("drift_texts",),
    "adapter.targets": ("target_modules",),
    "train.optimizer": ("optimizer",),
    "prefer.": ("pairs", "pairs_hash"),
}
BY_DESIGN = {"seed", "adapter.method"}  # a question that has several methods or seeds compares them
SET_BY = {"target_modules": "adapter.targets"}  # a fact of trials that have this field
VERSION_PREFIX = "version."  # of the facts that name a package's version
COSTS_ALIKE = 1.01  # steps and tokens
# Answers of the laboratory vary by 82 % (measured), so that the mean of 1,000 rows varies by 2.6 % by chance, of 100 by 8 %.
LENGTHS_ALIKE = 1.1
LONGEST = 110  # characters of a line in a caption
FEW_ARMS = 8  # whose values are listed one by one


@dataclass(frozen=True)
class Remark:
    """Something that a reader must know before comparing arms: `head` says what, `rest` gives the values."""

    head: str
    rest: str = ""

    def __str__(self) -> str:
        return self.head + self.rest

    @property
    def short(self) -> str:
        """As a caption has room for it; the whole of it stands in the report's design."""
        return str(self) if len(str(self)) <= LONGEST else f"{self.head} (see the design)"


def common_seeds(trials: pd.DataFrame, arms: Sequence[Arm]) -> tuple[pd.DataFrame, list[Remark]]:
    """The arms' final trials of the seeds that finished in all of them, and a remark if some arm has fewer."""
    chosen = trials[trials["fingerprint"].isin({name for arm in arms for name in arm.final.values()})]
    seeds = {arm.label: ", ".join(map(str, sorted(arm.final))) for arm in arms}
    by_arm = "; ".join(f"{label}: {text or 'none'}" for label, text in seeds.items())
    remark = Remark("finished seeds differ between arms", f" ({by_arm}); differences are over the common ones")
    shared = seeds_of(*(arm for arm in arms if arm.final))
    return chosen[chosen["seed"].isin(shared)], [remark] if len(set(seeds.values())) > 1 else []


def beyond(paired: pd.DataFrame, axes: Iterable[str], costs_vary: bool = False) -> list[Remark]:
    """Everything in which arms differ that is neither an axis nor follows from one. `costs_vary`: steps and tokens are what the
    question varies."""
    if paired.empty:
        return [Remark("no seed finished in all arms, so it was not checked in what they differ")]
    axes = set(axes)
    found = differing_fields(paired, axes) + ([] if costs_vary else differing_costs(paired))
    found += lora_scale(paired, axes) + answer_lengths(paired)
    fixed = Remark("the learning rate is the same in every arm, not retuned")
    return found if "train.learning_rate" in axes else [*found, fixed]


def caption(remarks: Sequence[Remark], bold: str = "") -> str:
    """What stands under a figure and a table about what arms differ in. `bold`: the mark."""
    if not remarks:
        return f"{bold}Arms differ in nothing beyond the axis.{bold}"
    return f"{bold}Differs beyond the axis:{bold} {'; '.join(escaped(remark.short) for remark in remarks)}."


def _range(values: pd.Series, lowest_ratio: float) -> str:
    """The least and the greatest, if they are further apart than this; else nothing."""
    low, high = float(values.min()), float(values.max())
    return f"{_number(low)} to {_number(high)}" if high > lowest_ratio * low else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def differing_costs(paired: pd.DataFrame) -> list[Remark]:
    """Steps and tokens, where they differ by more than 1 %."""
    found: list[Remark] = []
    for name in ("train/steps", "train/tokens"):
        if name in paired and (extremes := _range(paired.groupby("arm")[name].mean(), COSTS_ALIKE)):
            found.append(Remark(f"{name} differs between arms", f": {extremes}"))
    return found


def differing_fields(paired: pd.DataFrame, axes: set[str]) -> list[Remark]:
    """Fields and facts other than the question's axes whose values differ; a method's own fields, between the arms of methods
    that have them."""
    versions = [name for name in paired.columns if name.startswith(VERSION_PREFIX)]
    follow = {fact for prefix, facts in FOLLOWS.items() if any(axis.startswith(prefix) for axis in axes) for fact in facts}
    found = []
    of = functools.cache(lambda methods: paired[paired["adapter.method"].isin(methods)])
    for name in sorted((set(field_types()) | {*RESOLVED, *versions}) & set(paired.columns) - axes - follow - BY_DESIGN):
        rows = of(tuple(methods_with(SET_BY.get(name, name))))
        if rows[name].map(str).nunique() < 2:  # of each arm there is one trial a seed
            continue
        values = rows.groupby("arm")[name].agg(lambda column: tuple(sorted(map(str, column))))
        if values.nunique() > 1:
            found.append(Remark(f"{name} differs between arms", f": {_by_value(values)}"))
    return found


def methods_with(field: str) -> list[str]:
    """The methods whose trials have this field: all of them, but for the settings of some adapters."""
    return [name for name, one in METHODS.items() if field in own_fields(one.settings) or not field.startswith(Adapter.PREFIX)]


def own_fields(settings: type[Adapter]) -> set[str]:
    """The dotted fields of an adapter."""
    return {Adapter.PREFIX + one.name for one in dataclasses.fields(settings)}


def _by_value(values: pd.Series) -> str:
    """Each arm with its values; of many arms how many have which (of a commit the first digits)."""
    if len(values) <= FEW_ARMS:
        return "; ".join(f"{label}: {', '.join(dict.fromkeys(own))}" for label, own in values.items())
    alike = values.map(
        lambda own: ", ".join(dict.fromkeys(value if len(value) < 40 else value[:10] for value in own))
    ).value_counts()
    return "; ".join(f"{own} ({n} arms)" for own, n in alike.items())


def lora_scale(paired: pd.DataFrame, axes: set[str]) -> list[Remark]:
    """What is held where ranks differ. LoRA's update is multiplied by alpha / rank, rank-stabilized by alpha / √rank (PEFT), and
    `adapter.alpha_over_rank` gives alpha / rank in both: with the rank alpha grows, stabilized the scale too. `adapter.alpha`,
    where it is given, is alpha."""
    names = ["adapter.rank", "adapter.alpha_over_rank", "adapter.rank_stabilized"]
    if not set(names) <= set(paired) or axes & {*names[1:], "adapter.alpha"}:
        return []
    lora = paired.loc[paired["adapter.method"].isin(methods_with(names[1])), names]
    rank, over = lora["adapter.rank"].astype(float), lora["adapter.alpha_over_rank"].astype(float)
    if "adapter.alpha" in paired:
        over = (paired.loc[lora.index, "adapter.alpha"].astype(float) / rank).fillna(over)
    if not _range(rank, 1.0):
        return []
    stabilized = lora["adapter.rank_stabilized"].astype(bool)
    factor = "alpha / √rank" if stabilized.any() else "alpha / rank"
    scale, alpha = over * np.where(stabilized, rank**0.5, 1.0), over * rank
    if extremes := _range(scale, 1.001):
        held = f" (alpha is held at {alpha.iloc[0]:g})" if not _range(alpha, 1.001) else ""
        return [Remark(f"the scale of LoRA's update, {factor}, differs with the rank", f": {extremes}{held}")]
    held = f"the scale of LoRA's update, {factor}, is held at {over.iloc[0]:g}"
    return [Remark("alpha differs with the rank", f": {_range(alpha, 1.0)} ({held})")]


def answer_lengths(paired: pd.DataFrame) -> list[Remark]:
    """Tokens of the answers trained on, where arms differ by more than a tenth; of trials from before these were counted, tokens
    of whole sequences."""
    if "rows/response_tokens" in paired and paired["rows/response_tokens"].notna().all():
        values, what, note = paired["rows/response_tokens"], "answer", ""
    elif {"train/tokens", "train/steps", "rows/used", "train.batch_size"} <= set(paired):
        values, what, note = paired["train/tokens"] / _sequences(paired), "sequence", " (answers alone were not counted)"
    else:
        return []
    extremes = _range(values.groupby(paired["arm"]).mean(), LENGTHS_ALIKE)
    return [Remark(f"tokens in a training {what} differ between arms", f": {extremes}{note}")] if extremes else []


def _sequences(paired: pd.DataFrame) -> pd.Series:
    """How many sequences a trial saw: an epoch's last batch may be smaller."""
    replayed = paired["rows/replayed"].fillna(0) if "rows/replayed" in paired else 0
    rows, batch = paired["rows/used"] + replayed, paired["train.batch_size"]
    an_epoch = np.ceil(rows / batch)
    return paired["train/steps"] // an_epoch * rows + paired["train/steps"] % an_epoch * batch


def not_tuned(arm_rows: pd.DataFrame) -> list[Remark]:
    """A remark if some arms of a question that tunes the learning rate ran without tuning."""
    names = ", ".join(arm_rows.loc[(arm_rows["tuned"] == 0) & arm_rows["tunable"].astype(bool), "arm"])
    return [Remark("learning rate not tuned", f": {names}")] if names else []


def tunable(tune: Iterable[str], arm: Arm) -> bool:
    """Whether an arm has what a question tunes: one without a second stage has none of its settings."""
    alone = arm.fields.get("prefer.method") in (None, NONE)
    return not alone or any(not name.startswith(Prefer.PREFIX) for name in tune)


def at_the_edge(arm_rows: pd.DataFrame) -> list[Remark]:
    """A remark if the best learning rate of some arms lies at the edge of the range tried, and what to do."""
    names = ", ".join(arm_rows.loc[arm_rows["at_edge"].astype(bool), "arm"])
    how = "widen it with --set train.learning_rate=LOW..HIGH"
    return [Remark("best learning rate at the edge of the range tried", f" ({names}); {how}")] if names else []


def hindrance(arm_rows: pd.DataFrame, arms: Sequence[Arm], tuned: bool) -> str:
    """What keeps a comparison of arms at their best learning rates from deciding a claim: the rate was not tuned although
    the question tunes it, or its best lies at the edge of the range, so that a better one may lie beyond."""
    by_arm = arm_rows.set_index("arm")
    fixed = [arm.label for arm in arms if tuned and not by_arm.loc[arm.label, "tuned"] and by_arm.loc[arm.label, "tunable"]]
    edge = [arm.label for arm in arms if by_arm.loc[arm.label, "at_edge"] and arm.label not in fixed]
    parts = (("learning rate not tuned", fixed), ("best learning rate at the edge of the range", edge))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def not_forgetting(arm_rows: pd.DataFrame, arms: Sequence[Arm], measure: str = "forgetting") -> str:
    """Why a text that tuning makes easier for the model says nothing about forgetting; "" for one that some of these arms
    forget."""
    limits = arm_rows.set_index("arm")[[f"{measure}_low", f"{measure}_high"]]
    own = limits.reindex([arm.label for arm in arms])
    below = list(own.index[own[f"{measure}_high"] < 0])
    forgotten = bool((own[f"{measure}_low"] > 0).any())
    return f"the text does not measure forgetting: its NLL falls ({', '.join(below)})" if below and not forgotten else ""


def n_failed(trials: pd.DataFrame) -> str:
    """How many trials failed, and the first one's reason."""
    failed = trials[trials["state"].isin(FAILED)]
    first = f"; the first failure: {failed.iloc[0]['state']}, {failed.iloc[0]['reason']}" if len(failed) else ""
    return f"({len(failed)} failed){first}"
