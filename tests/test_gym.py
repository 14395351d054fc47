"""reasoning-gym as a source and as a task: what a source may say, disjoint splits, held-out families, exact scores."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import fields, preflight, tasks
from core.data import gym, kinds, selection
from core.data.wording import normal
from core.errors import BadInput
from core.settings import Data, Evaluation, Lora, Model, Train, Trial

SOURCE = "reasoning-gym:chain_sum(max_digits=1;max_terms=2)+gcd+lcm+products(max_digits=1)+spell_backward"


def test_no_question_is_in_two_splits_and_the_fold_is_never_trained_on() -> None:
    names = ("chain_sum", "gcd", "lcm", "products", "spell_backward")
    folds = [gym.held_out(names, fold) for fold in range(4)]
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    asked = {split: gym.questions(SOURCE, split, 20) for split in ("validation", "test")}
    for fold, unseen in enumerate(folds):
        rows = kinds.load("data.source", SOURCE, kinds.Pool(fold)).rows
        assert {row.group for row in rows} == set(names) - unseen
        trained = {row.prompt for row in rows}
        assert not trained & {normal(one.question) for split in asked.values() for one in split}
    assert not {normal(one.question) for one in asked["validation"]} & {normal(one.question) for one in asked["test"]}
    assert gym.held_out(names[:3], 0) == frozenset()


def test_rows_carry_family_and_category_and_the_checker_takes_their_answers() -> None:
    rows = kinds.load("data.source", SOURCE).rows
    assert {row.labels[:2] for row in rows} <= {
        ("arithmetic", "chain_sum"), ("arithmetic", "gcd"), ("arithmetic", "lcm"), ("arithmetic", "products"),
        ("algorithmic", "spell_backward"),
    }  # fmt: skip
    asked = gym.questions(SOURCE, "test", 20)
    assert all(one.right(one.answer) for one in asked)
    assert not any(one.right(text) for one in asked for text in ("", "no idea", f"7{one.answer}"))
    numbers = [int(word) for one in asked if one.family == "chain_sum" for word in one.question.split() if word.isdigit()]
    assert max(numbers) < 10


def test_few_tasks_are_drawn_from_the_larger_pool() -> None:
    one = selection.select(Data(source=SOURCE, n_examples=50, n_tasks=1), Evaluation(), seed=3)
    two = selection.select(Data(source=SOURCE, n_examples=50, n_tasks=2), Evaluation(), seed=3)
    assert [len({row.labels[1] for row in found.train}) for found in (one, two)] == [1, 2]
    assert {row.labels[1] for row in one.train} < {row.labels[1] for row in two.train}
    assert one.n_available > 0
    assert not one.evaluation


def test_a_source_may_name_many_families_and_a_file_has_a_name_that_a_disk_takes() -> None:
    many = gym.PREFIX + gym.EASY
    assert len(many) > 255
    assert Data(source=many).source == many
    for name in ("x" * 256, f"{gym.PREFIX}gcd+{'x' * 256}", f"a/{'y' * 256}/b"):
        with pytest.raises(BadInput, match="must be lab:curated"):
            Data(source=name)


def test_what_a_source_says_decides_its_hash_whatever_the_order() -> None:
    hashes = [
        gym.hash_of("data.source", f"reasoning-gym:{text}") for text in ("gcd+lcm", "lcm+gcd", "gcd+lcm(max_value=20)", "gcd")
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert [str(one) for one in gym.families("x", "reasoning-gym:b(z=1, a=x;k=true)+a")] == ["a", "b(a=x;k=True;z=1)"]
    everything = [one.name for one in gym.families("x", "reasoning-gym:all")]
    assert everything == sorted(name for text in gym.FAMILIES.values() for name in text.split())
    assert {one.name for one in gym.families("x", "reasoning-gym:algebra+gcd")} == {
        "complex_arithmetic",
        "simple_equations",
        "gcd",
    }
    assert len(gym.families("x", "reasoning-gym:easy")) == 17


@pytest.mark.parametrize("family", ["binary_alternation", "count_bits", "count_primes", "lcm"])  # those with fewest
def test_of_each_easy_family_there_are_rows_for_a_question_that_trains_on_it_alone(family: str) -> None:
    (one,) = (one for one in gym.families("x", "reasoning-gym:easy") if one.name == family)
    maker = gym._maker("x", "reasoning-gym:easy", one, "train")
    assert sum(1 for _ in gym._drawn(maker, "train", 1_000)) == 1_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chainsum", "reasoning-gym has no family 'chainsum'; did you mean 'chain_sum'?"),
        ("", "an empty name is no family; written as reasoning-gym:chain_sum(max_digits=2)+leg_counting"),
        ("gcd+", "an empty name is no family"),
        ("gcd(max_value=20", "gcd(max_value=20 is no family"),
        ("gcd+gcd(max_value=9)", "gcd is named twice"),
        ("arithmetic+gcd", "gcd is named twice"),
        ("rush_hour", "rush_hour cannot be used: its rows have no answer in words"),
        ("gcd(max=9)", "gcd: has no option 'max'; did you mean 'max_value'?"),
        ("gcd(max_value)", "gcd: 'max_value' must look like max_digits=2"),
        ("gcd(max_value=0)", "gcd: "),
        ("gcd(max_value=many)", "gcd: "),
    ],
)
def test_a_source_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        kinds.load("data.source", f"reasoning-gym:{text}")
    assert f"data.source=reasoning-gym:{text}: {says}" in str(error.value)
    assert error.value.field == "data.source"


def test_the_families_of_all_are_of_the_category_that_the_table_says() -> None:
    from reasoning_gym.factory import DATASETS

    for category, names in gym.FAMILIES.items():
        for name in names.split():
            assert DATASETS[name][0].__module__.split(".")[1] == category, name
    assert not set(gym.REFUSED) - set(DATASETS)


def test_another_process_makes_the_same_rows() -> None:
    code = (
        "from core.data import gym; print([(one.question, one.answer) for one in gym.questions('reasoning-gym:all', 'test', 1)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
    assert len(said.pop()) > 1_000


def trial(model: str, tasks: str = "auto") -> Trial:
    return Trial(
        model=Model(name=model), data=Data(source=SOURCE, n_examples=24, seq_len_tokens=128), adapter=Lora(rank=2),
        train=Train(epochs=1, batch_size=8),
        evaluation=Evaluation(items_per_task=3, drift_samples=4, drift_tokens=12, max_new_tokens=4, tasks=tasks),
    )  # fmt: skip


def test_a_trial_is_scored_by_the_checkers(make_model: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from core import trial as trials
    from core.hardware import Device

    asked = trial(make_model("llama"))
    assert tasks.chosen(asked) == ("gym",)
    told = preflight.inspect(asked)
    result = trials.run(asked, told.provenance, tmp_path, Device())
    assert (result.state, result.reason) == ("finished", "")
    assert result.facts["quality_measure"] == "exact_match/seen"
    assert result.facts["forgetting_measures"] == "kl/documents"
    names = {name.removeprefix("after/") for name in result.metrics if name.startswith("after/")}
    own = {"exact_match/seen", "exact_match/held_out", "log_likelihood/answer", "written/stopped", "written/tokens"}
    assert names == own | {"kl/documents", "nll/documents", "kl/responses"}
    assert "evaluation.max_new_tokens" in fields.ADDED_LATER


def test_right_answers_are_right_and_families_of_the_fold_are_apart(
    make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from core import model as models
    from core.hardware import Device
    from core.tasks import generation
    from core.tasks import gym as task
    from core.tasks.measurement import Subject
    from core.tasks.prompts import Prompt

    base = models.load(Model(name=make_model("llama")), Device())
    solutions = {one.question: one.answer for one in gym.questions(SOURCE, "test", 3)}

    put: list[Prompt] = []

    def solved(subject: Subject, asked: list[Prompt], right: list[str]) -> generation.Answers:
        put[:] = asked
        questions = [one.messages[-1]["content"] for one in asked]
        written = tuple(generation.Written((1,), True) for _ in questions)
        return generation.Answers(tuple("no" if "GCD" in q else solutions[q] for q in questions), written)

    monkeypatch.setattr(generation, "answers", solved)
    found = {one.name: one for one in task.measure(Subject(base.model, base.tokenizer, trial("none"), (), base.model, 128))}
    seen, held = found["exact_match/seen"], found["exact_match/held_out"]
    assert set(held.groups) == gym.held_out(("chain_sum", "gcd", "lcm", "products", "spell_backward"), 0)
    assert not set(held.groups) & set(seen.groups)
    scores = seen.by_group() | held.by_group()
    assert scores == {name: float(name != "gcd") for name in scores}
    assert Counter(seen.groups + held.groups) == dict.fromkeys(scores, 3)
    assert {len(one.messages) for one in put} == {1}
    shots = fields.replace_field(trial("none"), "evaluation.shots", 2)
    task.measure(Subject(base.model, base.tokenizer, shots, (), base.model, 128))
    assert {len(one.messages) for one in put} == {5}
    for one, family in zip(put, [q.family for q in gym.questions(SOURCE, "test", 3)], strict=True):
        told = [(a["content"], b["content"]) for a, b in zip(one.messages[:-1:2], one.messages[1:-1:2], strict=True)]
        assert told == list(gym.examples(SOURCE, family, 2))
        assert all(gym.split_of(question) == "train" for question, _ in told)


def test_a_base_answers_once_for_folds(make_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores in another fold are those that it would have if it were asked again."""
    pytest.importorskip("torch")
    from core import trial as trials
    from core import warm
    from core.hardware import Device

    measured: list[bool] = []
    whole = tasks.measure

    def counted(subject: Any) -> list[Any]:
        measured.append(subject.model is subject.reference)
        return whole(subject)

    monkeypatch.setattr(tasks, "measure", counted)
    asked = trial(make_model("llama"))
    told = preflight.inspect(asked)
    items = []
    for name, folds in {"together": (0, 1), "alone": (1,)}.items():
        warm.clear()
        measured.clear()
        for fold in folds:
            output = tmp_path / f"{name} {fold}"
            trials.run(fields.replace_field(asked, "data.held_out_fold", fold), told.provenance, output, Device())
        assert sum(measured) == 1
        items.append((output / "items.csv.gz").read_bytes())
    assert gzip.decompress(items[0]) == gzip.decompress(items[1])


