"""The laboratory's world and data: what is right, what is disjoint, and what its tokenizer can say."""

from __future__ import annotations

import gzip
import json
import random
import statistics
from collections import Counter

import pytest

from core.lab import corpus, instruct, tokenizer, world
from core.lab.skills import BY_NAME, CLUSTERS, FOLDS, SKILLS
from core.lab.synthetic import recognise
from core.tasks import lab

FOLD_NUMBERS = range(len(FOLDS))
SPLITS = ("validation", "test")


def prompts(rows: list[dict]) -> list[str]:
    return [row["messages"][0]["content"] for row in rows]


def inputs(rows: list[dict]) -> set[tuple[str, ...]]:
    """(task, slots…) of every row whose task a program recognises."""
    found = (recognise(prompt) for prompt in prompts(rows))
    return {(known[0].name, *known[1].values()) for known in found if known}


def test_the_world_has_the_size_that_is_promised() -> None:
    assert len(SKILLS) >= 40
    assert len(CLUSTERS) == 12
    assert sorted(cluster for fold in FOLDS for cluster in fold) == sorted(CLUSTERS)
    assert len(instruct.FRAMES["train"]) == 10


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_skills_draw_from_the_seed_and_keep_to_their_split(skill: object) -> None:
    name = skill.name  # type: ignore[attr-defined]
    first, again = (BY_NAME[name].example(random.Random(7), "test") for _ in range(2))
    assert first == again
    assert world.split_of(name, *first[0].values()) == "test"
    assert first[1]


def test_skills_give_right_answers() -> None:
    """Each checked by another property than the one that it is computed by."""
    for seed in range(200):
        rng = random.Random(seed)

        def example(name: str, rng: random.Random = rng) -> tuple[list[str], str, str]:
            slots, answer = BY_NAME[name].example(rng)
            return slots["x"].split(), slots.get("k", ""), answer

        x, _, answer = example("reverse")
        assert BY_NAME["reverse"].solve({"x": answer}) == " ".join(x)
        x, _, answer = example("sort")
        assert Counter(x) == Counter(answer.split())
        assert all(a <= b for a, b in zip(answer.split(), answer.split()[1:], strict=False))
        x, k, answer = example("purge")
        assert len(answer.split()) == len(x) - x.count(k)
        x, k, answer = example("add")
        assert BY_NAME["minus"].solve({"x": answer, "k": k}) == x[0]
        x, _, answer = example("nextletter")
        assert BY_NAME["priorletter"].solve({"x": answer}) == " ".join(x)
        x, _, answer = example("translate")
        assert BY_NAME["back"].solve({"x": answer}) == " ".join(x)
        x, _, answer = example("opposite")
        assert BY_NAME["opposite"].solve({"x": answer}) == " ".join(x)
        x, _, answer = example("palindrome")
        assert (answer == "yes") == (BY_NAME["reverse"].solve({"x": " ".join(x)}) == " ".join(x))


def test_frames_of_the_splits_are_disjoint() -> None:
    sets = [set(instruct.FRAMES[split]) for split in ("train", *SPLITS)]
    assert sum(map(len, sets)) == len(set.union(*sets))


@pytest.mark.parametrize("fold", FOLD_NUMBERS)
@pytest.mark.parametrize("source", instruct.SOURCES)
def test_nothing_that_is_asked_was_trained_on(source: str, fold: int) -> None:
    rows = instruct.training_rows(source, fold)
    trained, asked_before = inputs(rows), set(prompts(rows))
    assert len(trained) > 3_000
    for split in SPLITS:
        for question in instruct.questions(split, 50):
            assert question.prompt not in asked_before
            key = (question.task, *question.id.removeprefix(f"{split}/{question.task}/").split(" ; "))
            assert key not in trained
    assert not {row["cluster"] for row in rows} & set(FOLDS[fold])


