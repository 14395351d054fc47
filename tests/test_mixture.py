"""Several sources with shares, columns taken for others, and short names of paths."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

import experiments
from core import naming, preflight
from core.data import columns, kinds, mixture, selection
from core.data.kinds import Pool
from core.errors import BadInput
from core.fields import fingerprint, flatten
from core.settings import Data, Evaluation, Train, Trial
from core.settings import Model as ModelSettings
from sweeps import configured, overrides, plan
from sweeps.options import Options, parse

EVERY = Evaluation(max_rows=10_000)


def rows(folder: Path, name: str, n: int, **columns: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"instruction": f"{name}: question {i} ?", "output": f"{name}: answer {i}", **columns} for i in range(n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> str:
    return f"{rows(tmp_path, 'a.jsonl', 600)}=0.7,{rows(tmp_path, 'b.jsonl', 200)}=0.3"


def drawn(source: str, n: int | None, seed: int = 0) -> selection.Selection:
    return selection.select(Data(source=source, n_examples=n), EVERY, seed)


# Syntax


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.jsonl=0.7,b.jsonl=0.3", (("a.jsonl", 0.7), ("b.jsonl", 0.3))),
        ("a.jsonl=7, b.jsonl=3", (("a.jsonl", 0.7), ("b.jsonl", 0.3))),
        ("a.jsonl=1+b.jsonl=1+o/hub:train=2", (("a.jsonl", 0.25), ("b.jsonl", 0.25), ("o/hub:train", 0.5))),
        ("x=1.jsonl=.5,y,z.jsonl=.5", (("x=1.jsonl", 0.5), ("y,z.jsonl", 0.5))),
        ('"x=1,y.jsonl"=0.5,b=0.5', (("x=1,y.jsonl", 0.5), ("b", 0.5))),
    ],
)
def test_how_sources_and_shares_are_written(text: str, found: tuple) -> None:
    assert mixture.parse("data.source", text) == found
    assert kinds.kind_of(text) is kinds.KINDS["mixture"]
    assert mixture.parse("data.source", mixture.absolute(text)) == found


@pytest.mark.parametrize(
    "text", ["a.jsonl", "a=1.jsonl", "a.jsonl=0.7", "a,b", "reasoning-gym:chain_sum(max_terms=3,max_digits=2)+gcd"]
)
def test_what_names_one_source(text: str) -> None:
    assert not mixture.recognises(text)


def test_a_file_that_is_there_is_what_its_name_says(tmp_path: Path) -> None:
    odd, other = rows(tmp_path, "A=1,x.jsonl", 50), rows(tmp_path, "b=2,c=3", 50)
    assert not mixture.recognises(other)
    assert mixture.parse("data.source", f"{odd}=1,b.jsonl=3") == ((odd, 0.25), ("b.jsonl", 0.75))
    assert mixture.absolute(f"{odd}=1,b.jsonl=3") == f'"{odd}"=0.25+b.jsonl=0.75'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{a}=0,{b}=1", "the share of {a} must be above 0"),
        ("{a}=0.5,{a}=0.5", "{a} stands there twice"),
        ("{a}=0.5,lab:curated=0.5", "lab:curated makes its own questions"),
        ("{a}=0.5,reasoning-gym:gcd=0.5", "reasoning-gym joins families by itself"),
        ("{a}=0.5,{b}x.jsonl=0.5", "{b}x.jsonl: no such file"),
        ("{b}x.jsonl=0.7,{b}y.jsonl=0.3", "{b}x.jsonl: no such file; data.source={b}y.jsonl: no such file"),
    ],
)
def test_what_cannot_be_mixed_is_said(text: str, says: str, tmp_path: Path) -> None:
    a, b = rows(tmp_path, "a.jsonl", 50), rows(tmp_path, "b.jsonl", 50)
    with pytest.raises(BadInput) as error:
        kinds.load("data.source", text.format(a=a, b=b))
    assert says.format(a=a, b=b) in str(error.value)
    assert error.value.field == "data.source"


# Rows


def test_rows_are_drawn_in_shares_nested_and_seeded(sources: str) -> None:
    counts = {n: Counter(row.origin for row in drawn(sources, n).train) for n in (1, 10, 100, 250)}
    assert {n: (found["a.jsonl"], found["b.jsonl"]) for n, found in counts.items()} == {
        1: (1, 0), 10: (7, 3), 100: (70, 30), 250: (175, 75),
    }  # fmt: skip
    small, large = (drawn(sources, n).train for n in (100, 250))
    assert large[:100] == small
    assert {row.id for row in drawn(sources, 100, seed=1).train} != {row.id for row in small}


def test_all_rows_are_as_many_as_have_the_shares(sources: str) -> None:
    every = drawn(sources, None)
    counts = Counter(row.origin for row in every.train)
    assert every.n_available == len(every.train) < 700
    assert abs(counts["b.jsonl"] - 0.3 * len(every.train)) < 1
    assert drawn(sources, 100_000).train == every.train


def test_evaluation_rows_have_the_shares_and_are_not_trained_on(sources: str, tmp_path: Path) -> None:
    found = drawn(sources, None)
    counts = Counter(row.origin for row in found.evaluation)
    assert abs(counts["a.jsonl"] - 0.7 * counts.total()) < 1
    assert not {row.id for row in found.train} & {row.id for row in found.evaluation}
    asked = rows(tmp_path, "asked.jsonl", 40)
    given = selection.select(Data(source=sources, eval_source=asked), EVERY, 0)
    assert {row.origin for row in given.evaluation} == {""}
    both = selection.select(Data(source=asked, eval_source=sources), EVERY, 0)
    assert {row.origin for row in both.evaluation} == {"a.jsonl", "b.jsonl"}


def test_the_same_question_in_two_sources_is_not_asked_and_trained(tmp_path: Path) -> None:
    a, b = rows(tmp_path, "x/r.jsonl", 300), rows(tmp_path, "y/r.jsonl", 300)
    found = drawn(f"{a}=1,{b}=1", None)
    assert {row.origin for row in found.train} == {"x/r.jsonl", "y/r.jsonl"}
    assert not {row.prompt for row in found.train} & {row.prompt for row in found.evaluation}


def test_the_content_of_each_counts_and_is_recorded(sources: str, tmp_path: Path) -> None:
    kind = kinds.kind_of(sources)
    loaded, hashed = kinds.load("data.source", sources), kind.content_hash("data.source", sources)
    assert loaded.content == hashed
    assert [name for name, _ in loaded.parts] == ["a.jsonl", "b.jsonl"]
    rows(tmp_path, "b.jsonl", 201)
    assert kind.content_hash("data.source", sources) != hashed
    found = drawn(sources, 100)
    asked = Counter(row.origin for row in found.evaluation)
    assert [text.split(" (")[0] for text in found.by_source] == [
        f"a.jsonl: 0.7 of the rows, 70 trained on, {asked['a.jsonl']} asked",
        f"b.jsonl: 0.3 of the rows, 30 trained on, {asked['b.jsonl']} asked",
    ]


def test_best_rows_are_each_sources_own(tmp_path: Path) -> None:
    scored = {}
    for name, score in (("a.jsonl", 1), ("b.jsonl", 1_000)):
        path = tmp_path / name
        lines = [{"prompt": f"{name} {i}", "response": "x", "score": score * i} for i in range(200)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        scored[name] = path
    source = ",".join(f"{path}=1" for path in scored.values())
    found = selection.select(Data(source=source, best_share=0.1, n_examples=None), EVERY, 0)
    assert {row.origin for row in found.train} == {"a.jsonl", "b.jsonl"}


# Sweeps


def asked_for(name: str, *words: str) -> plan.Plan:
    request = parse([name, *words], "")
    return plan.Plan.of(configured.configured(experiments.load(name), request.options), lambda trial: {"data": "", "model": ""})


def test_a_mixture_can_be_given_as_data_and_as_a_level(sources: str) -> None:
    found = asked_for("data_quantity", "--data", sources)
    assert found.experiment.base.data.source == mixture.absolute(sources)
    a, b = (name for name, _ in mixture.parse("data.source", sources))
    levels = asked_for("quality_vs_quantity", "--set", f"data.source={a}=0.5+{b}=0.5,{b}", "--model", "x", "--eval-data", a)
    assert {arm.overrides["data.source"] for arm in levels.arms} >= {f"{a}=0.5+{b}=0.5", b}
    assert any("a.jsonl=0.5+b.jsonl=0.5" in arm.label for arm in levels.arms)
    assert not any("/" in arm.label for arm in levels.arms)
    with pytest.raises(BadInput, match=r"joined by \+"):
        asked_for("quality_vs_quantity", "--set", f"data.source={a}=0.5,{b}=0.5")


def test_labels_have_the_last_parts_that_tell_paths_apart(tmp_path: Path) -> None:
    assert naming.short(["/a/x/r.jsonl", "/a/y/r.jsonl", "/a/s.jsonl", "owner/name", "lab:curated"]) == {
        "/a/x/r.jsonl": "x/r.jsonl", "/a/y/r.jsonl": "y/r.jsonl", "/a/s.jsonl": "s.jsonl", "owner/name": "owner/name",
        "lab:curated": "lab:curated",
    }  # fmt: skip
    assert naming.short(["a/b/r.jsonl", "regex:a/b/c"]) == {"a/b/r.jsonl": "r.jsonl", "regex:a/b/c": "regex:a/b/c"}
    assert naming.short(["/r.jsonl", "/a/r.jsonl"]) == {"/r.jsonl": "/r.jsonl", "/a/r.jsonl": "a/r.jsonl"}
    x, y = rows(tmp_path, "x/r.jsonl", 50), rows(tmp_path, "y/r.jsonl", 50)
    found = asked_for("quality_vs_quantity", "--set", f"data.source={x},{y}", "--model", "m", "--eval-data", x)
    assert len({arm.label for arm in found.arms}) == len(found.arms)
    assert {word for arm in found.arms for word in arm.label.split() if word.startswith("source=")} == {
        "source=x/r.jsonl", "source=y/r.jsonl",
    }  # fmt: skip


def test_a_file_is_the_same_sweep_from_every_directory(sources: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("a b")
    for name in ("evaluation.base_text", "evaluation.ifeval", "evaluation.choices", "data.eval_source"):
        found = asked_for("data_quantity", "--data", sources, "--set", f"{name}=t.txt").experiment.base
        assert flatten(found)[name] == str(tmp_path / "t.txt")


def test_a_trial_on_a_mixture_says_what_each_source_gave(sources: str, make_model, tmp_path: Path) -> None:
    from core import trial

    asked = Trial(
        model=ModelSettings(name=make_model("llama-tied")),
        data=Data(source=sources, n_examples=20),
        train=Train(epochs=1, batch_size=10),
        evaluation=Evaluation(max_rows=10, drift_samples=2, drift_tokens=8, generations=0),
    )
    inputs = preflight.inspect(asked)
    assert [line.split(",")[0] for line in inputs.by_source] == ["a.jsonl: 0.7 of the rows", "b.jsonl: 0.3 of the rows"]
    result = trial.run(asked, inputs.provenance, tmp_path / "t", trial.Device("cpu"))
    assert result.state == "finished", result.reason
    assert result.facts["data_sources"] == "; ".join(inputs.by_source)
    assert "a.jsonl: " in result.facts["quality_by_source"]
    assert "b.jsonl: " in result.facts["quality_by_source"]


# Columns


def test_a_column_is_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    lines = [{"Ask": f"q {i}", "say": f"a {i}", "kind, of": f"k{i % 4}", "stars": str(i)} for i in range(100)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fields = "prompt=Ask,response=say,cluster=kind, of,score=stars"
    assert columns.parse(fields) == {"prompt": "Ask", "response": "say", "cluster": "kind, of", "score": "stars"}
    loaded = kinds.load("data.source", str(path), Pool(fields=fields))
    assert [message["content"] for message in loaded.rows[5].messages] == ["q 5", "a 5"]
    assert (loaded.rows[5].labels[0], loaded.rows[5].score, loaded.unused) == ("k1", 5.0, ())
    data = Data(source=str(path), n_examples=None, n_clusters=2, fields=fields)
    assert len({row.labels[0] for row in selection.select(data, EVERY, 0).train}) == 2


@pytest.mark.parametrize(
    ("raw", "fields", "turns"),
    [
        ({"instruction": "q", "output": "a", "prompt": "p"}, "prompt=instruction", ["q", "a"]),
        ({"messages": [], "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": []},
         "messages=chosen", ["q", "a"]),
        ({"question": "q", "chosen": "a", "rejected": "b"}, "prompt=question,response=chosen", ["q", "a"]),
        ({"messages": "not these", "ask": "q", "answer": "a"}, "prompt=ask,response=answer", ["q", "a"]),
        ({"instruction": "q", "output": "a", "persona": "s"}, "system=persona", ["s", "q", "a"]),
        ({"text": "t", "summary": "a", "passage": "c"}, "prompt=text,response=summary,context=passage", ["t\n\nc", "a"]),
    ],
)  # fmt: skip
def test_what_a_row_says_by_the_columns_named(raw: dict, fields: str, turns: list[str]) -> None:
    from core.data.conversation import to_messages

    assert [message["content"] for message in to_messages(raw, "", columns.parse(fields)).messages] == turns


def _selected(options: Options) -> selection.Selection:
    return selection.select(configured.configured(experiments.load("learning_rate"), options).base.data, EVERY, 0)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (
            "cluster=categroy",
            "no row of {path} has a column 'categroy'; did you mean 'category'? its columns: instruction, output",
        ),
        ("response=categroy", "has a column 'categroy'"),
        ("clutser=category", "did you mean 'cluster'?"),
        ("cluster", "must look like cluster=category"),
        ("cluster=", "must look like cluster=category"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(word: str, says: str, tmp_path: Path) -> None:
    path = rows(tmp_path, "a.jsonl", 20, category="x")
    with pytest.raises(BadInput) as error:
        _selected(Options(field=(word,), data=path, model="m"))
    assert says.format(path=path) in str(error.value)
    assert error.value.field in ("--field", "data.fields")


def test_fields_are_part_of_what_a_trial_is_only_where_given(tmp_path: Path) -> None:
    plain = Trial()
    named = dataclasses.replace(plain, data=dataclasses.replace(plain.data, fields="cluster=category"))
    assert flatten(plain)["data.fields"] is None
    assert fingerprint(plain, {}) != fingerprint(named, {})
    with pytest.raises(BadInput, match="two columns"):
        overrides.replace_in_base(experiments.load("learning_rate"), "data.fields", "cluster=a,cluster=b")
    with pytest.raises(BadInput, match="has no columns to name"):
        preflight.inspect(named)
