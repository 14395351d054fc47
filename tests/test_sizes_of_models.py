"""Parameters and memory from a config.json alone: exact against instantiated models of a dozen architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core import adapters
from core.errors import BadInput
from core.settings import ADAPTERS, TARGET_PRESETS, Lora
from sweeps import sizes

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GATED = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GATED | {"tie_word_embeddings": False}),
    "mistral": ("MistralConfig", GATED | {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", GATED),
    "qwen3": ("Qwen3Config", GATED | {"head_dim": 16}),
    "gemma": ("GemmaConfig", GATED | {"head_dim": 16}),
    "gemma2": ("Gemma2Config", GATED | {"head_dim": 16}),
    "gemma3": ("Gemma3TextConfig", GATED | {"head_dim": 16}),
    "gemma3-images": (
        "Gemma3Config",
        {
            "text_config": GATED | {"head_dim": 16, "model_type": "gemma3_text"}, "mm_tokens_per_image": 1,
            "vision_config": {
                "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 8,
                "patch_size": 4,
            },
        },
    ),
    "phi3": ("Phi3Config", GATED),
    "mixtral": ("MixtralConfig", GATED | {"num_local_experts": 4}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 96}),
    "gpt_neox": (
        "GPTNeoXConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 96},
    ),
    "opt": (
        "OPTConfig",
        {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "vocab_size": 96,
            "max_position_embeddings": 64, "word_embed_proj_dim": 16,
        },
    ),
    "falcon": (
        "FalconConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96, "multi_query": True},
    ),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}),
}  # fmt: skip


def configuration(name: str) -> Any:
    kind, settings = CONFIGS[name]
    return getattr(transformers, kind)(**settings)


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = sizes.main([*map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_instantiated_model(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configuration(name)
    config.save_pretrained(tmp_path)
    code, out, err = told(capsys, tmp_path, "--rank", "2,64", "--device", "cpu", "--json")
    kind = config.get_text_config().model_type
    assert (code, err) == (0, f"caution: --rank 64: above the width of every layer of {kind}: left out\n")
    found = json.loads(out)

    def made() -> Any:
        return transformers.AutoModelForCausalLM.from_config(config)

    assert found["parameters"] == sum(parameter.numel() for parameter in made().parameters())
    whole = [row for row in found["rows"] if row["quantization"] == "none"]
    rows = {(row["targets"], row["rank"]): row["trainable"] for row in whole if row["method"] in ("full", "lora")}
    assert rows.pop(("all weights", None)) == found["parameters"]
    for preset in TARGET_PRESETS:
        network = made().requires_grad_(False)
        try:
            adapted = adapters.build(network, Lora(rank=2, targets=preset), ()).model
        except BadInput:  # the model has no such layers
            continue
        assert rows.pop((preset, 2)) == adapters.trainable_parameters(adapted), preset
        trained = [one for one, weight in adapted.named_parameters() if weight.requires_grad]
        assert not [one for one in trained if "vision" in one]  # rows are text
    assert rows == {}  # no rank above the width, no preset that fits nothing
    for row in whole:
        if row["method"] in ("dora", "ia3", "vera", "layernorm"):
            other = adapters.build(made().requires_grad_(False), ADAPTERS[row["method"]](), ()).model
            assert row["trainable"] == adapters.trainable_parameters(other), row["method"]


def test_a_known_model_has_the_known_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Llama-3-8B: q and v at rank 16 train 32 × 16 × (2 × 4096 + 4096 + 1024), as values are grouped."""
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
                "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
                "tie_word_embeddings": False,
            }
        )
    )  # fmt: skip
    code, out, _ = told(capsys, tmp_path / "config.json", "--rank", "16")
    assert code == 0
    assert "8,030,261,248 parameters" in out
    assert " 6,815,744 " in out
    assert "none 15, nf4 5" in out  # GiB: bfloat16; NF4 but for embeddings and head
    found = json.loads(told(capsys, tmp_path, "--rank", "16", "--json")[1])["rows"]
    least = {row["quantization"]: row["least_gib"] for row in found if row["targets"] == "all-linear"}
    assert least["none"] > least["int8"] > least["nf4"] == least["fp4"]


def test_bad_input_is_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration("llama").save_pretrained(tmp_path)
    (tmp_path / "empty").mkdir()
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "config.json").write_text('{"model_type": "nothing"}')
    for words, says in (
        ([], "name a model"),
        ([tmp_path / "empty"], "no config.json there"),
        ([tmp_path / "none"], "no config.json there"),
        ([wrong], "no causal language model"),
        ([tmp_path, "--rank", "0"], "whole numbers above 0"),
        ([tmp_path, "--tokens", "a"], "a whole number above 0"),
        ([tmp_path, "--device", "tpu"], "cuda or cpu"),
        ([tmp_path, "--ranks", "8"], "did you mean '--rank'?"),
        ([tmp_path, "--rank"], "needs a value"),
        ([tmp_path, "--rank", "99999,88888"], "--rank 99999,88888: above the width of every layer"),
    ):
        code, out, err = told(capsys, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), (words, err)
        assert says in err, (words, err)
