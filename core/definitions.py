"""What a trial and an experiment are: frozen dataclasses that validate when built, and their dotted fields.

A definition is plain data: no I/O, no torch, importable in milliseconds. `flatten(trial)` gives the dotted fields that
the command line, MLflow and the tables use; `from_flat` reads them back; `replace_field` changes one of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

# Part of every fingerprint: raise it when a change of code changes what a trial with the same settings measures.
RESULT_VERSION = 2
# Fields that came after trials had been run under this version: at its default such a field is no part of a trial's identity,
# so that what has been run stays found. Their defaults must never change; a new version empties this.
ADDED_LATER = ("data.replay_domain", "data.best_share", "data.noise_share")

TARGET_PRESETS = ("attention-qv", "attention", "mlp", "all-linear")
SCHEDULES = ("linear", "cosine", "constant")
QUANTIZATIONS = ("none", "nf4")
DTYPES = ("auto", "float32", "bfloat16")
SPLITS = ("validation", "test")
LOSS_ON = ("response", "all")
CHATS = ("template", "plain", "other")


class BadInput(ValueError):
    """Something the user gave cannot be used. The message is one line: which field, which value, what would be valid."""


def redacted(text: str) -> str:
    """A URI, or a text with URIs in it, without user names, passwords and tokens: for messages and records."""
    bare = re.sub(r"(?<!sqlite)://\S*@", "://***@", text)
    return re.sub(r"(?i)(password|passwd|token|secret)=[^&\s]+", r"\1=***", bare)


def message(error: BaseException) -> str:
    """An exception's text as one line, without credentials."""
    return redacted(" ".join(str(error).split()))


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 300 characters: its type and message, without credentials."""
    return f"{type(error).__name__}: {message(error) or 'no message'}"[:300]


def nearest(name: str, choices: Sequence[str]) -> str:
    """One clause that helps with a misspelt `name`: the nearest choice, or all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else "choose from " + ", ".join(choices)


def _require(ok: bool, owner: object, name: str, valid: str) -> None:
    if not ok:
        raise BadInput(f"{FIELD_PREFIX[type(owner)]}{name}={getattr(owner, name)!r}: must be {valid}")


