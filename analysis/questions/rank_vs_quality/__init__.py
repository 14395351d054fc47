"""Does LoRA rank buy quality once the learning rate is retuned for each rank, and what does it cost in forgetting?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.reports.question import Report
from core.errors import BadInput
from core.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

    from analysis.arms import Arm, Panel
    from analysis.stats import Estimate
    from analysis.stats.equal_quality import TrainingNoise

NAME = "rank_vs_quality"
AXES = ("quality", "forgetting")
RANDOM_STATE = 20_250_701  # of every bootstrap below: the same trials give the same report


@dataclass(frozen=True)
class Tables:
    """Everything the figure, the tables and the verdicts are made from."""

    trials: pd.DataFrame  # one row a trial, failed ones included
    arm_rows: pd.DataFrame  # one row an arm: estimates with limits
    learning_rate: pd.DataFrame  # one row a tuning trial
    arms: list[Arm]
    quality: Panel  # final trials, test split
    forgetting: Panel
    optima: Mapping[str, Estimate]
    matched: Mapping[str, Estimate]  # arm → forgetting of full less the arm's, at equal quality
    quality_name: str
    quality_unit: str
    forgetting_name: str
    forgetting_unit: str
    n_tuning_items: int

    @property
    def full(self) -> Arm | None:
        """The arm of full fine-tuning, if the sweep has one with a final trial."""
        return next((arm for arm in self.arms if arm.method == "full" and arm.final), None)

    def lora(self, rank: int) -> Arm | None:
        """The LoRA arm of this rank, or the nearest within an octave."""

        def octaves(arm: Arm) -> float:
            return abs(math.log2((arm.rank or rank) / rank))

        near = [arm for arm in self.arms if arm.method == "lora" and arm.final and octaves(arm) <= 1]
        return min(near, key=octaves, default=None)


def compute(trials: pd.DataFrame, items: pd.DataFrame) -> Tables:
    """Cells, learning-rate curves and paired comparisons, from the frames of analysis/load.py. Pure."""
    from analysis.arms import arms, panel
    from analysis.questions.rank_vs_quality.rows import arm_frame
    from analysis.reports.parts import n_failed

    found = arms(trials)
    _one_axis(found)
    final = [name for arm in found for name in arm.final.values()]
    if not final:
        raise BadInput(f"{NAME}: no final trial has finished {n_failed(trials)}")
    quality, forgetting = panel(items, final, "quality"), panel(items, final, "forgetting")
    curves = _learning_rate(trials, {arm.label: arm.rate for arm in found})
    tuned = curves[curves["state"] == "finished"]
    tuning_panels = {axis: panel(items, list(tuned["fingerprint"]), axis) for axis in AXES}
    optima = _optima(found, tuned, tuning_panels["quality"].n_items)
    noise = _training_noise(found, quality, forgetting)
    matched = _matched(found, tuned, tuning_panels, noise)
    arm_rows = arm_frame(found, trials, quality, forgetting, optima, matched, RANDOM_STATE)
    first = trials[trials["state"] == "finished"].iloc[0]
    measures = ", ".join(sorted(items.loc[items["axis"] == "forgetting", "measure"].unique()))
    names = str(first["quality_measure"]), str(first["quality_unit"]), measures, str(first["forgetting_unit"])
    return Tables(trials, arm_rows, curves, found, quality, forgetting, optima, matched, *names, tuning_panels["quality"].n_items)


def _one_axis(found: list[Arm]) -> None:
    """One arm a rank, one full arm: anything else is another question."""
    seen: dict[tuple[str, int | None], str] = {}
    for arm in found:
        key = (arm.method, arm.rank)
        if key in seen:
            raise BadInput(f"{NAME}: arms {seen[key]!r} and {arm.label!r} have the same rank; vary adapter.rank alone")
        seen[key] = arm.label


def _learning_rate(trials: pd.DataFrame, chosen: Mapping[str, float]) -> pd.DataFrame:
    """One row a tuning trial, with the interval over items of its quality and whether its rate was chosen."""
    import numpy as np

    tune = trials[trials["phase"] == "tune"].copy()
    for name in ("quality", "quality_se", "forgetting", "quality_before"):
        tune[name] = tune[name].astype(float) if name in tune else np.nan
    tune["quality_low"], tune["quality_high"] = (tune["quality"] + sign * 1.96 * tune["quality_se"] for sign in (-1, 1))
    tune["chosen"] = tune["train.learning_rate"] == tune["arm"].map(chosen)
    columns = ["arm", "adapter.method", "adapter.rank", "train.learning_rate", "quality", "quality_low", "quality_high"]
    columns += ["forgetting", "quality_before", "chosen", "state", "reason", "fingerprint"]
    ordered = tune.sort_values(["arm", "train.learning_rate"], kind="stable")
    return ordered[[c for c in columns if c in tune]].reset_index(drop=True)


def _optima(found: list[Arm], tuned: pd.DataFrame, n_items: int) -> dict[str, Estimate]:
    from analysis.stats.optimum import learning_rate_optimum

    curves = {arm.label: tuned[tuned["arm"] == arm.label] for arm in found}
    return learning_rate_optimum(
        {c: (t["train.learning_rate"].to_numpy(float), t["quality"].to_numpy(float)) for c, t in curves.items()}, n_items
    )


def _training_noise(found: list[Arm], quality: Panel, forgetting: Panel) -> TrainingNoise | None:
    """Spread of final runs once the means of arms and of seeds are taken out, less what their items' noise explains
    (resampling items adds that anew); None with one seed or one arm."""
    import numpy as np

    from analysis.arms import seeds_of
    from analysis.stats import mean_products
    from analysis.stats.equal_quality import TrainingNoise

    ready = [arm for arm in found if arm.final]
    seeds = seeds_of(*ready)
    df = (len(ready) - 1) * (len(seeds) - 1)
    if df < 1:
        return None

    def spread(scores: Panel, relative: bool) -> float:
        scores_CSI = np.stack([scores.of([arm.final[s] for s in seeds]) for arm in ready])
        if relative:
            scores_CSI = scores_CSI / np.abs(scores_CSI.mean(axis=(1, 2), keepdims=True))
        table_CS = scores_CSI.mean(axis=2)
        rest_CS = table_CS - table_CS.mean(axis=0) - table_CS.mean(axis=1, keepdims=True) + table_CS.mean()
        pairs = [scores_CSI[0] - other_SI for other_SI in scores_CSI[1:]]
        by_item = np.mean([mean_products(pair_SI, pair_SI, scores.strata_I)[0][2] for pair_SI in pairs]) * len(seeds) / 2
        return float(np.sqrt(max(np.sum(rest_CS**2) / df - by_item, 0.0)))

    return TrainingNoise(spread(quality, False), spread(forgetting, True), df)


def _matched(
    found: list[Arm], tuned: pd.DataFrame, panels: Mapping[str, Panel], noise: TrainingNoise | None
) -> dict[str, Estimate]:
    """Each LoRA arm against full fine-tuning: how much more full forgets at equal validation quality."""
    import numpy as np

    from analysis.stats.equal_quality import Curve, forgetting_at_matched_quality

    curves = {
        str(label): Curve(
            rows["train.learning_rate"].to_numpy(float), *(panels[axis].of(list(rows["fingerprint"])) for axis in AXES)
        )
        for label, rows in tuned.sort_values("train.learning_rate").groupby("arm")
        if len(rows) > 1
    }
    full = next((arm.label for arm in found if arm.method == "full" and arm.label in curves), None)
    if full is None:
        return {}
    before = float(tuned["quality_before"].mean())
    strata = panels["quality"].strata_I, panels["forgetting"].strata_I
    return {
        arm.label: forgetting_at_matched_quality(
            curves[arm.label], curves[full], *strata, before, noise, np.random.default_rng(RANDOM_STATE)
        )
        for arm in found
        if arm.method == "lora" and arm.label in curves
    }


def report(trials: pd.DataFrame, items: pd.DataFrame, experiment: Experiment, output: Path) -> Report:
    """Compute, judge, draw, write."""
    from analysis.questions.rank_vs_quality import page as rank_page
    from analysis.questions.rank_vs_quality.figure import draw
    from analysis.questions.rank_vs_quality.verdicts import judge
    from analysis.reports.parts import about, origin

    tables = compute(trials, items)
    verdicts = judge(tables, experiment.claims)
    files = rank_page.write(tables, verdicts, draw(tables), experiment.question, output, draw(tables, narrow=True))
    note, terminal = rank_page.note(tables, verdicts), rank_page.terminal(tables, verdicts)
    return Report(files, tables.arm_rows, verdicts, about(trials), origin(trials), note, terminal)
