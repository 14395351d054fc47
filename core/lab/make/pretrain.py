"""Pretrain laboratory bases.

    python -m core.lab.make.pretrain base-0 base-1 --output DIR       writes DIR/base-0 and DIR/base-1; --all: every base
    python -m core.lab.make.pretrain --seed 9 --size 0.9M --output DIR    a base of your own

A Llama of 0.2, 0.9 or 4 M parameters reads about 18 M tokens of the corpus once (core/lab/make/recipe.py). Writes a Hugging Face
model directory with its tokenizer and a card (card.json: corpus hash, tokens, steps, seed, loss per domain, accuracy per skill,
command). The same seed, machine and number of threads give the same weights. Its state is saved every few minutes: the same
command goes on after an interruption, to the same weights, and leaves out the bases that are finished.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import BadInput, nearest
from core.fields import content_hash
from core.lab import corpus, tokenizer
from core.lab.make import recipe
from core.lab.make.reading import Place, card_of, described, finish, pretrained
from core.lab.make.recipe import BASES, DEFAULT_TOKENS, SIZES, WINDOW_TOKENS, Base
from core.lab.skills import SKILLS
from core.lab.version import corpus_hash
from core.naming import expanded
from core.settings import Evaluation, Trial
from core.tasks import lab as lab_task
from core.tasks.measurement import Subject

MOST_TOKENS, MOST_THREADS = 10**12, 1_024  # of any base that is meant
STATE_SECONDS = 180.0  # between two states


@dataclass(frozen=True)
class Job:
    """A base, the directory that it is written to, and how."""

    base: Base
    output: Path
    threads: int
    state_seconds: float = STATE_SECONDS

    @property
    def command(self) -> str:
        """Makes it again."""
        asked = f"--seed {self.base.seed} --size {self.base.size} --tokens {self.base.n_tokens} --threads {self.threads}"
        return f"python -m core.lab.make.pretrain {asked} --output DIR"

    @property
    def finished(self) -> bool:
        """Whether the directory holds this base, of this corpus."""
        card = card_of(self.output)
        return card is not None and {"command": self.command, **of_world()}.items() <= card.items()


def of_world() -> dict[str, str]:
    """What a base is made of beside its recipe: the corpus, and the words in the order of their tokens."""
    return {"corpus_hash": corpus_hash(), "vocabulary_hash": content_hash(tokenizer.vocabulary())}


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


def make(job: Job) -> dict[str, Any]:
    """Pretrains a base, or goes on with it, and writes its directory, the card last; returns the card."""
    vocabulary = tokenizer.build()
    windows = partial(recipe.windows, vocabulary, job.base)
    place = Place(job.output, job.threads, job.state_seconds, teacher=True)
    reading = pretrained(job.base, vocabulary, of_world(), place, windows)
    card = {
        "command": job.command,
        **of_world(),
        **described(reading, job.output),
        **examine(reading.model, vocabulary),
    }
    finish(job.output, card)
    return card


def jobs(asked: argparse.Namespace) -> list[Job]:
    """What the words of the command line ask for.

    Raises:
        BadInput: a base that there is not, or named ones beside one of your own.
    """
    own = asked.seed is not None or asked.size is not None
    if own and (asked.bases or asked.all):
        raise BadInput("--seed and --size make a base of your own; leave them out, or the names of bases")
    if not (own or asked.bases or asked.all):
        raise BadInput(f"which base? Name some of {', '.join(BASES)}, or give --all")
    for name in asked.bases:
        if name not in BASES:
            raise BadInput(f"{name}: {nearest(name, list(BASES))}")
    for option, value, (least, most) in (
        ("--tokens", asked.tokens, (recipe.BATCH_TOKENS, MOST_TOKENS)),
        ("--threads", asked.threads, (1, MOST_THREADS)),
        ("--seed", asked.seed or 0, (0, 2**32 - 1)),
    ):
        if not least <= value <= most:
            why = ", those of one step" if option == "--tokens" else ""
            raise BadInput(f"{option} {value}: must be from {least:,}{why}, to {most:,}", field=option)
    there = next(path for path in (asked.output, *asked.output.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is no directory"
        raise BadInput(f"--output {asked.output}: {there} {what}; give another one", field="--output")
    if own:
        return [Job(Base(asked.size or "0.9M", asked.seed or 0, asked.tokens), asked.output, asked.threads)]
    return [
        Job(Base(BASES[name].size, BASES[name].seed, asked.tokens), asked.output / name, asked.threads)
        for name in dict.fromkeys(BASES if asked.all else asked.bases)
    ]


def read_words(words: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("core.lab.make.pretrain", __doc__)
    parser.add_argument("bases", nargs="*", help=f"of {', '.join(BASES)}")
    parser.add_argument("--all", action="store_true", help="every one of these that is not finished")
    parser.add_argument("--seed", type=int, help="of a base of your own (default 0)")
    parser.add_argument("--size", choices=list(SIZES), help="of a base of your own (default 0.9M)")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS)
    parser.add_argument("--output", required=True, help="the directory to write: of one base of your own, or of all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    found = parser.parse_args(words)
    found.output = expanded("--output", found.output)
    return found


def main(words: Sequence[str] | None = None) -> int:
    try:
        wanted = jobs(read_words(words))
    except BadInput as error:
        return refused(error)
    for number, job in enumerate(wanted, 1):
        print(f"{job.output}: {number} of {len(wanted)}{', finished' if job.finished else ''}", flush=True)
        if job.finished:
            continue
        try:
            card = make(job)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on", file=sys.stderr)
            return EXIT_INTERRUPTED
        print(json.dumps({k: v for k, v in card.items() if k != "raw_accuracy_per_skill"}, indent=1))
        weak = {k: v for k, v in card["raw_accuracy_per_skill"].items() if v < 0.9}
        print("skills under 90 %:", weak or "none", flush=True)
        if math.isnan(card["raw_accuracy"]):
            raise SystemExit("pretraining diverged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
