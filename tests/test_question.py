"""The questions beside rank_vs_quality: from frames with known effects to verdicts, figure and files."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import ArmState, question

import experiments
from analysis import report as door
from analysis.claims import rules
from analysis.claims.fits import fits
from analysis.claims.rules import contrast, slope_weights
from analysis.claims.tables import Tables, View, compute
from analysis.reports import book, parts
from analysis.reports import question as question_report
from analysis.reports.question import judge
from analysis.stats import ABOVE_ZERO
from core.errors import BadInput
from sweeps import plan

NAMES = [name for name in experiments.names() if name != "rank_vs_quality"]

SIZES = {"small": 2e5, "large": 4e6, "base-0": 9e5}  # parameters of the ladder's bases


def truths(name: str, **levels: float) -> dict[str, ArmState]:
    """The arms of an experiment as it stands, all alike but for `levels`."""
    experiment = experiments.load(name)
    found = {}
    for cell in plan.arms(experiment):
        fields = dict(cell.overrides)
        if "data.n_examples" in fields or "data.source" in fields:
            size = fields.get("data.n_examples", 1_000)
            fields |= {"data.source": fields.get("data.source", "lab:curated"), "rows/used": 32_000 if size is None else size}
            fields["train/tokens"] = 25.0 * float(str(fields["rows/used"]))
        if "model.name" in fields:
            fields["total_parameters"] = next(n for word, n in SIZES.items() if word in str(fields["model.name"]))
        found[cell.label] = ArmState(fields, **levels)
    return found


def changed(cells: dict[str, ArmState], **levels: dict[str, float]) -> dict[str, ArmState]:
    """The arms whose label contains a key (as words joined by _) with these levels instead."""
    return {
        label: dataclasses.replace(truth, **next((new for key, new in levels.items() if key.replace("_", " ") in label), {}))
        for label, truth in cells.items()
    }


def analysed(name: str, cells: dict[str, ArmState], **settings: float) -> tuple[Tables, dict[str, dict[str, object]]]:
    module, experiment = importlib.import_module(f"analysis.questions.{name}"), experiments.load(name)
    tables = compute(*question(cells, **settings), experiment, module.VIEW)
    return tables, {str(row["id"]): row for row in judge(tables, experiment, module.RULES)}


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_has_a_rule_and_the_report_is_complete(name: str, tmp_path: Path) -> None:
    module, experiment = importlib.import_module(f"analysis.questions.{name}"), experiments.load(name)
    assert callable(module.report)
    assert set(module.RULES) == {claim.id for claim in experiment.claims}
    made = module.report(*question(truths(name), tuned=bool(experiment.tune)), experiment, tmp_path)
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
        "report.md",
    }
    page = (tmp_path / "report.md").read_text()
    assert all(claim.statement in page for claim in experiment.claims)
    assert ("## Each base alone" in page) == ("model.name" in experiment.with_seed)
    assert all(cell.label in made.terminal for cell in plan.arms(experiment))
    assert list(made.arm_rows["arm"].sort_values()) == sorted(cell.label for cell in plan.arms(experiment))


def test_each_base_alone_has_its_own_effect(tmp_path: Path) -> None:
    """Wrong answers cost quality on one base and nothing on the other."""
    trials, items = question(truths("label_noise"), seeds=6, n_items=2_000, tuned=False)
    module, experiment = importlib.import_module("analysis.questions.label_noise"), experiments.load("label_noise")
    noisy = set(trials.loc[(trials["data.noise_share"] == 0.1) & (trials["model.name"] == "lab:base-1"), "fingerprint"])
    worse = items["fingerprint"].isin(noisy) & (items["measure"] == "exact_match/seen")
    module.report(trials, items.assign(after=items["after"].where(~worse, 0.0)), experiment, tmp_path)
    section = (tmp_path / "report.md").read_text().partition("## Each base alone")[2]
    (row,) = (line for line in section.splitlines() if line.startswith("| wrong_answers_cost_quality |"))
    first, second = (float(cell.split()[0].replace("−", "-")) for cell in row.split("|")[2:4])
    assert abs(first) < 0.05
    assert second < -0.3


@pytest.mark.parametrize("name", NAMES)
def test_what_did_not_run_is_not_tested(name: str) -> None:
    cells = dict(list(truths(name).items())[:1])
    _, found = analysed(name, cells)
    assert {row["verdict"] for row in found.values()} == {"not tested"}
    assert all(row["note"] for row in found.values())


def test_learning_rate_finds_a_rise_and_the_ratio_of_the_tops() -> None:
    def curve(method: str, rate: float) -> tuple[float, float]:
        offset = np.log10(rate / (4e-3 if method == "lora" else 4e-4))
        return 2.0 - 1.5 * offset**2, 0.5 * 10 ** (0.8 * offset)

    cells = {}
    for label, truth in truths("learning_rate").items():
        ability, forgetting = curve(str(truth.fields["adapter.method"]), float(str(truth.fields["train.learning_rate"])))
        cells[label] = dataclasses.replace(truth, ability=ability, forgetting=forgetting)
    _, found = analysed("learning_rate", cells, tuned=False, n_items=2_000, seed_sd=0.02)
    assert {name: row["verdict"] for name, row in found.items()} == dict.fromkeys(
        ("lower_rate_forgets_less_lora", "lower_rate_forgets_less_full", "lora_rate_10_times_full"), "supported"
    )
    assert float(str(found["lora_rate_10_times_full"]["value"])) == pytest.approx(10, rel=0.35)


def test_epochs_tells_a_plateau_from_a_rise() -> None:
    flat = {f"epochs={e}.0": dataclasses.replace(t, ability=2.0, forgetting=0.2 if e <= 3 else 0.2 * e)
            for e, t in zip((1, 2, 3, 5, 8, 15), truths("epochs").values(), strict=True)}  # fmt: skip
    _, found = analysed("epochs", flat, tuned=False, n_items=4_000, seed_sd=0.01)
    assert found["forgetting_speeds_up_past_3_epochs"]["verdict"] == "supported"
    assert found["loss_falls_without_quality"]["verdict"] == "not tested"  # the loss is the same in every arm
    for e, (label, truth) in zip((1, 2, 3, 5, 8, 15), flat.items(), strict=True):
        flat[label] = dataclasses.replace(truth, fields={**truth.fields, "train/loss_last_tenth": 1 / e}, forgetting=e**0.5)
    _, found = analysed("epochs", flat, tuned=False, n_items=4_000, seed_sd=0.01)
    assert (
        found["forgetting_speeds_up_past_3_epochs"]["verdict"] == "contradicted"
    )  # a square root slows down, if not on a log axis
    assert found["loss_falls_without_quality"]["verdict"] == "supported"
    rising = {label: dataclasses.replace(t, ability=float(np.log(t.fields["train.epochs"]))) for label, t in flat.items()}  # type: ignore[arg-type]
    assert analysed("epochs", rising, tuned=False)[1]["loss_falls_without_quality"]["verdict"] == "contradicted"


def test_a_seed_that_one_arm_lost_does_not_decide_whether_the_loss_falls() -> None:
    cells = {label: dataclasses.replace(t, fields={**t.fields, "train/loss_last_tenth": 1 / float(str(t.fields["train.epochs"]))})
             for label, t in truths("epochs").items()}  # fmt: skip
    trials, items = question(cells, tuned=False)
    lost = (trials["train.epochs"] == 15) & (trials["seed"] == 3)
    trials.loc[lost, "state"] = "diverged"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    module, experiment = importlib.import_module("analysis.questions.epochs"), experiments.load("epochs")
    found = {str(row["id"]): row for row in judge(compute(trials, items, experiment, module.VIEW), experiment, module.RULES)}
    assert found["loss_falls_without_quality"]["n_seeds"] == 3


def test_data_quantity_finds_where_enough_is() -> None:
    cells = {label: dataclasses.replace(t, ability=0.0 if int(str(t.fields["data.n_examples"])) < 500 else 2.0)
             for label, t in truths("data_quantity").items()}  # fmt: skip
    _, found = analysed("data_quantity", cells, n_items=4_000, seed_sd=0.01)
    assert {
        name: found[name]["verdict"]
        for name in (
            "sixteen_times_data_no_gain_equal_epochs",
            "sixteen_times_data_no_gain_equal_steps",
            "500_examples_reach_90_percent",
            "100_examples_miss_90_percent",
        )
    } == dict.fromkeys(
        (
            "sixteen_times_data_no_gain_equal_epochs",
            "sixteen_times_data_no_gain_equal_steps",
            "500_examples_reach_90_percent",
            "100_examples_miss_90_percent",
        ),
        "supported",
    )


def test_quality_vs_quantity_compares_the_arms_it_names() -> None:
    worse = changed(truths("quality_vs_quantity", ability=2.0), **{"source=lab:synthetic": {"ability": 0.5, "held_out": 1.5}})
    _, found = analysed("quality_vs_quantity", worse)
    assert [
        found[name]["verdict"] for name in ("curated_matches_all_synthetic_seen", "curated_beats_synthetic_at_equal_size")
    ] == ["supported"] * 2
    assert found["curated_matches_all_synthetic_held_out"]["verdict"] == "contradicted"
    assert {
        found[name]["verdict"]
        for name in ("diverse_beats_homogeneous_held_out", "best_tenth_beats_all", "best_tenth_beats_random_at_equal_size")
    } == {"undecided"}
    chosen = changed(truths("quality_vs_quantity"), **{"share=0.1": {"ability": 2.5}, "clusters=2": {"held_out": -1.0}})
    _, found = analysed("quality_vs_quantity", chosen)
    assert [
        found[name]["verdict"]
        for name in ("diverse_beats_homogeneous_held_out", "best_tenth_beats_all", "best_tenth_beats_random_at_equal_size")
    ] == ["supported"] * 3
    assert {found[name]["verdict"] for name in ("curated_beats_synthetic_at_equal_size", "four_times_synthetic_no_gain")} <= {
        "undecided",
        "supported",
    }


def test_target_modules_compares_at_equal_parameters() -> None:
    better = changed(
        truths("target_modules"), **{"targets=mlp r=7": {"ability": 2.0}, "targets=all-linear r=4": {"ability": 0.0}}
    )
    _, found = analysed("target_modules", better)
    assert (found["mlp_beats_attention"]["verdict"], found["all_linear_beats_attention"]["verdict"]) == (
        "supported",
        "contradicted",
    )


def test_a_trend_is_the_least_squares_slope_of_the_means_and_its_interval_covers_it() -> None:
    x = np.log([1.0, 2.0, 4.0, 8.0])
    assert slope_weights(x).sum() == pytest.approx(0)
    assert slope_weights(x) @ (3 + 0.7 * x) == pytest.approx(0.7)
    view = View(x="train.epochs", x_label="", measures=("forgetting",))
    experiment = experiments.load("epochs")
    hits = []
    for state in range(60):
        cells = {f"e{e}": ArmState({"train.epochs": e}, forgetting=1 + 0.3 * np.log(e)) for e in (1.0, 2.0, 4.0, 8.0)}
        t = compute(*question(cells, n_items=20, seed_sd=0.1, tuned=False, random_state=state), experiment, view)
        e = rules.trend(t, {}, "forgetting", ABOVE_ZERO, "", "").estimate
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
    t = compute(trials, items, experiments.load("epochs"), importlib.import_module("analysis.questions.epochs").VIEW)
    e = contrast([(arm, 1.0) for arm in t.arms], t.panels["quality"])
    assert e is not None
    assert e.n_seeds == 3
    assert any("finished seeds differ" in line for line in question_report.cautions(t))


def test_an_arm_at_the_edge_of_its_range_decides_nothing() -> None:
    trials, items = question(changed(truths("target_modules"), **{"targets=mlp r=7": {"ability": 3.0}}))
    higher = (trials["arm"] == "lora targets=mlp r=7") & (trials["phase"] == "tune") & (trials["train.learning_rate"] > 2e-3)
    kept = items[~items["fingerprint"].isin(trials.loc[higher, "fingerprint"])]
    module, experiment = importlib.import_module("analysis.questions.target_modules"), experiments.load("target_modules")
    rows = judge(compute(trials[~higher], kept, experiment, module.VIEW), experiment, module.RULES)
    found = {str(row["id"]): row for row in rows}["mlp_beats_attention"]
    assert found["verdict"] == "undecided"
    assert "supported but for this: best learning rate at the edge" in str(found["note"])


def test_failed_trials_are_counted_and_listed(tmp_path: Path) -> None:
    trials, items = question(truths("epochs"), tuned=False)
    trials.loc[trials.index[:2], ["state", "reason"]] = "diverged", "loss is nan at step 12"
    module, experiment = importlib.import_module("analysis.questions.epochs"), experiments.load("epochs")
    made = module.report(trials, items, experiment, tmp_path)
    assert "2 of 4" in made.terminal
    assert (tmp_path / "report.md").read_text().count("loss is nan at step 12") == 2
    assert len(pd.read_csv(tmp_path / "trials.csv")) == len(trials)


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
        make = importlib.import_module(f"analysis.questions.{name}").report
        return make(*question(truths(name), tuned=False), experiments.load(name), directory)

    monkeypatch.setattr(book.tracking, "sweeps", sweeps)
    monkeypatch.setattr(book, "analysed", analysed)
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    n_claims = sum(len(experiments.load(name).claims) for name in ran)
    assert f"2 questions, {n_claims} claims" in said
    assert "replay: sweep ffffffff, the others are left out (--sweep chooses): 00000000" in said
    assert "not run: python sweeps/run.py rank_vs_quality" in said
    assert "replay: not at its end: an arm has 4 of the 6 seeds that the question asks for" in said
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    assert list(ledger["id"]) == [claim.id for name in ran for claim in experiments.load(name).claims]
    lines = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert [line.split(" | ")[1].split(":")[0] for line in lines] == list(ledger["id"])
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(?:src|href)="(?!data:|#|https://)', page)  # opens offline
    assert '<span class="undecided">' in page
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path / "one"), "--sweep", "9999"]) == 2
    assert "error: --sweep 9999: no such sweep; the store has eeeeeeee" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
    ran["learning_rate"] = "broken"
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 3  # the others have their page all the same
    assert "error: learning_rate: AssertionError" in capsys.readouterr().err
    ran.clear()
    assert door.main(["--tracking-uri", "memory", "--report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: not run (memory has no experiment")


def test_curves_are_fitted_where_there_are_levels_and_seeds_enough() -> None:
    sizes = {label: int(str(t.fields["data.n_examples"])) for label, t in truths("data_quantity").items()}
    cells = {
        label: dataclasses.replace(t, ability=3 - 5 * np.exp(-sizes[label] / 300)) for label, t in truths("data_quantity").items()
    }
    module, experiment = importlib.import_module("analysis.questions.data_quantity"), experiments.load("data_quantity")
    found = fits(compute(*question(cells, seed_sd=0.02), experiment, module.VIEW))
    assert [(one.curve, one.measure) for one in found] == [
        (curve, measure) for curve in ("equal epochs", "equal steps") for measure in ("quality", "exact_match/held_out")
    ]
    assert found[0].best.fit.law in ("exponential", "logistic")
    assert "flat" in found[1].comparison.as_good
    assert found[0].best.plateau.known
    assert 300 < found[0].best.plateau.value < 2_000
    few = {label: truth for label, truth in cells.items() if sizes[label] < 200}
    assert fits(compute(*question(few), experiment, module.VIEW)) == []
    assert fits(compute(*question(cells, seeds=1), experiment, module.VIEW)) == []


def real(frames: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames as real data give them: log-likelihood, token accuracy, drift; none of the laboratory's measures."""
    trials, items = frames
    renamed = {
        "exact_match/seen": "log_likelihood/response",
        "nll/prose": "kl/drift",
        "exact_match/held_out": "accuracy/response_token",
    }
    items = items[items["measure"].isin(renamed)].copy()
    items["measure"] = items["measure"].replace(renamed)
    likely = items["measure"] == "log_likelihood/response"
    items.loc[likely, "after"] = items.loc[likely, "after"] - 2.5 + np.random.default_rng(0).normal(0, 0.1, likely.sum())
    trials = trials.assign(quality=trials["quality"] - 2.5, quality_measure="log_likelihood/response", quality_unit="nats/token")
    return trials.assign(forgetting_measures="kl/drift"), items