def _one_of(owner: object, name: str, choices: Sequence[str]) -> None:
    value = getattr(owner, name)
    if value not in choices:
        raise BadInput(f"{FIELD_PREFIX[type(owner)]}{name}={value!r}: {nearest(str(value), choices)}")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The base model: `lab:base-<seed>`, a directory, or a Hugging Face hub id."""

    name: str = "lab:base-0"
    revision: str | None = None
    quantization: str = "none"
    dtype: str = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        _require(bool(self.name), self, "name", "lab:base-<seed>, a directory or a hub id")
        _one_of(self, "quantization", QUANTIZATIONS)
        _one_of(self, "dtype", DTYPES)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training rows and, for real data, the rows that quality is measured on.

    `n_examples` is a seeded nested subset (250 is contained in 500); None takes all. Without `eval_source`, real data
    give up `eval_share` of their rows for evaluation; the laboratory evaluates by program and needs neither.
    """

    source: str = "lab:curated"
    n_examples: int | None = 1_000
    eval_source: str | None = None
    eval_share: float = 0.1
    seq_len_tokens: int | None = None  # None: the smaller of the model's context and 1,024
    held_out_fold: int = 0  # laboratory only: which quarter of the clusters is never trained on
    # From how many of the clusters, tasks or templates that its rows name they come (nested, drawn by the seed); None: all.
    n_clusters: int | None = None
    n_tasks: int | None = None
    n_templates: int | None = None
    replay_share: float = 0.0  # laboratory only: share of pretraining documents among the training sequences, added to the rows
    replay_domain: str | None = None  # laboratory only: from which domain of the corpus they come; None: from all, in its shares
    best_share: float = 1.0  # share of the source's rows that are left to draw from: those with the highest "score"
    noise_share: float = 0.0  # share of the training rows whose answer is another row's, and not the same

    def __post_init__(self) -> None:
        _require(bool(self.source), self, "source", "lab:curated, lab:synthetic, a file or a hub id")
        _require(self.n_examples is None or self.n_examples >= 1, self, "n_examples", "at least 1, or none for all")
        _require(0 < self.eval_share < 1, self, "eval_share", "between 0 and 1")
        _require(self.seq_len_tokens is None or self.seq_len_tokens >= 8, self, "seq_len_tokens", "at least 8")
        _require(0 <= self.held_out_fold <= 3, self, "held_out_fold", "0, 1, 2 or 3")
        for name in ("n_clusters", "n_tasks", "n_templates"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, self, name, "at least 1, or none for all")
        _require(0 <= self.replay_share <= 0.9, self, "replay_share", "between 0 and 0.9")
        _require(0 < self.best_share <= 1, self, "best_share", "above 0 and at most 1")
        _require(0 <= self.noise_share <= 1, self, "noise_share", "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021). `alpha_over_rank` is alpha / rank: the scale of the update."""

    method: str = field(default="lora", init=False)
    rank: int = 16
    alpha_over_rank: float = 2.0
    rank_stabilized: bool = False  # scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)
    dropout: float = 0.0
    targets: str = "all-linear"

    def __post_init__(self) -> None:
        _require(self.rank >= 1, self, "rank", "at least 1")
        _require(self.alpha_over_rank > 0, self, "alpha_over_rank", "above 0")
        _require(0 <= self.dropout < 1, self, "dropout", "at least 0 and below 1")
        _one_of(self, "targets", TARGET_PRESETS)


@dataclass(frozen=True, kw_only=True)
class Full:
    """Full fine-tuning: every parameter of the base is trained."""

    method: str = field(default="full", init=False)


ADAPTERS: dict[str, type] = {"lora": Lora, "full": Full}


@dataclass(frozen=True, kw_only=True)
class Train:
    """Optimization: AdamW on the tokens of the responses, or of the prompts too."""

    learning_rate: float = 3e-3
    epochs: float = 3
    steps: int | None = None  # this many optimizer steps, whatever the epochs; None: the epochs decide
    batch_size: int = 16  # sequences per optimizer step
    micro_batch_size: int | None = None  # sequences per forward pass; None: the whole batch
    schedule: str = "linear"
    warmup_share: float = 0.06
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    loss_on: str = "response"

    def __post_init__(self) -> None:
        _one_of(self, "loss_on", LOSS_ON)
        _require(0 < self.learning_rate < 10, self, "learning_rate", "above 0 and below 10")
        _require(0 < self.epochs <= 1_000, self, "epochs", "above 0 and at most 1000")
        _require(self.steps is None or self.steps >= 1, self, "steps", "at least 1, or none for what the epochs come to")
        _require(self.batch_size >= 1, self, "batch_size", "at least 1")
        _require(
            self.micro_batch_size is None or (self.micro_batch_size >= 1 and self.batch_size % self.micro_batch_size == 0),
            self,
            "micro_batch_size",
            f"a divisor of train.batch_size={self.batch_size}",
        )
        _one_of(self, "schedule", SCHEDULES)
        _require(0 <= self.warmup_share < 1, self, "warmup_share", "at least 0 and below 1")
        _require(self.weight_decay >= 0, self, "weight_decay", "at least 0")
        _require(self.max_grad_norm > 0, self, "max_grad_norm", "above 0")

    def n_steps(self, n_rows: int) -> int:
        """Optimizer steps on `n_rows` rows: an epoch's last batch may be smaller."""
        return self.steps or max(1, math.ceil(self.epochs * self._steps_per_epoch(n_rows)))

    def n_epochs(self, n_rows: int) -> float:
        """Passes over `n_rows` rows."""
        return self.epochs if self.steps is None else self.steps / self._steps_per_epoch(n_rows)

    def _steps_per_epoch(self, n_rows: int) -> int:
        return max(1, math.ceil(n_rows / self.batch_size))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured before and after training, on which split."""

    split: str = "test"
    items_per_task: int = 50  # laboratory
    base_text: str | None = None  # a text file whose NLL measures forgetting (real models)
    max_rows: int = 500  # held-out rows scored (real data)
    drift_samples: int = 64  # texts sampled from the base itself (real models)
    drift_tokens: int = 128
    batch_size: int = 64
    chat: str = "template"  # laboratory: how questions are put; "plain" without any marks, "other" in words of another template

    def __post_init__(self) -> None:
        _one_of(self, "split", SPLITS)
        _one_of(self, "chat", CHATS)
        for name in ("items_per_task", "max_rows", "drift_samples", "drift_tokens", "batch_size"):
            _require(getattr(self, name) >= 1, self, name, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that decides a trial's result."""

    model: Model = Model()
    data: Data = Data()
    adapter: Lora | Full = Lora()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    seed: int = 0  # data subset and order, adapter initialisation, dropout

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: must be at least 0")


FIELD_PREFIX: dict[type, str] = {
    Model: "model.",
    Data: "data.",
    Lora: "adapter.",
    Full: "adapter.",
    Train: "train.",
    Evaluation: "evaluation.",
}

Scalar = str | int | float | bool | None


def flatten(trial: Trial) -> dict[str, Scalar]:
    """The trial as {"model.name": ..., "adapter.rank": ..., "seed": ...}, in the order of the definitions."""
    flat: dict[str, Scalar] = {}
    for part in dataclasses.fields(trial):
        value = getattr(trial, part.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{part.name}.{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
        else:
            flat[part.name] = value
    return flat


def from_flat(flat: Mapping[str, Scalar]) -> Trial:
    """The inverse of `flatten`: builds and validates the trial."""
    parts: dict[str, dict[str, Scalar]] = {}
    top: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        if tail:
            parts.setdefault(head, {})[tail] = value
        else:
            top[head] = value
    adapter = dict(parts.get("adapter", {}))
    adapter_class = ADAPTERS[str(adapter.pop("method", "lora"))]
    known = {"model": Model, "data": Data, "train": Train, "evaluation": Evaluation}
    built: dict[str, Any] = {name: cls(**parts.get(name, {})) for name, cls in known.items()}
    return Trial(adapter=adapter_class(**adapter), **built, **top)


def replace_field(trial: Trial, name: str, value: Scalar | Lora | Full) -> Trial:
    """The trial with one dotted field changed; `adapter` itself, or `adapter.method`, changes the method.

    Raises:
        BadInput: the field does not exist (with the nearest name) or the value is out of range.
    """
    if name == "adapter" and isinstance(value, Lora | Full):
        return dataclasses.replace(trial, adapter=value)
    if name == "adapter.method":
        if value not in ADAPTERS:
            raise BadInput(f"adapter.method={value!r}: {nearest(str(value), list(ADAPTERS))}")
        return trial if trial.adapter.method == value else dataclasses.replace(trial, adapter=ADAPTERS[str(value)]())
    if name not in flatten(trial):
        raise BadInput(f"{name}: no such field with adapter.method={trial.adapter.method}; {nearest(name, list(flatten(trial)))}")
    head, _, tail = name.partition(".")
    changed: dict[str, Any] = {head: dataclasses.replace(getattr(trial, head), **{tail: value}) if tail else value}
    return dataclasses.replace(trial, **changed)


def parse_value(trial: Trial, name: str, text: str) -> Scalar:
    """Text from the command line as the type of the field `name` ("none" is None where the field allows it)."""
    head, _, tail = name.partition(".")
    owner = getattr(trial, head, None) if tail else trial
    hints = typing.get_type_hints(type(owner)) if owner is not None else {}
    kind = hints.get(tail or head)
    if kind is None or (not tail and head not in ("seed",)):
        choices = list(flatten(trial))
        raise BadInput(f"{name}: no such field with adapter.method={trial.adapter.method}; {nearest(name, choices)}")
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and text.lower() in ("none", "null"):
        return None
    wanted = next(option for option in options if option is not type(None))
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        if wanted is int:
            return int(text)  # 25_000 is one; 25,000 would be two levels
        if wanted is float:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError(text)
            return number
    except (ValueError, KeyError):
        words = {bool: "true or false", int: "a whole number", float: "a number"}[wanted]
        raise BadInput(f"{name}={text!r}: must be {words}") from None
    return text


def content_hash(value: object) -> str:
    """A short stable hash (16 hex digits) of any JSON-able value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def identity(trial: Trial) -> dict[str, Scalar]:
    """The trial's settings as far as they tell it from others: without fields of ADDED_LATER at their defaults."""
    defaults = flatten(Trial())
    return {name: value for name, value in flatten(trial).items() if name not in ADDED_LATER or value != defaults[name]}


def fingerprint(trial: Trial, provenance: Mapping[str, str]) -> str:
    """What makes a trial the same trial: its settings, the content hashes of its inputs, and RESULT_VERSION."""
    return content_hash({"trial": identity(trial), "provenance": dict(provenance), "version": RESULT_VERSION})


@dataclass(frozen=True)
class LogUniform:
    """A search range on a log scale. The first `grid` tuning trials are the same evenly spaced points in every cell,
    so that cells can be compared along the range; Optuna proposes the rest."""

    low: float
    high: float
    grid: int = 5

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high and self.grid >= 2):
            raise BadInput(f"search range {self.low}..{self.high} with grid={self.grid}: needs 0 < low < high and grid >= 2")


Space = Mapping[str, LogUniform | tuple[Scalar, ...]]  # field → a range, or levels
DEFAULT_ARM = "default recipe"  # the base trial as it is
FOUND_ARMS = ("best quality", "knee", "least forgetting")  # what a search brings to the test split


@dataclass(frozen=True, kw_only=True)
class OpenSearch:
    """A search over many fields at once for the best trade-off: quality up, forgetting down.

    Successive halving on tokens, in the synchronous form: all `configurations` train with `rungs[0]` of their own epochs, hence
    of their tokens, each from scratch and with a schedule of that length; one in `reduction` of them goes on to the next rung,
    and the last rung is the whole training. The first `startup` configurations fill the space evenly, the others are proposed
    `batch` at a time from what is known. What gains less than `least_gain` of the best gain in quality is no trade-off: one
    forgets nothing by learning nothing.
    """

    space: Space
    configurations: int
    startup: int
    batch: int
    rungs: tuple[float, ...] = (1 / 9, 1 / 3, 1.0)
    reduction: int = 3
    least_gain: float = 0.5

    def __post_init__(self) -> None:
        sizes, rungs = self.sizes(), self.rungs
        one = next((name for name, levels in self.space.items() if isinstance(levels, tuple) and len(set(levels)) < 2), None)
        levels = [len(levels) for levels in self.space.values() if isinstance(levels, tuple)]
        n_points = math.prod(levels) if len(levels) == len(self.space) else self.configurations
        checks = {
            "space: must have a field": bool(self.space),
            f"{one}: needs two different levels, or a range": one is None,
            f"rungs={rungs}: must rise from above 0 to 1": rungs == tuple(sorted({*rungs, 1})) and rungs[0] > 0,
            f"rungs={rungs}: two of them have one label, of {', '.join(self.labels())}": len(set(self.labels())) == len(rungs),
            f"reduction={self.reduction}: must be at least 2": self.reduction >= 2,
            f"startup={self.startup}: must be at least 1 and at most configurations={self.configurations}":
                1 <= self.startup <= self.configurations,
            f"batch={self.batch}: must be at least 1": self.batch >= 1,
            f"least_gain={self.least_gain}: must be at least 0 and below 1": 0 <= self.least_gain < 1,
            f"configurations={self.configurations}: the space has only {n_points}": self.configurations <= n_points,
            f"configurations={self.configurations}: too few for {len(rungs)} rungs": all(sizes),
        }  # fmt: skip
        for text, right in checks.items():
            if not right:
                raise BadInput(f"search: {text}")

    def sizes(self) -> list[int]:
        """How many configurations train at each rung."""
        return [self.configurations // max(self.reduction, 1) ** i for i in range(len(self.rungs))]

    def labels(self) -> list[str]:
        """What people call the rungs: "rung 1/9", …, "rung 1"."""
        return [f"rung {Fraction(share).limit_denominator(100)}" for share in self.rungs]

    @staticmethod
    def share(label: str) -> float:
        """The share of the training that a rung's label says."""
        return float(Fraction(label.removeprefix("rung ")))


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published effect and where it stands."""

    effect: str
    source: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the literature that the experiment's analysis judges: supported, contradicted or undecided."""

    id: str  # the claim's number, with a letter where one claim has several parts: "12a"
    statement: str
    published: Published


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question: a base trial, what varies (a full grid), what is tuned inside each cell, and the seeds.

    `also` adds arms beside the grid, each a set of dotted overrides of the base. `with_seed` gives fields a value per
    seed (seed i takes entry i modulo the length), the same in every arm, so that arms stay paired. `without` names arms
    that are left out, by their labels. With `search` there is no grid: the arms are what it finds, and the base beside them.
    """

    name: str
    question: str
    base: Trial
    vary: Mapping[str, tuple[Scalar, ...]]
    also: tuple[Mapping[str, Scalar], ...] = ()
    tune: Mapping[str, LogUniform] = field(default_factory=dict)
    tune_trials: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    with_seed: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    search: OpenSearch | None = None
    laboratory_only: bool = False  # its arms need what only the laboratory has: its corpus, its facts, its own questions

    def __post_init__(self) -> None:
        for name in (*self.vary, *self.tune, *self.with_seed, *(self.search.space if self.search else ())):
            if name not in flatten(self.base):
                raise BadInput(f"experiment {self.name}: {name}: {nearest(name, list(flatten(self.base)))}")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise BadInput(f"experiment {self.name}: seeds={self.seeds}: must be distinct and at least one")
        if bool(self.tune) != (self.tune_trials > 0):
            raise BadInput(f"experiment {self.name}: tune_trials={self.tune_trials} must go with tune={dict(self.tune)}")
        if self.search:
            self._check_search(self.search)

    def _check_search(self, search: OpenSearch) -> None:
        """Every value that the search may try can be set, and nothing else decides it."""
        taken = {*self.vary, *self.tune, *(name for arm in self.also for name in arm)}
        if taken:
            raise BadInput(f"experiment {self.name}: with search there is no vary, also or tune ({', '.join(sorted(taken))})")
        fixed = {"train.steps", "seed", "evaluation.split", "adapter.method", *self.with_seed} & set(search.space)
        if fixed or self.base.train.steps is not None:
            name = min(fixed, default="train.steps")
            raise BadInput(f"experiment {self.name}: {name}: cannot be searched or set; the rungs share out train.epochs")
        for name, levels in search.space.items():
            ends = levels if isinstance(levels, tuple) else (levels.low, levels.high)
            for value in ends:  # a range of a field of whole numbers is refused by `parse_value`
                replace_field(self.base, name, value if ends is levels else parse_value(self.base, name, str(float(str(value)))))
