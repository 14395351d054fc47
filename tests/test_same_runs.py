"""Arms that were run and are the same runs are never compared with themselves: what their trials record shows it."""

from __future__ import annotations

import pandas as pd
import pytest
from simulated import of_frames, question, truths

NAME, EQUAL = "data_quantity", "sixteen_times_data_no_gain_equal_epochs"


def recorded(same: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A sweep from before: all arms were run, and the hash of their rows is kept."""
    trials, items = question(truths(NAME), tuned=False, n_items=80)
    n_used = trials["data.n_examples"].clip(upper=400) if same else trials["data.n_examples"]
    equal_steps = trials["train.steps"].fillna(0)
    steps = equal_steps.where(equal_steps > 0, 3 * n_used / 16).round()
    rows_hash = n_used.astype(str) + "-" + trials["seed"].astype(str)
    return trials.assign(**{"train_rows_hash": rows_hash, "train/steps": steps, "train/tokens": 25.0 * steps}), items


@pytest.mark.parametrize("same", [True, False])
def test_runs_that_recorded_the_same_rows_and_steps_are_told(same: bool) -> None:
    t, found = of_frames(NAME, *recorded(same))
    assert ("are the same runs" in found[EQUAL].note) == same
    assert (found[EQUAL].verdict == "not tested") == same
    assert bool(t.same) == same


def test_another_rate_or_rank_on_the_same_rows_is_another_run() -> None:
    trials, items = question(truths("target_modules"), tuned=False, n_items=80)
    facts = {"train_rows_hash": trials["seed"].astype(str), "train/steps": 10.0, "train/tokens": 99.0}
    t, _ = of_frames("target_modules", trials.assign(**facts, target_modules=trials["adapter.targets"]), items)
    assert t.same == {}
    t, _ = of_frames("target_modules", trials.assign(**facts, target_modules="q, v"), items)  # a base with these layers alone
    at_16 = [arm.label for arm in t.arms if arm.rank == 16]
    assert t.same == dict.fromkeys(at_16[1:], at_16[0])
