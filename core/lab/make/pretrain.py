"""Pretrain a laboratory base: `python -m core.lab.make.pretrain --seed 0 --output DIR`.

A Llama of 0.2, 0.9 or 4 M parameters reads about 18 M tokens of the corpus once. Matrices are trained by Muon, the rest by AdamW
(the prototype learned 90 % of its skills with 11 M tokens this way). Writes a Hugging Face model directory with its tokenizer and
a card (card.json: corpus hash, tokens, steps, seed, loss per domain, accuracy per skill, command). The same seed, machine and
number of threads give the same weights. All sizes read the same tokens; the largest, twice as wide, has half the learning rate in
its matrices (at the others' rate it knew less than the middle one).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.lab import corpus, tokenizer
from core.lab.skills import SKILLS
from core.lab.version import corpus_hash
from core.settings import Evaluation, Trial
from core.tasks import lab as lab_task
from core.tasks.measurement import Subject

WINDOW_TOKENS = 128
BATCH_WINDOWS = 32
MUON_LEARNING_RATE = {"0.2M": 5e-3, "0.9M": 5e-3, "4M": 2.5e-3}
ADAMW_LEARNING_RATE = 5e-3
WARMUP_STEPS = 100
# hidden size, layers, heads, feed-forward size
SIZES = {"0.2M": (64, 3, 4, 172), "0.9M": (128, 4, 4, 344), "4M": (256, 5, 8, 688)}
STORED = {
    "0.2M": torch.float32,
    "0.9M": torch.float32,
    "4M": torch.float16,
}  # half the bytes of the largest; the card measures them
DEFAULT_TOKENS = 18_000_000
TEACHER_SHARE = 0.35  # how far into pretraining the synthetic data's teacher is taken


@dataclass(frozen=True)
class Pass:
    """One pass over the corpus: which documents are drawn, and how many tokens of them."""

    seed: int
    n_tokens: int


def build_model(size: str, vocabulary: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    hidden, layers, heads, feed_forward = SIZES[size]
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
    )
    return LlamaForCausalLM(config)


def windows(vocabulary: PreTrainedTokenizerFast, corpus_pass: Pass) -> Iterator[torch.Tensor]:
    """Batches (BATCH_WINDOWS, WINDOW_TOKENS) of token ids: documents, shuffled over domains, each ended by <eos>, packed."""
    ids = vocabulary.get_vocab()
    eos = vocabulary.eos_token_id
    size = BATCH_WINDOWS * WINDOW_TOKENS
    buffer: list[int] = []
    for text in corpus.mixed_documents(corpus_pass.seed, corpus_pass.n_tokens):
        buffer += [ids[word] for word in text.split()]
        buffer.append(eos)
        if len(buffer) >= size:
            yield torch.tensor(buffer[:size]).view(BATCH_WINDOWS, WINDOW_TOKENS)
            buffer = buffer[size:]


def optimizers(model: LlamaForCausalLM, muon_learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=muon_learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Linear warm-up, constant to 40 % of the steps, then linear to 0."""
    return min((step + 1) / WARMUP_STEPS, 1.0, (n_steps - step) / (0.6 * n_steps))


