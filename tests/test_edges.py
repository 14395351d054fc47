"""Whether a best learning rate at an end of the rates tried is called so: by paired differences, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.arms import Arm, panel
from analysis.edges import at_edge, beats, ends

RATES = (1e-4, 1e-3, 1e-2)
Scores = Sequence[float] | None  # of one trial's items; None: it failed


def frames(scores: Sequence[Scores], state: str = "diverged", seed: int = 1_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(trials, items) of one arm's tuning, one trial a rate."""
    rows, parts = [], []
    for rate, own in zip(RATES, scores, strict=True):
        name = f"{rate:g}-{seed}"
        values = np.array(own if own is not None else [], dtype=float)
        quality, error = (values.mean(), values.std() / len(values) ** 0.5) if len(values) else (np.nan, np.nan)
        rows.append({
            "arm": "a", "phase": "tune", "seed": seed, "state": "finished" if len(values) else state, "fingerprint": name,
            "train.learning_rate": rate, "quality": quality, "quality_se": error,
        })  # fmt: skip
        parts.append(pd.DataFrame({
            "fingerprint": name, "measure": "m", "axis": "quality", "group": "all", "item": [f"q{i}" for i in range(len(values))],
            "weight": 1.0, "before": 0.0, "after": values}))  # fmt: skip
    return pd.DataFrame(rows), pd.concat(parts, ignore_index=True)


def found(trials: pd.DataFrame, items: pd.DataFrame) -> tuple[bool, bool]:
    """(at the edge, flat to the end) of the best rate."""
    best = trials.loc[trials["quality"].idxmax(), "train.learning_rate"]
    end = ends([Arm("a", "lora", 1, best)], trials, items)["a"]
    return end["at_edge"], end["flat_to_the_end"]


EASY = np.array([-9.0, -3.0, -1.0, -0.3, -0.1])  # rows differ far more than rates do
WORSE = EASY - 2
LITTLE, ONE_ROW = np.array([0.1, 0.2, 0.05, 0.3, 0.02]), np.array([0.9, -0.2, -0.2, -0.2, -0.2])


@pytest.mark.parametrize(
    ("scores", "edge", "flat"),
    [
        ((WORSE, EASY, EASY + LITTLE), True, False),  # better on 5 of 5 rows, by little
        ((EASY + LITTLE, EASY, WORSE), True, False),  # at the other end
        ((WORSE, EASY, EASY + 0.01), True, False),  # by as much on every row: no error at all
        ((WORSE, EASY, EASY + ONE_ROW), False, True),  # better on one row, worse on four
        ((WORSE, [1, 0, 1, 0, 0], [1, 1, 0, 1, 0]), False, True),  # two won, one lost
        ((WORSE, [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]), True, False),
        ((WORSE, EASY, EASY), False, False),  # a tie goes to the inner one
        ((WORSE, EASY + 1, EASY), False, False),
    ],
)
def test_rates_are_compared_row_by_row(scores: Sequence[Scores], edge: bool, flat: bool) -> None:
    assert found(*frames(scores)) == (edge, flat)


@pytest.mark.parametrize("state", ["diverged", "oom", "crashed"])
@pytest.mark.parametrize(
    ("scores", "edge"),
    [
        ((None, None, EASY), True),
        ((None, EASY, WORSE), True),
        ((None, None, None), False),
    ],
)
def test_a_rate_that_failed_does_not_show_that_the_top_is_inside(scores: Sequence[Scores], edge: bool, state: str) -> None:
    trials, items = frames(scores, state)
    best = trials.set_index("train.learning_rate")["quality"].dropna()
    end = ends([Arm("a", "lora", 1, float(best.idxmax()) if len(best) else np.nan)], trials, items)["a"]
    assert end["at_edge"] is edge


@pytest.mark.parametrize(("state", "edge"), [("diverged", False), ("oom", True), ("crashed", True)])
def test_a_rate_that_diverged_bounds_the_top_and_one_that_crashed_says_nothing(state: str, edge: bool) -> None:
    """The best is the highest rate that has a quality, and the next one failed."""
    assert found(*frames((WORSE, EASY, None), state)) == (edge, False)
    assert found(*frames((None, EASY, WORSE), state))[0] is True  # diverged below the others: that is no rule of rates


def test_several_seeds_are_paired_and_their_noise_counts() -> None:
    """The end is better on every row of one seed and worse on every row of the other: nothing is shown."""
    both = [frames((WORSE, EASY, EASY + shift), seed=seed) for seed, shift in ((1, 0.5), (2, -0.4))]
    assert found(*(pd.concat(parts, ignore_index=True) for parts in zip(*both, strict=True))) == (False, True)
    both = [frames((WORSE, EASY, EASY + shift), seed=seed) for seed, shift in ((1, 0.5), (2, 0.4))]
    assert found(*(pd.concat(parts, ignore_index=True) for parts in zip(*both, strict=True))) == (True, False)


def test_trials_on_other_rows_are_compared_by_their_own_errors() -> None:
    trials, items = frames((WORSE, EASY, EASY + 0.1))
    items["item"] = items["fingerprint"] + items["item"]
    assert found(trials, items) == (False, True)
    assert found(trials, items.iloc[:0]) == (False, True)  # and where nothing was kept of the rows
    far, _ = frames((WORSE, EASY, EASY + 9))
    assert found(far, items) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize(("n_items", "rate"), [(5, 0.187), (40, 0.162)])  # Student's t beyond 1, with n − 1 degrees of freedom
def test_an_end_that_is_no_better_is_called_better_as_often_as_a_standard_error_says(n_items: int, rate: float) -> None:
    """Rows differ ten times as much as the noise, which hides nothing where they are paired."""
    rng = np.random.default_rng(0)
    called, seen = 0, 0
    for _ in range(400):
        rows = rng.normal(0, 10, n_items)
        trials, items = frames([rows + rng.normal(0, 1, n_items) for _ in RATES])
        scores = panel(items, list(trials["fingerprint"]), "quality", trials)
        called += beats(trials.iloc[[2]], trials.iloc[[1]], scores)
        better = rows[None] + rng.normal(0, 1, (3, n_items)) + np.array([[-1], [0], [3 / n_items**0.5 * 2**0.5]])
        trials, items = frames(list(better))
        seen += at_edge(trials, trials.iloc[:0], RATES[2], panel(items, list(trials["fingerprint"]), "quality", trials))
    assert called / 400 == pytest.approx(rate, abs=0.055)  # three standard errors of 400 draws
    assert seen / 400 >= 0.9  # three standard errors better


def test_rates_that_ran_on_further_bases_are_compared_on_all_of_them() -> None:
    """The first base has its best between the others; on the further ones the highest rate is far better."""
    first = frames((WORSE, EASY + 0.1, EASY))
    further = [frames((None, EASY, EASY + 1 + shift), seed=seed) for seed, shift in ((1, 0.0), (2, 0.1))]
    again = [trials[trials["quality"].notna()].assign(phase="again") for trials, _ in further]
    bases = [own.assign(**{"model.name": f"base-{n}", "seed": 1_000}) for n, own in enumerate((first[0], *again))]
    trials, items = pd.concat(bases, ignore_index=True), pd.concat([first[1], *(own for _, own in further)], ignore_index=True)
    arm = Arm("a", "lora", 1, RATES[2])
    assert ends([arm], bases[0], items)["a"]["at_edge"] is False  # as the first base alone says
    assert ends([arm], trials, items)["a"]["at_edge"] is True
