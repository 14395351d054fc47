"""The command that takes a sweep's winner home: which arm and seed, the card, and what cannot be exported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments
from analysis import export as door
from analysis import report
from analysis.claims import choice
from analysis.claims.choice import Choice
from core import leaving, saved
from core.hardware import Device
from core.preflight import provenance
from core.states import Phase
from core.tracking import Store, TrialRecord, default_uri
from sweeps import run
from sweeps.options import Options
from sweeps.plan import Plan

torch = pytest.importorskip("torch")
NAME = "target_modules"


def sweep(output: Path) -> Plan:
    """Two arms × two seeds of a question on the laboratory's smallest base, trained and logged as a sweep does it."""
    from core import trial as trials

    asked = experiments.load(NAME)
    small = dataclasses.replace(
        asked.base,
        model=dataclasses.replace(asked.base.model, name="lab:base-small-0"),
        data=dataclasses.replace(asked.base.data, n_examples=32),
        train=dataclasses.replace(asked.base.train, epochs=1, learning_rate=3e-3),
        evaluation=dataclasses.replace(asked.base.evaluation, items_per_task=2, generations=0),
    )
    levels = {"adapter.targets": ("attention-qv", "all-linear")}
    plan = Plan.of(
        dataclasses.replace(
            asked, base=small, vary=levels, also=(), tune={}, tune_trials=0, tune_again=0, with_seed={}, seeds=(0, 1)
        ),
        provenance,
    )
    store = Store(default_uri(output), NAME, plan.sweep)
    store.open({}, "made up")
    for arm in plan.arms:
        for index in range(2):
            job = plan.final_job(arm, index, {})
            folder = output / f"{NAME}-{plan.sweep[:8]}" / "trials" / job.key
            folder.mkdir(parents=True)
            result = trials.run(job.trial, job.provenance, folder, Device())
            assert (result.state, result.reason) == ("finished", "")
            store.log_trial(TrialRecord(job.key, job.name, job.arm, Phase.FINAL, job.axes, folder))
    store.close("FINISHED")
    return plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    output = tmp_path_factory.mktemp("runs")
    return output, sweep(output)


def run_door(capsys: pytest.CaptureFixture[str], output: Path, *words: object) -> tuple[int, str, str]:
    code = door.main([*map(str, words), "--output", str(output)])
    out, err = capsys.readouterr()
    return code, out, err


