"""Model folders that are damaged, incomplete or of another kind: one line before anything starts, and never random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import adapters, architecture, preflight, weights
from core import base as bases
from core.errors import BadInput
from core.hardware import Device
from core.settings import Data, Evaluation, Full, Lora, Model, Train, Trial

torch = pytest.importorskip("torch")


def refused(directory: Path) -> str:
    """The one line with which the dry run refuses the folder."""
    with pytest.raises(BadInput) as error:
        bases.read(Model(name=str(directory)))
    assert error.value.field == "model.name"
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(make_model: Callable[..., str], tmp_path: Path) -> Path:
    """A whole copy of a small model (width 32, 4 heads, 2 layers)."""
    return Path(shutil.copytree(make_model("llama"), tmp_path / "model"))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop(Q), f"lacks {Q}, which would be random"),
        (lambda tensors: [tensors.pop(name) for name in list(tensors) if ".1." in name], "lacks model.layers.1."),
        (lambda tensors: [tensors.pop(name) for name in list(tensors) if "q_proj" in name], "lacks model.layers.0.self_attn.q"),
        (lambda tensors: tensors.pop("lm_head.weight"), "lacks lm_head.weight"),
        (
            lambda tensors: tensors.update({Q: torch.zeros(16, 32)}),
            f"has {Q} with shape [16, 32] where config.json says [32, 32]",
        ),
        (lambda tensors: tensors.update({Q.replace(".1.", ".2."): torch.zeros(32, 32)}), "where config.json says 2 layers"),
    ],
)
def test_weights_that_lack_or_do_not_fit_are_told_by_the_dry_run(
    folder: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    change_weights(folder, change)
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("architecture", "change", "says"),
    [
        ("llama", lambda tensors: tensors.pop("model.norm.weight"), r"the checkpoint lacks model\.norm\.weight"),
        ("llama", lambda tensors: tensors.update(extra=torch.zeros(2)), "the model has no place for extra"),
        ("llama", lambda tensors: tensors.update({"model.norm.weight": torch.zeros(8)}), r"other shapes for model\.norm\.weight"),
        (
            "mixtral",
            lambda tensors: tensors.pop("model.layers.0.self_attn.q_proj.weight"),
            r"lacks model\.layers\.0\.self_attn\.q",
        ),
        ("gpt2", lambda tensors: tensors.pop("transformer.ln_f.bias"), r"lacks transformer\.ln_f\.bias"),
    ],
)
def test_what_only_the_models_code_knows_is_told_when_it_is_loaded(
    make_model: Callable[..., str], tmp_path: Path, architecture: str, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    from core import model

    folder = Path(shutil.copytree(make_model(architecture), tmp_path / "model"))
    change_weights(folder, change)
    with pytest.raises(BadInput, match=says) as error:
        model.load(Model(name=str(folder)), Device())
    assert error.value.field == "model.name"


def test_tied_heads_and_old_buffers_are_no_reason_to_refuse(make_model: Callable[..., str], tmp_path: Path) -> None:
    from core import model

    def add_buffers(tensors: dict[str, Any]) -> None:
        tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 128, 128)
        tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["transformer.h.1.attn.bias"] = torch.ones(1, 1, 128, 128)
        tensors["transformer.h.1.attn.masked_bias"] = torch.tensor(-1e4)

    folder = Path(shutil.copytree(make_model("gpt2"), tmp_path / "model"))
    change_weights(folder, add_buffers)
    files, base = bases.read(Model(name=str(folder))), model.load(Model(name=str(folder)), Device())
    assert files.n_parameters == base.model.num_parameters()
    model.load(Model(name=make_model("llama-tied")), Device())


@pytest.mark.parametrize("value", ["32", -1, 0, None, [32], 32.0, True, {"a": 1}])
@pytest.mark.parametrize("name", ["hidden_size", "vocab_size", "num_hidden_layers"])
def test_sizes_of_a_wrong_type_are_named(folder: Path, name: str, value: object) -> None:
    change_config(folder, **{name: value})
    assert f"config.json: {name}={value!r}: must be a whole number above 0" in refused(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "lama"}, "model_type='lama': no causal language model of this transformers (did you mean 'llama'?)"),
        ({"model_type": None}, "model_type=None: must be a name"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "is_encoder_decoder=True: only a model that is a decoder alone"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "model_type='bert': an encoder"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "must be a causal language model such as LlamaForCausalLM"),
        ({"vocab_size": 300}, "vocab_size=300: the tokenizer has tokens up to"),
        ({"hidden_size": 64}, "with shape"),
        ({"intermediate_size": 47}, "mlp.down_proj.weight with shape [32, 48] where config.json says [32, 47]"),
        ({"num_attention_heads": 5, "head_dim": None}, "num_attention_heads=5: must divide the width of 32"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2."),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3: must divide num_attention_heads=4"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps='small': must be a number"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings='no': must be true or false"),
        ({"text_config": 3}, "text_config=3: must be an object"),
        ({"max_position_embeddings": "128"}, "max_position_embeddings='128': must be a whole number"),
    ],
)
def test_configurations_that_do_not_fit_are_named(folder: Path, changes: dict[str, Any], says: str) -> None:
    change_config(folder, **changes)
    assert says in refused(folder)


def test_code_that_comes_with_a_model_has_to_be_trusted(folder: Path) -> None:
    change_config(folder, model_type="own", auto_map={"AutoModelForCausalLM": "own.Own"}, architectures=["Own"])
    with pytest.raises(BadInput, match=r"add --set model\.trust_remote_code=true") as error:
        bases.read(Model(name=str(folder)))
    assert error.value.field == "model.trust_remote_code"
    assert architecture.read(folder, trust_remote_code=True)["model_type"] == "own"


def test_folders_and_files_that_hold_no_model(folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    assert "holds an adapter of some/base, not a model" in refused(folder)
    (folder / "adapter_config.json").unlink()
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    assert "model.gguf: a file; GGUF is for inference; take the model's safetensors weights" in refused(gguf)
    inside = tmp_path / "outer"
    shutil.copytree(folder, inside / "inner")
    assert f"no config.json in {inside} (but in {inside / 'inner'})" in refused(inside)
    shutil.copy(folder / "config.json", inside)
    assert f"no safetensors weights in {inside} (but in {inside / 'inner'})" in refused(inside)
    shutil.copy(gguf, inside)
    assert "(model.gguf is refused: GGUF is for inference" in refused(inside)


def shards(folder: Path, change: Callable[[dict[str, Any], dict[str, Any], dict[str, str]], object]) -> None:
    """The model in two files and an index, after a change of the two and the index."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = ("a.safetensors", "b.safetensors")
    parts = [{name: value for name, value in tensors.items() if (".1." in name) == last} for last in (False, True)]
    index = {name: file for file, part in zip(names, parts, strict=True) for name in part}
    change(*parts, index)
    for file, part in zip(names, parts, strict=True):
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda a, b, index: b.update({"model.norm.weight": a["model.norm.weight"].clone()}),
            "model.norm.weight is in two files",
        ),
        (lambda a, b, index: b.pop(Q), f"{Q} not in the file that"),
        (lambda a, b, index: index.update({Q: "a.safetensors"}), f"{Q} not in the file that"),
        (lambda a, b, index: index.update({Q: "c.safetensors"}), "lacks c.safetensors, which its index names"),
        (lambda a, b, index: index.update({Q: "../b.safetensors"}), 'must have a "weight_map"'),
        (lambda a, b, index: index.update({Q: 3}), 'must have a "weight_map"'),
        (lambda a, b, index: index.clear(), 'must have a "weight_map"'),
        (lambda a, b, index: index.update({Q: "b" * 5_000}), 'must have a "weight_map"'),
        (lambda a, b, index: index.update({Q: "\ud800"}), 'must have a "weight_map"'),
    ],
)
def test_an_index_that_does_not_fit_its_files(folder: Path, change: Callable[..., object], says: str) -> None:
    shards(folder, change)
    assert says in refused(folder)


