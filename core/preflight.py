"""What a trial will cost and whether it can run at all, told without torch and before anything is started.

Shapes come from the safetensors header, so parameters are exact; tokens are estimated from a sample of the rows. `inspect`
raises BadInput for every input that a person has to mend.
"""

from __future__ import annotations

import dataclasses
import functools
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core import (
    adapters,
    against_forgetting,
    along,
    chat,
    checkpoint,
    language,
    pair_counts,
    rehearsal,
    remembered,
    scorer,
    tasks,
    writing,
)
from core import base as bases
from core.base import BaseFiles
from core.data import files, kinds, selection
from core.data.choices import TOKENS
from core.data.rows import READING, is_lab, rows_hash
from core.errors import BadInput
from core.fields import flatten
from core.settings import Data, Evaluation, Trial
from core.tasks import instructions, task_files


@dataclass(frozen=True)
class LeftOut:
    """How many rows are not trained on and why, and which fields of the rows nothing uses."""

    n_empty: int
    n_bad: int  # malformed ones, where they may be left out
    n_in_evaluation: int  # evaluation asks what they answer
    unused: tuple[str, ...]

    def __str__(self) -> str:
        counts = {"malformed or refused": self.n_bad, "shared with the evaluation rows": self.n_in_evaluation}
        words = [f"{self.n_empty} without text", *(f"{n:,} {why}" for why, n in counts.items() if n)]
        told = f"; fields not used: {', '.join(self.unused[:12])}" if self.unused else ""
        return f"{', '.join(words)} skipped{told}"


@dataclass(frozen=True)
class Inputs:
    """A trial's resolved inputs. Counts and tokens marked "about" in the comments are estimates from a sample."""

    provenance: dict[str, str]  # content hashes: "data", "model", and where given "eval_data", "base_text"
    n_rows: int  # rows with a response in the source
    n_available: int  # of these, rows that could be trained on: data.n_examples is cut to them
    n_taken: int  # of these, the rows that are drawn or selected, too long ones among them
    n_train_examples: int
    n_eval_rows: int
    left_out: LeftOut
    n_truncated: int  # about
    n_too_long: int  # about: their prompts alone fill the sequence
    mean_tokens: float  # about, a row after truncation
    longest_tokens: int  # of the sample
    seq_len_tokens: int
    drift_tokens: int  # of the texts sampled from the base
    own_template: bool  # whether the base brings a chat template, so that its answers are its own
    n_parameters: int
    trainable_parameters: int
    new_tokens: int
    steps: int
    tokens: int  # about, the whole trial
    train_rows_hash: str  # of the rows that are drawn, too long ones among them, in their order
    evaluation_rows_hash: str  # of the trial's split
    notes: tuple[str, ...]  # what may not be meant, about how the rows are written and beside
    by_source: tuple[str, ...]  # of several sources: what of each
    shown: tuple[tuple[str, bool], ...]  # one row as it is written, in pieces, each with whether it is learnt
    lengths: tuple[int, ...]  # of the sample, in tokens
    mean_taught: float  # about, tokens of a row that are taught
    longest_taught: int  # of the sample
    pairs: pair_counts.PairCounts | None  # of a second stage


@functools.lru_cache(maxsize=64)
def _select(data: Data, evaluation: Evaluation, seed: int, content: tuple[tuple[str, str], ...]) -> selection.Selection:
    """The selection, made once for all arms and bases that share it, as long as the data have this content."""
    return selection.select(data, evaluation, seed)


def selected(trial: Trial, hashes: dict[str, str] | None = None) -> selection.Selection:
    """The rows that the trial trains on and is scored on. `hashes`: its provenance, where that is known."""
    if trial.data.skip_bad_rows or trial.data.budget == TOKENS:
        return writing.select(trial, base := bases.read(trial.model), _seq_len(trial, base))
    content = {name: found for name, found in (hashes or provenance(trial)).items() if name != "model"}
    return _select(trial.data, trial.evaluation, trial.seed, tuple(sorted(content.items())))


