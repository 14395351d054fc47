"""A small sweep on a GPU, two trials side by side: a random Llama of 0.5 B parameters' shape, its own tokenizer, made-up rows.

    python tests/benchmarks/gpu_sweep.py            needs a CUDA GPU (exit code 2 without one)
    python tests/benchmarks/gpu_sweep.py --tiny --cpu    tries this script itself

Printed are seconds, peak memory of every trial, and whether two trials really ran at the same time. Every other argument
goes to sweeps/run.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# hidden size, layers, attention heads, MLP width: Qwen2.5-0.5B's, and next to nothing
SHAPES = {"half": (896, 24, 14, 4864), "tiny": (64, 2, 4, 128)}
VOCABULARY = {"half": 151_936, "tiny": 512}  # as large as a modern one, where logits decide what fits
WORDS_A_ROW = {"half": 150, "tiny": 4}  # of an answer
SETTINGS = {
    "adapter.rank": "4,16",
    "data.n_examples": 64,
    "train.epochs": 1,
    "train.batch_size": 16,
    "evaluation.max_rows": 16,
    "evaluation.drift_samples": 4,
    "evaluation.drift_tokens": 16,
}
WORDS = "red green blue fox dog five seven river stone house walks sings finds under over the a of".split()  # noqa: SIM905
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '</s>' }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_rows(path: Path, size: str, n_rows: int = 120) -> list[str]:
    """Instruction rows of made-up words, no two alike; their texts."""
    pairs = list(itertools.islice(itertools.product(WORDS, WORDS), n_rows))
    rows = [
        {"instruction": f"say {one} and {two}", "output": " ".join([one, two] * (WORDS_A_ROW[size] // 2))} for one, two in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [text for row in rows for text in row.values()]


def write_model(folder: Path, size: str, texts: Sequence[str]) -> int:
    """A Llama with random weights and grouped-query attention, and a byte-level tokenizer; how many parameters it has."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    kinds: dict[str, Any] = {"special_tokens": specials, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY[size], show_progress=False, **kinds)
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    width, layers, heads, inside = SHAPES[size]
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY[size],
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=2,
            intermediate_size=inside,
            max_position_embeddings=1_024,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    return int(model.num_parameters())


def run_sweep(folder: Path, chosen: argparse.Namespace, rest: Sequence[str]) -> tuple[int, float]:
    """Exit code and seconds of `sweeps/run.py` on what lies in the folder."""
    command = [sys.executable, str(ROOT / "sweeps" / "run.py"), "rank_vs_quality", "--model", str(folder / "model")]
    command += ["--data", str(folder / "rows.jsonl"), "--output", str(folder / "runs"), "--seeds", "1", "--concurrency", "2"]
    command += ["--gpus-per-trial", "0" if chosen.cpu else "0.5"]
    command += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    started = time.perf_counter()
    return subprocess.run([*command, *rest]).returncode, time.perf_counter() - started


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The trials' rows in the order in which they ended, each with the times between which it ran."""
    rows = []
    for path in folder.glob("runs/*/trials/*/result.json"):
        row, end = json.loads(path.read_text()), path.stat().st_mtime
        rows.append(row | {"phase": path.parent.name.rpartition("-")[2], "start": end - row["seconds"], "end": end})
    return sorted(rows, key=lambda row: row["end"])


def report(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        trial, metrics = row["trial"], row["metrics"]
        rate, rank = trial["train.learning_rate"], trial.get("adapter.rank", "-")
        name = f"{trial['adapter.method']} r={rank} lr={rate:.3g} {row['phase']}"
        device, memory = row["facts"].get("device", "?"), metrics.get("peak_memory_gib", float("nan"))
        steps = metrics.get("train/steps", 0) / metrics.get("train/seconds", float("inf"))
        costs = f"{row['seconds']:7.2f} s {memory:7.2f} GiB {steps:6.2f} steps/s"
        print(f"  {name:32} {row['state']:9} {costs}  {device}  {row['reason']}")
    pairs = itertools.combinations(rows, 2)
    shared = sum(max(0.0, min(one["end"], two["end"]) - max(one["start"], two["start"])) for one, two in pairs)
    whole = sum(row["seconds"] for row in rows)
    print(f"side by side: {'yes' if shared else 'no'}, {shared:.1f} s of {whole:.1f} s of trials shared the machine with another")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two layers of width 64 instead of 0.5 B parameters")
    parser.add_argument("--cpu", action="store_true", help="no GPU")
    chosen, rest = parser.parse_known_args()
    import torch

    if not chosen.cpu and not torch.cuda.is_available():
        print("gpu_sweep.py needs a CUDA GPU, and torch finds none (--tiny --cpu tries the script without)", file=sys.stderr)
        return 2
    size = "tiny" if chosen.tiny else "half"
    with tempfile.TemporaryDirectory(prefix="gpu-sweep-") as name:
        folder = Path(name)
        texts = write_rows(folder / "rows.jsonl", size)
        n_parameters = write_model(folder / "model", size, texts)
        code, seconds = run_sweep(folder, chosen, rest)
        rows = read_results(folder)
        print(f"\n{n_parameters:,} parameters, {len(rows)} trials, {seconds:.1f} s with start and report, exit code {code}")
        report(rows)
    return code


if __name__ == "__main__":
    sys.exit(main())
