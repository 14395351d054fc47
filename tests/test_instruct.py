"""Instruction data by a model: what is asked, filtered, kept, and gone on with; by an endpoint here and a tiny model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_judge import KEY, Endpoint, says, served

from core import endpoint as client
from core.data import kinds, near
from core.endpoint import Said
from core.errors import BadInput
from core.selfinstruct import filters, pipeline, prompts
from core.selfinstruct.filters import Dropped, Filters
from core.selfinstruct.journal import Journal
from core.selfinstruct.pipeline import Job, Request
from core.selfinstruct.prompts import Task
from sweeps import instruct

SEEDS = tuple(Task(f"Explain how a {thing} is made .", f"A {thing} is made by hand.") for thing in ("violin", "cheese", "kite"))
VERBS = ("Describe", "List", "Compare", "Summarise", "Rank", "Invent", "Question", "Defend")
TOPICS = ("rivers in spring", "old trains", "a night sky", "paper money", "chess openings", "winter soup", "street noise")


def teacher(request: Request) -> Said:
    """Proposes eight tasks by its seed, one of them a seed's and one too short; answers in words."""
    if request.instruction is not None:
        return Said(f"Here is what I know: {request.instruction[::-1]}")
    topics = [(TOPICS[(request.seed // 8**i) % 7], TOPICS[(request.seed // 5**i) % 7]) for i in range(len(VERBS))]
    tasks = [f"{verb} {one} to {other}." for verb, (one, other) in zip(VERBS, topics, strict=True)]
    tasks[2], tasks[5] = "Explain how a violin is made.", "Go on"
    return Said("\n".join(f"{i}. {task}" for i, task in enumerate(tasks, 9)))


def by(asked: list[str], fails_after: int | None = None) -> pipeline.Writer:
    def write(requests: Any) -> Iterator[dict[str, Said]]:
        for one in requests:
            if fails_after is not None and len(asked) >= fails_after:
                raise KeyboardInterrupt
            asked.append(one.key)
            yield {one.key: teacher(one)}

    return write


def test_rows_are_made_filtered_and_counted(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", {}) as journal:
        made = pipeline.run(Job(SEEDS, 20, asked=("List old trains to winter soup!",)), by([]), journal)
    assert len(made.rows) == len({row.instruction for row in made.rows}) == 20
    assert made.n_proposed == 20 + made.dropped.total()
    assert made.dropped[Dropped.NEAR_SEED] > 0 < made.dropped[Dropped.SHORT]
    assert made.examples[Dropped.SHORT] == "Go on"
    index = near.Index(filters.NEAR)
    for row in made.rows:
        assert index.nearest(row.instruction) is None, "no two are near"
        index.add(row.instruction, "")


@pytest.mark.parametrize("at", [0, 1, 5, 13])
def test_a_run_that_is_killed_goes_on_to_the_same_rows_and_asks_nothing_twice(at: int, tmp_path: Path) -> None:
    whole: list[str] = []
    with Journal(tmp_path / "whole", {}) as journal:
        expected = pipeline.run(Job(SEEDS, 12), by(whole), journal)
    asked: list[str] = []
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "j", {}) as journal:
        pipeline.run(Job(SEEDS, 12), by(asked, at), journal)
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"replies": {"propose 0 1": ["1. Ha')  # a line that the kill cut
    with Journal(tmp_path / "j", {}) as journal:
        found = pipeline.run(Job(SEEDS, 12), by(asked), journal)
    assert found == expected
    assert Counter(asked) == Counter(whole)
    with Journal(tmp_path / "j", {}) as journal:  # more rows, later: those that are there stay
        more = pipeline.run(Job(SEEDS, 15), by(asked), journal)
    assert more.rows[:12] == expected.rows
    assert max(Counter(asked).values()) == 1


def test_more_rows_begin_with_the_fewer(tmp_path: Path) -> None:
    def write(requests: Any) -> Iterator[dict[str, Said]]:
        for one in requests:  # of a third of the tasks the answer is dropped
            silent = one.instruction is not None and len(one.instruction) % 3 == 0
            yield {one.key: Said("") if silent else teacher(one)}

    for seed in range(4):
        made = []
        for n in (6, 10, 22):
            with Journal(tmp_path / f"j{seed}", {}) as journal:
                made.append(pipeline.run(Job(SEEDS, n, seed=seed), write, journal))
        few, some, most = made
        assert (few.rows, some.rows) == (most.rows[:6], most.rows[:10])
        assert some.n_proposed == 10 + some.dropped.total()
        assert most.dropped[Dropped.EMPTY] > 0


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        with Journal(tmp_path / f"{len(found)}", {}) as journal:
            found.append(pipeline.run(Job(SEEDS, 10, seed=seed), by([]), journal).rows)
    assert found[0] == found[1] != found[2]


def test_a_model_with_no_more_to_say_ends(tmp_path: Path) -> None:
    def same(requests: Any) -> Iterator[dict[str, Said]]:
        yield {one.key: Said("1. Name three uses of a brick." if one.instruction is None else "Walls.") for one in requests}

    with Journal(tmp_path / "j", {}) as journal:
        made = pipeline.run(Job(SEEDS, 5), same, journal)
    assert [row.answer for row in made.rows] == ["Walls."]
    assert made.rounds == pipeline.IDLE_ROUNDS + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Sing loudly", Dropped.SHORT),
        ("word " * 151, Dropped.LONG),
        ("Describe the attached picture in words.", Dropped.UNSERVED),
        ("explain how a violin is made", Dropped.NEAR_SEED),
        ("What is the capital of Peru ???", Dropped.NEAR_EVALUATION),
        ("请写一首关于秋天的诗", None),
        ("Write a poem about autumn.", None),
    ],
)
def test_what_is_dropped_and_why(text: str, why: Dropped | None) -> None:
    new = Filters((seed.instruction for seed in SEEDS), ["What is the capital of Peru?"])
    assert new.instruction(text) is why
    if why is None:
        assert new.instruction(text) is Dropped.NEAR_KEPT


def test_answers_that_are_no_answers_are_dropped() -> None:
    assert filters.answer("Name a fruit.", " \n", True) is Dropped.EMPTY
    assert filters.answer("Name a fruit.", "An app", False) is Dropped.CUT
    assert filters.answer("Name a fruit.", "name a fruit", True) is Dropped.REPEATS
    assert filters.answer("Name a fruit.", "Apple", True) is None


def test_numbered_lines_are_proposals() -> None:
    text = 'Sure! Here they are:\n9. "Name a fruit."\n10) Add 2 and 3\n\n- no number\n 11: *Sort these*\n12.   \nTask 13: Go.'
    assert prompts.proposed(text) == ["Name a fruit.", "Add 2 and 3", "Sort these", "Go."]
    assert prompts.proposed(prompts.begun(" Name a fruit.\n5. Add.", 3)) == ["Name a fruit.", "Add."]
    assert len(prompts.proposed("\n".join(f"{i}. Task" for i in range(50)))) == prompts.NEW_TASKS
    assert prompts.until_stop(" Walls.\n\n\nTask: next") == (" Walls.", True)


def test_a_journal_of_another_run_or_in_use_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", {"--seed": 0}), pytest.raises(BadInput, match="being written"), Journal(tmp_path / "j", {}):
        pass
    with Journal(tmp_path / "j", {"--seed": 2}):
        pass  # nothing was said for seed 0: a command that was wrong has begun nothing
    with Journal(tmp_path / "j", {"--seed": 0}) as journal:
        journal.add({"one": Said("x")})
    with pytest.raises(BadInput, match=r"--seed: 0 before, 1 now"), Journal(tmp_path / "j", {"--seed": 1}):
        pass
    (tmp_path / "other").write_text("my notes\n")
    with pytest.raises(BadInput, match="no journal of this command"), Journal(tmp_path / "other", {}):
        pass


# The command


class Breaking(Endpoint):
    """A server that writes; `broken`: after so many requests it fails."""

    broken: int | None = None

    def answer(self, text: str) -> tuple[int, Any]:
        if self.broken is not None and len(self.asked) > self.broken:
            return 401, {"error": f"bad key {KEY}"}
        return 200, says(self.written(text))

    def written(self, text: str) -> str:
        raise NotImplementedError


class Teacher(Breaking):
    """Proposes and answers."""

    def written(self, text: str) -> str:
        is_proposal = "more tasks that differ" in text
        seed = int(self.asked[-1].get("seed", 0))
        return teacher(Request("", (), None if is_proposal else text, seed)).text


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    monkeypatch.setattr(client, "TRIES", 1)
    yield from served(Teacher(), instruct.KEYS, monkeypatch)


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps({"instruction": one.instruction, "output": one.answer}) + "\n" for one in SEEDS))
    return str(path)


def test_columns_of_seeds_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("ask,say\nWhy?,So.\n")
    assert instruct._tasks("--seeds", str(path), "prompt=ask,response=say") == ((Task("Why?", "So."),),)
    words = ["--model", "m", "--seeds", str(path), "--output", str(tmp_path / "o.jsonl")]
    assert instruct.main(words) == 2
    said = capsys.readouterr().err
    assert "--field prompt=COLUMN --field response=COLUMN" in said
    assert "--skip-bad-rows" not in said
    assert instruct.main([*words, "--field", "promt=ask"]) == 2
    assert "error: --field promt=ask: 'promt' is no field of rows; did you mean 'prompt'" in capsys.readouterr().err


def test_an_endpoint_makes_rows_that_data_reads_and_its_key_is_nowhere(
    server: Teacher, seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELAB_INSTRUCT_KEY", KEY)
    output = tmp_path / "rows.jsonl"
    words = ["--endpoint", server.url, "--model", "m", "--seeds", seeds, "--rows", "12", "--output", str(output)]
    server.broken = 9
    assert instruct.main([*words, "--concurrency", "1"]) == 3
    assert not output.exists()
    assert "9 replies are kept, the same command goes on" in (said := capsys.readouterr()).err
    server.broken = None
    assert instruct.main([*words, "--concurrency", "3"]) == 0
    rows = kinds.load("data.source", str(output)).rows
    assert len(rows) == 12
    card = json.loads((tmp_path / "rows.card.json").read_text())
    assert card["rows"] == 12 == card["proposed"] - sum(card["dropped"].values())
    texts = Counter((one["messages"][0]["content"], one.get("seed")) for one in server.asked)
    assert sum(texts.values()) == len(texts) + 1, "only the request that failed was sent again"
    assert {one["key"] for one in server.asked} == {f"Bearer {KEY}"}
    kept = "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in kept + said.out + said.err + capsys.readouterr().out
    before = len(server.asked)
    assert instruct.main(words) == 0
    assert len(server.asked) == before, "nothing is asked again"


def test_a_local_model_writes(
    make_model: Callable[..., str], seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(pipeline, "IDLE_ROUNDS", 1)
    monkeypatch.setattr("core.selfinstruct.writers.PROPOSAL_TOKENS", 24)
    found = []
    for name in ("a", "b"):
        output = tmp_path / f"{name}.jsonl"
        words = ["--model", make_model("llama"), "--seeds", seeds, "--rows", "2", "--output", str(output), "--answer-tokens", "8"]
        assert instruct.main(words) in (0, 3)  # what an untrained model says is mostly dropped
        found.append((tmp_path / f"{name}.jsonl.journal").read_text())
    assert found[0] == found[1]
    assert "propose 0 3" in found[0]


@pytest.mark.parametrize(
    ("words", "says_"),
    [
        ([], "--seeds: needs a value"),
        (["--rows", "0"], "--rows '0': must be a whole number from 1"),
        (["--near", "0.2"], "--near '0.2': must be a number from 0.5 to 1"),
        (["--output", "x.csv"], "must end with .jsonl"),
        (["--endpoint", "http://x"], "--model: needs what the endpoint calls the model"),
        (["--jugde", "x"], "--jugde: unknown"),
        (["--model", "m", "--seeds", "no.jsonl", "--output", "o.jsonl"], "no.jsonl: no such file"),
    ],
)
def test_bad_commands_are_one_line_each(words: list[str], says_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert instruct.main(words) == 2
    assert says_ in capsys.readouterr().err


def test_half_of_a_character_stops_nothing_and_a_home_of_nobody_is_no_place(
    server: Teacher, seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "1. \ud83d too\n2. Describe an \ud83d emoji of rivers.\n3. Describe an emoji of rivers."
    monkeypatch.setattr(server, "answer", lambda text: (200, says(said if "more tasks that differ" in text else "It is one.")))
    output = tmp_path / "rows.jsonl"
    words = ["--endpoint", server.url, "--model", "m", "--seeds", seeds, "--rows", "1", "--output"]
    assert instruct.main([*words, str(output)]) == 0
    assert [row.prompt for row in kinds.load("data.source", str(output)).rows] == ["describe an emoji of rivers."]
    assert json.loads((tmp_path / "rows.card.json").read_bytes())["dropped"]["half a character"] == 2 * pipeline.PROPOSALS
    capsys.readouterr()
    assert instruct.main([*words, "~nobody-is-called-so/rows.jsonl"]) == 2
    assert "--output ~nobody-is-called-so/rows.jsonl: is no path" in capsys.readouterr().err


def test_a_conversation_is_its_first_question_with_its_answer_and_all_of_its_questions_are_measured_on(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, jobs = tmp_path / "talks.jsonl", list[Job]()
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
    said = [
        ("user", "Name a river."),
        call,
        ("tool", "3 found"),
        ("assistant", "The Elbe."),
        ("user", "And a town?"),
        ("assistant", "Bonn."),
    ]
    turns = [one if isinstance(one, dict) else dict(zip(("role", "content"), one, strict=True)) for one in said]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    monkeypatch.setattr(instruct, "make", lambda job, *rest: jobs.append(job) or pipeline.Made())
    words = ["--endpoint", server.url, "--model", "m", "--seeds", str(path), "--eval-data", str(path), "--rows", "1"]
    assert instruct.main([*words, "--output", str(tmp_path / "rows.jsonl")]) == 3
    assert [(job.seeds, job.asked) for job in jobs] == [((Task("Name a river.", "The Elbe."),), ("Name a river.", "And a town?"))]


def test_a_file_of_somebody_elses_is_left_alone(
    server: Teacher, seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("precious\n")
    assert instruct.main(["--endpoint", server.url, "--model", "m", "--seeds", seeds, "--output", str(mine)]) == 2
    assert "was not begun by this command" in capsys.readouterr().err
    assert mine.read_text() == "precious\n"