@dataclass(frozen=True)
class _Rows:
    """What is known of a trial's rows: counts, and of a sample their tokens and the shares that do not fit."""

    n_source: int
    n_available: int
    n_train: int
    n_evaluation: int
    n_empty: int
    n_bad: int
    n_in_evaluation: int
    unused: tuple[str, ...]
    mean_tokens: float
    longest_tokens: int
    too_long: float
    truncated: float
    train_rows_hash: str
    evaluation_rows_hash: str
    notes: tuple[str, ...]
    lengths: tuple[int, ...]
    mean_taught: float
    longest_taught: int
    by_source: tuple[str, ...]
    shown: tuple[tuple[str, bool], ...]

    def as_inputs(self, trial: Trial) -> dict[str, Any]:
        """What of it is told of a trial as it stands."""
        same = ("mean_tokens", "longest_tokens", "mean_taught", "longest_taught", "train_rows_hash", "evaluation_rows_hash")
        return {name: getattr(self, name) for name in same} | {
            "n_rows": self.n_source,
            "n_available": self.n_available,
            "n_taken": self.n_train,
            "n_eval_rows": self.n_evaluation,
            "left_out": LeftOut(self.n_empty, self.n_bad, self.n_in_evaluation, tuple(self.unused)),
            "notes": (*self.notes, *against_forgetting.notes(trial)),
            "by_source": tuple(self.by_source),
            "shown": tuple((str(text), bool(learnt)) for text, learnt in self.shown),
            "lengths": tuple(self.lengths),
        }


# What decides the counts of _Rows beside the content of the data and the model.
WRITING = ("chat.py", "template.py", "spans.py", "sandbox.py", "writing.py", "shown.py", "refused.py")
COUNTING = ("preflight.py", "language.py", "scorer.py", *WRITING, "settings.py", "targets.py", "data", "lab")


def inspect(trial: Trial) -> Inputs:
    """Everything that can be known about the trial before it runs.

    Raises:
        BadInput: it cannot run; the message says which field and why.
    """
    _check_sources(trial)
    _check_fields(trial)
    adapters.method_of(trial)
    base = bases.read(trial.model)
    seq_len = _seq_len(trial, base)
    _check_base_text(trial, base, seq_len)
    hashes = provenance(trial)
    rows = _counted(trial, base, seq_len, hashes)
    if trial.evaluation.every is not None:
        _counted(along.on_validation(trial), base, seq_len, hashes)
    rehearsal.check(trial.model, base)  # last, as it is dear: what can be told without it is told first
    n_too_long, n_truncated = (round(share * rows.n_train) for share in (rows.too_long, rows.truncated))
    n_used = _some(rows.n_train - n_too_long, trial, seq_len)
    trainable = adapters.n_trained(trial, base)
    n_replayed = selection.n_replayed(trial.data, n_used)
    each = against_forgetting.check_replayed_text(trial, base, seq_len) if n_replayed else 0
    tokens = n_used * rows.mean_tokens + n_replayed * each
    return Inputs(
        **rows.as_inputs(trial) | {"longest_tokens": max(rows.longest_tokens, each)},
        provenance=hashes,
        n_train_examples=n_used,
        n_truncated=n_truncated,
        n_too_long=n_too_long,
        seq_len_tokens=seq_len,
        drift_tokens=checkpoint.drift_tokens(trial.evaluation.drift_tokens, base.context),
        own_template=chat.choose(chat.own_template(base.directory), trial.model.chat_template).source is not None,
        n_parameters=base.n_parameters,
        trainable_parameters=trainable,
        new_tokens=base.new_tokens,
        steps=trial.train.n_steps(n_used + n_replayed),
        tokens=round(tokens * trial.train.n_epochs(n_used + n_replayed)),
        pairs=pair_counts.counted(trial, base, seq_len, hashes),
    )


def _seq_len(trial: Trial, base: BaseFiles) -> int:
    taken = adapters.method_of(trial).virtual_tokens(trial.adapter)
    return checkpoint.resolve_seq_len(trial.data.seq_len_tokens, base.context, taken)


def _some(n_used: int, trial: Trial, seq_len: int) -> int:
    """The number of rows that fit, if there are some."""
    if n_used <= 0:
        text = f"every prompt alone fills the {seq_len} tokens of a sequence (data.seq_len_tokens, or the model's context)"
        raise BadInput(f"data.source={trial.data.source}: {text}", field="data.source")
    return n_used