@pytest.mark.parametrize("name", NAMES)
def test_real_data_have_a_report_and_no_verdict_on_points_of_accuracy(name: str, tmp_path: Path) -> None:
    module, experiment = importlib.import_module(f"analysis.questions.{name}"), experiments.load(name)
    frames = real(question(truths(name), tuned=bool(experiment.tune)))
    made = module.report(*frames, experiment, tmp_path)
    assert "accuracy, response token" in made.terminal
    words = ("0.02", "90 %", "held")
    in_points = [row for row in made.verdicts if any(word in f"{row['rule']} {row['effect']}" for word in words)]
    assert all(row["verdict"] == "not tested" for row in in_points)
    assert (tmp_path / "figure.pdf").is_file()


def test_own_rows_of_unseen_tasks_answer_whether_breadth_carries_over() -> None:
    module, experiment = importlib.import_module("analysis.questions.task_diversity"), experiments.load("task_diversity")
    levels = {
        label: t.fields.get("data.n_clusters") or t.fields.get("data.n_tasks") for label, t in truths(experiment.name).items()
    }
    rising = {
        label: dataclasses.replace(t, ability=np.log(float(str(levels[label])))) for label, t in truths(experiment.name).items()
    }
    trials, items = real(question(rising, tuned=False))
    found = {row["id"]: row for row in judge(compute(trials, items, experiment, module.VIEW), experiment, module.RULES)}
    assert {row["verdict"] for row in found.values()} == {"not tested"}  # a share of the same rows holds nothing out
    own = trials.assign(**{"data.eval_source": "held.jsonl"})
    for extra, verdict, note in (
        ({}, "undecided", "names no cluster or task"),
        ({module.OF_TRAINED: 3.0}, "undecided", "3 evaluation rows are of clusters or tasks that --data has"),
        ({module.OF_TRAINED: 0.0}, "supported", ""),
    ):
        found = judge(compute(own.assign(**extra), items, experiment, module.VIEW), experiment, module.RULES)
        assert {row["verdict"] for row in found} == {verdict}
        assert all(note in str(row["note"]) for row in found)


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
    module, experiment = importlib.import_module("analysis.questions.data_quantity"), experiments.load("data_quantity")
    frames = question(truths("data_quantity"))
    assert len(compute(*frames, experiment, module.VIEW).published) == 1
    assert compute(*real(frames), experiment, module.VIEW).published == []