def train(
    model: LlamaForCausalLM,
    vocabulary: PreTrainedTokenizerFast,
    chosen: list[torch.optim.Optimizer],
    corpus_pass: Pass,
    teacher: Path,
) -> int:
    """Train in place over one pass of the corpus, save the teacher checkpoint on the way; returns the number of steps."""
    n_steps = corpus_pass.n_tokens // (BATCH_WINDOWS * WINDOW_TOKENS)
    device = next(model.parameters()).device
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: learning_rate_factor(step, n_steps)) for o in chosen]
    started = time.monotonic()
    model.train()
    step = 0
    for step, batch in enumerate(windows(vocabulary, corpus_pass), start=1):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=batch.to(device), labels=batch.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(chosen, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        if step == int(TEACHER_SHARE * n_steps):
            model.save_pretrained(teacher)
            vocabulary.save_pretrained(teacher)
        if step % 50 == 0:
            spent = time.monotonic() - started
            rate = step * BATCH_WINDOWS * WINDOW_TOKENS / spent
            eta = (n_steps - step) * spent / step
            print(f"step {step}/{n_steps}  loss {loss.item():.3f}  {rate:,.0f} tokens/s  ETA {eta / 60:.0f} min", flush=True)
        if step == n_steps:
            break
    return step


def examine(model: LlamaForCausalLM, vocabulary: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What the base knows: loss per domain, raw accuracy per skill, recall of facts, and zero-shot exact match in chat."""
    model.eval()
    trial = Trial(evaluation=Evaluation(split="validation"))
    found = lab_task.measure(Subject(model, vocabulary, trial, rows=(), reference=model, seq_len=WINDOW_TOKENS))
    by_name = {measurement.name: measurement for measurement in found}
    raw = by_name["raw_accuracy/skills"].by_group()
    return {
        "loss_nats_per_token": {d: round(by_name[f"nll/{d}"].mean, 4) for d in corpus.DOMAINS},
        "raw_accuracy_of": f"{len(raw)} of the {len(SKILLS)} skills; the others recall a fact each, together in fact_recall",
        "raw_accuracy": round(by_name["raw_accuracy/skills"].mean, 4),
        "raw_accuracy_per_skill": {k: round(v, 3) for k, v in raw.items()},
        "fact_recall": round(by_name["raw_accuracy/facts"].mean, 4),
        "zero_shot_chat_exact_match": round(by_name["exact_match/seen"].mean, 4),
    }


def make_card(
    model: LlamaForCausalLM, vocabulary: PreTrainedTokenizerFast, arguments: argparse.Namespace, steps: int, minutes: float
) -> dict[str, Any]:
    """What the base is and knows, and the command that makes it again."""
    return {
        "command": f"python -m core.lab.make.pretrain --seed {arguments.seed} --size {arguments.size} --tokens {arguments.tokens}"
        f" --threads {arguments.threads} --output DIR",
        "parameters": model.num_parameters(),
        "seed": arguments.seed,
        "corpus_hash": corpus_hash(),
        "tokens": steps * BATCH_WINDOWS * WINDOW_TOKENS,
        "steps": steps,
        "torch": torch.__version__,
        "device": str(model.device),
        "minutes": minutes,
        "weights_sha256": hashlib.sha256((arguments.output / "model.safetensors").read_bytes()).hexdigest(),
        **examine(model, vocabulary),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=list(SIZES), default="0.9M")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS)
    parser.add_argument("--output", type=Path, required=True, help="the model directory to write")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vocabulary = tokenizer.build()
    model = build_model(arguments.size, vocabulary)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]  # transformers' stub
    print(f"{model.num_parameters():,} parameters, {len(vocabulary)} words, {arguments.tokens:,} tokens", flush=True)
    started = time.monotonic()
    chosen = optimizers(model, MUON_LEARNING_RATE[arguments.size])
    steps = train(model, vocabulary, chosen, Pass(arguments.seed, arguments.tokens), arguments.output / "teacher")
    model.to(STORED[arguments.size]).save_pretrained(arguments.output)  # type: ignore[arg-type]  # transformers' stub
    model.float()
    vocabulary.save_pretrained(arguments.output)
    minutes = round((time.monotonic() - started) / 60, 1)
    card = make_card(model, vocabulary, arguments, steps, minutes)
    (arguments.output / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps({k: v for k, v in card.items() if k != "raw_accuracy_per_skill"}, indent=1))
    weak = {k: v for k, v in card["raw_accuracy_per_skill"].items() if v < 0.9}
    print("skills under 90 %:", weak or "none")
    if math.isnan(card["raw_accuracy"]):
        raise SystemExit("pretraining diverged")


if __name__ == "__main__":
    main()
