"""A trial's rows as tokens: those that it learns from, and those that it is scored on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any

from core import checkpoint, model, refused, replay, unchanged, warm
from core.data import encode, files, kinds, near, selection
from core.data.choices import RANDOM, Score
from core.data.drawing import Means
from core.data.rows import Row, rows_hash
from core.errors import BadInput
from core.fields import content_hash, flatten
from core.lab import corpus
from core.result import Result
from core.row_scores import Scoring
from core.settings import PROMPTS, REPLAYED, RESPONSE, SPLITS, Train, Trial
from core.tasks.measurement import context_of
from core.tasks.text import text_ids, text_windows

REPLAY_STREAM = 1_000_000  # replayed documents are drawn like those of pretraining, from seeds that no pretraining used


@dataclass(frozen=True)
class Counted:
    """What of a trial's rows decides how much its measures read and write (core/tasks/costs.py)."""

    n_eval_rows: int
    mean_tokens: float
    mean_taught: float
    longest_taught: int
    seq_len_tokens: int
    drift_tokens: int
    own_template: bool


@dataclass(frozen=True)
class Tokens:
    """The trial's rows as tokens."""

    train: tuple[encode.Encoded, ...]
    held_out: tuple[encode.Encoded, ...]
    counted: Counted
    difficulties: tuple[float | None, ...] = ()  # of the training sequences, where they come in an order of their own


def _counted(scoring: Scoring, training: encode.Batch, scored: encode.Batch) -> Counted:
    """Of the rows that it learns from, without old text that is replayed: as they would be asked and answered."""
    trial, base, rows = scoring.trial, scoring.base, training.rows
    taught = [sum(row.mask) for row in rows]
    return Counted(
        len(scored.rows),
        fmean(len(row.ids) for row in rows),
        fmean(taught),
        max(taught),
        scoring.seq_len,
        checkpoint.drift_tokens(trial.evaluation.drift_tokens, context_of(base.model)),
        encode.brings_template(base.tokenizer),
    )


def chosen_for(trial: Trial, base: model.Base, means: Means) -> selection.Selection:
    """What the trial trains on and is scored on; without what the chat template refuses, where that may be left out."""
    asked = trial.data, trial.evaluation, trial.seed
    if trial.data.skip_bad_rows:
        return refused.select(encode.template_of(base.tokenizer), *asked, means)
    return selection.select(*asked, means=means)


def check_unchanged(trial: Trial, base: model.Base, chosen: selection.Selection, hashes: Mapping[str, str]) -> None:
    """The rows come from the bytes that the plan has hashed, and the chat template is the one that it has."""
    template = content_hash(base.tokenizer.chat_template)
    unchanged.check("model.chat_template", trial.model.chat_template, hashes.get("chat_template"), template)
    for name, loaded in {"data": chosen.source, "eval_data": chosen.eval_source}.items():
        field = {"data": "data.source", "eval_data": "data.eval_source"}[name]
        source = str(flatten(trial)[field])
        if loaded is not None and hashes.get(name):
            read = loaded.content or kinds.kind_of(source).content_hash(field, source)
            unchanged.check(field, source, hashes[name], read)


def held_out(trial: Trial, base: model.Base, chosen: selection.Selection, seq_len: int) -> encode.Batch:
    """The tokens of the rows that a trial is scored on.

    Raises:
        BadInput: there are rows, and none of them fits.
    """
    asked = "data.eval_source" if trial.data.eval_source else "data.source"
    found = _tokenized(trial, base, chosen.evaluation, seq_len, asked)
    if chosen.evaluation and not found.rows:
        text = f"data.eval_source: all {len(chosen.evaluation)} evaluation rows are too long for {seq_len} tokens"
        raise BadInput(text, field="data.eval_source")
    return found