def test_text_that_tuning_makes_easier_says_nothing_about_forgetting() -> None:
    _, found = analysed("replay", truths("replay", forgetting=-0.6), tuned=False)
    assert {row["verdict"] for row in found.values() if "forgetting" in str(row["effect"])} == {"undecided"}
    assert "does not measure forgetting" in str(found["replay_1_percent_halves_forgetting"]["note"])


def test_arms_that_were_to_be_tuned_and_were_not_decide_nothing() -> None:
    better = changed(truths("target_modules"), **{"targets=mlp r=7": {"ability": 3.0}})
    _, found = analysed("target_modules", better, tuned=False)
    assert found["mlp_beats_attention"]["verdict"] == "undecided"
    assert "learning rate not tuned" in str(found["mlp_beats_attention"]["note"])


def test_a_trend_names_the_arms_it_lacks_and_keeps_the_seeds_of_the_others() -> None:
    trials, items = question(truths("task_diversity"), seeds=8, tuned=False)
    lost = (trials["arm"] == "n_clusters=1") | ((trials["arm"] == "n_clusters=2") & (trials["seed"] > 0))
    trials.loc[lost, "state"] = "oom"
    items = items[~items["fingerprint"].isin(trials.loc[lost, "fingerprint"])]
    module, experiment = importlib.import_module("analysis.questions.task_diversity"), experiments.load("task_diversity")
    found = {str(row["id"]): row for row in judge(compute(trials, items, experiment, module.VIEW), experiment, module.RULES)}
    assert found["held_out_rises_with_clusters"]["n_seeds"] == 8
    assert "without n_clusters=1, n_clusters=2" in str(found["held_out_rises_with_clusters"]["note"])


