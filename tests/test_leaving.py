"""A model that leaves loads in plain transformers and PEFT by the code on its card, and is the model that the trial measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import leaving, saved
from core.errors import BadInput
from core.fields import replace_field
from core.hardware import Device
from core.preflight import provenance
from core.result import Result
from core.settings import Data, Evaluation, Full, Lora, Model, Train, Trial

torch = pytest.importorskip("torch")
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<a>{% generation %}{{ m['content'] + '</s>' }}{% endgeneration %}"
    "{% else %}{{ '<u>' + m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def trial_of(path: str, rows: str, **settings: Any) -> Trial:
    trial = Trial(
        model=Model(name=path), data=Data(source=rows, n_examples=24, eval_share=0.4), adapter=Lora(rank=2),
        train=Train(steps=1, batch_size=8, learning_rate=1e-3),
        evaluation=Evaluation(drift_samples=2, drift_tokens=8, generations=0),
    )  # fmt: skip
    for name, value in settings.items():
        trial = replace_field(trial, name.replace("__", "."), value)
    return trial


def ran(trial: Trial, folder: Path) -> leaving.Source:
    """A trial's folder as a trial leaves it, without the training: the adapter, or the weights, moved at random."""
    from core import adapters, model

    base, method = model.load(trial.model, Device()), adapters.method_of(trial)
    torch.manual_seed(3)
    built = adapters.build(model.trial_copy(base, method.changes_base), trial.adapter, base.new_tokens).model
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    assert saved.save_trial(built.eval(), base.tokenizer, folder, trial, Device()) == "saved"
    result = Result.begun(trial, provenance(trial))
    result.facts |= {"dtype": "float32", "adapter": "saved"}
    result.metrics = {"quality": 0.5}
    result.write(folder)
    return leaving.source(folder)


def in_place(source: leaving.Source) -> tuple[Any, Any]:
    """The trial's adapter on its base as the trial loads it, and the tokenizer."""
    from peft import PeftModel

    from core import model

    base = model.load(source.trial.model, Device())
    return PeftModel.from_pretrained(model.trial_copy(base, False), str(source.weights)).eval(), base.tokenizer


def loaded(code: str, folder: Path) -> dict[str, Any]:
    """What the code on a card defines when it runs."""
    names: dict[str, Any] = {"FOLDER": str(folder)}
    exec(code.replace("max_new_tokens=64", "max_new_tokens=3"), names)
    return names


def left(source: leaving.Source, target: Path, merged: bool) -> leaving.Left:
    target.mkdir()
    return leaving.write(source, leaving.base_of(source, None, None), target, merged)


def agree(code: str, folder: Path, expected: Any, tokenizer: Any, tolerance: float = 1e-4) -> dict[str, Any]:
    if "quantized" in code:  # what bitsandbytes packs for a CPU's bfloat16 must be wider than these models
        names = loaded(code.split("messages =")[0], folder)
        for layer in names["model"].modules():
            layer.support_avx512bf16_for_cpu = False
    else:
        names = loaded(code, folder)
    prompt = [{"role": "user", "content": "say red 3 times"}]
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    assert names["tokenizer"].apply_chat_template(prompt, add_generation_prompt=True)["input_ids"] == ids
    with torch.no_grad():
        ours, theirs = expected(torch.tensor([ids])).logits.float(), names["model"].eval()(torch.tensor([ids])).logits.float()
    torch.testing.assert_close(theirs, ours, atol=tolerance, rtol=tolerance)
    assert (theirs.argmax(-1) == ours.argmax(-1)).all()
    return names


def with_base(source: leaving.Source, easy: str, code: str) -> str:
    """The code that loads an adapter on a base of one's own, after the quantization that the easy one begins with."""
    return f"BASE = {source.trial.model.name!r}\n{easy.split('model = Auto')[0]}\n{code}"


# The base and its chat template (none: ChatML is added, with new tokens), and settings beside.
CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "tied, new tokens": ("llama-tied", None, {}),
    "untied, new tokens": ("llama", None, {}),
    "own template": ("qwen2", TEMPLATE, {"adapter__rank_stabilized": True}),
    "conv1d": ("gpt2", TEMPLATE, {}),
    "experts, new tokens": ("qwen3-moe", None, {}),
    "nf4, new tokens, tied": ("llama-tied", None, {"model__quantization": "nf4"}),
    "fp4": ("llama", TEMPLATE, {"model__quantization": "fp4", "model__double_quantization": False}),
    "int8": ("llama", TEMPLATE, {"model__quantization": "int8"}),
}


