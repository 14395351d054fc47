"""Model folders that read well and cannot be loaded or computed with: told before a sweep starts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MARKED

from core import base as bases
from core import preflight, rehearsal, remembered
from core.errors import BadInput
from core.settings import Data, Evaluation, Lora, Model, Train, Trial

torch = pytest.importorskip("torch")

from core import trial as trials  # noqa: E402
from core.hardware import Device  # noqa: E402


@pytest.fixture
def folder(make_model: Callable[..., str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_model("llama"), tmp_path / "model"))


def change(path: Path, **changes: Any) -> None:
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | changes))


def trial(folder: Path, rows_file: str) -> Trial:
    return Trial(
        model=Model(name=str(folder)),
        data=Data(source=rows_file, n_examples=8),
        adapter=Lora(rank=2),
        train=Train(batch_size=4),
        evaluation=Evaluation(max_rows=4),
    )


def refused(folder: Path, rows_file: str) -> str:
    with pytest.raises(BadInput) as error:
        preflight.inspect(trial(folder, rows_file))
    assert error.value.field == "model.name"
    assert "\n" not in str(error.value)
    return str(error.value)


NAN, ROPE = float("nan"), {"rope_type": "linear", "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attention_dropout": 2}, "attention_dropout=2: must be from 0 to below 1"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1: must be from 0 to below 1"),
        ({"attn_pdrop": 1.0}, "attn_pdrop=1.0: must be from 0 to below 1"),
        ({"hidden_dropout_prob": "0.1"}, "hidden_dropout_prob='0.1': must be a number"),
        ({"rms_norm_eps": NAN}, "rms_norm_eps=nan: is no number"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps=-1e-05: must be from 0 to 1"),
        ({"layer_norm_epsilon": float("inf")}, "layer_norm_epsilon=inf: must be from 0 to 1"),
        ({"rope_parameters": ROPE | {"factor": 0}}, "rope_parameters.factor=0: must be a finite number above 0"),
        ({"rope_scaling": {"type": "yarn", "factor": -2.0}}, "rope_scaling.factor=-2.0: must be a finite number above 0"),
        ({"rope_parameters": {"full_attention": {"rope_theta": -1}}}, "rope_parameters.rope_theta=-1: must be a finite"),
        ({"rope_theta": 10**400}, "rope_theta=1000"),
        ({"initializer_range": NAN}, "initializer_range=nan: is no number"),
        ({"final_logit_softcapping": 0}, "final_logit_softcapping=0: must be a finite number above 0"),
        ({"pad_token_id": 999}, "pad_token_id=999: must be below vocab_size="),
        ({"eos_token_id": "</s>"}, "eos_token_id='</s>': must be the id of a token"),
        ({"sliding_window": "x"}, "sliding_window='x': must be a number"),
    ],
)
def test_numbers_that_crash_every_trial_are_named(folder: Path, rows_file: str, changes: dict[str, Any], says: str) -> None:
    change(folder / "config.json", **changes)
    text = refused(folder, rows_file)
    assert says in text
    assert "config.json" in text
    assert "correct it or fetch the model again" in text


def test_nothing_that_other_models_have_is_refused(folder: Path) -> None:
    fine = {"attention_dropout": 0, "rms_norm_eps": 1e-6, "pad_token_id": -1, "eos_token_id": [2, 3], "sliding_window": None}
    change(folder / "config.json", **fine, time_step_limit=[0.0, float("inf")], routed_scaling_factor=0.0, logit_scale=None)
    bases.read(Model(name=str(folder)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"temperature": -1.0}, "temperature=-1.0: must be a finite number from 0"),
        ({"top_p": 5}, "top_p=5: must be above 0 and at most 1"),
        ({"num_beams": 0}, "num_beams=0: must be at least 1"),
        ({"do_sample": "maybe"}, "do_sample='maybe': must be true or false"),
        ({"eos_token_id": 99_999}, "eos_token_id=99999: must be the id of a token, below vocab_size="),
        ({"max_length": "long"}, "max_length='long': must be a number"),
        ({"cache_implementation": "foo"}, "Invalid `cache_implementation` (foo)"),
    ],
)
def test_impossible_ways_of_generating_are_named(folder: Path, rows_file: str, changes: dict[str, Any], says: str) -> None:
    change(folder / "generation_config.json", **changes)
    assert says in refused(folder, rows_file)


TOKEN = {"content": "<x>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"added_tokens_decoder": {"900": TOKEN | {"special": False}}}, "tokenizer_config.json: '<x>' is token"),
        ({"extra_special_tokens": ["<e1>", "<e2>"], "eos_token": "<e2>"}, "tokenizer_config.json: '<e2>' is token"),
        ({"pad_token": "<nosuch>"}, "tokenizer_config.json: '<nosuch>' is token"),
        ({"model_max_length": "x"}, "model_max_length='x': must be a number"),
        ({"padding_side": "up"}, "padding_side='up': must be left or right"),
    ],
)
def test_tokenizers_that_do_not_fit_are_named(folder: Path, rows_file: str, changes: dict[str, Any], says: str) -> None:
    change(folder / "tokenizer_config.json", **changes)
    assert says in refused(folder, rows_file)


def test_a_special_token_without_an_embedding_is_left_alone_until_a_row_has_it(
    make_model: Callable[..., str], tmp_path: Path
) -> None:
    """As Gemma 3's text models have one for images."""
    folder = Path(shutil.copytree(make_model("llama", MARKED), tmp_path / "model"))
    change(folder / "tokenizer_config.json", extra_special_tokens=["<image>"])
    for word in ("fox", "<image>"):
        rows = tmp_path / f"{len(word)}.jsonl"
        texts = [{"prompt": f"say {word} {i}", "completion": f"the {word} ."} for i in range(60)]
        rows.write_text("\n".join(map(json.dumps, texts)))
        one = trial(folder, str(rows))
        preflight.inspect(one)
        if word == "fox":
            assert trials.run(one, preflight.provenance(one), tmp_path / "out", Device()).state == "finished"
            continue
        with pytest.raises(BadInput, match=r"line \d+: has '<image>', which this model has no embedding for; take it out"):
            trials.run(one, preflight.provenance(one), tmp_path / "other", Device())


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_act": "gelux"}, "config.json: hidden_act='gelux': cannot be loaded"),
        ({"rope_parameters": ROPE}, "config.json: rope_parameters={'rope_type': 'linear', 'rope_theta': 10000.0}: cannot be"),
        ({"rope_parameters": ROPE | {"rope_type": "foo"}}, "config.json: rope_parameters={'rope_type': 'foo'"),
        ({"layer_types": ["full_attention"]}, "config.json: "),
        ({"dtype": "float99"}, "config.json: dtype='float99': cannot be loaded"),
        ({"attention_bias": True}, "lacks model.layers.0.self_attn.k_proj.bias"),
    ],
)
def test_what_only_the_libraries_know_is_told_beforehand(
    folder: Path, rows_file: str, changes: dict[str, Any], says: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small model by loading it, of a large one by building it without its weights."""
    monkeypatch.setattr(rehearsal, "SMALL_BYTES", rehearsal.SMALL_BYTES if small else 0)
    change(folder / "config.json", **changes)
    assert says in refused(folder, rows_file)


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "opt", "falcon", "mamba", "mixtral", "gpt-oss", "deepseek"])
def test_layers_that_disagree_are_told_for_every_architecture(
    make_model: Callable[..., str], tmp_path: Path, rows_file: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(make_model(architecture), tmp_path / "model"))
    for limit in (rehearsal.SMALL_BYTES, 0):
        monkeypatch.setattr(rehearsal, "SMALL_BYTES", limit)
        rehearsal.rehearse(Model(name=str(folder)))
    name = "n_layer" if architecture == "gpt2" else "num_hidden_layers"
    for layers in (1, 3):
        change(folder / "config.json", **{name: layers})
        refused(folder, rows_file)


@pytest.mark.parametrize("kind", ["int8", "int64", "bool", "float8_e4m3fn", "complex64"])
def test_weights_that_are_no_plain_numbers_are_named(folder: Path, rows_file: str, kind: str) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: tensor.to(getattr(torch, kind)) for name, tensor in load_file(path).items()}, path)
    assert "is stored as" in refused(folder, rows_file)


def test_weights_that_give_nan_are_told(folder: Path, rows_file: str) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = NAN
    save_file(tensors, path, metadata={"format": "pt"})
    assert "model.norm.weight has weights that are not finite" in refused(folder, rows_file)
    tensors["model.norm.weight"][:] = 3e38  # finite, and its products are not
    save_file(tensors, path, metadata={"format": "pt"})
    assert "its logits are not finite" in refused(folder, rows_file)


def test_a_model_is_tried_once(folder: Path, rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path / "cache")
    tried = []
    monkeypatch.setattr(rehearsal, "look", tried.append)
    rehearsal._looked_at.cache_clear()
    for name in ("model", "model", "copy"):
        if name == "copy":
            shutil.copytree(folder, tmp_path / name)
        preflight.inspect(trial(tmp_path / name, rows_file))
    assert len(tried) == 1
    change(folder / "generation_config.json", temperature=0.5)
    preflight.inspect(trial(folder, rows_file))
    assert len(tried) == 2


def test_a_process_that_was_killed_is_no_answer_to_remember(
    folder: Path, rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "DIRECTORY", tmp_path / "cache")
    killed = iter([rehearsal.Killed(), BadInput("model: no", field="model.name")])
    monkeypatch.setattr(rehearsal, "look", lambda model: next(killed))
    rehearsal._looked_at.cache_clear()
    for _ in range(2):  # once for all arms
        preflight.inspect(trial(folder, rows_file))
    rehearsal._looked_at.cache_clear()  # as in another process
    with pytest.raises(BadInput, match="model: no"):
        preflight.inspect(trial(folder, rows_file))


def test_the_command_refuses_in_one_line_without_importing_torch(folder: Path, rows_file: str, tmp_path: Path) -> None:
    change(folder / "config.json", hidden_act="gelux")
    arguments = ["--model", str(folder), "--data", rows_file, "--output", str(tmp_path / "out"), "--dry-run"]
    done = subprocess.run([sys.executable, "sweeps/run.py", "learning_rate", *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "config.json: hidden_act='gelux': cannot be loaded" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
