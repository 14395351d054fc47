"""What a trial is: frozen dataclasses that validate when built. Plain data: no I/O, no torch, imported in milliseconds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from core.data import choices, columns
from core.data.shares import AMOUNTS, EPOCHS, are_shares
from core.errors import BadInput
from core.method_settings import ADAPTERS, TARGET_PRESETS, Adapter, Full, Lora
from core.optimizers import ADAMW, OPTIMIZERS
from core.part import Part, Scalar
from core.preference_settings import Prefer

__all__ = [
    "ADAPTERS", "TARGET_PRESETS", "Adapter", "Data", "Evaluation", "Full", "Lora", "Model", "Part", "Prefer", "Scalar", "Train",
    "Trial",
]  # fmt: skip

SCHEDULES = ("linear", "cosine", "constant")
QUANTIZATIONS = ("none", "nf4", "fp4", "int8")
DTYPES = ("auto", "float32", "bfloat16")
SPLITS = ("validation", "test")
CHECKPOINTING = ("auto", "on", "off")
LOSS_ON = ("response", "last", "all")
AUTO = "auto"  # evaluation.tasks: the task of the source's kind
SCALES = "different numbers above 0, at most 2 and not 1, joined by +: 0.25+0.5+0.75"  # evaluation.scales
ANSWERS, REGEX = (AUTO, "exact", "number"), "regex:"  # evaluation.answer
CHATS = ("template", "plain", "other")
LAST, BEST = KEEP = ("last", "best")  # train.keep
RESPONSE, PROMPTS, REPLAYED = KL_ON = ("response", "prompts", "replayed")  # train.kl_on


LEAST_RATE = 1e-12  # far below, steps vanish in float32 and nothing is trained
LEAST_SHARE = 0.001  # of a training between two measurements
MOST_RATE = 10  # below it
MANY = 1_000_000  # of what a trial holds in memory at once


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """The base model: `lab:base-<seed>`, a directory, or a Hugging Face hub id."""

    PREFIX = "model."
    name: str = "lab:base-0"
    revision: str | None = None
    quantization: str = "none"  # of its linear layers, when it is loaded
    double_quantization: bool = True  # of nf4 and fp4: the scales of the blocks are quantized too
    dtype: str = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    trust_remote_code: bool = False
    chat_template: str | None = None  # a file with a Jinja template, or chatml; None: the tokenizer's own, or ChatML

    def __post_init__(self) -> None:
        self._text("name", "lab:base-<seed>, a directory or a hub id")
        self._text("revision", "a branch, tag or commit")
        self._text("chat_template", "a file, chatml, or none for the tokenizer's own")
        self._one_of("quantization", QUANTIZATIONS)
        self._one_of("dtype", DTYPES)


@dataclass(frozen=True, kw_only=True)
class Data(Part):
    """Training rows and, for real data, the rows that quality is measured on.

    `n_examples` is a seeded nested subset (250 is contained in 500); None takes all. Without `eval_source`, real data
    give up `eval_share` of their rows for evaluation; the laboratory evaluates by program and needs neither.
    """

    PREFIX = "data."
    source: str = "lab:curated"
    n_examples: int | None = 1_000
    eval_source: str | None = None
    eval_share: float = 0.1
    seq_len_tokens: int | None = None  # None: the smaller of the model's context and 1,024
    held_out_fold: int = 0  # which quarter is never trained on: of the laboratory's clusters, of reasoning-gym's families
    # From how many of the clusters, tasks or templates that its rows name they come (nested, drawn by the seed); None: all.
    n_clusters: int | None = None
    n_tasks: int | None = None
    n_templates: int | None = None
    replay_share: float = 0.0  # share of old text among the training sequences, added to the rows
    replay_domain: str | None = None  # laboratory only: from which domain of the corpus they come; None: from all, in its shares
    replay_text: str | None = None  # its file; None: what evaluation.base_text leaves unscored, the laboratory's corpus
    best_share: float = 1.0  # share of the source's rows that are left to draw from: those with the highest "score"
    fields: str | None = None  # columns of the rows that are taken for others: "cluster=category" (core/data/columns.py)
    skip_bad_rows: bool = False  # malformed rows of real data are left out and counted, not refused
    shares: str | None = None  # of several sources: of the training rows, "1+3"; None: those in `source`, which evaluation has
    amount: str = EPOCHS  # of several sources: what is equal where one has few rows (core/data/shares.py)
    noise_share: float = 0.0  # share of the training rows whose answer is another row's, and not the same
    # Which rows are taken: drawn by the seed, or those at one end of a score (core/data/choices.py), of the first `n_candidates`
    # in the seed's order (None: of all). "tokens": as many as together have the tokens, prompts' among them, of those that random
    # selection takes; "examples": as many rows.
    select: str = choices.RANDOM
    n_candidates: int | None = None
    budget: str = choices.EXAMPLES
    order: str = choices.RANDOM  # of the rows in training: or a curriculum, by the loss of the untuned model on their answers
    scorer: str | None = None  # a base, a directory or a hub id, that rows are scored with; None: the trial's own base, untuned

    def __post_init__(self) -> None:
        self._text("source", "lab:curated, lab:synthetic, a file or a hub id")
        self._text("eval_source", "a file or a hub id")
        self._whole("n_examples", 1, 1_000 * MANY, ", or none for all")
        columns.parse(self.fields)
        self._require(0 < self.eval_share < 1, "eval_share", "between 0 and 1")
        self._require(self.seq_len_tokens is None or self.seq_len_tokens >= 8, "seq_len_tokens", "at least 8")
        self._require(0 <= self.held_out_fold <= 3, "held_out_fold", "0, 1, 2 or 3")
        for name in ("n_clusters", "n_tasks", "n_templates"):
            self._require(getattr(self, name) is None or getattr(self, name) >= 1, name, "at least 1, or none for all")
        self._require(0 <= self.replay_share <= 0.9, "replay_share", "between 0 and 0.9")
        self._text("replay_text", "a text file")
        self._require(0 < self.best_share <= 1, "best_share", "above 0 and at most 1")
        self._require(0 <= self.noise_share <= 1, "noise_share", "between 0 and 1")
        self._one_of("select", (choices.RANDOM, *choices.CHOICES))
        self._one_of("order", (choices.RANDOM, *choices.ORDERS))
        self._whole("n_candidates", 1, 1_000 * MANY, ", or none for all")
        self._one_of("budget", choices.BUDGETS)
        self._text("scorer", "lab:base-<seed>, a directory or a hub id, or none for the base itself")
        self._one_of("amount", AMOUNTS)
        valid = "numbers joined by +, one for each source and not all 0: 1+3"
        self._require(self.shares is None or are_shares(self.shares), "shares", valid)


@dataclass(frozen=True, kw_only=True)
class Train(Part):
    """Optimization, on the tokens of the responses, of last ones alone (then they alone are scored), or of prompts too."""

    PREFIX = "train."
    learning_rate: float = 3e-3
    epochs: float = 3
    steps: int | None = None  # this many optimizer steps, whatever the epochs; None: the epochs decide
    batch_size: int = 16  # sequences per optimizer step
    # How an optimizer step is made to fit into the memory: sequences per forward pass, and whether layers are computed again for
    # the backward pass. None and auto: chosen from an estimate (core/memory.py). The step is the same but for rounding.
    micro_batch_size: int | None = None
    checkpointing: str = "auto"
    schedule: str = "linear"
    warmup_share: float = 0.06
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    loss_on: str = "response"
    keep: str = LAST  # which weights are scored and saved; best: those with the highest quality on validation along training
    optimizer: str = ADAMW  # of core/optimizers.py; each has rates of its own
    # Against forgetting (core/near_base.py), in the first stage alone. So many times the mean KL(base || tuned) over tokens is
    # added to the loss: over the response's tokens, over all others of the rows, or over replayed text, in place of its own loss.
    kl_to_base: float = 0.0
    kl_on: str = RESPONSE
    l2_to_base: float = 0.0  # decay towards the base's weights, as weight_decay is towards 0

    def __post_init__(self) -> None:
        self._one_of("kl_on", KL_ON)
        self._require(self.kl_to_base >= 0, "kl_to_base", "at least 0")
        most = 1 / self.learning_rate if self.learning_rate > 0 else 0.0  # a whole way back in one step
        self._require(0 <= self.l2_to_base <= most, "l2_to_base", f"at least 0 and at most 1 / train.learning_rate ({most:.3g})")
        self._one_of("loss_on", LOSS_ON)
        self._one_of("keep", KEEP)
        self._one_of("optimizer", list(OPTIMIZERS))
        self._one_of("checkpointing", CHECKPOINTING)
        text = f"at least {LEAST_RATE} and below {MOST_RATE}"
        self._require(LEAST_RATE <= self.learning_rate < MOST_RATE, "learning_rate", text)
        self._require(0 < self.epochs <= 1_000, "epochs", "above 0 and at most 1000")
        self._whole("steps", 1, 1_000 * MANY, ", or none for what the epochs come to")
        self._whole("batch_size", 1, MANY)
        self._require(
            self.micro_batch_size is None or (self.micro_batch_size >= 1 and self.batch_size % self.micro_batch_size == 0),
            "micro_batch_size",
            f"a divisor of train.batch_size={self.batch_size}",
        )
        self._one_of("schedule", SCHEDULES)
        self._require(0 <= self.warmup_share < 1, "warmup_share", "at least 0 and below 1")
        self._require(self.weight_decay >= 0, "weight_decay", "at least 0")
        self._require(self.max_grad_norm > 0, "max_grad_norm", "above 0")

    def n_steps(self, n_rows: int) -> int:
        """Optimizer steps on `n_rows` rows: an epoch's last batch may be smaller."""
        return self.steps or max(1, math.ceil(self.epochs * self._steps_per_epoch(n_rows)))

    def n_epochs(self, n_rows: int) -> float:
        """Passes over `n_rows` rows."""
        return self.epochs if self.steps is None else self.steps / self._steps_per_epoch(n_rows)

    def _steps_per_epoch(self, n_rows: int) -> int:
        return max(1, math.ceil(n_rows / self.batch_size))


