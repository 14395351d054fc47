"""The confound guard: in what the arms of a comparison differ beyond its axes, one line for each thing. Pure.

Looked at over the seeds that all arms share: fields and resolved facts, steps and tokens, the scale of LoRA's update where
ranks differ, the length of the answers trained on, a learning rate that was not retuned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis import formatting
from analysis.arms import Arm, seeds_of
from analysis.load import field_types
from core.states import FAILED

RESOLVED = (  # what a trial's fields turned into, and on what it ran
    "dtype", "device", "threads", "optimizer", "seq_len_tokens", "template_hash", "target_modules", "data", "model", "eval_data",
    "base_text", "train_rows_hash", "evaluation_rows_hash", "git_commit",
)  # fmt: skip

# Which of these facts follow from which axis.
FOLLOWS = {
    "data.": ("data", "train_rows_hash"),
    "model.": ("model", "template_hash", "dtype", "seq_len_tokens", "target_modules", "evaluation_rows_hash"),
    "adapter.targets": ("target_modules",),
}
COSTS_ALIKE = 1.01  # steps and tokens
# Answers of the laboratory vary by 70 %, so that the means of 1,000 rows differ by 2 % by chance (measured), of 100 by 7 %.
LENGTHS_ALIKE = 1.1
LONGEST = 110  # characters of a line in a caption
FEW_ARMS = 8  # whose values are listed one by one


def common_seeds(trials: pd.DataFrame, arms: Sequence[Arm]) -> tuple[pd.DataFrame, list[str]]:
    """The arms' final trials of the seeds that finished in all of them, and a line if some arm lacks seeds."""
    chosen = trials[trials["fingerprint"].isin({name for arm in arms for name in arm.final.values()})]
    seeds = {arm.label: ", ".join(map(str, sorted(arm.final))) for arm in arms}
    shown = "; ".join(f"{label}: {text or 'none'}" for label, text in seeds.items())
    lines = [f"finished seeds differ between arms ({shown}); differences are over the common ones"]
    lines = lines if len(set(seeds.values())) > 1 else []
    shared = seeds_of(*(arm for arm in arms if arm.final))
    return chosen[chosen["seed"].isin(shared)], lines


def beyond(paired: pd.DataFrame, axes: Iterable[str], costs_vary: bool = False) -> list[str]:
    """Everything in which arms differ that is neither an axis nor follows from one. `costs_vary`: steps and tokens are what the
    question varies."""
    if paired.empty:
        return ["no seed finished in all arms, so it was not checked in what they differ"]
    axes = set(axes)
    found = differing_fields(paired, axes) + ([] if costs_vary else differing_costs(paired))
    found += lora_scale(paired, axes) + answer_lengths(paired)
    return found if "train.learning_rate" in axes else [*found, "the learning rate is the same in every arm, not retuned"]


def caption(lines: Sequence[str], bold: str = "") -> str:
    """What stands under a figure and a table: each thing in a few words, the whole of it in the design. `bold`: the mark."""
    if not lines:
        return f"{bold}Arms differ in nothing beyond the axis.{bold}"
    words = (line if len(line) <= LONGEST else line.split(":")[0].split(" (")[0] + " (see the design)" for line in lines)
    return f"{bold}Differs beyond the axis:{bold} {'; '.join(words)}."


def _range(values: pd.Series, lowest_ratio: float) -> str:
    """The least and the greatest, if they are further apart than this; else nothing."""
    low, high = float(values.min()), float(values.max())
    return f"{_number(low)} to {_number(high)}" if high > lowest_ratio * low else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def differing_costs(paired: pd.DataFrame) -> list[str]:
    """Steps and tokens, where they differ by more than 1 %."""
    found: list[str] = []
    for name in ("train/steps", "train/tokens"):
        if name in paired and (shown := _range(paired.groupby("arm")[name].mean(), COSTS_ALIKE)):
            found.append(f"{name} differs between arms: {shown}")
    return found


def differing_fields(paired: pd.DataFrame, axes: set[str]) -> list[str]:
    """Fields and facts other than the question's axes whose values differ."""
    versions = [name for name in paired.columns if name.startswith("version.")]
    found = []
    expected = (
        axes | {"seed"} | {fact for prefix, facts in FOLLOWS.items() if any(a.startswith(prefix) for a in axes) for fact in facts}
    )
    for name in sorted((set(field_types()) | set(RESOLVED) | set(versions)) & set(paired.columns) - expected):
        of_lora = name.startswith("adapter.") or name == "target_modules"
        rows = paired[paired["adapter.method"] == "lora"] if of_lora else paired
        values = rows.groupby("arm")[name].agg(lambda column: tuple(sorted(map(str, column))))
        if values.nunique() > 1:
            found.append(f"{name} differs between arms: {_by_value(values)}")
    return found


