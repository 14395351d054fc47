"""A sweep with known effects, as the frames that analysis/load.py gives: no training, milliseconds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import experiments
from analysis import questions
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Verdict
from core.fields import flatten
from core.looks import Looks
from core.settings import Trial
from sweeps import plan

LEARNING_RATES = tuple(np.geomspace(1e-4, 3e-2, 5))
BASES = ("lab:base-0", "lab:base-1")


@dataclass(frozen=True)
class ArmTruth:
    """What is true of an arm: logit of exact match at its best learning rate, that rate, forgetting there in nats."""

    ability: float = 1.4
    best_rate: float = 3e-3
    forgetting: float = 0.6


def truth(rank_effect: float = 0.0, **full: float) -> dict[str, ArmTruth]:
    """Four ranks that gain `rank_effect` in ability per fourfold rank, and full fine-tuning."""
    ranks = {f"lora r={r}": ArmTruth(ability=1.4 + rank_effect * i) for i, r in enumerate((1, 4, 16, 64))}
    return {**ranks, "full": ArmTruth(**({"best_rate": 1e-3} | full))}


def sweep(
    arms: dict[str, ArmTruth],
    seeds: int = 3,
    seed_sd: float = 0.05,
    base_sd: float = 0.3,
    n_tasks: int = 12,
    items_per_task: int = 30,
    n_documents: int = 60,
    failed: tuple[tuple[str, str, int], ...] = (),
    random_state: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(trials, items). `failed` names (label, phase, index) of trials that diverged."""
    rng = np.random.default_rng(random_state)
    task_I = np.repeat(np.arange(n_tasks), items_per_task)
    world = {
        split: (rng.normal(0, 1.0, len(task_I)), rng.normal(0, 0.6, n_tasks)[task_I], rng.gamma(6, 0.3, (3, n_documents)))
        for split in ("validation", "test")
    }
    weights = rng.integers(20, 60, n_documents).astype(float)
    base_quality, base_forgetting = rng.normal(0, base_sd, 2), np.exp(rng.normal(0, base_sd / 2, 2))
    rows, parts = [], []

    def trial(label: str, phase: str, seed: int, rate: float, index: int) -> None:
        arm, split, base = arms[label], "validation" if phase == "tune" else "test", seed % 2
        fingerprint = f"{label}-{phase}-{index}"
        method, rank = ("full", None) if label == "full" else ("lora", int(label.split("=")[1]))
        row = {
            "arm": label, "phase": phase, "seed": seed, "state": "finished", "reason": "", "fingerprint": fingerprint,
            "run_id": fingerprint, "status": "FINISHED", "adapter.method": method, "adapter.rank": rank,
            "model.name": BASES[base], "train.learning_rate": rate, "evaluation.split": split, "seconds": 5.0,
            "data.source": "lab:curated", "data.n_examples": 1000, "quality_before": 0.0, "git_commit": "0" * 40,
            "quality_measure": "exact_match/seen", "quality_unit": "accuracy", "forgetting_unit": "nats/token",
            "forgetting_measures": "nll/prose, nll/code, nll/facts", "train/steps": 189.0,
            "trainable_parameters": 870_000 if rank is None else 9_000 * rank,
        }  # fmt: skip
        rows.append(row)
        if (label, phase, index) in failed:
            row |= {"state": "diverged", "reason": "loss is nan at step 12", "status": "FAILED"}
            return
        offset = np.log10(rate / arm.best_rate)
        difficulty, task, before_DJ = world[split]
        ability = arm.ability - 1.5 * offset**2 + base_quality[base] + rng.normal(0, seed_sd)
        correct = (rng.random(len(task_I)) < 1 / (1 + np.exp(-(ability + difficulty + task)))).astype(float)
        level = arm.forgetting * 10 ** (0.8 * offset) * base_forgetting[base] * np.exp(rng.normal(0, seed_sd))
        rise_DJ = level * rng.gamma(8, 1 / 8, before_DJ.shape) + rng.normal(0, 0.02, before_DJ.shape)
        parts.append(pd.DataFrame({
            "fingerprint": fingerprint, "measure": "exact_match/seen", "axis": "quality", "group": [f"task {t}" for t in task_I],
            "item": [f"q{i}" for i in range(len(task_I))], "weight": 1.0, "before": 0.0, "after": correct}))  # fmt: skip
        for domain, before, rise in zip(("prose", "code", "facts"), before_DJ, rise_DJ, strict=True):
            parts.append(pd.DataFrame({
                "fingerprint": fingerprint, "measure": f"nll/{domain}", "axis": "forgetting", "group": domain,
                "item": [f"{domain}{i}" for i in range(n_documents)], "weight": weights, "before": before,
                "after": before + rise}))  # fmt: skip
        forgetting = float(np.mean([np.average(rise, weights=weights) for rise in rise_DJ]))
        row |= {
            "quality": float(correct.mean()),
            "quality_se": float(correct.std() / len(correct) ** 0.5),
            "forgetting": forgetting,
        }

    for label, arm in arms.items():
        rates = [*LEARNING_RATES, arm.best_rate * 10 ** rng.normal(0, 0.1)]
        for index, rate in enumerate(rates):
            trial(label, "tune", 1_000, rate, index)
        done = [row for row in rows if row["arm"] == label and row["state"] == "finished"]
        if not done:
            continue  # as in a real sweep: without a rate there is no final trial
        best = max(done, key=lambda row: row["quality"])["train.learning_rate"]
        for seed in range(seeds):
            trial(label, "final", seed, best, seed)
    return pd.DataFrame(rows), pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class ArmState:
    """What is true of an arm of any question: its fields, logits of exact match, forgetting in nats."""

    fields: dict[str, object]
    ability: float = 1.0
    held_out: float = 0.5
    forgetting: float = 0.5


