"""Files and paths that are odd in further ways: what they would have made wrong without a word, and what is said of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import make_tokenizer

from analysis import compare, export, report
from core import base as bases
from core import chat, tracking
from core.adapters import n_trained
from core.data import encode
from core.data.conversation import to_messages
from core.data.wording import normal
from core.errors import BadInput
from core.fields import replace_field
from core.lab.make import pretrain
from core.settings import Model, Trial
from sweeps import sizes


@pytest.fixture
def copied(make_model: Callable[..., str], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a base, its config.json changed and with further weights."""

    def make(kind: str, more: Callable[[dict[str, Any]], dict[str, Any]] = lambda tensors: {}, **settings: object) -> Path:
        from safetensors.torch import load_file, save_file

        folder = Path(shutil.copytree(make_model(kind), tmp_path / "model", dirs_exist_ok=True))
        config, weights = folder / "config.json", folder / "model.safetensors"
        config.write_text(json.dumps(json.loads(config.read_text()) | settings))
        tensors = load_file(weights)
        save_file(tensors | more(tensors), weights, metadata={"format": "pt"})
        return folder

    return make


def refused(folder: Path | str) -> str:
    with pytest.raises(BadInput) as error:
        bases.read(Model(name=str(folder)))
    assert error.value.field == "model.name"
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("kind", "embedding"), [("llama-tied", "model.embed_tokens"), ("gpt2", "transformer.wte")])
def test_a_tied_head_that_is_stored_too(copied: Callable[..., Path], kind: str, embedding: str) -> None:
    plain = bases.read(Model(name=str(copied(kind))))
    folder = copied(kind, lambda tensors: {"lm_head.weight": tensors[f"{embedding}.weight"].clone()})
    twice = bases.read(Model(name=str(folder)))
    assert (twice.shapes, twice.tied, twice.n_parameters) == (plain.shapes, True, plain.n_parameters)
    folder = copied(kind, lambda tensors: {"lm_head.weight": tensors[f"{embedding}.weight"].flip(0).contiguous()})
    assert f"lm_head.weight has other values than {embedding}.weight; set it to false" in refused(folder)


@pytest.mark.parametrize("number", [0, 5, -1, "2", True])
def test_a_token_goes_through_some_of_the_experts(copied: Callable[..., Path], number: object) -> None:
    assert f"num_experts_per_tok={number!r}: must be" in refused(copied("mixtral", num_experts_per_tok=number))


def test_no_experts_where_there_are_none(copied: Callable[..., Path]) -> None:
    bases.read(Model(name=str(copied("llama", num_local_experts=0, num_experts_per_tok=0))))


@pytest.mark.parametrize("asked", ["fp4", "int8"])
def test_another_quantization_than_that_of_the_files_is_refused(make_model: Callable[..., str], asked: str) -> None:
    files = bases.read(Model(name=make_model("llama")))
    packed = bases.BaseFiles(files.directory, files.config, files.shapes, quantization="nf4")
    with pytest.raises(BadInput, match=f"model.quantization='{asked}': the model's files are nf4 already"):
        n_trained(replace_field(Trial(), "model.quantization", asked), packed)
    assert n_trained(replace_field(Trial(), "model.quantization", "nf4"), packed) == n_trained(Trial(), packed)


@pytest.mark.parametrize(
    "change",
    [
        {"truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}},
        {"padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                     "pad_token": "<pad>"}},
        {"dropout": 0.5},
    ],
)  # fmt: skip
def test_what_a_tokenizers_file_has_kept_of_one_use_is_not_used(tmp_path: Path, change: dict[str, Any]) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.save_pretrained(tmp_path)
    file, text = tmp_path / "tokenizer.json", "What colour is the sky over the harbour today?"
    saved = json.loads(file.read_text())
    saved["model"] |= {name: value for name, value in change.items() if name == "dropout"}
    file.write_text(json.dumps(saved | {name: value for name, value in change.items() if name != "dropout"}))
    inner = chat.tokenizer(tmp_path)
    assert inner is not None
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [inner.encode(text, add_special_tokens=False).ids for _ in range(4)] == [expected] * 4


def test_special_tokens_stay_whole_where_a_tokenizer_splits_them(make_model: Callable[..., str], tmp_path: Path) -> None:
    from core.model import load_tokenizer

    shutil.copytree(make_model("llama", "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"), tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"split_special_tokens": True}))
    tokenizer = load_tokenizer(Model(name=str(tmp_path / "model")), str(tmp_path / "model"))
    tokenizer("a")
    assert tokenizer.backend_tokenizer.encode("x</s>").ids[-1] == tokenizer.eos_token_id
    assert encode.plain(tokenizer.backend_tokenizer).encode("x</s>").ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("field", ["trainable", "learn", "loss_weight"])
