"""Answers in a model's own words: what is asked and taken, that rows stay as they are but for it, and that both files pair."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MARKED
from test_data import EXAMPLES
from test_instruct import Breaking
from test_judge import KEY, served

from core import endpoint as client
from core.data import kinds, selection
from core.endpoint import Said
from core.selfinstruct import filters, rewriting
from core.selfinstruct.filters import Dropped
from core.settings import Data, Evaluation
from core.tasks import rules
from sweeps import instruct

CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}


def lines(path: Path, raws: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return str(path)


def original(asked: str, reference: str, **more: Any) -> rewriting.Original:
    return rewriting.originals([("line 1", {"prompt": asked, "completion": reference, **more})], "f")[0]


# Rows


@pytest.mark.parametrize("raw", EXAMPLES.values(), ids=list(EXAMPLES))
def test_a_row_of_any_shape_stays_as_it_is_but_for_its_answer(raw: dict[str, Any], tmp_path: Path) -> None:
    given = {**raw, "task": "t", "Cluster": "c", "score": 0.5, "some id": 7}
    found = rewriting.originals([("line 1", given)], "f")[0]
    before = kinds.load("data.source", lines(tmp_path / "a.jsonl", [given])).rows[0]
    kept = kinds.load("data.source", lines(tmp_path / "b.jsonl", [found.written("why")])).rows[0]
    new = kinds.load("data.source", lines(tmp_path / "c.jsonl", [found.written("replaced", "new words")])).rows[0]
    assert kept == before
    assert (new.messages[:-1], new.messages[-1]["content"]) == (before.messages[:-1], "new words")
    assert (new.labels, new.score, new.solutions, new.group) == (before.labels, before.score, before.solutions, before.group)
    assert new.drawn_by == before.id != new.id
    assert found.written("why")["some id"] == 7


def test_what_is_asked() -> None:
    said = [("system", "Be terse."), ("user", "one"), ("assistant", "1"), ("user", "two?"), ("assistant", "It is 2.")]
    row = {"messages": [{"role": role, "content": text} for role, text in said]}
    request = rewriting.originals([("line 1", row)], "f")[0].request
    assert request is not None
    assert [turn["role"] for turn in request.chat] == ["system", "user", "assistant", "user"]
    assert "two?" in request.chat[-1]["content"]
    assert "It is 2." in request.chat[-1]["content"]
    assert request.text.startswith("Be terse.\n\none\n\n1\n\nTask: two?")
    user = {"role": "user", "content": "q"}
    for other in (
        {"messages": [user, CALL]},
        {"messages": [user, {"role": "assistant", "content": "a", "reasoning_content": "as it is"}]},
        {"messages": [user, {"role": "assistant", "content": "a"}], "tools": [{"name": "look"}]},
        {"messages": [user, CALL, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"prompt": "q", "completion": " "},
    ):
        assert rewriting.originals([("line 1", other)], "f")[0].request is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("Plants make sugar of light, and oxygen goes off.", None),
        (" ", Dropped.EMPTY),
        ("Plants \ud83d make sugar.", Dropped.HALF),
        ("How do plants eat", Dropped.REPEATS),
        ("plants turn light into sugar, and give off oxygen", Dropped.SAME),
        ("Using the reference answer as a guide: plants make sugar.", Dropped.TELLS),
        ("My own response: plants make sugar.", Dropped.TELLS),
        ("Here is my answer: plants make sugar.", Dropped.TELLS),
        ("Here's a rewritten version: plants make sugar.", Dropped.TELLS),
        ("The task is to say that plants make sugar.", Dropped.TELLS),
        ("I am ready. Which task?", Dropped.ELSEWHERE),
        ("Plants " * 200, Dropped.LONGER),
    ],
)
def test_what_is_not_taken_and_why(reply: str, why: Dropped | None) -> None:
    row = original("How do plants eat?", "Plants turn light into sugar and give off oxygen.").row
    assert filters.rewritten(row, Said(reply)) is why
    assert filters.rewritten(row, Said("Plants make", whole=False)) is Dropped.CUT


def test_words_that_the_row_itself_has_tell_nothing() -> None:
    row = original("Write a polite mail that asks for an answer.", "Dear Ann, I look forward to your response. Yours, Bob").row
    assert filters.rewritten(row, Said("Dear Ann, looking forward to your answer, Bob")) is None


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (original("48 and half of it?", "48 / 2 = 24, 48 + 24 = 72\n#### 72"), "24 more make 72.", "The 72 are 36."),
        (original("15 % of 80?", "12"), "That is $12.00", "That is 120."),
        (original("60 km in 45 min?", "60 / 0.75 = 80 km/h", answer=80), "60 / 0.75, so 80", "60 / 0.75, so 75"),
        (
            original("Capital of Peru?", "It is Lima, as is well known in the south.", answer="Lima"),
            "Known: LIMA!",
            "It is Quito.",
        ),
        (original("秘鲁的首都?", "利马"), "首都是利马。", "首都是基多。"),
        (original("Sign of addition?", "+"), "It is +", "It is -"),
        (
            original("Capital of Peru or Chile?", "Some name known well to you", answer=["Lima", "Santiago"]),
            "name: Lima",
            "known",
        ),
    ],
)
def test_a_final_answer_stays(row: rewriting.Original, right: str, wrong: str) -> None:
    assert filters.rewritten(row.row, Said(right)) is None
    assert filters.rewritten(row.row, Said(wrong)) is Dropped.OTHER_RESULT


def test_a_long_answer_that_stands_in_the_field_of_final_ones_is_none() -> None:
    row = rewriting.originals([("line 1", {"question": "Why?", "answer": "The light is scattered by the air."})], "f")[0].row
    assert row.solutions
    assert filters.final_answers(row) == ()
    assert rules.reached("It was 1,200 in all", ["1200."])
    assert not rules.reached("It was 3 of 1,200", ["3"])


# Pairs


def test_both_files_give_the_same_rows_in_the_same_order_and_are_asked_the_same(tmp_path: Path) -> None:
    raws = [{"prompt": f"Question {i}?", "completion": f"Answer {i} it is."} for i in range(40)]
    a, held = lines(tmp_path / "a.jsonl", raws), tmp_path / "e.jsonl"
    lines(held, [{"prompt": f"Held out {i}?", "completion": f"So {i}."} for i in range(20)])
    first = rewriting.originals([(f"line {i}", raw) for i, raw in enumerate(raws, 1)], "a")
    b = lines(tmp_path / "b.jsonl", [one.written("x", f"Other words {i}" if i % 3 else None) for i, one in enumerate(first)])
    twice = rewriting.originals([(f"line {i}", json.loads(one)) for i, one in enumerate(Path(b).read_text().splitlines())], "b")
    c = lines(tmp_path / "c.jsonl", [one.written("x", "Again other words" if i % 2 else None) for i, one in enumerate(twice)])
    for seed in range(3):
        for more in ({"n_examples": 10}, {}, {"noise_share": 0.3}):
            one, *others = (
                selection.select(Data(source=source, eval_source=str(held), **more), Evaluation(), seed) for source in (a, b, c)
            )
            assert [row.prompt for row in one.train] == [row.prompt for row in others[0].train]
            assert [row.prompt for row in one.train] == [row.prompt for row in others[1].train]
            assert one.evaluation == others[0].evaluation == others[1].evaluation


# The command


class Own(Breaking):
    """Answers in other words, of "two" with another result."""

    def written(self, text: str) -> str:
        asked = self.asked[-1]["messages"][-1]["content"]
        return "Well, it comes to " + ("nothing" if "two" in asked else asked.split("answer:\n")[1].split("\n")[0])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    monkeypatch.setattr(client, "TRIES", 1)
    yield from served(Own(), instruct.KEYS, monkeypatch)


ROWS: list[dict[str, Any]] = [
    {"instruction": "one?", "output": "1", "cluster": "digits"},
    {"instruction": "two?", "output": "2", "cluster": "digits"},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "3?"}, {"role": "assistant", "content": "3"}]},
    {"messages": [{"role": "user", "content": "look"}, CALL]},
    {"prompt": "empty?", "completion": ""},
]


def test_an_endpoint_rewrites_goes_on_after_a_failure_and_its_key_is_nowhere(
    server: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELAB_INSTRUCT_KEY", KEY)
    output = tmp_path / "own.jsonl"
    words = ["--rewrite", lines(tmp_path / "rows.jsonl", ROWS), "--endpoint", server.url, "--model", "m", "--output", str(output)]
    server.broken = 2
    assert instruct.main([*words, "--concurrency", "1"]) == 3
    assert not output.exists()
    assert "2 replies are kept, the same command goes on" in (said := capsys.readouterr()).err
    server.broken = None
    assert instruct.main(words) == 0
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in found] == ["Well, it comes to 1", "2", "Well, it comes to 3", "", ""]
    assert [row["rewrite"] for row in found] == ["replaced", "comes to another answer", "replaced", *[Dropped.NOT_ASKED] * 2]
    assert [row.get("cluster") for row in found] == ["digits", "digits", None, None, None]
    card = json.loads((tmp_path / "own.card.json").read_text())
    assert (card["rows"], card["replaced"], sum(card["kept"].values())) == (5, 2, 3)
    asked = Counter(one["messages"][-1]["content"] for one in server.asked)
    assert sorted(asked.values()) == [1, 1, 2], "only the request that failed was sent again"
    assert server.asked[-1]["messages"][0] == {"role": "system", "content": "s"}
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir()) + said.out + said.err + capsys.readouterr().out
    n = len(server.asked)
    assert instruct.main(words) == 0
    assert len(server.asked) == n, "nothing is asked again"
    lines(tmp_path / "rows.jsonl", ROWS[:2])
    assert instruct.main(words) == 2
    assert "was begun otherwise (rows of --rewrite" in capsys.readouterr().err


@pytest.mark.parametrize("template", [None, MARKED], ids=["text", "chat"])
def test_a_local_model_rewrites(
    make_model: Callable[..., str],
    template: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    rows = lines(tmp_path / "rows.jsonl", [{"prompt": f"say {word}", "completion": f"{word} it is ."} for word in ("red", "fox")])
    words = ["--rewrite", rows, "--model", make_model("llama", template), "--answer-tokens", "8"]
    words += ["--output", str(tmp_path / "own.jsonl")]
    assert instruct.main(words) == 0
    found = kinds.load("data.source", str(tmp_path / "own.jsonl")).rows
    assert [row.prompt for row in found] == ["say red", "say fox"]
    assert len((tmp_path / "own.jsonl.journal").read_text().splitlines()) == 2
    monkeypatch.setattr("core.model.load", None)  # what has said all is not loaded again
    assert instruct.main(words) == 0
    monkeypatch.setattr("core.selfinstruct.prompts.rewriting_chat", lambda task, answer: f"Say it otherwise: {task} {answer}")
    assert instruct.main(words) == 2
    assert "was begun otherwise (words of the prompts: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--output", "o.jsonl"], "--model: needs a value"),
        (["--model", "m", "--output", "o.jsonl", "--seeds", "s.jsonl"], "--seeds: does not go with --rewrite"),
        (["--model", "m", "--output", "o.jsonl", "--rows", "5"], "--rows: does not go with --rewrite"),
        (["--model", "m", "--output", "rows.jsonl"], "is the file that is rewritten"),
    ],
)
def test_bad_commands_are_one_line_each(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(Path("rows.jsonl"), ROWS)
    assert instruct.main(["--rewrite", "rows.jsonl", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert told in said


def test_columns_can_be_named(tmp_path: Path) -> None:
    (row,) = rewriting.originals([("line 1", {"ask": "Why?", "say": "So."})], "f", {"prompt": "ask", "response": "say"})
    assert row.request is not None
    assert (row.request.instruction, row.request.reference) == ("Why?", "So.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"prompt": "q", "completion": "a"}\n{"prompt": "q"}\n', "rows.jsonl: line 2: row without a response"),
        ('{"prompt": "q", "completion": "a"}\n{"prompt"\n', "rows.jsonl: line 2: not JSON"),
        ('{"prompt": "q", "completion": ""}\n', "none of its 1 rows has a plain answer"),
        ("", "is empty"),
    ],
)
def test_bad_rows_are_one_line_each(text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(text)
    assert instruct.main(["--rewrite", str(rows), "--model", "m", "--output", str(tmp_path / "o.jsonl")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert told in said
    assert "--skip-bad-rows" not in said