def test_arms_of_a_comparison_that_differ_in_steps_say_so() -> None:
    cells = {label: dataclasses.replace(t, fields={**t.fields, "train/steps": 2_000 if "None" in label else 189})
             for label, t in truths("quality_vs_quantity").items()}  # fmt: skip
    tables, found = analysed("quality_vs_quantity", cells)
    assert "189 to 2,000 steps" in str(found["curated_matches_all_synthetic_seen"]["note"])
    assert "steps" not in str(found["curated_beats_synthetic_at_equal_size"]["note"])
    assert any("train/steps differs" in line for line in question_report.cautions(tables))


def test_a_source_with_fewer_rows_than_asked_for_decides_nothing() -> None:
    cells = {
        label: dataclasses.replace(t, fields={**t.fields, "rows/available": 920}) for label, t in truths("data_quantity").items()
    }
    tables, found = analysed("data_quantity", cells)
    assert "fewer rows than data.n_examples: n_examples=8000" in str(found["sixteen_times_data_no_gain_equal_epochs"]["note"])
    assert any("n_examples=1000" in line for line in question_report.cautions(tables))


def test_knowledge_tells_what_was_brought_out_from_what_was_added() -> None:
    sizes = {"lora r=1": 1e4, "lora r=4": 4e4, "lora r=16": 1.6e5, "lora r=64": 6.2e5, "full": 8.9e5}
    cells = {
        label: ArmState(
            {**truth.fields, "trainable_parameters": sizes[label]}, ability=3.0, held_out=float(np.log(sizes[label] / 1e5))
        )
        for label, truth in truths("knowledge").items()
    }
    trials, items = question(cells)
    names = {"exact_match/seen": "recall/known", "exact_match/held_out": "recall/taught"}
    recalled = items[items["measure"].isin(names)].assign(axis="other")
    recalled["measure"] = recalled["measure"].replace(names)
    unheard = recalled[recalled["measure"] == "recall/known"].assign(measure="recall/unheard", after=0.0)
    module, experiment = importlib.import_module("analysis.questions.knowledge"), experiments.load("knowledge")
    tables = compute(trials, pd.concat([items, recalled, unheard]), experiment, module.VIEW)
    found = {str(row["id"]): row["verdict"] for row in judge(tables, experiment, module.RULES)}
    assert found == dict.fromkeys(
        ("unheard_facts_stay_unknown", "pretrained_facts_beat_taught_facts", "rank_helps_new_facts"), "supported"
    )


