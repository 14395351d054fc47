"""`--budget`: what is lowered and in which order, with made-up estimates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import experiments
from core.errors import BadInput
from core.experiment import Experiment
from core.fields import replace_field
from sweeps import budget, fitted, overrides
from sweeps.budget import BUDGET, FURTHER, SMOKE, Kept
from sweeps.options import Options, parse
from sweeps.plan import arms
from sweeps.resources import Resources

ASKED = experiments.load("rank_vs_quality")
REAL = replace(ASKED, base=replace_field(ASKED.base, "data.source", "reasoning-gym:chain_sum"))


def work(experiment: Experiment) -> float:
    """Seconds: a trial takes one for 100 rows and epoch, and one for 10 items."""
    base = experiment.base
    each = (base.data.n_examples or 8_000) / 100 * base.train.epochs + base.evaluation.items_per_task / 10
    return each * len(arms(experiment)) * (experiment.tune_trials + len(experiment.seeds))


def lowered(limit: float, *fixed: str) -> tuple[Experiment, budget.Chosen, float]:
    return budget.fit(REAL, budget.lowerings(REAL, BUDGET, 1_000, fixed), limit, work)


def test_what_fits_is_left_as_it_is() -> None:
    assert lowered(work(REAL)) == (REAL, {}, work(REAL))


def test_each_is_lowered_as_far_as_it_must_be_before_the_next() -> None:
    few, chosen, taken = lowered(0.8 * work(REAL))
    assert taken <= 0.8 * work(REAL)
    assert chosen["--tune-trials"] == few.tune_trials == 3
    assert few.seeds == REAL.seeds
    assert "data.n_examples" not in chosen
    fewer, chosen, taken = lowered(0.4 * work(REAL))
    assert taken <= 0.4 * work(REAL)
    assert (chosen["--tune-trials"], chosen["evaluation.items_per_task"]) == (3, 10)
    assert fewer.base.train.epochs == chosen["train.epochs"] < 3
    assert not {"data.n_examples", "--seeds"} & set(chosen)
    fewer, chosen, taken = lowered(0.2 * work(REAL))
    assert (fewer.base.train.epochs, fewer.base.data.n_examples) == (1, chosen["data.n_examples"])
    least, chosen, taken = lowered(1)
    assert (least.base.data.n_examples, least.base.train.epochs, len(least.seeds)) == (200, 1.0, 3)
    assert taken > 1
    said = str(budget.refusal(1, taken, "speed assumed"))
    assert said.startswith("--budget 0:01: even at its smallest this sweep takes about ")
    assert "or leave arms out with --without LABEL" in said


def test_what_is_lowered_further_is_raised_again_where_there_is_time_left() -> None:
    order = budget.lowerings(REAL, BUDGET, 1_000)
    lowest, chosen, taken = budget.fit(REAL, order, 1, work)
    further = budget.lowerings(lowest, FURTHER, 200)
    limit = 0.7 * taken
    few, more, taken = budget.fit(lowest, further, limit, work)
    assert taken <= limit
    assert more["evaluation.items_per_task"] == 5
    both, chosen = budget.together(order, further), chosen | more
    said = budget.told(REAL, few, both, chosen)
    assert any(line.endswith("would keep data.n_examples 200, evaluation.items_per_task 10") for line in said)
    assert any(line.startswith("caution: trainings of ") for line in said)
    again = budget.raise_again(REAL, both, chosen, 2 * taken, work)
    raised = budget.replay(REAL, both, again)
    assert taken < work(raised) <= 2 * taken
    assert len(raised.seeds) == len(REAL.seeds)  # what was lowered last comes first
    assert budget.raise_again(REAL, both, chosen, work(REAL), work) == {}
    free = {"evaluation.generations", "evaluation.drift_samples"}  # which take no time here
    assert budget.raise_again(REAL, both, chosen, 0.99 * taken, work) == chosen
    assert budget.raise_again(REAL, both, chosen, taken, work).keys() >= chosen.keys() - free


def test_what_only_goes_further_is_lowered_too_and_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 rows are few already: the usual floor leaves them, the further one does not."""
    monkeypatch.setattr(fitted.Asked, "seconds", lambda asked, changed: work(changed))
    asked = replace(ASKED, base=replace_field(ASKED.base, "data.n_examples", 150))
    lowest, _, taken = budget.fit(asked, budget.lowerings(asked, BUDGET, 150), 1, work)
    options = Options(output=tmp_path, budget=0.7 * taken / budget.SAFE)
    few, said, choice = fitted.fitted(asked, options, Resources(slots=1, threads=1))
    assert work(few) <= 0.7 * taken
    assert (few.base.data.n_examples, lowest.base.data.n_examples) == (100, 150)
    assert "lowered: data.n_examples 150 to 100" in said
    assert choice
    choice.write()
    assert fitted.fitted(asked, options, Resources(slots=1, threads=1))[0] == few


