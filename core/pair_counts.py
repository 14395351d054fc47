"""What is told of a second stage's pairs before a trial runs, without torch: counts, and tokens of a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from core import remembered, writing
from core.base import BaseFiles
from core.data import pairs
from core.errors import BadInput
from core.settings import Trial

# What decides the counts beside the content of data and model.
COUNTING = ("pair_counts.py", "chat.py", "template.py", "spans.py", "writing.py", "preference_settings.py", "data", "lab")


@dataclass(frozen=True)
class PairCounts:
    """Of a trial's pairs. Tokens, and those that are used, are about, from a sample."""

    n_source: int
    n_available: int
    n_drawn: int
    n_used: int
    n_empty: int
    n_bad: int
    n_in_evaluation: int
    mean_tokens: float  # of both answers, each with the prompt
    mean_taught: float  # of both answers
    longest_tokens: int  # of an answer with its prompt
    pairs_hash: str

    def __str__(self) -> str:
        counts = {
            "with an empty answer": self.n_empty,
            "malformed": self.n_bad,
            "shared with the evaluation rows": self.n_in_evaluation,
        }
        left_out = ", ".join(f"{n:,} {why}" for why, n in counts.items() if n) or "none"
        used = f"{self.n_used:,} used of mean {self.mean_tokens:.0f} tokens (both answers)"
        return f"{self.n_source:,} pairs, {used}, {left_out} skipped"


def provenance(trial: Trial) -> dict[str, str]:
    """The content hash of the source, where there is a second stage."""
    return {"pairs": pairs.hash_of(trial.prefer.source)} if trial.prefer.on else {}


def counted(trial: Trial, base: BaseFiles, seq_len: int, hashes: Mapping[str, str]) -> PairCounts | None:
    """The counts; None without a second stage.

    Raises:
        BadInput: the pairs cannot be read, none is left, or the stage's learning rate is out of range.
    """
    if not trial.prefer.on:
        return None
    pairs.check(trial.data, trial.prefer)
    trial.second_stage(1)
    asked = [dataclasses.asdict(part) for part in (trial.data, trial.prefer)]
    key = ["pairs", *asked, trial.model.chat_template, trial.seed, seq_len, dict(hashes), remembered.code_hash(COUNTING)]
    if (known := remembered.recall(key)) is not None:
        with suppress(TypeError):  # fields of another version
            return PairCounts(**known)
    found = _counts(trial, base, seq_len)
    remembered.keep(key, dataclasses.asdict(found))
    return found


def _counts(trial: Trial, base: BaseFiles, seq_len: int) -> PairCounts:
    chosen = pairs.select(trial.data, trial.prefer, trial.seed)
    sample = chosen.pairs[: writing.SAMPLED_ROWS]
    try:
        both = [tuple(writing.counts(trial, base, (pair.chosen, pair.rejected))) for pair in sample]
    except BadInput as error:
        raise BadInput(f"{pairs.FIELD}={trial.prefer.source}: {error.text}", field=pairs.FIELD) from None
    kept = [pair for pair in both if max(before for _, before in pair) < seq_len]
    if not kept:
        text = f"the prompts alone of all pairs that were looked at fill the {seq_len} tokens of a sequence"
        raise BadInput(f"{pairs.FIELD}={trial.prefer.source}: {text}", field=pairs.FIELD)
    lengths = [[min(n, seq_len) for n, _ in pair] for pair in kept]
    taught = [sum(min(n, seq_len) - before for n, before in pair) for pair in kept]
    return PairCounts(
        n_source=len(chosen.source.pairs),
        n_available=chosen.n_available,
        n_drawn=len(chosen.pairs),
        n_used=max(1, round(len(chosen.pairs) * len(kept) / len(both))),
        n_empty=chosen.source.n_empty,
        n_bad=chosen.source.n_bad,
        n_in_evaluation=chosen.n_in_evaluation,
        mean_tokens=sum(map(sum, lengths)) / len(kept),
        mean_taught=sum(taught) / len(kept),
        longest_tokens=max(map(max, lengths)),
        pairs_hash=pairs.pairs_hash(chosen.pairs),
    )