def _by_value(values: pd.Series) -> str:
    """Each arm with its values; of many arms how many have which (of a commit the first digits)."""
    if len(values) <= FEW_ARMS:
        return "; ".join(f"{label}: {', '.join(dict.fromkeys(own))}" for label, own in values.items())
    alike = values.map(
        lambda own: ", ".join(dict.fromkeys(value if len(value) < 40 else value[:10] for value in own))
    ).value_counts()
    return "; ".join(f"{own} ({n} arms)" for own, n in alike.items())


def lora_scale(paired: pd.DataFrame, axes: set[str]) -> list[str]:
    """What is held where ranks differ. LoRA's update is multiplied by alpha / rank, rank-stabilized by alpha / √rank (PEFT), and
    `adapter.alpha_over_rank` gives alpha / rank in both: with the rank alpha grows, stabilized the scale too."""
    names = ["adapter.rank", "adapter.alpha_over_rank", "adapter.rank_stabilized"]
    if not set(names) <= set(paired) or axes & set(names[1:]):
        return []
    lora = paired.loc[paired["adapter.method"] == "lora", names]
    rank, over = lora["adapter.rank"].astype(float), lora["adapter.alpha_over_rank"].astype(float)
    if not _range(rank, 1.0):
        return []
    stabilized = lora["adapter.rank_stabilized"].astype(bool)
    factor = "alpha / √rank" if stabilized.any() else "alpha / rank"
    scale, alpha = over * np.where(stabilized, rank**0.5, 1.0), over * rank
    if shown := _range(scale, 1.001):
        held = f" (alpha is held at {alpha.iloc[0]:g})" if not _range(alpha, 1.001) else ""
        return [f"the scale of LoRA's update, {factor}, differs with the rank: {shown}{held}"]
    held = f"the scale of LoRA's update, {factor}, is held at {over.iloc[0]:g}"
    return [f"alpha differs with the rank: {_range(alpha, 1.0)} ({held})"]


def answer_lengths(paired: pd.DataFrame) -> list[str]:
    """Tokens of the answers trained on, where arms differ by more than a tenth; of trials from before these were counted, tokens
    of whole sequences."""
    if "rows/response_tokens" in paired and paired["rows/response_tokens"].notna().all():
        values, what = paired["rows/response_tokens"], "tokens in a training answer"
    elif {"train/tokens", "train/steps", "rows/used", "train.batch_size"} <= set(paired):
        values = paired["train/tokens"] / _sequences(paired)
        what = "tokens in a training sequence (answers alone were not counted)"
    else:
        return []
    shown = _range(values.groupby(paired["arm"]).mean(), LENGTHS_ALIKE)
    return [f"{what} differ between arms: {shown}"] if shown else []


def _sequences(paired: pd.DataFrame) -> pd.Series:
    """How many sequences a trial saw: an epoch's last batch may be smaller."""
    replayed = paired["rows/replayed"].fillna(0) if "rows/replayed" in paired else 0
    rows, batch = paired["rows/used"] + replayed, paired["train.batch_size"]
    an_epoch = np.ceil(rows / batch)
    return paired["train/steps"] // an_epoch * rows + paired["train/steps"] % an_epoch * batch


def not_tuned(arm_rows: pd.DataFrame) -> list[str]:
    """A line if some arms of a question that tunes the learning rate ran without tuning."""
    names = ", ".join(arm_rows.loc[arm_rows["tuned"] == 0, "arm"])
    return [f"learning rate not tuned: {names}"] if names else []


def lines(cautions: Sequence[str]) -> str:
    """Cautions as one sentence each, for a caption."""
    return formatting.joined(*(line if len(line) <= LONGEST else line.split(" (")[0] + " (see the design)" for line in cautions))


def at_the_edge(arm_rows: pd.DataFrame) -> list[str]:
    """A line if the best learning rate of some arms lies at the edge of the range tried, and what to do."""
    names = ", ".join(arm_rows.loc[arm_rows["at_edge"].astype(bool), "arm"])
    how = "widen it with --set train.learning_rate=LOW..HIGH"
    return [f"best learning rate at the edge of the range tried ({names}); {how}"] if names else []


def hindrance(arm_rows: pd.DataFrame, arms: Sequence[Arm], tuned: bool) -> str:
    """What keeps a comparison of arms at their best learning rates from deciding a claim: the rate was not tuned although
    the question tunes it, or its best lies at the edge of the range, so that a better one may lie beyond."""
    by_arm = arm_rows.set_index("arm")
    fixed = [arm.label for arm in arms if tuned and not by_arm.loc[arm.label, "tuned"]]
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