def test_what_was_given_by_hand_stays() -> None:
    _, chosen, _ = lowered(1, "data.n_examples", "--seeds", "--tune-trials")
    assert not {"data.n_examples", "--seeds", "--tune-trials"} & set(chosen)


def test_of_generated_questions_the_base_text_is_lowered_first() -> None:
    read = replace(REAL, base=replace_field(REAL.base, "evaluation.base_text", "novel.txt"))
    names = [one.name for one in budget.lowerings(read, BUDGET, 1_000)]
    assert names.index("evaluation.max_rows") < names.index("--tune-trials")
    assert "evaluation.max_rows" not in [one.name for one in budget.lowerings(REAL, BUDGET, 1_000)]
    said = budget.told(read, read, budget.lowerings(read, BUDGET, 1_000), {"evaluation.max_rows": 16})
    assert not any(line.startswith("caution: so little") for line in said)


@pytest.mark.parametrize(("asked", "rows"), [("gym+ifeval", "evaluation.items_per_task"), ("ifeval", "evaluation.max_rows")])
def test_rows_of_a_task_are_not_lowered_as_base_text(asked: str, rows: str) -> None:
    """IFEval asks `max_rows` of its own, whatever the source: where it is the quality, of as many as verdicts need."""
    read = replace(REAL, base=replace_field(REAL.base, "evaluation.base_text", "novel.txt"))
    read = replace(read, base=replace_field(read.base, "evaluation.tasks", asked))
    assert overrides.field_of_rows(read) == rows
    order = budget.lowerings(read, BUDGET, 1_000)
    names = [one.name for one in order]
    assert names.index(rows) > names.index("--tune-trials")
    assert all(min(one.values) == BUDGET.eval_rows for one in order if one.name == "evaluation.max_rows")
    said = budget.told(read, read, order, {"evaluation.max_rows": 16})
    assert any("would keep evaluation.max_rows 100" in line for line in said)


def test_where_rows_vary_the_largest_levels_go_and_their_arms_are_named() -> None:
    asked = experiments.load("data_quantity")
    order = budget.lowerings(asked, BUDGET, 4_000)
    few, chosen, _ = budget.fit(asked, order, 1, lambda one: 1.0 + max(level or 8_000 for level in one.vary["data.n_examples"]))
    assert few.vary["data.n_examples"] == asked.vary["data.n_examples"][:2]
    said = budget.told(asked, few, order, chosen)
    assert any(line.startswith("caution: arms lost: ") and line.endswith("cannot be decided") for line in said)
    one = replace(few, seeds=(0,))
    assert "caution: with 1 seed no claim can be decided: " + ", ".join(claim.id for claim in asked.claims) in budget.told(
        asked, one, order, chosen
    )


