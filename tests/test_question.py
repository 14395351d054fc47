"""What holds for every question: from frames with known effects to verdicts, figure, files and the page over all."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from simulated import ArmState, FakeTracking, answered, changed, of_frames, question, real, sweep, truth, truths

import experiments
from analysis import load, questions
from analysis import report as door
from analysis.claims import rules
from analysis.claims.question import Answer, Question, tables_of
from analysis.claims.rules import Ask, contrast, slope_weights
from analysis.claims.tables import Tables, View
from analysis.figures import style
from analysis.reports import book, kept, parts
from analysis.reports import question as question_report
from analysis.reports.question import Asked
from analysis.stats import ABOVE_ZERO, Decision
from core.errors import BadInput
from sweeps import plan

NAMES = experiments.names()
OWN_FILES = {  # beside those of every question
    "adapter_methods": {"beside_peft.csv"},
    "rank_vs_quality": {"learning_rate.csv", "against_full.csv"},
    "mixture": {"surface.csv"},
}


def cautions(name: str, tables: Tables[Any]) -> list[str]:
    """What the report of this question would warn of."""
    asked = Asked(questions.load(name), experiments.load(name), Answer(tables, []), [])
    return question_report.cautions(asked)


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_has_a_rule_and_the_report_is_complete(name: str, tmp_path: Path) -> None:
    asked, experiment = questions.load(name), experiments.load(name)
    assert set(asked.rules) == {claim.id for claim in experiment.claims}
    frames = question(truths(name), seeds=2, n_items=200, tuned=bool(experiment.tune))
    made = question_report.report(asked, experiment, frames, tmp_path)
    files = {file.name for file in made.files}
    assert files == {
        "figure.png",
        "figure.pdf",
        "figure_column.pdf",
        "trials.csv",
        "arms.csv",
        "table.md",
        "table.tex",
        "verdicts.json",
        "decision.json",
        "undecided.json",
        "report.md",
    } | OWN_FILES.get(name, set())
    page = (tmp_path / "report.md").read_text()
    assert all(claim.statement in page for claim in experiment.claims)
    assert ("## Each base alone" in page) == ("model.name" in experiment.with_seed)
    assert "needs 2 seeds" not in page.partition("## Each base alone")[2].partition("\n## ")[0]  # the note says it once
    assert all(arm.label in made.terminal for arm in plan.arms(experiment))
    assert list(made.arm_rows["arm"].sort_values()) == sorted(arm.label for arm in plan.arms(experiment))


def test_each_base_alone_has_its_own_effect(tmp_path: Path) -> None:
    """Wrong answers cost quality on one base and nothing on the other."""
    trials, items = question(truths("label_noise"), seeds=6, n_items=2_000, tuned=False)
    noisy = set(trials.loc[(trials["data.noise_share"] == 0.1) & (trials["model.name"] == "lab:base-1"), "fingerprint"])
    worse = items["fingerprint"].isin(noisy) & (items["measure"] == "exact_match/seen")
    frames = trials, items.assign(after=items["after"].where(~worse, 0.0))
    question_report.report(questions.load("label_noise"), experiments.load("label_noise"), frames, tmp_path)
    section = (tmp_path / "report.md").read_text().partition("## Each base alone")[2]
    (row,) = (line for line in section.splitlines() if line.startswith("| wrong_answers_cost_at_most_5_points |"))
    first, second = (float(arm.split()[0].replace("−", "-")) for arm in row.split("|")[2:4])
    assert abs(first) < 0.05
    assert second < -0.3


@pytest.mark.parametrize("name", NAMES)
def test_what_did_not_run_is_not_tested(name: str) -> None:
    arms = dict(list(truths(name).items())[:1])
    _, found = answered(name, arms, tuned=bool(experiments.load(name).tune))
    assert {row.verdict for row in found.values()} == {"not tested"}
    assert all(row.note for row in found.values())


def test_a_trend_is_the_least_squares_slope_of_the_means_and_its_interval_covers_it() -> None:
    x = np.log([1.0, 2.0, 4.0, 8.0])
    assert slope_weights(x).sum() == pytest.approx(0)
    assert slope_weights(x) @ (3 + 0.7 * x) == pytest.approx(0.7)
    asked = Question(View(x="train.epochs", x_label="", measures=("forgetting",)), {})
    experiment = experiments.load("epochs")
    hits = []
    for state in range(60):
        arms = {f"e{e}": ArmState({"train.epochs": e}, forgetting=1 + 0.3 * np.log(e)) for e in (1.0, 2.0, 4.0, 8.0)}
        t = tables_of(asked, *question(arms, n_items=20, seed_sd=0.1, tuned=False, random_state=state), experiment)
        e = rules.trend(t, {}, Ask("forgetting", ABOVE_ZERO, "")).estimate
        assert e is not None
        hits.append(e.low <= 0.3 * 1.005 <= e.high)  # seeds are log-normal: the mean is half a per cent higher
        means = [float(t.arm_rows.loc[t.arm_rows["arm"] == arm.label, "forgetting"].iloc[0]) for arm in t.where({})]
        assert e.value == pytest.approx(float(np.polyfit(x, means, 1)[0]))
    assert np.mean(hits) >= 0.88


def test_a_contrast_uses_the_seeds_that_all_arms_share() -> None:
    trials, items = question(truths("epochs"), tuned=False)
    lost = (trials["arm"] == "epochs=1") & (trials["seed"] == 3)
    trials.loc[lost, "state"] = "diverged"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    t, _ = of_frames("epochs", trials, items)
    e = contrast([(arm, 1.0) for arm in t.arms], t.panels["quality"])
    assert e is not None
    assert e.n_seeds == 3
    assert any("finished seeds differ" in line for line in cautions("epochs", t))


def test_an_arm_at_the_edge_of_its_range_decides_nothing() -> None:
    trials, items = question(changed(truths("target_modules"), **{"targets=mlp r=7": {"ability": 3.0}}))
    higher = (trials["arm"] == "lora targets=mlp r=7") & (trials["phase"] == "tune") & (trials["train.learning_rate"] > 2e-3)
    kept = items[~items["fingerprint"].isin(trials.loc[higher, "fingerprint"])]
    found = of_frames("target_modules", trials[~higher], kept)[1]["mlp_beats_attention"]
    assert found.verdict == "undecided"
    assert "supported but for this: best learning rate at the edge" in found.note


def test_failed_trials_are_counted_and_listed(tmp_path: Path) -> None:
    trials, items = question(truths("epochs"), tuned=False)
    trials.loc[trials.index[:2], ["state", "reason"]] = "diverged", "loss is nan at step 12"
    made = question_report.report(questions.load("epochs"), experiments.load("epochs"), (trials, items), tmp_path)
    assert "2 of 4" in made.terminal
    assert (tmp_path / "report.md").read_text().count("loss is nan at step 12") == 2
    assert len(pd.read_csv(tmp_path / "trials.csv")) == len(trials)


def test_a_sweep_is_loaded_and_answered_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """As analysis/README.md has it: from the name of a question to Verdict objects and a row an arm."""
    fake = FakeTracking(*sweep(truth()))
    monkeypatch.setattr(load, "tracking", fake)
    trials, items = load.sweep("rank_vs_quality", tracking_uri="memory")
    assert len(trials) == len(fake.trials)
    assert set(items["fingerprint"]) == set(fake.items["fingerprint"])
    found = questions.answer("rank_vs_quality", trials, items)
    assert [one.id for one in found.verdicts] == [claim.id for claim in experiments.load("rank_vs_quality").claims]
    assert all(isinstance(one.verdict, Decision) for one in found.verdicts)
    assert list(found.tables.arm_rows["arm"]) == list(truth())


def test_one_page_over_everything_that_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = {"epochs": "e" * 16, "replay": "f" * 16}

    def sweeps(uri: str, name: str) -> list[str]:
        if name not in ran:
            raise BadInput(f"memory has no experiment {name!r}: run `it` first")
        return [ran[name], "0" * 16]

    def analysed(name: str, uri: str, sweep: str, directory: Path) -> question_report.Report:
        assert sweep != "broken", "no such thing"
        frames = question(truths(name), tuned=False)
        return question_report.report(questions.load(name), experiments.load(name), frames, directory)

    monkeypatch.setattr(book.tracking, "sweeps", sweeps)
    monkeypatch.setattr(book.tracking, "last_with_results", lambda uri, name: (ran[name], []))
    monkeypatch.setattr(book, "analysed", analysed)
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    n_claims = sum(len(experiments.load(name).claims) for name in ran)
    assert f"2 questions, {n_claims} claims" in said
    assert "replay: sweep ffffffff, the others are left out (--sweep chooses): 00000000" in said
    assert "not run: python sweeps/run.py rank_vs_quality" in said
    assert f"replay: not at its end: an arm has 4 of the {len(experiments.load('replay').seeds)} seeds" in said
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    assert list(ledger["id"]) == [claim.id for name in ran for claim in experiments.load(name).claims]
    lines = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert [line.split(" | ")[1].split(":")[0] for line in lines] == list(ledger["id"])
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(?:src|href)="(?!data:|#|https://)', page)  # opens offline
    assert '<td class="undecided">' in page
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path / "one"), "--sweep", "9999"]) == 2
    assert "error: --sweep 9999: no such sweep; the store has eeeeeeee" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
    ran["learning_rate"] = "broken"
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 3  # the others have their page all the same
    assert "error: learning_rate: AssertionError" in capsys.readouterr().err
    del ran["learning_rate"], ran["replay"]  # what is in no store any more stays on the page
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 0
    assert f"as they stood in {tmp_path}: replay" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ledger.csv"), ledger)
    assert (tmp_path / "report.html").read_text() == page
    (tmp_path / "replay" / "verdicts.json").write_text("[{}]")
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 3
    assert f"error: replay: the report in {tmp_path / 'replay'} is damaged" in capsys.readouterr().err
    ran.clear()
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: memory has no experiment")


def test_curves_are_fitted_where_there_are_levels_and_seeds_enough() -> None:
    sizes = {label: int(str(t.fields["data.n_examples"])) for label, t in truths("data_quantity").items()}
    arms = {
        label: dataclasses.replace(t, ability=3 - 5 * np.exp(-sizes[label] / 300)) for label, t in truths("data_quantity").items()
    }
    found = answered("data_quantity", arms, seed_sd=0.02)[0].laws
    assert [(one.curve, one.measure) for one in found] == [
        (curve, measure) for curve in ("equal epochs", "equal steps") for measure in ("quality", "exact_match/held_out")
    ]
    assert found[0].best.fit.law in ("exponential", "logistic")
    assert "flat" in found[1].comparison.as_good
    assert found[0].best.plateau.known
    assert 300 < found[0].best.plateau.value < 2_000
    few = {label: truth for label, truth in arms.items() if sizes[label] < 200}
    assert answered("data_quantity", few)[0].laws == ()
    assert answered("data_quantity", arms, seeds=1)[0].laws == ()


@pytest.mark.parametrize("name", NAMES)
def test_real_data_have_a_report_and_no_verdict_on_points_of_accuracy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []  # and laid out; what a file of it costs is paid in the test of the laboratory's reports

    def unsaved(made: Figure, stem: Path) -> Path:
        drawn.append(made)
        return stem

    monkeypatch.setattr(style, "save", lambda made, stem: [unsaved(made, stem)])
    monkeypatch.setattr(style, "save_vector", unsaved)
    experiment = experiments.load(name)
    frames = real(question(truths(name), tuned=bool(experiment.tune)))
    made = question_report.report(questions.load(name), experiment, frames, tmp_path)
    assert "accuracy, response token" in made.terminal
    words = ("0.02", "90 %", "held")
    in_points = [row for row in made.verdicts if any(word in f"{row.rule} {row.effect}" for word in words)]
    assert all(row.verdict == "not tested" for row in in_points)
    assert not any(
        one.percent for one in made.verdicts if one.value is not None
    )  # a log-likelihood has no zero to be relative to
    assert len(drawn) >= 2
    for figure in drawn:
        figure.draw_without_rendering()


def test_an_arm_without_a_number_has_no_place_on_a_trend_or_a_law() -> None:
    """`--set data.n_templates=…,none`: all of them, however many these are."""
    arms = truths("instruction_diversity")
    label = next(iter(arms))
    every = dataclasses.replace(arms[label], fields=arms[label].fields | {"data.n_templates": None})
    t, found = answered("instruction_diversity", arms | {"n_templates=None": every})
    trends = [one for one in found.values() if "without n_templates=None" in one.note]
    assert trends
    assert all(one.value is not None for one in trends)
    assert all(len(fit.best.fit.points.y_K) == len(arms) for fit in t.laws)


def test_what_full_fine_tuning_lacks_is_held_equal_in_lora_alone() -> None:
    trials, _ = question(truths("learning_rate"), tuned=False)
    said = parts.held_equal(trials[trials["phase"] == "final"])
    everywhere, in_lora = said.split("; in the arms of LoRA: ")
    assert "adapter." not in everywhere
    assert "adapter.method" not in in_lora
    assert "adapter.rank = 16" in in_lora
    alone = parts.held_equal(trials[(trials["phase"] == "final") & (trials["adapter.method"] == "lora")])
    assert "adapter.method = lora" in alone
    assert "arms of LoRA" not in alone


def test_a_published_score_is_not_laid_over_a_likelihood() -> None:
    frames = question(truths("data_quantity"))
    assert len(of_frames("data_quantity", *frames)[0].published) == 1
    assert of_frames("data_quantity", *real(frames))[0].published == []


def test_text_that_tuning_makes_easier_says_nothing_about_forgetting() -> None:
    _, found = answered("replay", truths("replay", forgetting=-0.6), tuned=False)
    assert {row.verdict for row in found.values() if "forgetting" in row.effect} == {"undecided"}
    assert "does not measure forgetting" in found["replay_1_percent_halves_forgetting"].note


def test_arms_that_were_to_be_tuned_and_were_not_decide_nothing() -> None:
    better = changed(truths("target_modules"), **{"targets=mlp r=7": {"ability": 3.0}})
    _, found = answered("target_modules", better, tuned=False)
    assert found["mlp_beats_attention"].verdict == "undecided"
    assert "learning rate not tuned" in found["mlp_beats_attention"].note


def test_a_trend_names_the_arms_it_lacks_and_keeps_the_seeds_of_the_others() -> None:
    trials, items = question(truths("task_diversity"), seeds=8, tuned=False)
    lost = (trials["arm"] == "n_clusters=1") | ((trials["arm"] == "n_clusters=2") & (trials["seed"] > 0))
    trials.loc[lost, "state"] = "oom"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    _, found = of_frames("task_diversity", trials, items)
    assert found["held_out_rises_with_clusters"].n_seeds == 8
    assert "without n_clusters=1, n_clusters=2" in found["held_out_rises_with_clusters"].note


def test_arms_of_a_comparison_that_differ_in_steps_say_so() -> None:
    arms = {label: dataclasses.replace(t, fields={**t.fields, "train/steps": 2_000 if "None" in label else 189})
             for label, t in truths("quality_vs_quantity").items()}  # fmt: skip
    tables, found = answered("quality_vs_quantity", arms)
    assert "189 to 2,000 steps" in found["curated_matches_all_synthetic_seen"].note
    assert "steps" not in found["curated_beats_synthetic_at_equal_size"].note
    assert any("train/steps differs" in line for line in cautions("quality_vs_quantity", tables))


def test_a_source_with_fewer_rows_than_asked_for_decides_nothing() -> None:
    arms = {
        label: dataclasses.replace(t, fields={**t.fields, "rows/available": 920}) for label, t in truths("data_quantity").items()
    }
    tables, found = answered("data_quantity", arms)
    assert "fewer rows than data.n_examples: n_examples=8000" in found["sixteen_times_data_no_gain_equal_epochs"].note
    assert any("n_examples=1000" in line for line in cautions("data_quantity", tables))


@pytest.mark.parametrize(("seeds", "n_items", "why"), [(1, 60, "one seed"), (3, 6, "6 evaluation items"), (3, 60, "")])
def test_sizes_of_a_smoke_run_are_told_at_the_top(seeds: int, n_items: int, why: str, tmp_path: Path) -> None:
    frames = question(truths("label_noise"), seeds=seeds, n_items=n_items, tuned=False)
    made = question_report.report(questions.load("label_noise"), experiments.load("label_noise"), frames, tmp_path)
    text = f"Smoke run, too small to judge: {why}"
    assert ((tmp_path / "report.md").read_text().splitlines()[2] == f"**{text}.**") == bool(why)
    assert made.terminal.startswith(text) == bool(why)
    assert ("Smoke run" in kept.read(tmp_path).about) == bool(why)  # beside its report's name on the page over all