def _counted(trial: Trial, base: BaseFiles, seq_len: int, hashes: dict[str, str]) -> _Rows:
    """The counts of the trial's rows, which are made, selected and tokenized only if that was not done before."""
    asked = [*map(dataclasses.asdict, (trial.data, trial.evaluation)), trial.model.chat_template, trial.train.loss_on == "last"]
    content = hashes | {"model": base.words_hash, "code": remembered.code_hash(COUNTING)}
    key = ["rows", *asked, trial.seed, seq_len, content]
    if (known := remembered.recall(key)) is not None:
        with suppress(TypeError):  # fields of another version
            return _Rows(**known)
    chosen = selected(trial, hashes)
    language.check(("model.name", trial.model.name, base), trial.data.source, sample := chosen.train[: writing.SAMPLED_ROWS])
    scorer.check(trial, sample)
    written = writing.look(trial, base, chosen, seq_len)
    rows = _Rows(
        n_source=len(chosen.source.rows),
        n_available=chosen.n_available,
        n_train=len(chosen.train),
        n_evaluation=len(chosen.evaluation),
        n_empty=chosen.source.n_empty,
        n_bad=chosen.n_bad,
        n_in_evaluation=chosen.n_in_evaluation,
        unused=chosen.source.unused,
        by_source=chosen.by_source,
        train_rows_hash=rows_hash(chosen.train),
        evaluation_rows_hash=rows_hash(chosen.evaluation),
        **dataclasses.asdict(written),
    )
    remembered.keep(key, dataclasses.asdict(rows))
    return rows


def _check_sources(trial: Trial) -> None:
    """Rows or a text that would be ignored in silence, and what only the laboratory has, are refused."""
    data, kind = trial.data, kinds.kind_of(trial.data.source)
    texts = {"evaluation.base_text": trial.evaluation.base_text, "data.replay_text": data.replay_text}
    other = {"data.eval_source": data.eval_source, **texts}
    for name, value in other.items():
        if value is not None and (kind.laboratory or (kind.own_questions and name == "data.eval_source")):
            whose = "the laboratory's own" if kind.laboratory else "questions of its own"
            raise BadInput(f"{name}={value}: {data.source} is evaluated on {whose}; give --data with it", field=name)
    of_the_lab = {"data.replay_domain": data.replay_domain is not None, "evaluation.chat": trial.evaluation.chat != "template"}
    for name, used in of_the_lab.items():
        if used and not (kind.laboratory and is_lab(trial.model.name)):
            raise BadInput(f"{name}: only for the laboratory's own bases and data", field=name)
    against_forgetting.check_replay(trial, kind.laboratory and is_lab(trial.model.name))
    if data.eval_source is not None and kinds.kind_of(data.eval_source).own_questions:
        text = "must be a file or a hub id; the laboratory and reasoning-gym have no such rows"
        raise BadInput(f"data.eval_source={data.eval_source}: {text}", field="data.eval_source")


def _check_fields(trial: Trial) -> None:
    for part in (tasks, along, against_forgetting):
        part.check(trial)
    fields, source = trial.data.fields, trial.data.source
    if fields is not None and kinds.kind_of(source).own_questions:
        text = f"{source} has no columns to name; only for rows of files and of the hub (--data)"
        raise BadInput(f"data.fields={fields}: {text}", field="data.fields")


def _check_base_text(trial: Trial, base: BaseFiles, seq_len: int) -> None:
    if trial.evaluation.base_text is not None:
        text = files.read_text("evaluation.base_text", trial.evaluation.base_text).text
        chat.count_base_text(base.directory, trial.evaluation.base_text, text, seq_len)


# What else a trial reads, by the name of its hash.
FILES = {
    "base_text": "evaluation.base_text",
    "replay_text": "data.replay_text",
    "choices": "evaluation.choices",
    "choices_dev": "evaluation.choices_dev",
    "ifeval": "evaluation.ifeval",
}


def provenance(trial: Trial) -> dict[str, str]:
    """Content hashes of everything the trial reads."""
    found = {"data": _data_hash("data.source", trial.data.source), "model": bases.read(trial.model).hash}
    if not kinds.kind_of(trial.data.source).own_questions:
        found["reading"] = str(READING)
    found |= pair_counts.provenance(trial)
    if trial.data.eval_source is not None:
        found["eval_data"] = _data_hash("data.eval_source", trial.data.eval_source)
    if trial.data.scorer is not None:
        found["scorer"] = scorer.files_of(trial).hash
    if template := chat.template_hash(trial.model.chat_template):
        found["chat_template"] = template
    if trial.evaluation.lm_eval is not None:
        found["lm_eval"] = task_files.hash_of(trial.evaluation)
    for kind, name in FILES.items():
        if (path := flatten(trial)[name]) is not None:
            found[kind] = kinds.file_hash(name, str(path))
    found |= {"following": str(instructions.FOLLOWING)} if "ifeval" in found else {}
    return found


def _data_hash(field: str, source: str) -> str:
    return kinds.kind_of(source).content_hash(field, source)