def test_where_rows_are_searched_the_largest_levels_go_and_the_field_stays() -> None:
    recipe = experiments.load("best_recipe")
    few, chosen, _ = budget.fit(recipe, budget.lowerings(recipe, BUDGET, 2_000), 0, lambda one: 1.0)
    assert few.search
    assert recipe.search
    assert few.search.space == {**recipe.search.space, "data.n_examples": (250, 500)}
    assert (few.base.data, chosen["data.n_examples"]) == (recipe.base.data, "250,500")
    assert budget.replay(recipe, budget.lowerings(recipe, BUDGET, 2_000), chosen) == few


def test_smoke_goes_lower_and_an_open_search_keeps_its_rungs() -> None:
    order = budget.lowerings(replace(REAL, seeds=(0,)), SMOKE, 250)
    least, chosen, _ = budget.fit(REAL, order, 0, work)
    assert (least.base.data.n_examples, least.base.evaluation.items_per_task, chosen["evaluation.max_new_tokens"]) == (16, 1, 16)
    recipe = experiments.load("best_recipe")
    few, _, _ = budget.fit(recipe, budget.lowerings(recipe, BUDGET, 1_000), 0, lambda one: 1.0)
    assert few.search
    assert all(few.search.sizes())


def test_a_choice_is_kept_and_the_same_command_gets_it_again(tmp_path: Path) -> None:
    place = Kept.place(tmp_path, "s", REAL, 60.0)
    assert Kept.at(place) is None
    few, chosen, _ = lowered(0.4 * work(REAL))
    Kept(place, chosen).write()
    again = Kept.at(place)
    assert again is not None
    assert budget.replay(REAL, budget.lowerings(REAL, BUDGET, 1_000), again.chosen) == few
    assert Kept.place(tmp_path, "s", replace(REAL, seeds=(0, 1)), 60.0) != place
    assert Kept.place(tmp_path, "s", REAL, 61.0) != place


def test_what_is_given_by_hand_later_is_fitted_anew_and_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(ASKED, seeds=(0, 1, 2, 3, 4, 5))
    monkeypatch.setattr(fitted.Asked, "seconds", lambda asked, changed: len(changed.seeds) * changed.base.train.epochs)
    share, limit = Resources(slots=1, threads=1), 3.5 / budget.SAFE
    by_seeds, _, first = fitted.fitted(asked, Options(output=tmp_path, budget=limit), share)
    assert first
    assert first.chosen["--seeds"] == len(by_seeds.seeds) == 3
    first.write()
    with pytest.raises(BadInput, match="even at its smallest"):  # not what was kept, without its seeds
        fitted.fitted(asked, Options(output=tmp_path, budget=limit, seeds=6), share)
    monkeypatch.setattr(fitted.Asked, "seconds", lambda asked, changed: changed.base.train.epochs)
    found, _, second = fitted.fitted(asked, Options(output=tmp_path, budget=limit, seeds=6), share)
    assert second
    assert (found.seeds, second.path != first.path) == (asked.seeds, True)
    second.write()
    monkeypatch.setattr(fitted.Asked, "seconds", lambda asked, changed: pytest.fail("it is kept"))
    assert fitted.fitted(asked, Options(output=tmp_path, budget=limit, seeds=6), share)[::2] == (found, second)
    assert fitted.fitted(asked, Options(output=tmp_path, budget=limit), share)[::2] == (by_seeds, first)


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7_200), ("90m", 5_400), ("1.5h", 5_400), ("1d", 86_400), ("1h30m", 5_400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse(["rank_vs_quality", "--budget", text], "").options.budget == seconds


@pytest.mark.parametrize("text", ["2", "h", "2 h", "0h", "2w", "1e3h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="must be a time like 90m"):
        parse(["rank_vs_quality", "--budget", text], "")


def test_a_damaged_choice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "budget-1.json"
    assert budget.Kept.at(path) is None
    for text in ("{", "[1]", "7"):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"budget-1\.json: cannot be read .*delete it and a new choice is made"):
            budget.Kept.at(path)
