"""Rows that are selected by scores, and the order in which they are trained on."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core import fields, preflight
from core.batches import Curriculum, SeededOrder
from core.data import drawing, selection
from core.data.choices import CHOICES, ORDERS, Score
from core.data.drawing import Means
from core.data.rows import Row, identity
from core.errors import BadInput
from core.settings import Data, Evaluation, Model, Train, Trial
from sweeps import alike
from sweeps.plan import Plan

ANSWERS = ["a", "a b c", "a b", "a b c d e", "a b c d", "a b c d e f"]


def row(i: int, answer: str) -> Row:
    messages = ({"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": answer})
    return Row(identity(messages), messages)


ROWS = tuple(row(i, answer) for i, answer in enumerate(ANSWERS))
SCORES = {Score.LOSS: [3.0, 1.0, None, 2.0, 5.0, 4.0], Score.IFD: [0.9, 1.4, None, 0.2, 1.0, 0.5]}


MEANS = Means(lambda score, rows: SCORES[score])


def taken(means: Means = MEANS, **data: object) -> list[int]:
    chosen = drawing.taken(ROWS, Data(**{"n_examples": 2, **data}), means)  # type: ignore[arg-type]
    return [ROWS.index(one) for one in chosen]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("random", [0, 1]),
        ("low-perplexity", [1, 3]),
        ("high-perplexity", [4, 5]),
        ("mid-perplexity", [0, 3]),
        ("low-ifd", [3, 5]),
        ("high-ifd", [0, 5]),  # 1 and more: the prompt does not help
        ("short", [0, 2]),
        ("long", [3, 5]),
    ],
)
def test_rows_are_taken_from_an_end_of_their_scores_and_stay_in_the_seeds_order(select: str, expected: list[int]) -> None:
    assert taken(select=select) == expected


def test_rows_without_a_score_come_last_and_a_larger_selection_contains_the_smaller() -> None:
    for select in CHOICES:
        if select != "k-centre":
            sizes = [set(taken(select=select, n_examples=n)) for n in range(1, 7)]
            assert all(small < large for small, large in itertools.pairwise(sizes)), select
    assert 2 not in taken(select="high-perplexity", n_examples=5)
    assert 2 not in taken(select="high-ifd", n_examples=5)


def test_at_equal_tokens_as_many_rows_are_taken_as_have_those_of_random_ones() -> None:
    means = Means(lambda score, rows: SCORES[score], lambda one: len(one.messages[-1]["content"].split()))
    assert taken(means, budget="tokens") == [0, 1]  # 4 tokens
    assert taken(means, budget="tokens", select="short") == [0, 2]  # 3 are nearer than 6
    assert taken(means, budget="tokens", select="long") == [5]  # 6
    assert taken(means, budget="tokens", select="long", n_examples=1) == [5]  # one at least
    assert taken(means, budget="tokens", select="short", n_examples=4) == [0, 1, 2, 4]
    assert len(taken(means, budget="tokens", select="long", n_examples=6)) == 6
    unknown = Means(None, means.n_tokens)  # before a trial runs: as many tokens by being the same rows
    assert taken(unknown, budget="tokens", select="high-ifd") == [0, 1]


def test_a_selection_from_several_sources_keeps_their_shares() -> None:
    rows = tuple(dataclasses.replace(one, origin="a" if i < 4 else "b") for i, one in enumerate(ROWS))
    found = drawing.taken(
        rows,
        Data(n_examples=2, select="high-perplexity"),
        Means(lambda score, rows: SCORES[score]),
        lambda rows: selection.mixture.in_shares(rows, (("a", 0.5), ("b", 0.5)), lambda one: one.origin),
    )
    assert sorted(one.origin for one in found) == ["a", "b"]


def rows_file(folder: Path, n: int = 60) -> str:
    path = folder / "rows.jsonl"
    lines = [{"prompt": f"what is {i} ?", "completion": " ".join(["fine"] * (1 + i % 7))} for i in range(n)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_candidates_are_drawn_by_the_seed_and_wrong_answers_are_there_before_rows_are_selected(tmp_path: Path) -> None:
    asked = Data(source=rows_file(tmp_path), n_examples=5, n_candidates=20, select="long", noise_share=0.5)
    one, other = (selection.select(asked, Evaluation(), seed) for seed in (0, 1))
    assert one.n_available == 20
    assert {row.id for row in one.train} != {row.id for row in other.train}
    whole = selection.select(dataclasses.replace(asked, select="random", n_examples=None), Evaluation(), 0)
    left = tuple(row for row in whole.train if row not in one.train)  # with the noise of the candidates, not of the selected
    assert len(left) == 15
    assert min(drawing.lengths(one.train)) >= max(drawing.lengths(left))  # type: ignore[operator,type-var]


def test_defaults_are_no_part_of_a_trials_identity() -> None:
    new = {"data.select", "data.n_candidates", "data.budget", "data.order", "data.scorer"}
    assert not new & fields.identity(Trial()).keys()
    assert fields.identity(Trial(data=Data(order="easy-first")))["data.order"] == "easy-first"


# The order of training


def order(curriculum: Curriculum | None, how: Train, n: int = 10) -> SeededOrder:
    return SeededOrder([1] * n, how, 0, curriculum)


DIFFICULTIES = (5.0, 1.0, 4.0, None, 2.0, 8.0, 7.0, 3.0, 9.0, 6.0)


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_a_curriculum_orders_every_epoch_or_the_first(name: str) -> None:
    how = Train(batch_size=1, epochs=2)
    plain, ours = order(None, how), order(Curriculum(DIFFICULTIES, ORDERS[name]), how)
    first, second = list(ours), list(ours)
    random = [list(plain), list(plain)]
    known = [DIFFICULTIES[i] for i in first if DIFFICULTIES[i] is not None]
    assert known == sorted(known, reverse=ORDERS[name].hard_first)  # type: ignore[type-var]
    assert first.index(3) == random[0].index(3)  # a row that has no difficulty keeps its place
    assert (second == random[1]) is not ORDERS[name].every_epoch
    assert sorted(second) == list(range(10))


def test_an_epoch_that_ends_early_sees_the_rows_that_it_would_see_in_random_order() -> None:
    """Else a curriculum over half an epoch would be a selection of the easy half."""
    how = Train(batch_size=2, epochs=1.4)  # 7 steps: 5 and 2
    plain, ours = order(None, how), order(Curriculum(DIFFICULTIES, ORDERS["easy-first"]), how)
    random, found = [list(plain) for _ in range(2)], [list(ours) for _ in range(2)]
    assert sorted(found[0]) == list(range(10))
    assert set(found[1][:4]) == set(random[1][:4])
    assert found[1][4:] == random[1][4:]


# Scores


def test_farthest_first_begins_in_the_middle_and_covers_the_corners() -> None:
    from core.row_scores import farthest_first

    corners = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    points = np.concatenate([[[0.01, 0.01]], corners, corners * 0.9])
    places = farthest_first(points)
    assert sorted(places) == list(range(9))
    assert places[0] == 0
    covered = {tuple(np.round(points[i] / np.abs(points[i]).sum()).astype(int)) for i in np.argsort(places)[1:5]}
    assert len(covered) == 4
    assert farthest_first(points[:1]).tolist() == [0]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    from conftest import MARKED, make_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    tokenizer = make_tokenizer(MARKED)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return str(folder)


def asked(base: str, folder: Path, **data: object) -> Trial:
    return Trial(
        model=Model(name=base),
        data=Data(**{"source": rows_file(folder), "n_examples": 8, "seq_len_tokens": 48, **data}),  # type: ignore[arg-type]
        train=Train(epochs=1, batch_size=4),
        evaluation=Evaluation(max_rows=4, drift_samples=2, drift_tokens=8, generations=0),
    )


def scoring(trial: Trial) -> object:
    from core import model
    from core.hardware import Device
    from core.row_scores import Scoring

    return Scoring(trial, model.load(trial.model, Device()), Device(), 48, "content")


def test_scores_are_those_of_the_model_itself_and_made_once(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from core import row_scores, warm
    from core.data import encode

    trial = asked(base, tmp_path)
    rows = selection.select(trial.data, trial.evaluation, 0).train
    monkeypatch.setattr(row_scores, "FOLDER", tmp_path / "scores")
    found = scoring(trial)
    losses, ifd = found.of(Score.LOSS, rows), found.of(Score.IFD, rows)  # type: ignore[attr-defined]
    one = encode.encode(found.base.tokenizer, rows[0])  # type: ignore[attr-defined]
    logits = found.base.model(torch.tensor([one.ids])).logits[0].log_softmax(-1)  # type: ignore[attr-defined]
    taught = [i for i in range(1, len(one.ids)) if one.mask[i]]
    loss = -sum(float(logits[i - 1, one.ids[i]]) for i in taught) / len(taught)
    assert losses[0] == pytest.approx(loss, rel=1e-4)
    alone = [one.ids[0], *(one.ids[i] for i in taught)]
    without = found.base.model(torch.tensor([alone])).logits[0].log_softmax(-1)  # type: ignore[attr-defined]
    apart = -sum(float(without[i - 1, alone[i]]) for i in range(1, len(alone))) / len(taught)
    assert ifd[0] == pytest.approx(loss / apart, rel=1e-4)
    twice = found.of(Score.CENTRES, (*rows, rows[0]))  # type: ignore[attr-defined]
    assert sorted(twice) == list(range(len(rows) + 1)), "of two rows that are alike one is a centre, and the other none"
    monkeypatch.setattr(row_scores, "SCORES", {})  # whoever scores again fails
    assert found.of(Score.LOSS, rows) == losses  # type: ignore[attr-defined]
    warm.SAMPLES.clear()
    assert found.of(Score.LOSS, rows) == losses  # type: ignore[attr-defined]  # of the file
    found.base.tokenizer.chat_template += " "  # type: ignore[attr-defined]  # a template file that was edited
    with pytest.raises(KeyError):
        found.of(Score.LOSS, rows)  # type: ignore[attr-defined]


def test_a_trial_is_trained_on_what_it_selects_whichever_worker_scores(base: str, tmp_path: Path) -> None:
    """As many tokens as are asked for, the same rows for a trial that runs alone or goes on elsewhere."""
    from core import trial as trials
    from core import warm
    from core.hardware import Device

    trial = asked(base, tmp_path, select="high-perplexity", order="easy-first", budget="tokens")
    told = preflight.inspect(trial)
    assert told.n_taken < told.n_available
    results = []
    for place in ("a", "b"):
        warm.clear()
        results.append(trials.run(trial, told.provenance, tmp_path / place / "trials" / "one", Device()))
    one, other = results
    assert one.facts["train_rows_hash"] == other.facts["train_rows_hash"]
    assert one.facts["row_losses"] == other.facts["row_losses"]
    assert one.metrics["train/loss_final"] == other.metrics["train/loss_final"]
    random = preflight.inspect(asked(base, tmp_path))
    assert abs(one.metrics["train/tokens"] - random.tokens) <= random.longest_tokens
    assert list((tmp_path / "a" / "texts").glob("*.json"))


# What is refused, and told


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"select": "low-perplexty"}, "data.select"),
        ({"order": "easy"}, "data.order"),
        ({"budget": "rows"}, "data.budget"),
        ({"n_candidates": 0}, "data.n_candidates"),
        ({"scorer": " "}, "data.scorer"),
    ],
)
def test_values_out_of_range_are_refused(data: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as raised:
        Data(**data)  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"select": "long", "n_examples": None}, "data.select"),
        ({"select": "low-ifd", "scorer": "/no/such/model"}, "data.scorer"),
        ({"order": "easy-first", "scorer": "lab:base-0"}, "data.scorer"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_it_runs(base: str, tmp_path: Path, data: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as raised:
        preflight.inspect(asked(base, tmp_path, **data))
    assert raised.value.field == field


def test_the_laboratory_is_scored_by_its_own_models_alone(base: str) -> None:
    with pytest.raises(BadInput, match="only a laboratory model reads") as raised:
        preflight.inspect(Trial(data=Data(select="low-ifd", scorer=base)))
    assert raised.value.field == "data.scorer"


def plan_of(trials: Sequence[Trial]) -> Plan:
    from core.experiment import Experiment

    vary = {"data.select": tuple(one.data.select for one in trials)}
    return Plan.of(Experiment(name="made", question="?", base=trials[0], vary=vary, seeds=(0,)), preflight.provenance)


def test_arms_that_select_in_other_ways_are_other_runs_unless_all_rows_are_taken(base: str, tmp_path: Path) -> None:
    def same(**data: object) -> dict[str, str]:
        trials = [asked(base, tmp_path, select=select, **data) for select in ("random", "low-perplexity", "high-perplexity")]
        plan = plan_of(trials)
        return alike.same_runs(plan, {one: preflight.inspect(one) for one in plan.probes})

    assert same() == {}
    assert len(same(n_examples=1_000)) == 2
