"""Pretrain a small base on text of your own, in any language: a second world beside the laboratory's.

    python -m core.lab.make.natural --text FILE [FILE …] --output DIR

reads plain text files (also gzipped). Passages of about a thousand characters are shuffled and packed into windows of 512 tokens;
one in fifty is kept apart and written to DIR/held_out.txt. A byte-level BPE vocabulary is learned from the text. DIR is then a
Hugging Face model like any other:

    python sweeps/run.py rank_vs_quality --model DIR --base-text DIR/held_out.txt --data reasoning-gym:easy

Its chat template is made of words that the text has ("Question:", "Answer:"), so that tuning begins without unread tokens. The
state is saved every few minutes: the same command goes on after an interruption, to the same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.command import EXIT_INTERRUPTED, Parser, refused
from core.data import files
from core.errors import BadInput
from core.fields import content_hash
from core.lab.make.reading import Place, card_of, described, finish, pretrained
from core.lab.make.recipe import BATCH_TOKENS, SIZES, Base
from core.result import write_whole

CONTEXT_TOKENS = 512
VOCABULARY = 4096
PASSAGE_CHARACTERS = 1_000  # at least, up to the next end of a line
HELD_OUT_ONE_IN = 50
LEARNT_FROM = 20_000_000  # characters, of which the vocabulary is learned
EXAMINED_WINDOWS = 200
DEFAULT_TOKENS = 20_000_000
AT_ONCE = 2_000  # passages encoded
STATE_SECONDS = 180.0  # between two states
END, PAD = "<|endoftext|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "Answer:{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\\n' }}"
    "{% else %}{{ 'Question: ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


@dataclass(frozen=True)
class Texts:
    """Passages to learn from and passages kept apart; `content`: a hash of the files."""

    learnt: tuple[str, ...]
    held_out: tuple[str, ...]
    content: str


def passages(text: str) -> Iterator[str]:
    """Runs of whole lines, each of PASSAGE_CHARACTERS or a line more; the last may be shorter."""
    lines: list[str] = []
    size = 0
    for line in text.splitlines():
        lines.append(line)
        size += len(line) + 1
        if size >= PASSAGE_CHARACTERS:
            yield "\n".join(lines)
            lines, size = [], 0
    if any(line.strip() for line in lines):
        yield "\n".join(lines)


def gather(names: Sequence[str]) -> Texts:
    """The files' passages. A passage's own words decide whether it is kept apart, so that one that stands twice is never both.

    Raises:
        BadInput: a file cannot be read, or all have too little text.
    """
    read = [files.read_text("--text", name) for name in names]
    learnt: list[str] = []
    held_out: list[str] = []
    for one in read:
        for passage in passages(one.text):
            apart = int(content_hash(passage.strip()), 16) % HELD_OUT_ONE_IN == 0
            (held_out if apart else learnt).append(passage)
    return Texts(tuple(learnt), tuple(held_out), content_hash("".join(one.content for one in read)))


def learn_vocabulary(texts: Texts, n_words: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, learned from an even share of the passages."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    share = max(1, math.ceil(sum(len(one) for one in texts.learnt) / LEARNT_FROM))
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_words,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts.learnt[::share], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, pad_token=PAD, model_max_length=CONTEXT_TOKENS, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@dataclass(frozen=True)
class Windows:
    """Batches of packed passages, epoch after epoch, each in an order that the seed draws."""

    passages: Sequence[Sequence[int]]  # token ids, each ended
    seed: int

    def __call__(self, first: int = 0) -> Iterator[torch.Tensor]:
        """Batches (windows, CONTEXT_TOKENS) of token ids, from batch `first` on."""
        buffer: list[int] = []
        number = 0
        for ids in self._passages():
            buffer += ids
            while len(buffer) >= BATCH_TOKENS:
                if number >= first:
                    yield torch.tensor(buffer[:BATCH_TOKENS]).view(-1, CONTEXT_TOKENS)
                buffer = buffer[BATCH_TOKENS:]
                number += 1

    def _passages(self) -> Iterator[Sequence[int]]:
        draw = random.Random(self.seed)
        order = list(range(len(self.passages)))
        while True:
            draw.shuffle(order)
            yield from (self.passages[i] for i in order)


def encoded(vocabulary: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[array[int]]:
    """Token ids of each text, ended. Kept in four bytes each: a text may have a hundred million."""
    end = vocabulary.eos_token_id
    found = []
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        found += [array("I", [*ids, end]) for ids in vocabulary(part, add_special_tokens=False, verbose=False)["input_ids"]]
    return found


def examine(model: LlamaForCausalLM, vocabulary: PreTrainedTokenizerFast, held_out: Sequence[Sequence[int]]) -> dict[str, float]:
    """The loss on the passages kept apart (token ids), in nats a token and bits a byte (of the same windows)."""
    model.eval()
    flat = torch.tensor([one for ids in held_out for one in ids])
    windows = flat[: len(flat) // CONTEXT_TOKENS * CONTEXT_TOKENS].view(-1, CONTEXT_TOKENS)[:EXAMINED_WINDOWS]
    total = 0.0
    with torch.no_grad():
        for window in windows.split(8):
            total += len(window) * model(input_ids=window.to(model.device), labels=window.to(model.device)).loss.item()
    nats = total / len(windows)
    n_bytes = len(str(vocabulary.decode(windows.flatten(), skip_special_tokens=True)).encode())
    return {
        "held_out_nats_per_token": round(nats, 4),
        "held_out_bits_per_byte": round(nats / math.log(2) * windows.numel() / n_bytes, 4),
    }


def as_asked(asked: argparse.Namespace, texts: Texts) -> dict[str, Any]:
    """What decides the weights, beside the machine."""
    settings = {name: getattr(asked, name) for name in ("size", "seed", "vocabulary", "threads")}
    return {"text_hash": texts.content, "tokens_asked": asked.tokens, **settings}


def finished(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The card, where the folder holds this base; None where it holds none.

    Raises:
        BadInput: it holds another base.
    """
    card = card_of(folder)
    if card is None:
        return None
    for name, value in wanted.items():
        if card.get(name) != value:
            text = f"holds a base with {name}={card.get(name)}, and {value} is asked for; give another directory"
            raise BadInput(f"--output {folder}: {text}", field="--output")
    return card