def question(
    arms: dict[str, ArmState],
    seeds: int = 4,
    seed_sd: float = 0.05,
    n_items: int = 600,
    tuned: bool = True,
    random_state: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(trials, items) of any question: final trials of these arms and, if `tuned`, three tuning trials of each."""
    rng = np.random.default_rng(random_state)
    difficulty_I, rises_J = rng.normal(0, 1, n_items), rng.gamma(6, 1 / 6, 60)
    rows, parts, settings = [], [], flatten(Trial())

    def trial(label: str, phase: str, seed: int, rate: float, shift: float) -> None:
        truth, name = arms[label], f"{label}-{phase}-{seed}-{rate:.1e}"
        row: dict[str, object] = settings | {
            "arm": label, "phase": phase, "seed": seed, "state": "finished", "reason": "", "status": "FINISHED",
            "fingerprint": name, "run_id": name, "adapter.method": "lora", "adapter.rank": 16, "model.name": BASES[seed % 2],
            "train.learning_rate": rate, "train.epochs": 3.0, "data.n_examples": 1000, "quality_measure": "exact_match/seen",
            "quality_unit": "accuracy", "forgetting_unit": "nats/token", "forgetting_measures": "nll/prose, nll/code",
            "seconds": 5.0, "trainable_parameters": 1e5, "quality_before": 0.0, "git_commit": "0" * 40,
            "train/loss_last_tenth": 0.1, "train/tokens": 48_000.0, "rows/used": 1_000.0, "rows/response_tokens": 3.0,
        } | truth.fields  # fmt: skip
        if row["adapter.method"] == "full":
            row["adapter.rank"] = None
        noise = rng.normal(0, seed_sd)
        hits = {
            measure: (rng.random(n_items) < 1 / (1 + np.exp(-(level + shift + noise + difficulty_I)))).astype(float)
            for measure, level in (("exact_match/seen", truth.ability), ("exact_match/held_out", truth.held_out))
        }
        rise_J = truth.forgetting * np.exp(rng.normal(0, seed_sd)) * rises_J + rng.normal(0, 0.02, 60)
        rows.append(
            row | {"quality": float(hits["exact_match/seen"].mean()), "quality_se": 0.01, "forgetting": float(rise_J.mean())}
        )
        scored = [(m, "quality" if m.endswith("seen") else "other", np.zeros(n_items), hit) for m, hit in hits.items()]
        scored.append(("raw_accuracy/skills", "other", np.ones(n_items), (rng.random(n_items) < 0.9).astype(float)))
        scored += [(f"nll/{d}", "forgetting", np.ones(60), 1 + rise_J) for d in ("prose", "code")]
        parts.extend((name, *one) for one in scored)

    for label, truth in arms.items():
        best = float(str(truth.fields.get("train.learning_rate", 2e-3)))
        for factor, shift in ((0.2, -1.0), (1.0, 0.0), (5.0, -1.0)) if tuned else ():
            trial(label, "tune", 1_000, best * factor, shift)
        for seed in range(seeds):
            trial(label, "final", seed, best, 0.0)
    return pd.DataFrame(rows), _items(parts)


def _items(parts: list[tuple[str, str, str, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """One frame of (fingerprint, measure, axis, before, after): a frame of each would take most of a test's time."""
    names, measures, axes, befores, afters = zip(*parts, strict=True)
    lengths = [len(after) for after in afters]
    called = {measure: np.array([f"{measure}{i}" for i in range(max(lengths))], object) for measure in set(measures)}
    return pd.DataFrame({
        **{column: np.repeat(np.array(values, object), lengths) for column, values in
           (("fingerprint", names), ("measure", measures), ("axis", axes))},
        "group": "all", "item": np.concatenate([called[m][:n] for m, n in zip(measures, lengths, strict=True)]),
        "weight": 1.0, "before": np.concatenate(befores), "after": np.concatenate(afters)})  # fmt: skip


SIZES = {"small": 2e5, "large": 4e6, "base-0": 9e5}  # parameters of the ladder's bases


def truths(name: str, **levels: float) -> dict[str, ArmState]:
    """The arms of an experiment as it stands, all alike but for `levels`."""
    found = {}
    for arm in plan.arms(experiments.load(name)):
        fields = dict(arm.overrides)
        if "data.n_examples" in fields or "data.source" in fields:
            size = fields.get("data.n_examples", 1_000)
            fields |= {"data.source": fields.get("data.source", "lab:curated"), "rows/used": 32_000 if size is None else size}
            fields["train/tokens"] = 25.0 * float(str(fields["rows/used"]))
        if "model.name" in fields:
            fields["total_parameters"] = next(n for word, n in SIZES.items() if word in str(fields["model.name"]))
        found[arm.label] = ArmState(fields, **levels)
    return found


def changed(arms: dict[str, ArmState], **levels: dict[str, float]) -> dict[str, ArmState]:
    """The arms whose label contains a key (as words joined by _) with these levels instead."""
    return {
        label: dataclasses.replace(truth, **next((new for key, new in levels.items() if key.replace("_", " ") in label), {}))
        for label, truth in arms.items()
    }


Found = tuple[Tables[Any], dict[str, Verdict]]


def answered(name: str, arms: dict[str, ArmState], **settings: Any) -> Found:
    """The tables and the verdicts, by claim, of a simulated sweep."""
    return of_frames(name, *question(arms, **settings))


def of_frames(name: str, trials: pd.DataFrame, items: pd.DataFrame) -> Found:
    """The tables and the verdicts, by claim, of these frames."""
    answer = questions.answer(name, trials, items)
    return answer.tables, {verdict.id: verdict for verdict in answer.verdicts}


def real(frames: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames as real data give them: log-likelihood, token accuracy, drift; none of the laboratory's measures."""
    trials, items = frames
    renamed = {
        "exact_match/seen": "log_likelihood/response",
        "nll/prose": "kl/documents",
        "exact_match/held_out": "accuracy/response_token",
    }
    items = items[items["measure"].isin(renamed)].copy()
    items["measure"] = items["measure"].replace(renamed)
    likely = items["measure"] == "log_likelihood/response"
    items.loc[likely, "after"] = items.loc[likely, "after"] - 2.5 + np.random.default_rng(0).normal(0, 0.1, likely.sum())
    trials = trials.assign(quality=trials["quality"] - 2.5, quality_measure="log_likelihood/response", quality_unit="nats/token")
    return trials.assign(forgetting_measures="kl/documents"), items


class FakeTracking:
    """What analysis reads from and writes to core/tracking/, in memory."""

    def __init__(self, trials: pd.DataFrame, items: pd.DataFrame) -> None:
        self.trials, self.items, self.arm_rows, self.files, self.note = trials, items, [], [], ""
        self.looks, self.claims, self.status = Looks(), "", "FINISHED"

    def last_with_results(self, uri: str, experiment: str, beginning: str = "") -> tuple[str, list[str]]:
        return "0123456789abcdef", []

    def read_trials(self, uri: str, experiment: str, sweep: str | None) -> list[dict[str, object]]:
        metrics = {"quality", "quality_se", "forgetting", "quality_before", "seconds", "trainable_parameters", "train/steps"}
        tags = ("arm", "phase", "state", "fingerprint")
        table = self.trials.astype({"adapter.rank": "Int64"})
        return [
            {
                "run_id": row["run_id"],
                "artifacts": "",
                "status": row["status"],
                "params": {k: str(v) for k, v in row.items() if k not in metrics and not pd.isna(v)},
                "metrics": {k: row[k] for k in metrics if not pd.isna(row.get(k))},
                "tags": {"tunelab.reason": row["reason"], **{f"tunelab.{name}": row[name] for name in tags}},
            }
            for row in table.to_dict("records")
        ]

    def read_repeated(self, uri: str, experiment: str, sweep: str | None) -> list[dict[str, object]]:
        return []

    def read_looks(self, uri: str, experiment: str, sweep: str) -> Looks:
        return self.looks

    def write_looks(self, uri: str, sweep: str, looks: Looks) -> None:
        self.looks = looks

    def read_status(self, uri: str, experiment: str, sweep: str) -> str:
        return self.status

    def read_claims(self, uri: str, experiment: str, sweep: str) -> str:
        return self.claims

    def read_generations(self, uri: str, run_id: str, artifacts: str = "") -> list[dict[str, str]]:
        return []

    def read_items(self, uri: str, run_id: str, artifacts: str = "") -> str:
        return self.items[self.items["fingerprint"] == run_id].drop(columns="fingerprint").to_csv(index=False)

    def write_arms(self, uri: str, sweep: str, rows: list[dict[str, object]]) -> None:
        self.arm_rows = rows

    def write_analysis(self, uri: str, sweep: str, files: list[Path], note: str) -> None:
        self.files, self.note = files, note