def test_validation_and_test_ask_different_things() -> None:
    keys = [{q.id.removeprefix(f"{split}/") for q in instruct.questions(split, 50)} for split in SPLITS]
    assert not keys[0] & keys[1]
    raw = [{item[1] for item in lab.raw_items(split)} | {item[1] for item in lab.fact_items(split)} for split in SPLITS]
    assert not raw[0] & raw[1]


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_documents_of_the_splits_are_disjoint(domain: str) -> None:
    stream = corpus.documents(domain, random.Random(5), "train")
    trained = {next(stream) for _ in range(2_000)}
    held_out = [set(lab.documents(domain, split)) for split in SPLITS]
    assert all(len(found) == lab.DOCUMENTS_PER_DOMAIN for found in held_out)
    assert not trained & held_out[0]
    assert not trained & held_out[1]
    assert not held_out[0] & held_out[1]
    assert all(world.split_of("document", text) == "train" for text in trained)


def test_the_tokenizer_says_everything_and_documents_hold_no_chat() -> None:
    words = set(tokenizer.vocabulary())
    for text in corpus.mixed_documents(3, 60_000):
        assert not set(text.split()) - words
        assert "<|" not in text
    for source in instruct.SOURCES:
        for row in instruct.training_rows(source, 0)[::7]:
            assert not set(" ".join(message["content"] for message in row["messages"]).split()) - words
    for split in SPLITS:
        for question in instruct.questions(split, 20):
            assert not set(f"{question.prompt} {question.answer}".split()) - words


def test_curated_rows_are_right_balanced_and_paraphrased() -> None:
    for fold in FOLD_NUMBERS:
        rows = instruct.training_rows("lab:curated", fold)
        assert len(set(prompts(rows))) == len(rows) == instruct.N_CURATED
        counts = Counter(row["task"] for row in rows)
        assert set(counts) == {skill.name for skill in SKILLS if skill.cluster not in FOLDS[fold]}
        assert max(counts.values()) <= 1.5 * min(counts.values())
        for row in rows[::5]:
            known = recognise(row["messages"][0]["content"])
            assert known is not None
            assert known[0].solve(known[1]) == row["messages"][1]["content"]


def test_every_curated_task_is_asked_in_all_ten_frames() -> None:
    heads: dict[str, set[str]] = {}
    for row in instruct.training_rows("lab:curated", 0):
        prompt = row["messages"][0]["content"]
        ends = {frame: frame.split("{i}") for frame in instruct.FRAMES["train"]}
        fitting = [frame for frame, (head, tail) in ends.items() if prompt.startswith(head) and prompt.endswith(tail)]
        heads.setdefault(row["task"], set()).add(max(fitting, key=len))
    assert all(len(found) == 10 for found in heads.values())


def test_synthetic_rows_are_what_the_card_says() -> None:
    with gzip.open(instruct.SYNTHETIC_FILE, "rt") as file:
        rows = [json.loads(line) for line in file]
    card = json.loads(instruct.SYNTHETIC_FILE.with_name("synthetic.card.json").read_text())
    assert len(rows) == len(set(prompts(rows))) == card["rows"] == 52_000
    assert Counter(row["task"] for row in rows) == card["tasks"]
    judged = [row["correct"] for row in rows if row["correct"] is not None]
    assert len(judged) == card["recognised"]
    assert sum(judged) / len(judged) == pytest.approx(card["right_of_recognised"], abs=5e-5)
    for row in rows[::25]:
        known = recognise(row["messages"][0]["content"])
        assert row["correct"] == (known and known[0].solve(known[1]) == row["messages"][1]["content"])


def test_synthetic_errors_are_a_models() -> None:
    """Wrong answers and a skewed task mix; curated data have neither."""
    rows = instruct.training_rows("lab:synthetic", 0)
    judged = [row["correct"] for row in rows if row["correct"] is not None]
    assert 0.1 < 1 - sum(judged) / len(judged) < 0.7
    counts = Counter(row["task"] for row in rows if row["task"] != "unknown")
    assert max(counts.values()) > 3 * statistics.median(counts.values())
