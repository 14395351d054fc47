"""The pairs of a trial's second stage as tokens."""

from __future__ import annotations

from collections.abc import Mapping

from core import model, unchanged
from core.data import encode, pairs
from core.data.encode import EncodedPair
from core.errors import BadInput
from core.result import Result
from core.settings import Trial


def encoded(trial: Trial, base: model.Base, seq_len: int, hashes: Mapping[str, str], result: Result) -> list[EncodedPair]:
    """The pairs; those of which an answer does not fit are left out. What became of them is in the result.

    Raises:
        BadInput: the source is not the one that was planned, the chat template refuses a row, or no pair is left.
    """
    chosen = pairs.select(trial.data, trial.prefer, trial.seed)
    unchanged.check(pairs.FIELD, trial.prefer.source, hashes.get("pairs"), chosen.source.content)
    both, n_truncated, n_refused = list[EncodedPair](), 0, 0
    for pair in chosen.pairs:
        try:
            whole = [encode.encode(base.tokenizer, row) for row in (pair.chosen, pair.rejected)]
        except BadInput as error:
            if not trial.data.skip_bad_rows:
                raise BadInput(f"{pairs.FIELD}={trial.prefer.source}: {error.text}", field=pairs.FIELD) from None
            n_refused += 1
            continue
        cut = [encode.cut(one, seq_len) for one in whole]
        if cut[0] is not None and cut[1] is not None and cut[0].ids != cut[1].ids:
            n_truncated += any(len(one.ids) > seq_len for one in whole)
            both.append(EncodedPair(len(both), cut[0], cut[1]))
    if not both:
        text = f"of {len(chosen.pairs)} pairs none has two answers that differ within {seq_len} tokens"
        raise BadInput(f"{pairs.FIELD}={trial.prefer.source}: {text}", field=pairs.FIELD)
    result.facts["pairs_hash"] = pairs.pairs_hash(chosen.pairs)
    result.metrics |= {
        "pairs/available": chosen.n_available,
        "pairs/used": len(both),
        "pairs/truncated": n_truncated,
        "pairs/skipped_too_long": len(chosen.pairs) - len(both) - n_refused,
        "pairs/skipped_bad": chosen.source.n_bad + n_refused,
        "pairs/skipped_empty": chosen.source.n_empty,
        "pairs/skipped_in_evaluation": chosen.n_in_evaluation,
        "pairs/response_tokens": sum(sum(one.mask) for pair in both for one in (pair.chosen, pair.rejected)) / (2 * len(both)),
    }
    return both
