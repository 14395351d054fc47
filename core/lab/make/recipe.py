"""How a laboratory base is pretrained: its size, its optimizers and their rate, and the windows of documents that it reads.

Matrices are trained by Muon, the rest by AdamW (the prototype learned 90 % of its skills with 11 M tokens this way). All sizes
read the same tokens; the largest, twice as wide, has half the learning rate in its matrices (at the others' rate it knew less
than the middle one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core import lab
from core.lab import corpus, tokenizer

WINDOW_TOKENS = tokenizer.CONTEXT_TOKENS  # so that every position of the context is trained
BATCH_WINDOWS = 16
BATCH_TOKENS = BATCH_WINDOWS * WINDOW_TOKENS
MUON_LEARNING_RATE = {"0.2M": 5e-3, "0.9M": 5e-3, "4M": 2.5e-3, "10M": 2e-3}
ADAMW_LEARNING_RATE = 5e-3
WARMUP_STEPS = 100
# hidden size, layers, heads, feed-forward size
SIZES = {"0.2M": (64, 3, 4, 172), "0.9M": (128, 4, 4, 344), "4M": (256, 5, 8, 688), "10M": (320, 7, 5, 864)}
STORED = torch.bfloat16  # half the bytes; the card measures them as they are stored
DEFAULT_TOKENS = 18_000_000


@dataclass(frozen=True)
class Base:
    """One base to be made. Its seed draws the first weights and the documents; `n_tokens` of them are read."""

    size: str
    seed: int
    n_tokens: int = DEFAULT_TOKENS

    @property
    def n_steps(self) -> int:
        return self.n_tokens // BATCH_TOKENS


OF_SIZE = {"lab:base": "0.9M", "lab:base-small": "0.2M", "lab:base-large": "4M"}
BASES = {
    f"{name.removeprefix('lab:')}-{seed}": Base(OF_SIZE[name], seed)
    for name, count in lab.N_BASES.items()
    for seed in range(count)
}


def build_model(size: str, vocabulary: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    hidden, layers, heads, feed_forward = SIZES[size]
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=feed_forward,
        max_position_embeddings=vocabulary.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
    )
    return LlamaForCausalLM(config)


def windows(vocabulary: PreTrainedTokenizerFast, base: Base, first: int = 0) -> Iterator[torch.Tensor]:
    """Batches (BATCH_WINDOWS, WINDOW_TOKENS) of token ids, from batch `first` on: documents, shuffled over domains, each ended by
    <eos>, packed. Those before `first` are drawn again and not given, which takes seconds."""
    ids = vocabulary.get_vocab()
    eos = vocabulary.eos_token_id
    buffer: list[int] = []
    number = 0
    for text in corpus.mixed_documents(base.seed, base.n_tokens):
        buffer += [ids[word] for word in text.split()]
        buffer.append(eos)
        if len(buffer) >= BATCH_TOKENS:
            if number >= first:
                yield torch.tensor(buffer[:BATCH_TOKENS]).view(BATCH_WINDOWS, WINDOW_TOKENS)
            buffer = buffer[BATCH_TOKENS:]
            number += 1


def optimizers(model: LlamaForCausalLM, size: str) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE[size], weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Linear warm-up, constant to 40 % of the steps, then linear to 0."""
    return min((step + 1) / WARMUP_STEPS, 1.0, (n_steps - step) / (0.6 * n_steps))