def test_rows_drawn_for_one_fold_are_those_of_another() -> None:
    """More rows of a family after fewer are those that it has alone."""
    many = [gym._first("x", SOURCE, family, n) for family in gym.families("x", SOURCE) for n in (5, 30, 10)]
    gym._begun.cache_clear()
    alone = [gym._first("x", SOURCE, family, n) for family in gym.families("x", SOURCE) for n in (30, 30, 10)]
    assert [len(rows) for rows in many[:3]] == [5, 30, 10]
    assert many[1::3] == alone[1::3]
    assert [rows[:5] for rows in many] == [rows[:5] for rows in alone]


def test_rows_that_were_not_drawn_for_an_interruption_are_drawn_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was interrupted in drawing does not count as all that a family has."""
    family = gym.families("x", SOURCE)[0]
    gym._begun.cache_clear()
    whole = gym._first("x", SOURCE, family, 20)
    gym._begun.cache_clear()
    normal = gym.normal

    def interrupted(text: str) -> str:
        monkeypatch.setattr(gym, "normal", normal)
        raise KeyboardInterrupt

    gym._first("x", SOURCE, family, 3)
    monkeypatch.setattr(gym, "normal", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gym._first("x", SOURCE, family, 20)
    assert gym._first("x", SOURCE, family, 20) == whole


def test_a_fold_parts_nothing_where_the_families_are_not_asked() -> None:
    import numpy as np

    from core.tasks.measurement import Measurement

    other = [Measurement("exact_match/single", "quality", ("a",), ("a/0",), np.ones(1), np.ones(1))]
    assert tasks.in_fold(other, Data(source=SOURCE, held_out_fold=1)) == other


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("evaluation.tasks", "text", "text cannot ask about reasoning-gym:gcd; choose from gym"),
        ("data.eval_source", "rows.jsonl", "reasoning-gym:gcd is evaluated on questions of its own"),
    ],
)
def test_what_it_cannot_be_asked_is_refused(make_model: Callable[..., str], field: str, value: str, says: str) -> None:
    asked = fields.replace_field(
        fields.replace_field(trial(make_model("llama")), "data.source", "reasoning-gym:gcd"), field, value
    )
    with pytest.raises(BadInput) as error:
        preflight.inspect(asked)
    assert says in str(error.value)
    assert error.value.field == field