def results(output: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    return {
        path.parent.name: json.loads(path.read_text()) for path in output.glob(f"{NAME}-{plan.sweep[:8]}/trials/*/result.json")
    }


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the report say what to use: trials this small decide nothing."""

    def say(chosen: str, **more: Any) -> None:
        monkeypatch.setattr(choice, "choose", lambda tables: Choice(chosen, n_seeds=2, n_arms=2, **more))

    return say


QV, ALL = "lora targets=attention-qv", "lora targets=all-linear"


def test_what_the_report_says_to_use_leaves_with_its_card(
    made: tuple[Path, Plan], use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plan = made
    use(QV, told=(QV, ALL))
    code, out, err = run_door(capsys, output, NAME, "--to", tmp_path / "here" / "winner")
    assert (code, err) == (0, "")
    assert f'Arm {QV}: the report\'s choice of 2 arms ("Use this"); 1 more cannot be told from the best' in out
    assert "Seed 0, of 2 seeds the nearest to the arm's median quality" in out
    folder = tmp_path / "here" / "winner"
    assert {"adapter_model.safetensors", "adapter_config.json", "generation_config.json", "tokenizer.json", "README.md"} <= {
        file.name for file in folder.iterdir()
    }
    card = (folder / "README.md").read_text(encoding="utf-8")
    front = card.split("---")[1]
    assert "license: apache-2.0" in front
    assert "library_name: peft" in front
    for words in (
        plan.experiment.question, plan.sweep, "exact match, held out", "forgetting", "| adapter.targets |", "lab:curated",
        "lab:base-small-0", "torch 2", "## Licence",
    ):  # fmt: skip
        assert words in card, words
    row = next(row for row in results(output, plan).values() if row["fingerprint"] in card)
    assert row["provenance"]["data"] in card
    assert f"{row['metrics']['quality']:.3f}" in card
    assert [file.name for file in folder.parent.iterdir()] == ["winner"]  # nothing beside it
    names: dict[str, Any] = {"FOLDER": str(folder)}
    exec(card.split("```python\n")[1].split("\n```")[0], names)
    assert type(names["model"]).__name__ == "PeftModelForCausalLM"


def test_an_arm_by_name_merged_and_a_sweep_by_its_id(
    made: tuple[Path, Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plan = made
    code, out, err = run_door(capsys, output, plan.sweep[:6], "--arm", plan.arms[1].label, "--merged", "--to", tmp_path / "whole")
    assert (code, err) == (0, "")
    assert f"Arm {plan.arms[1].label}: as it was asked for." in out
    assert "next tokens the same" in out
    card = (tmp_path / "whole/README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"FOLDER": str(tmp_path / "whole")}
    exec(card.split("```python\n")[1].split("\n```")[0], names)
    assert type(names["model"]).__name__ == "LlamaForCausalLM"
    assert str(output) not in card
    code, out, _ = run_door(capsys, output, f"{output}/{NAME}-{plan.sweep[:8]}", "--arm", plan.arms[1].label)
    assert code == 0
    assert next(output.glob(f"{NAME}-*/export-lora-targets-all-linear/adapter_model.safetensors"))


def test_bad_input_is_one_line_and_writes_nothing(
    made: tuple[Path, Plan], use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = made[0]
    use(QV)
    there = tmp_path / "there"
    there.mkdir()
    to = tmp_path / "new"
    for words, told in (
        ([], "name a question"),
        ([NAME, "--to", there], "is there already; give another directory with --to"),
        (["target_module", "--to", to], "did you mean 'target_modules'?"),
        (["0123456789", "--to", to], "neither a question nor the beginning of the id"),
        (["replay", "--to", to], "has no experiment 'replay'"),
        ([NAME, "--arm", "all-linea", "--to", to], "did you mean 'lora targets=all-linear'?"),
        ([NAME, "--base", tmp_path / "none", "--to", to], "say with --base DIR where it is now"),
        ([NAME, "--armed", "x"], "did you mean '--arm'?"),
        ([NAME, "--to", ""], "--to '': must be text"),
        ([NAME, "--to"], "needs a value"),
    ):
        code, out, err = run_door(capsys, output, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), (words, err)
        assert told in err, (words, err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_a_store_that_does_not_answer_is_not_one_without_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["0123456789", "--to", str(tmp_path / "to"), "--tracking-uri", "http://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert "no answer" in said
    assert "neither a question" not in said


def test_without_a_choice_nothing_leaves_unasked(
    made: tuple[Path, Plan], use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use("", why="only 8 evaluation items")
    code, out, err = run_door(capsys, made[0], NAME, "--to", tmp_path / "new")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "nothing can be decided, only 8 evaluation items; to take an arm all the same, name it with --arm" in err
    for instead, told in ((ALL, f"name it with --arm '{ALL}'"), ("", "the highest mean quality has 'lora targets=")):
        use("untuned base", base=True, instead=instead)
        code, _, err = run_door(capsys, made[0], NAME, "--to", tmp_path / "new")
        assert (code, err.count("\n"), told in err) == (2, 1, True)
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_is_told(
    made: tuple[Path, Plan],
    use: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, plan = tmp_path / "runs", made[1]
    shutil.copytree(made[0], output)
    for key, row in results(output, plan).items():
        if row["trial"]["adapter.targets"] == "attention-qv":
            shutil.rmtree(output / f"{NAME}-{plan.sweep[:8]}/trials/{key}/adapter")
    use(QV, told=(QV, ALL))
    code, _, err = run_door(capsys, output, NAME, "--to", tmp_path / "third")
    assert (code, err.count("\n")) == (2, 1)
    assert "measured and not kept; delete its result.json" in err
    assert f"or --arm with one of {ALL}" in err
    use(ALL)

    def full_disk(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(leaving, "_copy", full_disk)
    code, _, err = run_door(capsys, output, NAME, "--to", tmp_path / "fourth")
    assert (code, "No space left" in err, (tmp_path / "fourth").exists()) == (3, True, False)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_dry_run_says_which_arms_cannot_be_exported_and_what_keeping_them_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(saved, "FULL_WEIGHTS_BYTES", 1_000)

    def told(**options: Any) -> list[str]:
        chosen = Options(output=tmp_path, smoke=True, **options)
        return [
            note for note in run.prepare(experiments.load("rank_vs_quality"), chosen).notes if "keep" in note or "kept" in note
        ]

    (note,) = told()
    assert note.startswith("caution: full: ")
    assert "cannot be exported; --keep-weights keeps" in note
    (note,) = told(keep_weights=True)
    assert note.startswith("weights of final trials are kept: ")
    assert note.endswith("; --disk-budget SIZE keeps those that can win")
    assert told(without=("full",)) == []
    assert run.prepare(experiments.load("rank_vs_quality"), Options(keep_weights=True)).share.device.keep_weights


def test_a_newer_sweep_that_has_no_results_yet_is_named_and_not_taken(
    made: tuple[Path, Plan], use: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plan = made
    shutil.copytree(output, tmp_path / "runs")
    store = Store(default_uri(tmp_path / "runs"), NAME, "f" * 16)
    store.open({}, "made up")
    store.close("FINISHED")
    use(QV, told=(QV, ALL))
    code, out, err = run_door(capsys, tmp_path / "runs", NAME, "--to", tmp_path / "winner")
    told = f"sweep {plan.sweep[:8]}: newer, but without a finished final trial yet: ffffffff\n"
    assert (code, err) == (0, told)
    assert out.startswith(f"{NAME} {plan.sweep[:8]}\n")
    assert report.main([NAME, "--output", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().err == told