def test_a_turn_that_says_otherwise_whether_it_is_learnt_is_refused(field: str) -> None:
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", field: False}]
    with pytest.raises(BadInput, match=f"a turn's field '{field}' would change what is learned"):
        to_messages({"messages": said}, "rows.jsonl: line 1")


def test_blanks_that_are_letters_to_unicode_are_no_other_question() -> None:
    assert normal("Where is it?\u2800") == normal("where\u2800is it? ".replace("\u2800", "\u3164 "))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--threads", "0"], "--threads 0: must be from 1, to"),
        (["--threads", "9" * 12], "must be from 1, to"),
        (["--tokens", "-5"], "--tokens -5: must be from"),
        (["--tokens", "9" * 30], "must be from"),
        (["--seed", "-1"], "--seed -1: must be from 0"),
        (["--seed", "1.5"], "--seed"),
        (["--size", "9M"], "--size"),
    ],
)
def test_pretraining_is_asked_for_with_numbers_that_can_be(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(["--size", "0.2M", "--output", str(tmp_path / "base"), *words]) == 2
    assert says in capsys.readouterr().err
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "base", NOBODY, LONG, "a\0b"):
        assert pretrain.main(["--size", "0.2M", "--output", str(output)]) == 2
        assert "--output" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("uri", ["mysql+nope://u:secret@127.0.0.1:9/db", "postgresql+pg8000://u:secret@127.0.0.1:9/db"])
def test_a_database_whose_driver_lacks_is_refused_before_a_sweep(uri: str) -> None:
    with pytest.raises(BadInput, match=r"its driver cannot be used \(.*\); install it") as error:
        tracking.check_uri(uri)
    assert error.value.field == "--tracking-uri"
    assert "secret" not in str(error.value)


NOBODY, LONG = "~nobody-of-this-name/x", "x" * 3_000


@pytest.mark.parametrize("path", [NOBODY, LONG])
@pytest.mark.parametrize(
    ("main", "words"),
    [
        (sizes.main, ["{}"]),
        (export.main, ["epochs", "--output", "{}"]),
        (export.main, ["epochs", "--to", "{}"]),
        (report.main, ["epochs", "--output", "{}"]),
        (report.main, ["epochs", "--report", "{}"]),
    ],
)
def test_what_is_no_path_is_refused(
    main: Callable[..., int], words: list[str], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(path) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is no path" in told or "between slashes" in told


def test_fields_that_name_no_path_are_refused() -> None:
    with pytest.raises(BadInput, match=r"model\.name=~nobody.*: is no path"):
        bases.read(Model(name=NOBODY))
    with pytest.raises(BadInput, match=r"model\.chat_template=~nobody.*: is no path"):
        chat.template_hash(NOBODY)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("b.csv", "id,score,score\n1,0,1\n2,1,0\n", "two columns are called 'score'"),
        ("b.csv", "id,text,score\n1,a, b,1\n", "row 1: more fields than the header's 3"),
        ("b.csv", "id,text,score\n1,1\n", "row 1: fewer fields than the header's 3"),
        ("b.jsonl", '{"id": 1, "score": 0}\n{"id": 2, "score": 0, "score": 1}\n', "line 2: field 'score' stands twice"),
        ("b.json", '[{"id": 1, "score": 0, "score": 1}]', "field 'score' stands twice"),
        ("b.jsonl", '{"id": 1, "score": 1e99}\n', "score=1e+99: must be a finite number"),
    ],
)
def test_scores_that_could_be_read_in_two_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, says: str
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": i, "score": i % 2}) + "\n" for i in range(9)))
    (tmp_path / name).write_text(text)
    assert compare.main([str(tmp_path / "a.jsonl"), str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().err