def make(asked: argparse.Namespace) -> dict[str, Any]:
    """Pretrains the base, or goes on with it, and writes its directory, the card last; returns the card."""
    texts = gather(asked.text)
    wanted = as_asked(asked, texts)
    if (card := finished(asked.output, wanted)) is not None:
        print(f"{asked.output}: finished already", flush=True)
        return card
    print(f"{len(texts.learnt):,} passages to learn from, {len(texts.held_out):,} kept apart", flush=True)
    vocabulary = learn_vocabulary(texts, asked.vocabulary)
    apart = encoded(vocabulary, texts.held_out)
    if (n_apart := sum(map(len, apart))) < CONTEXT_TOKENS:
        text = f"too little text: {n_apart} tokens of it kept apart, {CONTEXT_TOKENS} needed; give some 300,000 characters"
        raise BadInput(f"--text {' '.join(asked.text)}: {text}", field="--text")
    ids = encoded(vocabulary, texts.learnt)
    n_tokens = sum(len(one) for one in ids)
    print(f"{n_tokens:,} tokens, read {asked.tokens / n_tokens:.2g} times", flush=True)
    base, place = Base(asked.size, asked.seed, asked.tokens), Place(asked.output, asked.threads, STATE_SECONDS, teacher=False)
    made_of = {"text_hash": texts.content, "vocabulary_hash": content_hash(vocabulary.backend_tokenizer.to_str())}
    reading = pretrained(base, vocabulary, made_of, place, Windows(ids, asked.seed))
    write_whole(asked.output / "held_out.txt", ("\n\n".join(texts.held_out) + "\n").encode())
    card = {
        **wanted,
        "files": [Path(name).name for name in asked.text],
        "tokens_of_text": n_tokens,
        **described(reading, asked.output),
        **examine(reading.model, vocabulary, apart),
    }
    finish(asked.output, card)
    return card


def read_words(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for.

    Raises:
        BadInput: a number that cannot be.
    """
    parser = Parser("core.lab.make.natural", __doc__)
    parser.add_argument("--text", nargs="+", required=True, help="plain text files, also gzipped")
    parser.add_argument("--output", type=Path, required=True, help="the directory to write")
    parser.add_argument("--size", choices=list(SIZES), default="10M", help="parameters of the layers (default 10M)")
    parser.add_argument(
        "--tokens", type=int, default=DEFAULT_TOKENS, help=f"to read, again where the text has fewer (default {DEFAULT_TOKENS:,})"
    )
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help=f"words (default {VOCABULARY})")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and order")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args(words)
    for name, least in (("tokens", BATCH_TOKENS), ("vocabulary", 300), ("threads", 1), ("seed", 0)):
        if getattr(asked, name) < least:
            raise BadInput(f"--{name} {getattr(asked, name)}: give at least {least}", field=f"--{name}")
    return asked


def main(words: Sequence[str] | None = None) -> int:
    try:
        card = make(read_words(words))
    except BadInput as error:
        return refused(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(json.dumps(card, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
