"""Nothing that is scored is trained on: questions that say the same, later turns of conversations, duplicates."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.data import apart, selection
from core.data.rows import Row, build
from core.data.wording import normal
from core.errors import BadInput
from core.settings import Data, Evaluation


def talk(*said: str) -> dict:
    """A row whose turns are the user's and the assistant's by turns."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]}


def file(path: Path, raws: Sequence[dict]) -> str:
    path.write_text("".join(json.dumps(raw, ensure_ascii=False) + "\n" for raw in raws), encoding="utf-8")
    return str(path)


def both(data: Data) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The training rows, and the evaluation rows of both splits."""
    parts = [selection.select(data, Evaluation(split=split, max_rows=10_000), 0) for split in apart.SPLITS]
    assert parts[0].train == parts[1].train
    return parts[0].train, parts[0].evaluation + parts[1].evaluation


def check_apart(train: Sequence[Row], evaluation: Sequence[Row]) -> None:
    trained = {answer for row in train for answer in row.answers.values()}
    assert trained.isdisjoint(apart.scored_answers(evaluation))
    first_scored = {row.prompt for row in evaluation if row.messages[min(row.answers)].get("weight") != 0}
    assert first_scored.isdisjoint(row.prompt for row in train)
    assert all(row.messages[-1]["role"] == "assistant" and row.messages[-1].get("weight") != 0 for row in evaluation)
    assert len({row.id for row in evaluation}) == len(evaluation)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: text.replace("est", "est\u200b"),
        lambda text: text.replace("caf", "c\u00adaf\ufe0f"),
        lambda text: text.replace(" ", "\u00a0\u2009 ").upper(),
        lambda text: "\ufeff" + text.replace("1", "\uff11") + "\x00",
        lambda text: text.replace("'", "\u2019"),
        lambda text: unicodedata.normalize("NFD", text).replace("u", "u\u200d"),
    ],
    ids=["composition", "zero width", "soft hyphen", "spaces and case", "full width", "quotes", "joiner"],
)
def test_a_question_that_looks_the_same_is_the_same(change: Callable[[str], str], tmp_path: Path) -> None:
    raws = []
    for i in range(300):
        question = unicodedata.normalize("NFC", f"Où est l'ancien café numéro {i} ?")
        assert change(question) != question
        assert normal(change(question)) == normal(question)
        raws += [{"instruction": question, "output": "Là."}, {"instruction": change(question), "output": "Ici."}]
    train, evaluation = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None))
    check_apart(train, evaluation)
    assert 30 <= len(evaluation) <= 90


def test_what_differs_stays_different() -> None:
    texts = ["2 + 2?", "2 - 2?", "2 * 2?", "the cat", "thecat", "résumé", "resume", "x²y", "日本", "日木", "👍", "👎"]
    assert len({normal(text) for text in texts}) == len(texts)
    assert all(normal(normal(text)) == normal(text) for text in [*texts, "Ǆ ﬁ \u0345\u3164 ẛ̣ İ", "ς\u200bΣ"])


@pytest.mark.parametrize("n_items", [60, 30, 20, 5])
def test_later_turns_are_kept_apart(n_items: int, tmp_path: Path) -> None:
    raws = [talk(f"hello {i}", "hi", f"What is item {i % n_items}?", f"Item {i % n_items}.") for i in range(300)]
    train, evaluation = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None))
    check_apart(train, evaluation)
    last = {(row.messages[-2]["content"], row.messages[-1]["content"]) for row in train}
    assert not [row for row in evaluation if (row.messages[-2]["content"], row.messages[-1]["content"]) in last]
    assert 20 <= len(evaluation) <= 40  # a tenth is asked for


def test_a_turn_that_most_conversations_have_joins_none_and_is_not_scored(tmp_path: Path) -> None:
    raws = [talk("Hello", "Hi!", f"What is {i}?", f"Number {i}.", "Thanks", "You are welcome.") for i in range(400)]
    train, evaluation = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None))
    check_apart(train, evaluation)
    assert 20 <= len(evaluation) <= 60
    for row in evaluation:
        assert [m.get("weight", 1) for m in row.messages if m["role"] == "assistant"] == [0, 1]  # ends with what is scored


def test_the_order_of_the_rows_decides_nothing(tmp_path: Path) -> None:
    raws = [talk(f"q{i % 50}", f"a{i % 70}", f"r{i % 90}", f"b{i % 30}") for i in range(400)]
    first = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None))
    random.Random(0).shuffle(raws)
    second = both(Data(source=file(tmp_path / "b.jsonl", raws), n_examples=None))
    assert [[row.id for row in rows] for rows in first] == [[row.id for row in rows] for rows in second]


@pytest.mark.parametrize("seed", range(6))
def test_random_conversations(seed: int, tmp_path: Path) -> None:
    """Few words, so that turns, openings and whole conversations come again and again."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(rng.choice([8, 40, 400, 4_000]))]
    raws = [talk(*rng.choices(words, k=rng.choice([2, 2, 4, 6]))) for _ in range(500)]
    source = file(tmp_path / "a.jsonl", raws)
    given = file(tmp_path / "e.jsonl", [talk(*rng.choices([*words, "own"], k=rng.choice([2, 4]))) for _ in range(100)])
    for data in (Data(source=source, n_examples=None), Data(source=source, n_examples=None, eval_source=given)):
        try:
            train, evaluation = both(data)
        except BadInput:  # few words, so that no row is left
            assert len(words) <= 40
            continue
        check_apart(train, evaluation)