def encoded(scoring: Scoring, result: Result, chosen: selection.Selection) -> Tokens:
    """The trial's rows as tokens, which are counted in the result."""
    trial, base, seq_len = scoring.trial, scoring.base, scoring.seq_len
    metrics, facts = result.metrics, result.facts
    training = _tokenized(trial, base, chosen.train, seq_len, "data.source")
    if not training.rows:
        raise BadInput(
            f"data.source={trial.data.source}: all {len(chosen.train)} rows are too long: prompts alone fill {seq_len} tokens",
            field="data.source",
        )
    scored = held_out(trial, base, chosen, seq_len)
    metrics |= _counts(chosen, training, scored)
    hashes = rows_hash(chosen.train), rows_hash(chosen.evaluation)
    if chosen.evaluation:
        alike: near.Near = warm.NEAR.get(hashes, lambda: near.between(chosen.train, chosen.evaluation))
        metrics["rows/evaluated_near_duplicates"] = alike.n
        facts["near_duplicates"] = alike.told or "none"
    facts |= {
        "train_rows_hash": hashes[0],
        "evaluation_rows_hash": hashes[1],
        "data_shapes": ", ".join(chosen.source.shapes),
        **({"data_sources": "; ".join(chosen.by_source)} if chosen.by_source else {}),
        **({"rows_of_sources": json.dumps(chosen.rows_of_sources)} if chosen.shares else {}),
        "template_leaves_out": ", ".join(f"{kind} ({n} rows)" for kind, n in sorted(training.dropped.items())) or "nothing",
    }
    taught = _taught(trial, base, training.rows, seq_len, result)
    counts = _counted(scoring, training, scored)
    return Tokens(taught, scored.rows, counts, _difficulties(scoring, chosen.train, taught, facts))


def _counts(chosen: selection.Selection, training: encode.Batch, scored: encode.Batch) -> dict[str, float]:
    """How many rows there were, which of them are used, and why others are not."""
    named = {"tasks": chosen.n_of_trained_tasks, "templates": chosen.n_of_trained_templates}
    return {
        "rows/available": chosen.n_available,
        "rows/used": len(training.rows),
        "rows/response_tokens": sum(sum(row.mask) for row in training.rows) / len(training.rows),  # a row
        "rows/truncated": training.n_truncated,
        "rows/skipped_too_long": training.n_too_long,
        "rows/skipped_empty": chosen.source.n_empty,
        "rows/skipped_bad": chosen.n_bad,
        "rows/skipped_in_evaluation": chosen.n_in_evaluation,
        "rows/template_dropped_text": training.n_dropped,
        "rows/evaluated_template_dropped_text": scored.n_dropped,
        "rows/evaluated": len(scored.rows),
        "rows/evaluated_truncated": scored.n_truncated,
        "rows/evaluated_skipped_too_long": scored.n_too_long,
        **{f"rows/evaluated_of_trained_{what}": n for what, n in named.items() if n is not None},
    }


def _difficulties(
    scoring: Scoring, rows: tuple[Row, ...], taught: tuple[encode.Encoded, ...], facts: dict[str, str]
) -> tuple[float | None, ...]:
    """Of each training sequence the loss that orders it; none of documents that are replayed."""
    if scoring.trial.data.order == RANDOM:
        return ()
    scores = scoring.of(Score.LOSS, rows)
    facts["row_losses"] = content_hash(list(scores))
    of_row = dict(zip((row.id for row in rows), scores, strict=True))
    return tuple(of_row.get(one.id) for one in taught)


