"""Axes of the data, the loss and the evaluation: few clusters, tasks or templates; replay; loss on prompts; other chat forms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core import preflight
from core.data.selection import n_replayed, select
from core.errors import BadInput
from core.fields import ADDED_LATER, fingerprint, identity, replace_field
from core.lab import instruct
from core.result import Result
from core.settings import Data, Evaluation, Lora, Model, Train, Trial

SMALL = Evaluation(items_per_task=2, split="validation")  # where nothing is relearned


def train_rows(seed: int = 0, **data: object) -> tuple:
    return select(Data(**data), Evaluation(), seed).train  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "at", "all_of_them"), [("n_clusters", 0, 9), ("n_tasks", 1, 34), ("n_templates", 2, 10)])
def test_few_labels_nest_give_equal_examples_and_differ_by_seed(field: str, at: int, all_of_them: int) -> None:
    drawn = {n: {row.labels[at] for row in train_rows(**{field: n}, n_examples=1_000)} for n in (1, 2, 5, all_of_them)}
    assert [len(labels) for labels in drawn.values()] == [1, 2, 5, all_of_them]
    assert drawn[1] < drawn[2] < drawn[5] < drawn[all_of_them]
    assert len(train_rows(**{field: 1}, n_examples=1_000)) == 1_000
    assert len({frozenset(row.labels[at] for row in train_rows(seed, **{field: 1}, n_examples=10)) for seed in range(6)}) > 1


def test_the_large_pool_begins_with_the_curated_rows() -> None:
    assert instruct.training_rows("lab:curated", 1, large=True)[: instruct.N_CURATED] == instruct.training_rows("lab:curated", 1)


def test_few_tasks_of_a_file_that_names_them(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    lines = [f'{{"prompt": "do {i}", "completion": "{i}", "task": "task {i % 4}"}}' for i in range(200)]
    file.write_text("\n".join(lines))
    assert len({row.group for row in train_rows(source=str(file), n_tasks=2, n_examples=None)}) == 2
    with pytest.raises(BadInput, match=r"data.n_tasks=5: more than .*tasks.jsonl has: its rows name 4"):
        train_rows(source=str(file), n_tasks=5)
    with pytest.raises(BadInput, match=r'data.n_clusters=2: .* its rows have no field "cluster"'):
        train_rows(source=str(file), n_clusters=2)


def test_arms_with_few_tasks_are_asked_the_same(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    lines = [f'{{"prompt": "do {i}", "completion": "{i}", "task": "task {i % 8}"}}' for i in range(400)]
    file.write_text("\n".join(lines))
    chosen = [select(Data(source=str(file), n_tasks=n), Evaluation(), seed) for n in (1, 4, None) for seed in (0, 1)]
    assert len({tuple(row.id for row in one.evaluation) for one in chosen}) == 1
    assert len({row.group for row in chosen[0].evaluation}) == 8
    assert {row.id for row in chosen[0].train} < {row.id for row in chosen[2].train}


def test_the_best_share_keeps_the_rows_with_the_highest_scores(tmp_path: Path) -> None:
    file = tmp_path / "scored.jsonl"
    file.write_text("\n".join(f'{{"prompt": "do {i}", "completion": "{i}", "score": {i % 50}}}' for i in range(500)))
    everything, best = (train_rows(source=str(file), n_examples=None, best_share=share) for share in (1.0, 0.2))
    scores = sorted(row.score for row in everything)
    assert len(best) == round(0.2 * len(everything))
    assert sorted(row.score for row in best) == scores[-len(best) :]
    assert {row.id for row in best} < {row.id for row in everything}
    assert len(train_rows(source="lab:synthetic", n_examples=500, best_share=0.1)) == 500
    with pytest.raises(BadInput, match=r'data.best_share=0.5: 8,000 rows of lab:curated have no number in a field "score"'):
        train_rows(best_share=0.5)


def test_noise_exchanges_answers_nested_and_leaves_the_others_alone() -> None:
    plain, few, many = (train_rows(noise_share=share) for share in (0.0, 0.1, 0.5))
    wrong = [{i for i, (a, b) in enumerate(zip(plain, noisy, strict=True)) if a.id != b.id} for noisy in (few, many)]
    assert [len(places) for places in wrong] == [100, 500]
    assert wrong[0] < wrong[1]
    assert all(few[i].id == many[i].id for i in wrong[0])
    assert all(a.messages[:-1] == b.messages[:-1] for a, b in zip(plain, many, strict=True))
    for i in wrong[1]:  # what was asked for, of the same input, with another result
        right, given = (row.messages[-1]["content"] for row in (plain[i], many[i]))
        assert right != given
        assert right.split(" is to write ")[:-1] == given.split(" is to write ")[:-1]
        assert right.split(" you get ")[:-1] == given.split(" you get ")[:-1]
        assert right.count(" ; ") == given.count(" ; ")


def test_noise_in_rows_of_a_file_exchanges_answers_within_a_task(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(f'{{"prompt": "do {i}", "completion": "{i % 2} {i}", "task": "{i % 2}"}}' for i in range(400)))
    plain, many = (train_rows(source=str(file), noise_share=share) for share in (0.0, 0.5))
    answers = {(row.group, row.messages[-1]["content"]) for row in plain}
    changed = [(a, b) for a, b in zip(plain, many, strict=True) if a.id != b.id]
    assert len(changed) == round(0.5 * len(plain))
    assert all((b.group, b.messages[-1]["content"]) in answers for _, b in changed)


def test_where_all_answers_are_alike_there_is_no_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "alike.jsonl"
    file.write_text("\n".join(f'{{"prompt": "do {i}", "completion": "yes"}}' for i in range(200)))
    with pytest.raises(BadInput, match=r"data.noise_share: all rows have the same answer"):
        train_rows(source=str(file), noise_share=0.1)


def test_a_number_of_steps_goes_before_the_epochs() -> None:
    train = Train(steps=40, epochs=3, batch_size=16)
    assert train.n_steps(1_000) == train.n_steps(10) == 40
    assert train.n_epochs(160) == 4
    assert Train(epochs=3).n_epochs(160) == 3
    inspected = preflight.inspect(Trial(train=train))
    assert (inspected.steps, inspected.n_train_examples) == (40, 1_000)
    assert inspected.tokens == pytest.approx(preflight.inspect(Trial()).tokens * 40 / 189, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_tasks": 0},
        {"replay_share": 1.0},
        {"replay_share": -0.1},
        {"best_share": 0.0},
        {"best_share": 1.1},
        {"noise_share": 2.0},
    ],
)
def test_impossible_values_are_refused(changes: dict) -> None:
    with pytest.raises(BadInput, match=r"must be"):
        Data(**changes)


def test_domains_to_replay_and_other_chat_forms_are_for_the_laboratory(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(f'{{"prompt": "do {i}", "completion": "{i}"}}' for i in range(200)))
    for trial in (
        Trial(data=Data(source=str(file), replay_share=0.1, replay_domain="code")),
        Trial(data=Data(source=str(file)), evaluation=Evaluation(chat="plain")),
    ):
        with pytest.raises(BadInput, match="only for the laboratory"):
            preflight.inspect(trial)
    with pytest.raises(BadInput, match=r"data.replay_domain='cod': did you mean 'code'\?, or none for all"):
        preflight.inspect(Trial(data=Data(replay_share=0.1, replay_domain="cod")))
    with pytest.raises(BadInput, match=r"replays nothing without a data\.replay_share"):
        preflight.inspect(Trial(data=Data(replay_domain="code")))


def test_replay_counts_in_the_plan() -> None:
    data = Data(n_examples=900, replay_share=0.1)
    assert n_replayed(data, 900) == 100
    plain, replayed = (preflight.inspect(Trial(data=d)) for d in (Data(n_examples=900), data))
    assert replayed.steps == Trial().train.n_steps(1_000)
    assert plain.steps == Trial().train.n_steps(900)
    assert replayed.tokens > plain.tokens


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """One trial of each kind on the laboratory, 150 examples."""
    pytest.importorskip("torch")
    from core import trial as trials
    from core.hardware import Device

    base = Trial(
        model=Model(name="lab:base-small-0"), data=Data(n_examples=150), adapter=Lora(rank=8),
        train=Train(epochs=8, learning_rate=6e-3), evaluation=SMALL,
    )  # fmt: skip
    kinds = {
        "plain": base,
        "replay": dataclasses.replace(base, data=dataclasses.replace(base.data, replay_share=0.25)),
        "code": dataclasses.replace(base, data=dataclasses.replace(base.data, replay_share=0.25, replay_domain="code")),
        "all": dataclasses.replace(base, train=dataclasses.replace(base.train, loss_on="all")),
        "steps": dataclasses.replace(base, train=dataclasses.replace(base.train, steps=25)),
        "no template": dataclasses.replace(base, evaluation=dataclasses.replace(SMALL, chat="plain")),
    }
    folder = tmp_path_factory.mktemp("axes")
    return {name: trials.run(trial, {"kind": name}, folder / name, Device()) for name, trial in kinds.items()}


def test_replay_keeps_what_was_pretrained(results: dict[str, Result]) -> None:
    plain, replay = results["plain"].metrics, results["replay"].metrics
    assert (plain["rows/replayed"], replay["rows/replayed"], replay["rows/used"]) == (0, 50, 150)
    assert replay["forgetting"] < 0.5 * plain["forgetting"]
    assert replay["train/steps"] > plain["train/steps"]


def test_replay_of_one_domain_keeps_that_domain_best(results: dict[str, Result]) -> None:
    plain, mixed, code = (results[name].metrics for name in ("plain", "replay", "code"))
    assert code["rows/replayed"] == mixed["rows/replayed"]
    assert code["delta/nll/code"] < mixed["delta/nll/code"] < plain["delta/nll/code"]
    assert code["delta/nll/facts"] > mixed["delta/nll/facts"]


def test_a_later_field_at_its_default_is_no_part_of_a_trials_identity() -> None:
    base = Trial()
    assert not set(ADDED_LATER) & set(identity(base))
    for name, value in {"data.replay_domain": "code", "data.best_share": 0.5, "data.noise_share": 0.1}.items():
        other = replace_field(base, name, value)
        assert identity(other) == identity(base) | {name: value}
        assert fingerprint(other, {}) != fingerprint(base, {})


def test_training_stops_after_the_steps_asked_for(results: dict[str, Result]) -> None:
    result = results["steps"]
    assert result.metrics["train/steps"] == 25
    assert result.history[-1]["epoch"] == pytest.approx(2.5)
    assert result.history[-1]["learning_rate"] < 0.1 * result.history[5]["learning_rate"]  # the decay ends there too


def test_loss_on_all_tokens_trains_on_the_prompts(results: dict[str, Result]) -> None:
    plain, both = results["plain"].metrics, results["all"].metrics
    assert both["train/tokens"] == plain["train/tokens"]
    assert both["train/loss_final"] > 2 * plain["train/loss_final"]  # inputs are drawn at random: nobody can foretell them


def test_another_chat_form_asks_the_same_questions_and_scores_worse(results: dict[str, Result]) -> None:
    plain, other = results["plain"].metrics, results["no template"].metrics
    assert plain["train/loss_final"] == other["train/loss_final"]
    assert other["quality"] < 0.02 < 0.08 < plain["quality"]