@pytest.mark.parametrize("n_words", [400, 4_000])
def test_the_share_is_about_what_is_asked_for(n_words: int, tmp_path: Path) -> None:
    rng = random.Random(1)
    words = [f"w{i}" for i in range(n_words)]
    raws = [talk(rng.choice(words), rng.choice(words[:40]), rng.choice(words[:40]), rng.choice(words)) for _ in range(2_000)]
    for asked in (0.05, 0.1, 0.3):
        train, _ = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None, eval_share=asked))
        assert 1 - len(train) / 2_000 == pytest.approx(asked, rel=0.4)


def test_duplicates_are_scored_once(tmp_path: Path) -> None:
    raws = [{"instruction": f"Question {i % 200}", "output": f"Answer {i % 200}"} for i in range(600)]
    raws += [{"instruction": f"question  {i}", "output": f"ANSWER {i}"} for i in range(200)]
    raws += [{"instruction": f"Question {i}", "output": f"another {i}"} for i in range(200)]  # no duplicate: another answer
    train, evaluation = both(Data(source=file(tmp_path / "a.jsonl", raws), n_examples=None))
    said = [(row.prompt, normal(row.messages[-1]["content"])) for row in evaluation]
    assert len(said) == len(set(said)) == 2 * len({prompt for prompt, _ in said})
    assert len(train) % 5 == 0  # what is trained on is as it was given
    given = file(tmp_path / "e.jsonl", [{"instruction": f"New {i % 20}", "output": f"n{i % 20}"} for i in range(60)])
    assert len(both(Data(source=file(tmp_path / "a.jsonl", raws), eval_source=given))[1]) == 20


def test_later_turns_of_given_evaluation_rows_are_not_trained_on(tmp_path: Path) -> None:
    shared = ("What is 7?", "Seven.")
    raws = [talk(f"q{i}", f"a{i}", *shared) for i in range(50)] + [talk(f"p{i}", f"a{i}") for i in range(50)]
    given = file(tmp_path / "e.jsonl", [talk(f"e{i}", f"b{i}", *(shared if i == 0 else ())) for i in range(40)])
    data = Data(source=file(tmp_path / "a.jsonl", raws), eval_source=given, n_examples=None)
    train, evaluation = both(data)
    check_apart(train, evaluation)
    assert (len(train), len(evaluation)) == (50, 40)
    assert selection.select(data, Evaluation(), 0).n_in_evaluation == 50


def test_a_turn_that_is_common_in_given_evaluation_rows_costs_no_training_rows(tmp_path: Path) -> None:
    thanks = ("Thanks", "You are welcome.")
    raws = [talk(f"q{i}", f"a{i}", *thanks) for i in range(50)]
    given = file(tmp_path / "e.jsonl", [talk(f"e{i}", f"b{i}", *thanks) for i in range(40)])
    train, evaluation = both(Data(source=file(tmp_path / "a.jsonl", raws), eval_source=given, n_examples=None))
    check_apart(train, evaluation)
    assert (len(train), {len(row.messages) for row in evaluation}) == (50, {2})


def test_answers_that_call_tools_are_told_apart_by_their_calls() -> None:
    def row(place: str) -> dict:
        call = {"function": {"name": "weather", "arguments": {"place": place}}}
        return {
            "messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
        }

    oslo, rome, again = (next(iter(build([("", row(name))], "f").rows[0].answers.values())) for name in ("Oslo", "Rome", "oslo"))
    assert oslo != rome
    assert oslo == again