READ_BESIDE_TRIALS = ("own template", "nf4, new tokens, tied", "fp4", "int8")


@pytest.mark.parametrize("name", CASES)
def test_adapter_and_merged_weights_are_the_model_that_was_measured(
    name: str, make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    architecture, template, settings = CASES[name]
    source = ran(trial_of(make_model(architecture, template), rows_file, **settings), tmp_path / "trial")
    expected, tokenizer = in_place(source)
    adapter = left(source, tmp_path / "adapter", False)
    for words, code in adapter.code:
        whole = with_base(source, adapter.code[0][1], code) if words else code
        names = agree(whole, tmp_path / "adapter", expected, tokenizer)
    if name in READ_BESIDE_TRIALS:
        says_how_to_load_its_base(source, settings, expected, tokenizer)
    ends = names["GenerationConfig"].from_pretrained(tmp_path / "adapter").eos_token_id
    assert names["tokenizer"].eos_token_id in (ends if isinstance(ends, list) else [ends])
    merged = left(source, tmp_path / "merged", True)
    expected, tokenizer = in_place(source)  # anew: merging has changed the base that was kept
    packed = "model__quantization" in settings
    rounding = {"nf4": 2e-3, "int8": 2e-2}.get(settings.get("model__quantization", ""), 1e-4)  # 8 bits round what comes in too
    agree(merged.code[0][1], tmp_path / "merged", expected, tokenizer, rounding)
    assert merged.agreement is not None
    assert merged.agreement.same_tokens
    assert merged.agreement.largest_difference < rounding
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert "quantization_config" not in config
    assert not {"adapter_config.json", "adapter_model.safetensors"} & {file.name for file in (tmp_path / "merged").iterdir()}
    assert ("dequantised" in " ".join(merged.notes)) == packed


def says_how_to_load_its_base(source: leaving.Source, settings: dict[str, Any], expected: Any, tokenizer: Any) -> None:
    """What lies beside a trial's own adapter loads its base as the trial had it."""
    page = (source.weights / "README.md").read_text()
    easy, on_base = (block.split("```")[0] for block in page.split("```python\n")[1:])
    agree(easy, source.weights, expected, tokenizer)
    agree(with_base(source, easy, on_base), source.weights, expected, tokenizer)
    kind = settings.get("model__quantization", "none")
    words = {"nf4": "NF4", "fp4": "FP4", "int8": "int8"}.get(kind)
    assert (f"It was trained on the base quantised to {words}; load the base so" in page) is (kind != "none")
    assert page.count('dtype="float32"') >= 2
    assert page.count("quantization_config=quantized") == (2 if words else 0)


def test_full_weights_leave_whole_and_a_base_in_bfloat16_keeps_the_trials_precision(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    half, path = tmp_path / "half", make_model("llama", TEMPLATE)
    AutoModelForCausalLM.from_pretrained(path).bfloat16().save_pretrained(half)
    AutoTokenizer.from_pretrained(path).save_pretrained(half)
    trial = trial_of(str(half), rows_file)
    source = ran(trial, tmp_path / "lora")  # in float32, as on every CPU
    expected, tokenizer = in_place(source)
    agree(left(source, tmp_path / "adapter", False).code[0][1], tmp_path / "adapter", expected, tokenizer)
    expected, tokenizer = in_place(source)
    agree(left(source, tmp_path / "merged", True).code[0][1], tmp_path / "merged", expected, tokenizer)
    whole = ran(replace_field(trial, "adapter", Full()), tmp_path / "full")
    tuned = AutoModelForCausalLM.from_pretrained(whole.weights).eval()
    for merged in (False, True):
        found = left(whole, tmp_path / f"full-{merged}", merged)
        agree(found.code[0][1], tmp_path / f"full-{merged}", tuned, tokenizer)


def test_the_base_is_called_as_others_know_it(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    cached = tmp_path / "hub/models--owner--little-model/snapshots/abc123"
    shutil.copytree(make_model("llama"), cached)
    (cached / "README.md").write_text("---\nlicense: llama3.2\nlicense_link: https://example.org\n---\n# A model\n")
    (cached / "LICENSE.txt").write_text("terms")
    source = ran(trial_of(str(cached), rows_file), tmp_path / "trial")
    base = leaving.base_of(source, None, None)
    assert (base.name, base.address, base.revision, base.is_public) == (
        "owner/little-model",
        "owner/little-model",
        "abc123",
        True,
    )
    assert base.licence == {"license": "llama3.2", "license_link": "https://example.org"}
    left(source, tmp_path / "out", False)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/little-model", "abc123")
    assert (tmp_path / "out/LICENSE.txt").read_text() == "terms"
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name

    moved = tmp_path / "moved"
    cached.rename(moved)
    with pytest.raises(BadInput, match=r"no such directory .*say with --base DIR where it is now"):
        leaving.base_of(source, None, None)
    found = leaving.base_of(source, str(moved), None)
    assert (found.name, found.address) == ("moved", str(moved))
    assert leaving.base_of(source, str(moved), "owner/name").address == "owner/name"
    with pytest.raises(BadInput, match="changed after the sweep was planned"):
        leaving.base_of(source, make_model("qwen2"), None)
    (moved / "README.md").unlink()
    assert leaving.base_of(source, str(moved), None).licence == {"license": leaving.UNKNOWN_LICENCE}


def test_weights_that_were_not_kept_are_told_with_what_brings_them(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import saved
    from core import trial as trials

    trial = replace_field(trial_of(make_model("llama", TEMPLATE), rows_file), "adapter", Full())
    monkeypatch.setattr(saved, "FULL_WEIGHTS_BYTES", 1_000)
    for split, keep in (("test", False), ("validation", True), ("test", True)):
        asked, folder = replace_field(trial, "evaluation.split", split), tmp_path / f"{split}-{keep}"
        result = trials.run(asked, provenance(asked), folder, Device(keep_weights=keep))
        assert (result.state, result.reason) == ("finished", "")
        if split == "test" and keep:
            assert not leaving.source(folder).is_adapter
        else:
            with pytest.raises(BadInput, match=r"measured and not kept; delete its result\.json, .* --keep-weights"):
                leaving.source(folder)
    with pytest.raises(BadInput, match="no trial has finished there"):
        leaving.source(tmp_path / "none")


def test_a_template_that_asks_for_the_date_leaves_with_that_of_training(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path
) -> None:
    dated = "{{ 'Today: ' + strftime_now('%d %b %Y') }}" + TEMPLATE
    source = ran(trial_of(make_model("llama", dated), rows_file), tmp_path / "lora")
    found = left(source, tmp_path / "adapter", False)
    names = loaded(found.code[0][1], tmp_path / "adapter")
    prompt = [{"role": "user", "content": "say red"}]
    said = names["tokenizer"].apply_chat_template(prompt, tokenize=False)
    assert "Today: 01 Jan 2025" in said
    assert saved.DATED not in found.notes  # the trial's facts do not say that it asked
    source.result.facts["template_date"] = "2025-01-01, whatever the day"
    (source.weights / "chat_template.jinja").write_text(dated)  # as trials left it before
    assert saved.DATED in left(source, tmp_path / "again", False).notes
    assert "strftime_now(" not in (tmp_path / "again" / "chat_template.jinja").read_text()
    (source.weights / "chat_template.jinja").write_text(dated.replace("strftime_now('%d %b %Y')", "strftime_now(f)"))
    assert saved.OF_THE_DAY in left(source, tmp_path / "other", False).notes
    assert saved.DATED in (source.weights / "README.md").read_text()


def test_a_base_with_code_of_its_own_is_loaded_with_it() -> None:
    own, plain = Model(name="x", trust_remote_code=True), Model(name="x")
    notes, ((_, code),) = saved.full_code(own)
    assert notes == (saved.OWN_CODE,)
    assert code.count("(FOLDER, trust_remote_code=True)") == 2
    assert "trust_remote_code" not in str(saved.full_code(plain))
    notes, ((_, easy), (_, beside)) = saved.adapter_code(own, {"peft_type": "LORA"}, 0)
    assert saved.OWN_CODE in notes
    for line in [*easy.splitlines(), *beside.splitlines()]:
        assert ("trust_remote_code=True" in line) == ("Auto" in line and ".from_pretrained(" in line), line
    compile(f"{easy}\n{beside}", "code", "exec")