def test_whole_shards_are_read_and_two_copies_of_the_weights_are_not(folder: Path) -> None:
    before = weights.shapes(folder)
    single = (folder / "model.safetensors").read_bytes()
    shards(folder, lambda a, b, index: None)
    assert weights.shapes(folder) == before
    bases.read(Model(name=str(folder)))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights.index(folder)}))
    assert 'has no object "metadata"' in refused(folder)
    (folder / "a.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "a Git LFS pointer, not the data" in refused(folder)
    (folder / "model.safetensors").write_bytes(single)
    assert "has its weights twice" in refused(folder)


def with_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"shape": [-32, -32]}, "has the shape [-32, -32]"),
        ({"shape": "32"}, "has the shape '32'"),
        ({"shape": [32.0, 32]}, "has the shape [32.0, 32]"),
        ({"shape": [32, 31]}, "does not fit its data_offsets"),
        ({"dtype": "F33"}, "has the unknown dtype 'F33'"),
        ({"dtype": None}, "has the unknown dtype None"),
        ({"data_offsets": [0, 10**12]}, "does not fit its data_offsets"),
        ({"data_offsets": [-4, 4]}, "has the data_offsets [-4, 4]"),
        ({"data_offsets": None}, "has the data_offsets None"),
    ],
)
def test_damaged_headers_are_named(folder: Path, entry: dict[str, Any], says: str) -> None:
    with_header(folder, lambda header: header[Q].update(entry))
    text = refused(folder)
    assert "model.safetensors is not a whole safetensors file (" in text
    assert says in text or "does not fit its data_offsets" in text  # whichever weight comes first in the file


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut off"),
        (b"\x08\0\0\0", "cut off"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "cut off"),
        ((2).to_bytes(8, "little") + b"[]", "its header is not a JSON object"),
        ((2).to_bytes(8, "little") + b"{]", "its header is not JSON"),
        ((2).to_bytes(8, "little") + b"\xff\xfe", "its header is not JSON"),
        ((2).to_bytes(8, "little") + b"{}rest", "0 bytes of weights are described and 4 are there"),
        ((7).to_bytes(8, "little") + b'{"a":1}', "a has no dtype, shape and data_offsets"),
        ((200_000).to_bytes(8, "little") + b"[" * 200_000, "its header is not JSON"),
    ],
)
def test_files_that_are_no_safetensors(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert says in refused(folder)


@pytest.fixture(scope="session")
def four_bits(make_model: Callable[..., str], tmp_path_factory: Any) -> str:
    """A checkpoint that bitsandbytes has packed already, of widths that its kernels for CPUs do not take."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    source, folder = make_model("llama"), tmp_path_factory.mktemp("four") / "model"
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16)
    AutoModelForCausalLM.from_pretrained(source, quantization_config=how, device_map={"": "cpu"}).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


def test_a_checkpoint_of_four_bits_is_used_as_it_is(four_bits: str, make_model: Callable[..., str], rows_file: str) -> None:
    from core import model

    trial = Trial(model=Model(name=four_bits), data=Data(source=rows_file, n_examples=24, eval_share=0.4), adapter=Lora(rank=2))
    told = preflight.inspect(trial)
    base = model.load(trial.model, Device())
    built = adapters.build(model.trial_copy(base, False), trial.adapter, base.new_tokens).model
    assert bases.read(trial.model).quantization == "nf4"
    assert told.trainable_parameters == adapters.trainable_parameters(built)
    plain = bases.read(Model(name=make_model("llama")))
    assert told.n_parameters == plain.n_parameters == base.model.num_parameters()
    assert bases.read(trial.model).shapes == plain.shapes


def test_four_bits_train_on_the_cpu_and_full_tuning_is_refused(four_bits: str, rows_file: str, tmp_path: Path) -> None:
    import dataclasses

    from core import trial as trials

    trial = Trial(
        model=Model(name=four_bits), data=Data(source=rows_file, n_examples=24, eval_share=0.4), adapter=Lora(rank=2),
        train=Train(steps=2, batch_size=8), evaluation=Evaluation(drift_samples=2, drift_tokens=8),
    )  # fmt: skip
    for asked, fact in (("none", "nf4, the checkpoint's own"), ("nf4", "nf4")):
        changed = dataclasses.replace(trial, model=Model(name=four_bits, quantization=asked))
        result = trials.run(changed, {}, tmp_path / asked, Device())
        assert (result.state, result.reason, result.facts["quantization"]) == ("finished", "", fact)
    with pytest.raises(BadInput, match=r"adapter\.method=full: this base has 4-bit weights.*adapter\.method=lora") as error:
        preflight.inspect(dataclasses.replace(trial, adapter=Full()))
    assert error.value.field == "adapter.method"
    with pytest.raises(BadInput, match="4-bit or 8-bit weights"):
        trials.run(dataclasses.replace(trial, adapter=Full()), {}, tmp_path / "full", Device())


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "bitsandbytes, fp4"),
        ({"load_in_8bit": True}, "bitsandbytes, 8 bits"),
    ],
)
def test_other_quantized_checkpoints_are_refused(folder: Path, config: dict[str, Any], kind: str) -> None:
    change_config(folder, quantization_config=config)
    text = refused(folder)
    assert f"its weights are quantized ({kind}), and only bitsandbytes' NF4" in text
    assert "take the unquantized model, with --set model.quantization=nf4" in text
    change_config(folder, quantization_config="gptq")
    assert "quantization_config='gptq': must be an object" in refused(folder)


@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_no_sequence_is_longer_than_learned_positions(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, architecture: str
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from core import trial as trials
    from sweeps import describe

    folder = Path(shutil.copytree(make_model(architecture), tmp_path / "model"))
    config = AutoConfig.from_pretrained(folder, max_position_embeddings=40)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog . " * 40)
    evaluation = Evaluation(drift_samples=3, drift_tokens=128, base_text=str(tmp_path / "text.txt"))
    trial = Trial(
        model=Model(name=str(folder)), data=Data(source=rows_file, n_examples=24, eval_share=0.4), adapter=Lora(rank=2),
        train=Train(steps=1, batch_size=8), evaluation=evaluation,
    )  # fmt: skip
    told = preflight.inspect(trial)
    result = trials.run(trial, {}, tmp_path / "out", Device())
    assert (result.state, result.reason, result.facts["drift_tokens"]) == ("finished", "", "39")
    assert (told.seq_len_tokens, told.drift_tokens) == (40, 39)
    said = describe.lowered(trial, told)
    assert said == [f"caution: evaluation.drift_tokens=128: lowered to 39, which the context of {folder} holds"]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 1 << 40), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_folder_is_read_as_it_was_or_refused(make_model: Callable[..., str], tmp_path_factory: Any, data: Any) -> None:
    """Whatever stands in a file: a line that names the model, or a whole model; never another exception."""
    folder = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(make_model("llama"), folder)
    name = data.draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]))
    content = bytearray((folder / name).read_bytes())
    if name == "config.json" and data.draw(st.booleans()):
        keys = sorted(json.loads(content))
        content = bytearray(json.dumps(json.loads(content) | {data.draw(st.sampled_from(keys)): data.draw(ODD)}).encode())
    elif data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        at = data.draw(st.integers(0, min(len(content), 3_000) - 1))
        content[at : at + data.draw(st.integers(1, 4))] = data.draw(st.binary(max_size=6))
    (folder / name).write_bytes(content)
    said = "model"
    try:
        assert bases.read(Model(name=str(folder))).n_parameters > 0
    except BadInput as error:
        said = str(error)
    assert "model" in said
    assert "\n" not in said
    shutil.rmtree(folder)


def test_a_part_of_a_model_in_the_cache_is_fetched_whole(
    make_model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sizes.py`, or a look at a tokenizer, leaves a snapshot of one file."""
    import huggingface_hub

    from core import checkpoint

    snapshot, online = tmp_path / "snapshot", []
    snapshot.mkdir()
    for file in Path(make_model("llama")).iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())

    def download(name: str, local_files_only: bool = False, **_: Any) -> str:
        online.extend([name] * (not local_files_only))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert checkpoint._download(Model(name="owner/name")) == snapshot
    assert online == []
    weights = next(snapshot.glob("*.safetensors"))
    for gone in (weights, snapshot / "config.json", *snapshot.glob("*token*")):
        kept = gone.read_bytes()
        gone.unlink()
        checkpoint._download(Model(name="owner/name"))
        if not gone.name.startswith(("token", "special")):
            assert online.pop() == "owner/name"
            gone.write_bytes(kept)
    assert online.pop() == "owner/name"  # without any file of a tokenizer

    def offline(name: str, local_files_only: bool = False, **_: Any) -> str:
        if local_files_only:
            return str(snapshot)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BadInput, match=r"no network; of its files only some are in the cache"):
        checkpoint._download(Model(name="owner/name"))
