"""Arms that were run and are the same runs, in sweeps from before these were run once: what their trials record of rows, layers
and steps shows it. They are not compared with themselves (arms that were not run: repeated.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.arms import Arm
from analysis.load import field_types

# Settings that say how rows, layers and steps are chosen, and what the trials record of the choice.
CHOICES = frozenset({
    "data.source", "data.n_examples", "data.n_clusters", "data.n_tasks", "data.n_templates", "data.best_share",
    "data.noise_share", "data.shares", "data.amount", "data.seq_len_tokens", "data.replay_share", "data.replay_domain",
    "data.replay_text", "train.epochs", "train.steps", "train.micro_batch_size", "adapter.targets", "seed",
})  # fmt: skip
FACTS = (
    "train_rows_hash", "evaluation_rows_hash", "target_modules", "n_target_modules", "seq_len_tokens", "template_hash", "model",
    "data", "eval_data", "base_text", "replay_text", "train/steps", "train/tokens", "rows/replayed", "trainable_parameters",
)  # fmt: skip
NEEDED = ("train_rows_hash", "train/steps", "train/tokens")  # without these nothing is known of what was run


def same_runs(trials: pd.DataFrame, arms: Sequence[Arm]) -> dict[str, str]:
    """Arm → the first arm whose final trials, seed by seed, were trained on the same rows in the same way; only those that
    have one."""
    if not set(NEEDED) <= set(trials):
        return {}
    columns = [*sorted((set(field_types()) - CHOICES) & set(trials)), *(name for name in FACTS if name in trials)]
    final = trials[trials["fingerprint"].isin({name for arm in arms for name in arm.final.values()})]
    known = final[final[list(NEEDED)].notna().all(axis=1)]
    rows = dict(zip(known["fingerprint"], known[columns].astype(str).itertuples(index=False, name=None), strict=True))
    first: dict[tuple[object, ...], str] = {}
    same = {}
    for arm in arms:
        key = tuple((seed, rows.get(arm.final[seed])) for seed in sorted(arm.final))
        if key and all(row is not None for _, row in key) and (of := first.setdefault(key, arm.label)) != arm.label:
            same[arm.label] = of
    return same


def compared_with_itself(arms: Iterable[Arm], same: Mapping[str, str]) -> str:
    """Which of these arms are the same runs, in words; "" where none are."""
    names: dict[str, dict[str, None]] = {}
    for arm in arms:
        names.setdefault(same.get(arm.label, arm.label), {})[arm.label] = None
    twice = [" and ".join(own) for own in names.values() if len(own) > 1]
    return "; ".join(f"{both} are the same runs (the same rows, layers and steps)" for both in twice)