def with_recall(trials: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The items, and for trials that are taught new facts their held-out ones again as recall of them."""
    taught = trials.loc[trials["data.source"] == "lab:new-facts", "fingerprint"]
    recalled = items[items["fingerprint"].isin(taught) & (items["measure"] == "exact_match/held_out")]
    return pd.concat([items, recalled.assign(measure="recall/taught")])


def test_rank_vs_data_judges_recall_on_the_arms_that_are_asked_for_it() -> None:
    cells = {}
    for label, truth in truths("rank_vs_data").items():
        rank = float(str(truth.fields.get("adapter.rank", 128)))
        many = truth.fields["data.n_examples"] == 4_000
        ability = np.log2(rank) / 4 if many else 1.0
        cells[label] = ArmState(truth.fields | {"trainable_parameters": 1e4 * rank}, ability, held_out=np.log2(rank) / 3)
    trials, items = question(cells, n_items=2_000)
    module, experiment = importlib.import_module("analysis.questions.rank_vs_data"), experiments.load("rank_vs_data")
    tables = compute(trials, with_recall(trials, items), experiment, module.VIEW)
    found = {str(row["id"]): row for row in judge(tables, experiment, module.RULES)}
    assert (found["rank_buys_more_with_more_data"]["verdict"], found["rank_64_learns_facts_better"]["verdict"]) == (
        "supported",
        "supported",
    )
    assert found["rank_64_learns_facts_better"]["n_seeds"] == 4
    assert tables.panels["recall/taught"].crossed
    curated = next(arm for arm in tables.arms if "new-facts" not in arm.label)
    assert "recall/taught" not in tables.means[curated.label]
    without = compute(trials, items, experiment, module.VIEW)
    assert "no recall" in str(
        {str(row["id"]): row for row in judge(without, experiment, module.RULES)}["rank_64_learns_facts_better"]["note"]
    )


def test_label_noise_tells_a_cost_from_a_cost_that_can_be_borne() -> None:
    cells = {label: ArmState(t.fields, 1.0 - 1.8 * float(str(t.fields["data.noise_share"])))
             for label, t in truths("label_noise").items()}  # fmt: skip
    _, found = analysed("label_noise", cells, n_items=6_000, seed_sd=0.01, tuned=False)
    assert [row["verdict"] for row in found.values()] == ["supported", "supported"]
    worse = changed(cells, **{"share=0.1": {"ability": -1.0}})
    _, found = analysed("label_noise", worse, tuned=False)
    assert [row["verdict"] for row in found.values()] == ["supported", "contradicted"]


def test_replay_compares_the_arms_of_one_domain_with_those_of_all() -> None:
    levels = {"replay_share=0": 1.0, "replay_share=0.4 replay_domain=code": -0.1, "replay_share=0.25 replay_domain=code": 0.6}
    cells = {label: dataclasses.replace(t, forgetting=levels.get(label, 0.2)) for label, t in truths("replay").items()}
    assert levels.keys() < cells.keys()
    _, found = analysed("replay", cells, tuned=False, seed_sd=0.01)
    assert {
        found[name]["verdict"]
        for name in (
            "replay_5_percent_reduces_forgetting",
            "code_mix_halves_code_forgetting",
            "code_alone_saves_less_than_all_domains",
        )
    } == {"supported"}
    assert float(str(found["code_alone_saves_less_than_all_domains"]["value"])) == pytest.approx(0.4, abs=0.05)


def scaled(**slopes: float) -> dict[str, ArmState]:
    """model_scale's arms, ability rising with log parameters and log examples, forgetting with log parameters."""
    cells = {}
    for label, truth in truths("model_scale").items():
        size = float(str(truth.fields["total_parameters"]))
        rank = float(str(truth.fields.get("adapter.rank", 16)))
        log_x, log_n = np.log(size / 9e5), np.log(float(str(truth.fields["data.n_examples"])) / 500)
        ability = slopes.get("size", 0.0) * log_x + slopes.get("data", 0.0) * log_n + slopes.get("rank", 0.0) * np.log(rank / 16)
        cells[label] = ArmState(truth.fields, ability, forgetting=0.5 + slopes.get("forgetting", 0.0) * log_x)
    return cells


def test_model_scale_tells_size_from_data_and_whether_the_recipe_carries_over() -> None:
    tables, found = analysed("model_scale", scaled(size=0.6, data=0.2, forgetting=0.1), n_items=2_000)
    assert [
        found[name]["verdict"]
        for name in ("larger_base_is_better", "size_buys_more_than_data", "larger_base_forgets_more", "rank_16_enough_on_largest")
    ] == ["supported"] * 4
    _, found = analysed("model_scale", scaled(size=0.2, data=0.6, forgetting=-0.1, rank=0.5), n_items=2_000)
    assert [
        found[name]["verdict"]
        for name in ("larger_base_is_better", "size_buys_more_than_data", "larger_base_forgets_more", "rank_16_enough_on_largest")
    ] == ["supported"] + ["contradicted"] * 3
    module = importlib.import_module("analysis.questions.model_scale")
    comparison_and_law = module.joint(tables)
    assert comparison_and_law is not None
    assert comparison_and_law[1].fit.law in module.JOINT
    assert "limit − coefficient X^−alpha D^−beta" in "".join(module.sections(tables))


def test_replay_says_what_its_shares_are_of_the_tokens() -> None:
    """Documents are as long as rows, and all of one is in the loss where 9 of a row's 48 tokens are."""
    cells = {}
    for label, truth in truths("replay").items():
        tokens = 48_000.0 / (1 - float(str(truth.fields["data.replay_share"])))
        cells[label] = dataclasses.replace(truth, fields={**truth.fields, "train/tokens": tokens})
    tables, _ = analysed("replay", cells)
    text = importlib.import_module("analysis.questions.replay").shares(tables)[1]
    assert "| replay_share=0 | 0 % | 0 % | 0 % |" in text
    assert "| replay_share=0.1 | 10 % | 10 % | 37 % |" in text  # 5,333 of 5,333 + 9,000


def test_the_largest_base_is_not_the_largest_that_finished() -> None:
    module, experiment = importlib.import_module("analysis.questions.model_scale"), experiments.load("model_scale")
    trials, items = question(scaled(size=0.6, data=0.2, forgetting=0.1))
    largest = trials["model.name"].str.contains("large") & (trials["phase"] == "final")
    trials = trials.assign(state=trials["state"].where(~largest, "failed"))
    found = {str(row["id"]): row for row in judge(compute(trials, items, experiment, module.VIEW), experiment, module.RULES)}
    assert all(found[name]["verdict"] == "not tested" for name in ("rate_carries_over_sizes", "rank_16_enough_on_largest"))
    assert "no final trial of" in str(found["rank_16_enough_on_largest"]["note"])
