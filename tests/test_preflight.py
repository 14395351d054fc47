"""Preflight: what a trial reads and costs, without torch; every input a person must mend is refused before anything starts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core import checkpoint, preflight
from core.errors import BadInput
from core.settings import Data, Evaluation, Full, Lora, Model, Train, Trial


def test_laboratory_needs_no_heavy_import() -> None:
    code = (
        "import sys; from core import preflight; from core.settings import Trial; print(preflight.inspect(Trial()).steps);"
        "heavy = {'torch', 'transformers', 'datasets', 'peft', 'pandas', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "189\n"  # 1,000 rows, batches of 16, 3 epochs


@pytest.fixture
def trial(make_model: Callable[..., str], rows_file: str) -> Trial:
    pytest.importorskip("torch")
    return Trial(model=Model(name=make_model("llama")), data=Data(source=rows_file, n_examples=24, eval_share=0.4))


def test_estimates_agree_with_the_trial(trial: Trial, tmp_path: Path) -> None:
    from core import trial as trials
    from core.hardware import Device

    trial = dataclasses.replace(
        trial, evaluation=Evaluation(drift_samples=2, drift_tokens=8), train=Train(epochs=1.5, batch_size=8)
    )
    told = preflight.inspect(trial)
    metrics = trials.run(trial, told.provenance, tmp_path, Device()).metrics
    assert told.steps == metrics["train/steps"]
    assert told.tokens == pytest.approx(metrics["train/tokens"], rel=0.15)
    assert told.trainable_parameters == metrics["trainable_parameters"]
    assert told.n_eval_rows == metrics["rows/evaluated"]
    assert told.n_available == metrics["rows/available"]


def test_more_rows_than_there_are_is_told(trial: Trial) -> None:
    greedy = dataclasses.replace(trial, data=dataclasses.replace(trial.data, n_examples=1_000))
    told, modest = preflight.inspect(greedy), preflight.inspect(trial)
    assert told.n_available == told.n_train_examples == modest.n_available < 60
    assert modest.n_train_examples == 24
    laboratory = preflight.inspect(Trial(data=Data(source="lab:curated", n_examples=100_000)))
    assert (laboratory.n_available, laboratory.n_train_examples) == (8_000, 8_000)


def test_provenance_follows_content_not_names(trial: Trial, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(trial.model.name, copied)
    rows = tmp_path / "renamed.jsonl"
    shutil.copy(trial.data.source, rows)
    text = tmp_path / "text.txt"
    text.write_text("some text " * 200)
    moved = Trial(model=Model(name=str(copied)), data=Data(source=str(rows)), evaluation=Evaluation(base_text=str(text)))
    first = preflight.inspect(moved).provenance
    assert {name: first[name] for name in ("data", "reading", "model")} == preflight.inspect(trial).provenance
    rows.write_text(rows.read_text() + '{"instruction": "more", "output": "x"}\n')
    text.write_text("other text " * 200)
    second = preflight.inspect(moved).provenance
    assert second["model"] == first["model"]
    assert second["data"] != first["data"]
    assert second["base_text"] != first["base_text"]


def test_every_file_of_the_tokenizer_is_part_of_the_models_hash(trial: Trial, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(trial.model.name, directory)
    hashes = [checkpoint.model_hash(directory)]
    for name in (
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
        *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "config.json", "model.safetensors"),
    ):
        with (directory / name).open("a") as file:
            file.write(" ")
        hashes.append(checkpoint.model_hash(directory))
    assert len(set(hashes)) == len(hashes)


def model_with(trial: Trial, tmp_path: Path, change: Callable[[Path], object]) -> Trial:
    directory = tmp_path / "model"
    shutil.copytree(trial.model.name, directory)
    change(directory)
    return dataclasses.replace(trial, model=Model(name=str(directory)))


def only_a_pickle(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def cut_off(directory: Path) -> None:
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def missing_shard(directory: Path) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))


def bad_template(directory: Path) -> None:
    (directory / "chat_template.jinja").write_text("{% for m in messages %}")


def refusing_template(directory: Path) -> None:
    (directory / "chat_template.jinja").write_text("{{ raise_exception('only one turn') }}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "no safetensors weights"),
        (only_a_pickle, "pytorch_model.bin is refused"),
        (cut_off, "not a whole safetensors file"),
        (missing_shard, "lacks model-2.safetensors"),
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "tokenizer.json").unlink(), "cannot hold a chat template"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "cannot be read as a tokenizer"),
        (bad_template, "not a Jinja template"),
        (refusing_template, "refuses this conversation (only one turn)"),
    ],
)
def test_bad_model_directories(trial: Trial, tmp_path: Path, change: Callable[[Path], object], says: str) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(model_with(trial, tmp_path, change))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": Model(name="/none/such")}, "no such directory"),
        ({"model": Model(name="lab:base-99")}, "lab:base-99"),
        ({"model": Model(name="owner/none-such-model")}, "neither a directory here nor a model"),
        ({"adapter": Lora(rank=33)}, "at most 32"),
        ({"data": Data(source="none.jsonl")}, "no such file"),
        ({"data": Data(source="lab:currated")}, "did you mean 'lab:curated'"),
        ({"evaluation": Evaluation(base_text="none.txt")}, "evaluation.base_text=none.txt: no such file"),
    ],
)
def test_bad_fields(trial: Trial, changes: dict, says: str) -> None:
    with pytest.raises(BadInput) as error:
        preflight.inspect(dataclasses.replace(trial, **changes))
    assert says in str(error.value)


def test_bad_combinations(trial: Trial) -> None:
    with pytest.raises(BadInput, match="128 tokens"):
        preflight.inspect(dataclasses.replace(trial, data=dataclasses.replace(trial.data, seq_len_tokens=512)))
    with pytest.raises(BadInput, match="4-bit"):
        preflight.inspect(dataclasses.replace(trial, model=Model(name=trial.model.name, quantization="nf4"), adapter=Full()))
    with pytest.raises(BadInput, match="8-bit weights cannot be trained"):
        preflight.inspect(dataclasses.replace(trial, model=Model(name=trial.model.name, quantization="int8"), adapter=Full()))
    for kind in ("none", "int8"):
        with pytest.raises(BadInput, match="only nf4 and fp4 have scales"):
            preflight.inspect(
                dataclasses.replace(trial, model=Model(name=trial.model.name, quantization=kind, double_quantization=False))
            )
    with pytest.raises(BadInput, match="prompt alone fills"):
        preflight.inspect(dataclasses.replace(trial, data=dataclasses.replace(trial.data, seq_len_tokens=8)))


def test_a_short_base_text_is_refused_beforehand(trial: Trial, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some text")
    with pytest.raises(BadInput, match=r"evaluation\.base_text=.*text\.txt: has \d tokens, needs 256 "):
        preflight.inspect(dataclasses.replace(trial, evaluation=Evaluation(base_text=str(text))))


def test_rows_that_do_not_fit_are_foretold(shared: Path, stories: str) -> None:
    data = Data(source=str(shared / "data" / "instruct" / "lima.jsonl.gz"), seq_len_tokens=128, n_examples=None)
    told = preflight.inspect(Trial(model=Model(name=stories), data=data))
    assert told.n_too_long > 100
    assert told.n_truncated > 100
    assert told.n_train_examples + told.n_too_long == 922  # 1,029 rows less the tenth that is evaluated


def test_rows_are_counted_once_until_data_or_code_change(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import remembered

    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path / "cache")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(Path(rows_file).read_text())
    trial = Trial(model=Model(name=make_model("llama")), data=Data(source=str(rows), n_examples=20, eval_share=0.3))
    counted: list[int] = []
    select = preflight._select

    def counting(*arguments: object) -> object:
        counted.append(1)
        return select(*arguments)

    monkeypatch.setattr(preflight, "_select", counting)
    first = preflight.inspect(trial)
    assert preflight.inspect(trial) == first
    assert len(counted) == 1

    lines = rows.read_text().splitlines()
    rows.write_text("\n".join(lines[:-10]) + "\n")
    fewer = preflight.inspect(trial)
    assert len(counted) == 2
    assert fewer.n_rows == first.n_rows - 10

    monkeypatch.setattr(remembered, "code_hash", lambda paths: "other code")
    preflight.inspect(trial)
    assert len(counted) == 3
    for file in (tmp_path / "cache").glob("*.json"):
        file.write_text("{torn")
    assert preflight.inspect(trial) == fewer
    assert len(counted) == 4

    monkeypatch.setattr(remembered, "DIRECTORY", rows / "not a directory")
    assert preflight.inspect(trial) == fewer  # only a cache