def _is_rule(text: str) -> bool:
    """Whether it says how answers are compared."""
    if not text.startswith(REGEX):
        return text in ANSWERS
    try:
        return bool(re.compile(text.removeprefix(REGEX)).pattern)
    except re.error:
        return False


@dataclass(frozen=True, kw_only=True)
class Evaluation(Part):
    """What is measured before and after training, on which split."""

    PREFIX = "evaluation."
    split: str = "test"
    items_per_task: int = 50  # laboratory, reasoning-gym (there a family is a task)
    base_text: str | None = None  # a text file whose NLL measures forgetting (real models)
    max_rows: int = 500  # held-out rows scored (real data)
    drift_samples: int = 64  # texts sampled from the base itself (real models)
    drift_tokens: int = 128
    batch_size: int = 64
    chat: str = "template"  # laboratory: how questions are put; "plain" without any marks, "other" in words of another template
    max_new_tokens: int | None = None  # that a model may write; None: what the longest right answer has, and a quarter more
    answer: str = AUTO  # of rows with an answer: "exact", "number" or "regex:PATTERN"; auto: a number where it ends with #### 18
    generations: int = 12  # prompts to which base and tuned model write side by side, in final trials; 0: none
    shots: int = 0  # examples before each question of tasks that are asked in words
    choices: str | None = None  # a file of multiple-choice questions
    choices_dev: str | None = None  # where their examples come from; None: from the file's questions of the other split
    # Quality and forgetting on validation along training: after each so many steps, or each such share of them (0.1); None: not.
    every: float | None = None
    ifeval: str | None = None  # a file of prompts with verifiable instructions, as IFEval's
    lm_eval: str | None = None  # task files of the Language Model Evaluation Harness, joined by +
    lm_eval_chat: bool = False  # whether they are put through the chat template
    # Final trials are measured at these shares of the way from the base to the tuned model too (core/scaled.py): 0.25+0.5+0.75
    scales: str | None = None
    tasks: str = AUTO  # of core/tasks, parted by commas (by + on the command line, where commas part levels); auto: by the source

    def __post_init__(self) -> None:
        self._one_of("split", SPLITS)
        self._one_of("chat", CHATS)
        self._text("base_text", "a text file")
        self._require(bool(self.tasks.strip()), "tasks", "auto or names of tasks")
        for name in ("shots", "generations"):
            self._require(getattr(self, name) >= 0, name, "at least 0")
        self._require(_is_rule(self.answer), "answer", "auto, exact, number, or regex:PATTERN with a pattern that can be read")
        self._require(self._scales_are_right(), "scales", SCALES)
        steps = self.every is None or LEAST_SHARE <= self.every < 1 or (self.every >= 1 and float(self.every).is_integer())
        self._require(steps, "every", f"a number of steps, a share of them from {LEAST_SHARE:g} to below 1, or none")
        self._require(self.max_new_tokens is None or self.max_new_tokens >= 1, "max_new_tokens", "at least 1, or none")
        for name in ("items_per_task", "max_rows", "drift_samples", "drift_tokens", "batch_size"):
            self._whole(name, 1, MANY)

    @property
    def shares(self) -> tuple[float, ...]:
        """The numbers in `scales`."""
        return tuple(float(one) for one in (self.scales or "").split("+") if one.strip())

    def _scales_are_right(self) -> bool:
        try:
            found = self.shares
        except ValueError:
            return False
        named = {f"{share:g}" for share in found}
        return (
            (self.scales is None or bool(found)) and len(named) == len(found) and all(0 < one <= 2 and one != 1 for one in found)
        )

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names in `tasks`; AUTO stands for itself."""
        return tuple(re.split("[,+] *", self.tasks))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that decides a trial's result."""

    model: Model = Model()
    data: Data = Data()
    adapter: Adapter = Lora()  # noqa: RUF009  # frozen
    train: Train = Train()
    prefer: Prefer = Prefer()  # noqa: RUF009  # frozen
    evaluation: Evaluation = Evaluation()
    seed: int = 0  # data subset and order, adapter initialisation, dropout

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: must be at least 0", field="seed")

    def second_stage(self, n_pairs: int) -> Train:
        """How the second stage's optimizer steps go, on so many pairs: a batch counts pairs, of the control rows. The control has
        as many steps, of as many sequences.

        Raises:
            BadInput: its learning rate is out of range.
        """
        prefer, first = self.prefer, self.train
        rate = first.learning_rate * prefer.rate_ratio
        if not LEAST_RATE <= rate < MOST_RATE:
            text = f"the stage's rate, {rate:g} with train.learning_rate={first.learning_rate:g}, must be"
            text = f"prefer.rate_ratio={prefer.rate_ratio:g}: {text} at least {LEAST_RATE} and below {MOST_RATE}"
            raise BadInput(text, field="prefer.rate_ratio")
        free = replace(first, kl_to_base=0.0, l2_to_base=0.0)  # the second stage has a reference of its own
        own = replace(free, learning_rate=rate, epochs=prefer.epochs, steps=None, keep=LAST)
        if prefer.sequences == 2:
            return own
        micro = own.micro_batch_size
        doubled = replace(own, batch_size=2 * own.batch_size, micro_batch_size=2 * micro if micro else None)
        return replace(doubled, steps=own.n_steps(n_pairs))


def parts() -> tuple[type[Part], ...]:
    """The classes whose fields a trial may have: every method's among them."""
    return (Model, Data, *ADAPTERS.values(), Train, Prefer, Evaluation)
