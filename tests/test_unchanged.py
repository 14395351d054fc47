"""Data that change under a sweep: a trial runs on what its plan has hashed, or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import checkpoint, preflight, unchanged
from core.data import kinds
from core.errors import BadInput
from core.settings import Data, Evaluation, Lora, Model, Train, Trial
from sweeps.plan import Plan

FIELDS = ("data.source", "data.eval_source", "evaluation.base_text", "model.name")


def rows(path: Path, words: str, n: int = 60) -> str:
    path.write_text("".join(json.dumps({"instruction": f"{words} {i}", "output": f"{i}"}) + "\n" for i in range(n)))
    return str(path)


@pytest.fixture
def trial(make_model: Callable[..., str], tmp_path: Path) -> Trial:
    pytest.importorskip("torch")
    shutil.copytree(make_model("llama"), tmp_path / "model")
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog . " * 40)
    return Trial(
        model=Model(name=str(tmp_path / "model")),
        data=Data(source=rows(tmp_path / "a.jsonl", "one"), eval_source=rows(tmp_path / "e.jsonl", "two"), seq_len_tokens=32),
        adapter=Lora(rank=2),
        train=Train(steps=1, batch_size=4),
        evaluation=Evaluation(max_rows=4, drift_samples=2, drift_tokens=8, base_text=str(tmp_path / "text.txt")),
    )


def change(trial: Trial, field: str) -> None:
    """Other content of the same size, with the times of the old one."""
    path = Path({"model.name": f"{trial.model.name}/tokenizer.json"}.get(field) or getattr_of(trial, field))
    stat = path.stat()
    old = path.read_text()
    new = (
        old.replace("fox", "cow").replace("one", "six").replace("two", "ten").replace('"normalizer": null', '"normalizer":null ')
    )
    assert new != old
    path.write_text(new)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def getattr_of(trial: Trial, field: str) -> str:
    head, _, tail = field.partition(".")
    return str(getattr(getattr(trial, head), tail))


@pytest.mark.parametrize("field", FIELDS)
def test_a_trial_refuses_what_is_not_what_was_planned(trial: Trial, tmp_path: Path, field: str) -> None:
    from core import trial as trials
    from core import warm
    from core.hardware import Device

    planned = preflight.provenance(trial)
    change(trial, field)
    warm.clear()
    with pytest.raises(BadInput) as error:
        trials.run(trial, planned, tmp_path / "out", Device())
    assert error.value.field == field
    assert f"{field}={getattr_of(trial, field)}: changed after the sweep was planned" in str(error.value)
    assert not (tmp_path / "out" / "result.json").exists()
    assert preflight.provenance(trial) != planned
    trials.run(trial, preflight.provenance(trial), tmp_path / "out", Device())


def test_what_a_plan_has_seen_stays_its_own(trial: Trial) -> None:
    import experiments

    asked = experiments.load("learning_rate")
    plan = Plan.of(dataclasses.replace(asked, base=trial), preflight.provenance)
    before = plan.final_job(plan.arms[0], 0, {}).provenance
    change(trial, "data.source")
    assert plan.final_job(plan.arms[0], 0, {}).provenance == before
    assert Plan.of(dataclasses.replace(asked, base=trial), preflight.provenance).sweep != plan.sweep


def test_equal_size_and_time_fool_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(rows(tmp_path / "a.jsonl", "one"))
    monkeypatch.setattr(checkpoint, "SMALL_BYTES", 0)
    for grain in (unchanged.GRAIN_NS, 0):  # within the clock's grain the content decides; later the time of the inode's change
        monkeypatch.setattr(unchanged, "GRAIN_NS", grain)
        stat = path.stat()
        seen = (checkpoint.file_hash(path), kinds.load("data.source", str(path)).rows[0].prompt)
        time.sleep(0.02)
        path.write_text(path.read_text().replace("one", "two") if grain else path.read_text().replace("two", "one"))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        now = (checkpoint.file_hash(path), kinds.load("data.source", str(path)).rows[0].prompt)
        assert now[0] != seen[0]
        assert now[1] != seen[1]
