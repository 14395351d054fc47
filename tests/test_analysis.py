"""The analysis of rank_vs_quality, from frames with known effects to figure, tables and verdicts."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import ArmTruth, FakeTracking, sweep, truth

import experiments
from analysis import load, questions
from analysis import report as door
from analysis.arms import arms, panel
from analysis.chosen import final_trials
from analysis.claims.question import answer, tables_of
from analysis.claims.tables import Tables
from analysis.claims.verdicts import Verdict
from analysis.figures import style
from analysis.questions.rank_vs_quality.against_full import AgainstFull
from analysis.questions.rank_vs_quality.figure import draw
from analysis.reports import further
from analysis.reports import question as page
from analysis.reports.parts import failed
from analysis.reports.question import Asked
from analysis.stats import Decision
from analysis.stats.estimate import Over
from core.errors import BadInput
from core.fields import flatten
from core.settings import Trial
from core.states import Phase, State

NAME = "rank_vs_quality"
EXPERIMENT, QUESTION = experiments.load(NAME), questions.load(NAME)
FAILED = (("full", "tune", 4), ("lora r=64", "final", 2))
Frames = tuple[pd.DataFrame, pd.DataFrame]


def tables(frames: Frames) -> Tables[AgainstFull]:
    return tables_of(QUESTION, *frames, EXPERIMENT)


def verdicts(frames: Frames) -> dict[str, Verdict]:
    return {one.id: one for one in questions.answer(NAME, *frames).verdicts}


def asked(frames: Frames) -> Asked:
    return Asked(QUESTION, EXPERIMENT, answer(QUESTION, *frames, EXPERIMENT), [])


@pytest.fixture(scope="module")
def usual() -> Asked:
    return asked(sweep(truth(), failed=FAILED))


def test_every_claim_of_the_experiment_has_a_rule() -> None:
    assert {claim.id for claim in EXPERIMENT.claims} == set(QUESTION.rules)


def test_claims_that_hold_are_supported() -> None:
    abilities = {1: 0.9, 4: 1.4, 16: 1.6, 64: 1.6}
    held = {f"lora r={rank}": ArmTruth(ability, 6e-3, 0.15) for rank, ability in abilities.items()}
    found = verdicts(sweep({**held, "full": ArmTruth(1.6, 6e-4, 0.7)}, seeds=8, seed_sd=0.03, items_per_task=250))
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(found, Decision.SUPPORTED)


def test_claims_that_fail_are_contradicted() -> None:
    abilities = {1: 1.2, 4: 1.2, 16: 0.9, 64: 0.7}
    wrong = {f"lora r={rank}": ArmTruth(ability, 3e-3, 1.2) for rank, ability in abilities.items()}
    found = verdicts(sweep({**wrong, "full": ArmTruth(2.2, 2.5e-3, 0.3)}, seeds=6, seed_sd=0.03, items_per_task=120))
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(found, Decision.CONTRADICTED)
    assert "LoRA forgets more" in found["lora_forgets_5_to_8_times_less"].note


def test_noise_is_undecided_not_a_verdict() -> None:
    found = verdicts(sweep(truth(), seeds=3, seed_sd=0.6, items_per_task=10, n_documents=15, random_state=5))
    unsure = ("lora_forgets_5_to_8_times_less", "rank_16_beats_rank_1")
    assert {found[name].verdict for name in unsure} == {Decision.UNDECIDED}


def test_arms_that_are_the_same_are_rarely_called_different() -> None:
    """Twenty sweeps without any effect of rank, at most 4 called (2 % chance of more at an error rate of 7 %)."""
    called = 0
    for state in range(20):
        found = verdicts(sweep(truth(), items_per_task=15, n_documents=15, random_state=100 + state))
        called += found["rank_16_beats_rank_1"].verdict is not Decision.UNDECIDED
    assert called <= 4


def test_what_differs_between_two_bases_lengthens_no_interval() -> None:
    alike, unlike = (tables(sweep(truth(), seeds=6, base_sd=sd)).means["lora r=16"]["quality"] for sd in (0.0, 0.8))
    assert unlike.over is Over.THESE_BASES
    assert unlike.high - unlike.low < 1.2 * (alike.high - alike.low)


def test_one_seed_says_that_it_needs_two_and_invents_no_interval() -> None:
    made = asked(sweep(truth(), seeds=1))
    found = {one.id: one for one in made.answer.verdicts}["rank_16_beats_rank_1"]
    assert found.low is None
    assert found.verdict is Decision.UNDECIDED
    assert "needs 2 seeds" in found.shown
    assert "needs 2 seeds" in page.markdown(made)
    assert "needs 2 seeds" in "".join(QUESTION.sections(made.tables))
    draw(made.tables)


def test_without_full_the_claims_about_it_are_not_tested() -> None:
    only = {name: arm for name, arm in truth().items() if name in ("lora r=4", "lora r=16")}
    trials, items = sweep(only)
    trials["arm"] = trials["arm"].str.replace("lora ", "")  # a label is for people: nothing is parsed from it
    found = verdicts((trials, items))
    assert found["lora_within_3_percent_of_full"].verdict is Decision.NOT_TESTED
    assert found["rank_16_beats_rank_1"].verdict is Decision.NOT_TESTED  # rank 4 is two octaves from rank 1
    draw(tables((trials, items)))


def test_a_rank_an_octave_away_stands_for_the_claims_and_says_so() -> None:
    ranks = {"lora r=2": ArmTruth(), "lora r=16": ArmTruth()}
    found = verdicts(sweep(ranks))["rank_16_beats_rank_1"]
    assert "rank 2 stands for rank 1" in found.note
    assert found.value is not None


def test_a_best_rate_at_the_edge_of_the_range_decides_nothing() -> None:
    """Rank 1 is worse, but its best learning rate lies beyond the range: it might be as good there."""
    arms_at = {"lora r=1": ArmTruth(ability=1.0, best_rate=3e-1), "lora r=16": ArmTruth(ability=1.6), "full": ArmTruth()}
    trials, items = sweep(arms_at, seeds=6, items_per_task=120)
    highest = trials[trials["arm"] == "lora r=1"]["train.learning_rate"].max()
    beyond = (trials["arm"] == "lora r=1") & (trials["phase"] == "tune") & (trials["train.learning_rate"] == highest)
    assert beyond.any()
    found = verdicts((trials, items))["rank_16_beats_rank_1"]
    assert found.verdict is Decision.UNDECIDED
    assert "supported but for this: best learning rate at the edge of the range: lora r=1" in found.note


def test_a_rate_that_was_not_tuned_decides_nothing() -> None:
    trials, items = sweep({"lora r=1": ArmTruth(ability=0.5), "lora r=16": ArmTruth(ability=2.0)}, seeds=5)
    fixed = trials[trials["phase"] == "final"]
    made = asked((fixed, items[items["fingerprint"].isin(fixed["fingerprint"])]))
    found = {one.id: one for one in made.answer.verdicts}["rank_16_beats_rank_1"]
    assert found.verdict is Decision.UNDECIDED
    assert "learning rate not tuned: lora r=16, lora r=1" in found.note
    assert "learning rate not tuned: lora r=1, lora r=16" in page.markdown(made)
    draw(made.tables)


def test_an_arm_whose_tuning_failed_altogether_stays_in_the_report() -> None:
    made = asked(sweep(truth(), failed=tuple(("lora r=64", "tune", i) for i in range(6))))
    assert "6 of 6" in page.markdown(made)
    draw(made.tables)


def test_failed_trials_are_counted_and_listed(usual: Asked) -> None:
    arm_rows = usual.tables.arm_rows.set_index("arm")
    assert arm_rows.loc["full", "tune_failed"] == 1
    assert (arm_rows.loc["lora r=64", "final_failed"], arm_rows.loc["lora r=64", "seeds"]) == (1, 2)
    text = page.markdown(usual)
    assert text.count("loss is nan at step 12") == 2
    assert "1 of 9" in text


def test_trials_on_further_bases_count_and_the_design_names_these() -> None:
    trials, items = sweep(truth())
    further = trials[(trials["arm"] == "full") & (trials["phase"] == Phase.TUNE)].iloc[:2].assign(phase=Phase.AGAIN)
    further = further.assign(
        **{"model.name": "lab:base-1", "fingerprint": ["again 0", "again 1"], "state": [State.FINISHED, State.OOM]}
    )
    made = asked((pd.concat([trials, further], ignore_index=True), items))
    assert made.tables.arm_rows.set_index("arm").loc["full", "tune_failed"] == 1
    text = page.markdown(made)
    assert "1 of 11" in text
    assert "(the best two also on lab:base-1) and the validation split" in text


def test_an_arm_whose_final_trials_all_failed_stays_in_the_table() -> None:
    made = asked(sweep(truth(), failed=tuple(("lora r=1", "final", seed) for seed in range(3))))
    assert made.tables.arm_rows.set_index("arm").loc["lora r=1", "final_failed"] == 3
    assert "| lora r=1 |" in page.markdown(made)
    draw(made.tables)


def test_nothing_finished_is_one_clear_line() -> None:
    every = tuple((arm, "final", seed) for arm in truth() for seed in range(3))
    with pytest.raises(BadInput, match=r"no final trial has finished \(15 failed\); the first failure: diverged, loss is nan"):
        tables(sweep(truth(), failed=every))


def test_a_panel_keeps_each_trials_score_with_weights_and_several_measures() -> None:
    trials, items = sweep(truth())
    final = trials[trials["phase"] == "final"]
    for axis in ("quality", "forgetting"):
        scores = panel(items, list(final["fingerprint"]), axis, trials)
        assert scores.crossed
        assert scores.of(list(final["fingerprint"])).mean(axis=1) == pytest.approx(final[axis].to_numpy(float))


def test_items_that_occur_twice_count_twice() -> None:
    trials, items = sweep(truth())
    items.loc[items["item"] == "q1", "item"] = "q0"
    final = trials[trials["phase"] == "final"]
    scores = panel(items, list(final["fingerprint"]), "quality", trials)
    assert scores.of(list(final["fingerprint"])).mean(axis=1) == pytest.approx(final["quality"].to_numpy(float))


def test_items_that_differ_between_seeds_leave_seed_means() -> None:
    trials, items = sweep(truth())
    final = trials[trials["phase"] == "final"]
    items["item"] = items["item"].where(~items["fingerprint"].str.endswith("-1"), items["item"] + " of another base")
    scores = panel(items, list(final["fingerprint"]), "quality", trials)
    assert not scores.crossed
    assert scores.scores_FI.shape == (15, 1)
    assert scores.scores_FI[:, 0] == pytest.approx(final["quality"].to_numpy(float))
    draw(tables((trials, items)))


def test_final_trials_at_an_outdated_learning_rate_do_not_count() -> None:
    trials, _ = sweep(truth())
    old = trials[(trials["arm"] == "full") & (trials["phase"] == "final")].copy()
    old["train.learning_rate"], old["fingerprint"] = 1e-4, old["fingerprint"] + "-old"
    full = next(arm for arm in arms(pd.concat([old, trials])) if arm.method == "full")
    assert not any(name.endswith("-old") for name in full.final.values())


def test_all_trials_of_an_arm_are_counted_those_at_an_outdated_learning_rate_too() -> None:
    trials, items = sweep(truth())
    old = trials[(trials["arm"] == "full") & (trials["phase"] == "final")].copy()
    old["train.learning_rate"], old["fingerprint"] = 1e-4, old["fingerprint"] + "-old"
    old.iloc[0, old.columns.get_loc("state")] = "diverged"
    row = tables((pd.concat([old, trials], ignore_index=True), items)).arm_rows.set_index("arm").loc["full"]
    assert failed(row) == "1 of 12"  # six rates, three seeds at the best, three at another


def test_two_arms_of_one_rank_are_refused() -> None:
    trials, items = sweep({"lora r=4": ArmTruth(), "lora r=16": ArmTruth()})
    trials["adapter.rank"] = 4
    with pytest.raises(BadInput, match="have the same rank"):
        tables((trials, items))


def test_arms_that_differ_beyond_the_axis_are_named() -> None:
    trials, items = sweep(truth())
    trials.loc[trials["arm"] == "full", "data.n_examples"] = 500
    assert any("data.n_examples differs" in line for line in page.cautions(asked((trials, items))))
    assert not any("differ" in line for line in page.cautions(asked(sweep(truth()))))


@pytest.mark.parametrize("fact", ["dtype", "device", "git_commit", "version.torch", "train_rows_hash", "target_modules"])
def test_arms_that_differ_in_a_resolved_fact_are_named(fact: str) -> None:
    trials, items = sweep(truth())
    trials[fact] = np.where(trials["arm"] == "lora r=16", "one", "another")
    assert any(f"{fact} differs" in line for line in page.cautions(asked((trials, items))))


def test_arms_with_other_seeds_are_named() -> None:
    found = page.cautions(asked(sweep(truth(), failed=(("lora r=4", "final", 2),))))
    assert any("finished seeds differ" in line and "lora r=4: 0, 1;" in line for line in found)


def test_the_interval_of_an_accuracy_ends_at_one() -> None:
    trials, items = sweep(truth(), seeds=2, seed_sd=0.6)
    arm_rows = tables((trials, items)).arm_rows
    assert (arm_rows["quality_high"] <= 1).all()
    assert (arm_rows["quality_high"] == 1).any()


def test_the_report_says_on_which_bases_the_rate_was_tuned_and_how_lora_was_set() -> None:
    trials, items = sweep(truth())
    trials["adapter.targets"] = np.where(trials["adapter.method"] == "lora", "all-linear", None)
    text = "\n".join(page.design(asked((trials, items))))
    assert "adapter.targets = all-linear" in text
    assert "Tuned inside each arm on lab:base-0 and the validation split: learning rates 1e-4 to 3e-2" in text
    assert "for these two bases" in text


def test_arms_give_mean_sd_interval_and_n(usual: Asked) -> None:
    trials = usual.tables.trials
    final = trials[(trials["phase"] == "final") & (trials["state"] == "finished")]
    for _, row in usual.tables.arm_rows.iterrows():
        values = final.loc[final["arm"] == row["arm"], "quality"].to_numpy(float)
        assert row["seeds"] == len(values)
        assert row["quality_sd"] == pytest.approx(np.std(values, ddof=1))
        assert row["quality_low"] < row["quality"] < row["quality_high"]


def test_a_base_text_that_measures_no_forgetting_is_said(usual: Asked) -> None:
    t = usual.tables
    below = dataclasses.replace(t, arm_rows=t.arm_rows.assign(forgetting_high=-0.1))
    assert any("does not measure forgetting" in line for line in QUESTION.cautions(below))
    assert not any("does not measure forgetting" in line for line in QUESTION.cautions(t))


def test_report_files_are_complete_and_repeat(
    usual: Asked, quick_fonts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(style._RC, "pdf.fonttype", quick_fonts)
    files, again = page.write(usual, tmp_path / "a"), page.write(usual, tmp_path / "b")
    names = [
        "figure.png", "figure.pdf", "figure_column.pdf", "trials.csv", "arms.csv", "learning_rate.csv", "against_full.csv",
        "table.md", "table.tex", "verdicts.json", "undecided.json", "decision.json", "report.md",
    ]  # fmt: skip
    assert [file.name for file in files] == names
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(files, again, strict=True))
    assert b"/FontFile2" in files[1].read_bytes()  # TrueType, embedded
    assert len(pd.read_csv(tmp_path / "a" / "trials.csv")) == 45
    read = json.loads((tmp_path / "a" / "verdicts.json").read_text())
    assert {"id", "value", "low", "high", "n_seeds", "n_items", "p_holm", "verdict", "rule", "published_url"} <= set(read[0])
    assert (tmp_path / "a" / "table.tex").read_text().count(r"\\") == 7


def test_its_own_frames_hold_the_curves_and_what_is_paired_with_full(usual: Asked) -> None:
    frames, t = QUESTION.extra_frames(usual.tables), usual.tables
    assert len(frames["learning_rate"]) == (t.trials["phase"] == "tune").sum()
    assert frames["learning_rate"].groupby("arm")["chosen"].any().all()
    rows = frames["against_full"].set_index("arm")
    assert list(rows.index) == list(truth())
    low, high = rows["quality_vs_full_low"], rows["quality_vs_full_high"]
    assert low.drop("full").lt(high.drop("full")).all()
    assert np.isnan(low["full"])
    assert rows["front_probability"].between(0, 1).all()
    assert {"quality_iqm", "optimum_low", "forgetting_saved_at_equal_quality", "forgetting_vs_full_high"} <= set(rows)


def test_arms_stand_in_the_order_of_their_ranks_and_full_behind_them() -> None:
    """Also where a high rank trains more parameters than full fine-tuning has."""
    trials, items = sweep(truth())
    trials.loc[trials["arm"] == "lora r=64", "trainable_parameters"] = 1_000_000
    assert [row[0] for row in page.table(tables((trials, items)))[1]] == [*truth(), "untuned base"]


def test_terminal_summary_names_every_arm_and_claim(tmp_path: Path) -> None:
    text = page.report(QUESTION, EXPERIMENT, sweep(truth(), failed=FAILED), tmp_path).terminal
    assert all(name in text for name in [*truth(), *(claim.id for claim in EXPERIMENT.claims)])
    assert "## Each base alone" in (tmp_path / "report.md").read_text()


def test_log_likelihood_and_drift_as_measures_work_the_same() -> None:
    trials, items = sweep(truth())
    items = items[~items["measure"].isin(["nll/code", "nll/facts"])].copy()
    quality = items["axis"] == "quality"
    items.loc[quality, "after"] = items.loc[quality, "after"] - 3.0 + np.random.default_rng(0).normal(0, 0.1, quality.sum())
    items["measure"] = items["measure"].replace({"exact_match/seen": "log_likelihood/response", "nll/prose": "kl/documents"})
    trials[["quality_measure", "quality_unit"]] = "log_likelihood/response", "nats/token"
    trials["forgetting_measures"] = "kl/documents"
    trials["quality"], trials["quality_before"] = trials["quality"] - 3.0, -3.0
    t = tables((trials, items))
    assert (t.units["quality"], t.of_axis["forgetting"]) == ("nats/token", ("kl/documents",))
    found = verdicts((trials, items))
    assert found["rank_16_beats_rank_1"].value is not None
    assert found["lora_within_3_percent_of_full"].verdict == "not tested"
    assert "per cent of an accuracy, quality is in nats/token" in found["lora_within_3_percent_of_full"].note
    draw(t)


def test_parameters_come_back_with_the_types_of_their_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    types = load.field_types()
    assert set(flatten(Trial())) <= set(types)
    params = {name: str(value) for name, value in flatten(Trial()).items()}
    tags = {"tunelab.phase": "final", "tunelab.state": "finished"}
    run = {"run_id": "r", "artifacts": "", "status": "FINISHED", "params": params, "metrics": {"quality": 0.5}, "tags": tags}
    gone = run | {"params": params | {"adapter.method": "lily"}}
    (row,) = load.frame([run, gone]).to_dict("records")
    assert "1 trials of adapter.method=lily are left out: this version has no such method" in capsys.readouterr().err
    assert all(row[name] == value or (value is None and pd.isna(row[name])) for name, value in flatten(Trial()).items())


def test_help_works_from_a_checkout_without_heavy_imports() -> None:
    script = Path(__file__).parents[1] / "analysis" / "report.py"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(script), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--tracking-uri" in done.stdout
    assert not any(name in done.stderr for name in ("| matplotlib\n", "| pandas\n", "| mlflow\n", "| torch\n"))


def test_main_reads_judges_writes_and_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeTracking(*sweep(truth(), failed=(("full", "tune", 4),)))
    monkeypatch.setattr(load, "tracking", fake)
    monkeypatch.setattr(door, "tracking", fake)
    monkeypatch.setattr(page, "tracking", fake)
    monkeypatch.setattr(further, "tracking", fake)
    assert door.main([NAME, "--tracking-uri", "memory", "--report", str(tmp_path / "report")]) == 0
    assert "report.md" in {file.name for file in fake.files}
    assert [row["arm"] for row in fake.arm_rows] == list(truth())
    assert "lora_forgets_5_to_8_times_less" in fake.note
    assert "lora_within_3_percent_of_full" in capsys.readouterr().out


def test_a_report_of_a_sweep_that_has_not_ended_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTracking(*sweep(truth()))
    fake.status = "RUNNING"
    for module in (load, door, page, further):
        monkeypatch.setattr(module, "tracking", fake)
    made = page.analysed(NAME, "memory", "sweep", tmp_path / "report")
    for shown in (made.terminal, (tmp_path / "report" / "report.md").read_text()):
        assert "the sweep is not through: trials of its plan may be missing" in " ".join(shown.replace("*", "").split())
    said = {status: further.Further(status=status).unfinished for status in ("KILLED", "FINISHED", "")}
    assert [str(one).partition(":")[0] for one in said["KILLED"]] == ["the sweep was interrupted"]
    assert said["FINISHED"] == said[""] == []


def test_a_sweep_without_trials_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeTracking(*sweep(truth()))
    fake.trials = fake.trials.iloc[:0]
    monkeypatch.setattr(load, "tracking", fake)
    monkeypatch.setattr(door, "tracking", fake)
    monkeypatch.setattr(page, "tracking", fake)
    monkeypatch.setattr(further, "tracking", fake)
    assert door.main([NAME, "--tracking-uri", "memory"]) == 2
    assert capsys.readouterr().err.startswith("error: rank_vs_quality: no trial")


def test_no_password_of_a_tracking_uri_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeTracking(*sweep(truth()))
    fake.trials = fake.trials.iloc[:0]
    monkeypatch.setattr(load, "tracking", fake)
    monkeypatch.setattr(door, "tracking", fake)
    monkeypatch.setattr(page, "tracking", fake)
    monkeypatch.setattr(further, "tracking", fake)
    assert door.main([NAME, "--tracking-uri", "postgresql://joe:S3CRET@db/x"]) == 2
    assert "S3CRET" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("again", "chosen"),
    [
        ([], 1e-3),
        ([(1e-3, 1, "finished", 0.5), (2e-3, 1, "finished", 0.9)], 2e-3),  # the mean over bases decides, as in the sweep
        ([(1e-3, 1, "finished", 0.9), (2e-3, 1, "finished", 0.5)], 1e-3),
        ([(1e-3, 1, "diverged", None), (2e-3, 1, "finished", 0.1)], 2e-3),
        (
            [(4e-3, 1, "finished", 0.9), (1e-3, 1, "finished", 0.8), (2e-3, 1, "finished", 0.8)],
            1e-3,
        ),  # not of the best two
        # Only the bases that both finished on: 2e-3 would win as it has no quality on the hard one.
        ([(1e-3, 1, "finished", 0.6), (1e-3, 2, "finished", 0.6), (2e-3, 1, "oom", None), (2e-3, 2, "finished", 0.605)], 1e-3),
        ([(1e-3, 1, "finished", 0.5), (2e-3, 1, "finished", 0.9), (4e-3, 1, "finished", 1.2)], 4e-3),  # beyond the better of two
    ],
)
def test_of_final_trials_at_several_rates_those_count_that_the_sweep_would_choose(again: list, chosen: float) -> None:
    rows = [("tune", rate, 0, "finished", quality) for rate, quality in ((1e-3, 0.8), (2e-3, 0.79), (4e-3, 0.6))]
    rows += [("again", *row) for row in again] + [("final", rate, 0, "finished", 0.7) for rate in (1e-3, 2e-3, 4e-3)]
    group = pd.DataFrame(rows, columns=["phase", "train.learning_rate", "model.name", "state", "quality"]).assign(arm="lora")
    assert group.loc[final_trials(group), "train.learning_rate"].tolist() == [chosen]