def _taught(
    trial: Trial, base: model.Base, encoded: tuple[encode.Encoded, ...], seq_len: int, result: Result
) -> tuple[encode.Encoded, ...]:
    """The training sequences: the rows, prompts in the loss too if asked, and old text that is replayed."""
    encoded = tuple(_near_base(trial.train, row) for row in encoded)
    if trial.train.loss_on == "all":
        encoded = tuple(replace(row, mask=[1] * len(row.ids)) for row in encoded)
    n_replayed = selection.n_replayed(trial.data, len(encoded))
    result.metrics["rows/replayed"] = n_replayed
    if not n_replayed:
        return encoded
    if replay.path_of(trial) is None:
        stream = corpus.stream(REPLAY_STREAM + trial.seed, trial.data.replay_domain)  # preflight: the base was pretrained on it
        replayed = encode.documents(base.tokenizer, list(islice(stream, n_replayed)))
    else:
        replayed, result.metrics["rows/replayed_different"] = _from_text(trial, base, seq_len, n_replayed, result.provenance)
    if trial.train.kl_to_base and trial.train.kl_on == REPLAYED:
        replayed = tuple(replace(one, mask=[0] * len(one.ids), kl_mask=one.mask) for one in replayed)
    return encoded + replayed


def _from_text(
    trial: Trial, base: model.Base, seq_len: int, n: int, hashes: Mapping[str, str]
) -> tuple[tuple[encode.Encoded, ...], int]:
    """`n` sequences of the text that is replayed, and how many are different.

    Raises:
        BadInput: the file has changed since the sweep was planned, or nothing of it is left.
    """
    tokenizer, evaluation = base.tokenizer, trial.evaluation
    path, field = str(replay.path_of(trial)), replay.field_of(trial)
    text = files.read_text(field, path)
    unchanged.check(field, path, hashes.get(field.partition(".")[2]), text.content)
    ids, window = text_ids(tokenizer, text), seq_len - encode.adds_bos(tokenizer)
    scored, places = list[list[int]](), list[range]()
    if evaluation.base_text is not None:
        told = files.read_text("evaluation.base_text", evaluation.base_text)
        most = replay.most_scored(evaluation, seq_len)
        scored = [own for split in SPLITS for _, own in text_windows(tokenizer, told, split, seq_len, most)]
        if told.content == text.content:
            places = replay.scored_ranges(len(ids), window, evaluation, seq_len)
    found = replay.pieces(len(ids), replay.piece_tokens(window), places, trial.seed)
    taken = replay.sequences(tokenizer, ids, found, scored, n)
    if not taken[0]:
        raise replay.nothing_left(trial, len(ids))
    return taken


def _near_base(train: Train, row: encode.Encoded) -> encode.Encoded:
    """The row, with the tokens at which the model is held near its base."""
    masks = {RESPONSE: row.mask, PROMPTS: [1 - taught for taught in row.mask]}
    return replace(row, kl_mask=masks.get(train.kl_on, [])) if train.kl_to_base else row


def _embedded(base: model.Base, rows: tuple[Row, ...], seq_len: int, last_only: bool) -> encode.Batch:
    """The rows' tokens.

    Raises:
        BadInput: one has a token that the model has no embedding for, a special one that its tokenizer has for another use.
    """
    batch = encode.encode_all(base.tokenizer, rows, seq_len, last_only)
    embedding: Any = base.model.get_input_embeddings()
    for one in batch.rows:
        if (last := max(one.ids)) >= len(embedding.weight):
            place = next(row.place for row in rows if row.id == one.id)
            token = base.tokenizer.convert_ids_to_tokens(last)
            raise BadInput(f"{place}: has {token!r}, which this model has no embedding for; take it out", field="data.source")
    return batch


def _tokenized(trial: Trial, base: model.Base, chosen: tuple[Row, ...], seq_len: int, field: str) -> encode.Batch:
    """The rows' tokens; arms of a sweep that share base, rows and length share them."""
    try:
        last_only = trial.train.loss_on == "last"
        key = (base.key, rows_hash(chosen), seq_len, last_only)
        batch: encode.Batch = warm.TOKENS.get(key, lambda: _embedded(base, chosen, seq_len, last_only))
    except BadInput as error:
        raise BadInput(
            f"{flatten(trial)[field]}: {error}", field=field if error.field == "data.source" else error.field
        ) from None
    return batch
