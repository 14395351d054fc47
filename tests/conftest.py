"""Fixtures: the shared folder (or skip), tiny random models of several architectures, a tiny instruction file."""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is imported: tests run beside other work, and results must not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What is remembered between runs would hide a fault.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="tunelab-test-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

SHARED = Path(__file__).parents[2] / "shared"
TEXT = [
    "the quick brown fox jumps over the lazy dog . what is two plus three ? it is five .",
    "name a colour : red , green , blue . please sort the words and say which comes first !",
    "system user assistant question answer hello there , how are you today ? fine , thanks .",
]

# A template that marks the assistant's words, and the same without marks.
MARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<a>{% generation %}{{ m['content'] + '</s>' }}{% endgeneration %}"
    "{% else %}{{ '<u>' + m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")


# Every trial collects garbage some times, each time walking over all that tests have imported, which took half of a trial's time
# here. What is there when a file of tests begins is left out of it; workers, which are processes of their own, do as they do.
FREEZE, UNFREEZE = gc.freeze, gc.unfreeze
gc.freeze = gc.unfreeze = lambda: None


def leave_out_what_is_there() -> None:
    UNFREEZE()
    gc.collect()
    FREEZE()


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    leave_out_what_is_there()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def stories(shared: Path) -> str:
    return str(shared / "models" / "stories260K")


def make_tokenizer(template: str | None = None, specials: tuple[str, ...] = ("<pad>", "<s>", "</s>", "<|endoftext|>")):
    """A byte-level BPE tokenizer trained on a few sentences: 300-odd tokens, any text fits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(TEXT * 5, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    if template is not None:
        made.add_special_tokens({"additional_special_tokens": ["<u>", "<a>"]})
        made.chat_template = template
    return made


def _configs(vocabulary: int) -> dict[str, Callable[[], object]]:
    from transformers import (
        FalconConfig,
        GemmaConfig,
        GPT2Config,
        GPTNeoXConfig,
        LlamaConfig,
        MambaConfig,
        OPTConfig,
        Phi3Config,
        Qwen2Config,
        Qwen3Config,
    )

    small = {"vocab_size": vocabulary, "num_hidden_layers": 2, "max_position_embeddings": 128}
    gated = small | {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    two = {"bos_token_id": 1, "eos_token_id": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return {
        "llama": lambda: LlamaConfig(**gated, **ends, tie_word_embeddings=False),
        "llama-tied": lambda: LlamaConfig(**gated, **ends, tie_word_embeddings=True),
        "qwen2": lambda: Qwen2Config(**gated, **ends, tie_word_embeddings=True),
        "qwen3": lambda: Qwen3Config(**gated, **ends, head_dim=8, tie_word_embeddings=False),
        "phi3": lambda: Phi3Config(**gated, **ends),
        "gpt2": lambda: GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=128, **two),
        "neox": lambda: GPTNeoXConfig(**small, **two, hidden_size=32, intermediate_size=48, num_attention_heads=4),
        "opt": lambda: OPTConfig(
            **small, **ends, hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_attention_heads=4, do_layer_norm_before=True
        ),
        "gemma": lambda: GemmaConfig(**gated, **ends, head_dim=8),
        "falcon": lambda: FalconConfig(**small, **two, hidden_size=32, num_attention_heads=4),
        "mamba": lambda: MambaConfig(vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, state_size=4, **ends),
        **_mixtures(gated | ends),
    }


def _mixtures(common: dict[str, int]) -> dict[str, Callable[[], object]]:
    """Mixture-of-experts models: alone, with a shared expert, beside dense layers, with experts stacked in the files too."""
    from transformers import DeepseekV3Config, GptOssConfig, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3MoeConfig

    four = common | {"num_experts_per_tok": 2}
    latent = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    small, whole = {"moe_intermediate_size": 24}, {"num_key_value_heads": 4}
    groups = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_routed_experts": 4}
    return {
        "mixtral": lambda: MixtralConfig(**four, num_local_experts=4),
        "qwen2-moe": lambda: Qwen2MoeConfig(**four, **small, num_experts=4, shared_expert_intermediate_size=40),
        "qwen3-moe": lambda: Qwen3MoeConfig(**four, **small, num_experts=4, mlp_only_layers=[0], head_dim=8),
        "olmoe": lambda: OlmoeConfig(**four, num_experts=4),
        "deepseek": lambda: DeepseekV3Config(**four | whole, **small, **latent, **groups),
        "gpt-oss": lambda: GptOssConfig(**four, num_local_experts=4, head_dim=8),
    }


@pytest.fixture(scope="session", autouse=True)
def power_unasked() -> Iterator[None]:
    """Dry runs do not start a process that tells what seeds can show: seconds for each (tests/test_until_decided.py asks it)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.run.power", lambda *asked: [])
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_fonts() -> Iterator[int]:
    """PDFs have glyphs as drawings: to cut fonts takes half a second a figure. Yields the type that users get."""
    from analysis.figures import style

    with pytest.MonkeyPatch.context() as patch:
        users = style._RC["pdf.fonttype"]
        patch.setitem(style._RC, "pdf.fonttype", 3)
        yield users


@pytest.fixture(scope="session", autouse=True)
def rehearsed_here() -> Iterator[None]:
    """Models are tried in this process: one of its own for each would take seconds."""
    from core import rehearsal
    from core.errors import BadInput

    def look(model: object) -> BadInput | None:
        try:
            rehearsal.rehearse(model)
        except BadInput as error:
            return error
        return None

    before, rehearsal.look = rehearsal.look, look
    yield
    rehearsal.look = before


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`make_model("qwen2", template=...)` → a directory with a random model; each is made once a session."""
    made: dict[tuple[str, str | None], str] = {}

    def make(architecture: str, template: str | None = None) -> str:
        if (architecture, template) not in made:
            import torch
            from transformers import AutoModelForCausalLM

            tokenizer = make_tokenizer(template)
            torch.manual_seed(0)
            directory = tmp_path_factory.mktemp(architecture)
            AutoModelForCausalLM.from_config(_configs(len(tokenizer))[architecture]()).save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            made[architecture, template] = str(directory)
        return made[architecture, template]

    return make


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 short Alpaca rows with different prompts."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    words = ["red", "green", "blue", "fox", "dog", "five"]
    lines = [
        {
            "instruction": f"say {words[i % 6]} {i} times",
            "input": "please" if i % 3 == 0 else "",
            "output": f"{words[i % 6]} it is .",
        }
        for i in range(60)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 short preference pairs whose prompts no row has."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    words = ["red", "green", "blue", "fox", "dog"]
    rows = [{"prompt": f"name {words[i % 5]} and {i}", "chosen": f"{words[i % 5]} .", "rejected": "no !"} for i in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's schema, which takes seconds to make: to be copied."""
    from core import tracking

    folder = tmp_path_factory.mktemp("store")
    tracking.client(tracking.default_uri(folder)).search_experiments()
    assert sorted(path.name for path in folder.iterdir()) == [".mlflow.db.lock", "mlflow.db"]
    return folder / "mlflow.db"


@pytest.fixture
def output(empty_store: Path, tmp_path: Path) -> Path:
    """A sweep's output directory with an empty store; tests that need none have a fixture of their own of this name."""
    made = tmp_path / "runs"
    made.mkdir()
    shutil.copy(empty_store, made)
    return made
