"""How much memory a trial takes at its peak, from shapes alone, and how it is made to fit. Without torch.

What is counted in training: the weights; for what is trained a gradient and what the optimizer keeps; what the backward pass
needs of a micro-batch of rows padded to the longest, and of weights that a method computes with changed; a layer's work in
progress; logits, which are made in pieces (core/head.py). In measuring, which comes after it: the weights, and a pass or keys and
values (core/memory_of_measures.py). The bytes per token and layer were counted on Llama-like models with
`torch.autograd.graph.saved_tensors_hooks`; tests/test_memory.py and tests/test_changed_weights.py count anew. Other architectures
differ by what they keep beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import adapters, architecture, checkpoint, optimizer_costs, quantized, targets
from core.base import BaseFiles
from core.settings import BEST, Model, Train, Trial

GIB = 2**30
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2}
TRAINED_BYTES = 8  # float32: weight and gradient
PROCESS_BYTES = {"cpu": 0.75 * GIB, "cuda": 0.0}  # what a worker's libraries hold (CPU: the resident set is measured)
LARGEST_PIECE = 1 << 25  # logits (tokens × vocabulary) that core/head.py makes at a time: 128 MiB in float32
# When a model is scored, whatever evaluation.batch_size is (but by lm-eval, which has its own passes): tokens that it reads at a
# time, and on a CPU, which gains nothing by large passes, of how many a layer's work in progress is at most this (but of one text
# as many as it has).
MOST_SCORED, MOST_PASSING = 1 << 14, 128 << 20
LARGEST_CACHE = 2 << 30  # bytes of keys and values of the texts that are written together
LOGITS_BYTES = 4 * 4  # value, softmax, gradient and one in progress
SCORED_BYTES = 4 * 3  # without a gradient: value, logarithm and one in progress
DIVERGENCE_BYTES = 4 * 5  # the base's beside them: value, logarithm, share, difference and terms
HOLES = {"cpu": 1.25, "cuda": 1.0}  # of an adapter's activations: a CPU's heap keeps holes between them (measured: 0.95 to 1.7)
# Types whose attention transformers computes as it is written, with a value for each pair of a row's tokens and each head: scores
# and shares in float32. All others have kernels that keep none.
EAGER = frozenset({
    "bloom", "cpmant", "deepseek_v4", "gemma2", "gpt_neo", "gpt_neox_japanese", "gpt_oss", "granite_swa", "granitemoe_swa",
    "mimo_v2_flash", "mpt", "openai-gpt", "vaultgemma", "xglm",
})  # fmt: skip
PAIR_BYTES = 8  # that the backward pass needs of it
LEAST_TOKENS = {"cpu": 1, "cuda": 2_048}  # of a micro-batch: fewer leave a GPU idle, so layers are computed twice instead
HEADROOM = 0.9  # of the memory there is: the estimate is good to a factor of 1.3, and allocators leave holes


@dataclass(frozen=True)
class Shape:
    """A transformer's width `hidden`, the widths of its feed-forward part (all experts that a token goes through) and of its
    keys, and its layers; of EAGER types the heads."""

    layers: int
    hidden: int
    inner: int
    key: int
    eager_heads: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From config.json, whose fields go by the names that architectures gave them."""
        config = checkpoint.of_text(config)

        def first(*names: str) -> int:
            return next((int(config[name]) for name in names if isinstance(config.get(name), int) and config[name] > 0), 0)

        hidden, heads = checkpoint.hidden_size(config), first("num_attention_heads", "n_head") or 1
        inner = first("intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden
        if n_experts := first("num_experts_per_tok", "num_experts_per_token"):
            inner = n_experts * (first("moe_intermediate_size") or inner) + first("shared_expert_intermediate_size")
        key = (first("num_key_value_heads") or heads) * (first("head_dim") or hidden // heads)
        eager = heads if config.get("model_type") in EAGER else 0
        return cls(first(*architecture.LAYERS), hidden, inner, key, eager)

    def kept_bytes(self, bf16: bool, changes_base: bool) -> float:
        """What the backward pass needs of one layer, a token. In bfloat16 an adapter keeps a float32 copy of its input, and a
        base that is trained a bfloat16 copy of what it computes with."""
        if not bf16:
            return 16 * self.inner + (32 if changes_base else 24) * self.hidden + 8 * self.key
        if changes_base:
            return 8 * self.inner + 30 * self.hidden + 4 * self.key
        return 8.4 * self.inner + 25 * self.hidden + 4.2 * self.key

    def pairs_bytes(self, longest: float) -> float:
        """What the backward pass needs of one layer's attention, a token of rows of so many, beside `kept_bytes`."""
        return PAIR_BYTES * self.eager_heads * longest

    def passing_bytes(self, bf16: bool) -> float:
        """What a layer holds while it is computed, a token, beside what it keeps."""
        return (2 if bf16 else 4) * (3 * self.inner + 4 * self.hidden)

    def most_scored(self, device: str) -> int:
        """How many tokens are read at a time when a model is scored on a device of this kind."""
        return MOST_SCORED if device == "cuda" else min(MOST_SCORED, int(MOST_PASSING // self.passing_bytes(False)))

    def cached_bytes(self, value_bytes: int) -> int:
        """Keys and values that writing keeps, a token of the text so far."""
        return 2 * self.layers * self.key * value_bytes

    def written_together(self, value_bytes: int, n_tokens: float) -> int:
        """How many texts of so many tokens have their keys and values in LARGEST_CACHE; at least one."""
        return max(1, int(LARGEST_CACHE // (self.cached_bytes(value_bytes) * n_tokens)))


@dataclass(frozen=True)
class Together:
    """What goes through a model at a time when it is measured: tokens that are scored, of texts of this length; of texts that are
    written together, tokens of their prompts and all in the end. `whole`: logits of all that is scored, not of pieces of it."""

    length: float = 0.0
    scored: float = 0.0
    begun: float = 0.0
    written: float = 0.0
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Load:
    """A trial's sizes: parameters of the base and of what is trained, its longest row in tokens, its vocabulary, in which
    precision and where."""

    shape: Shape
    n_parameters: int
    trainable: int
    longest: int
    vocabulary: int
    weights: str  # a key of WEIGHT_BYTES
    device: str
    changes_base: bool
    state_bytes: float  # of the optimizer
    keeps_best: bool = False  # a copy of what is trained, beside the model
    n_quantized: int = 0  # of the parameters
    quantized_bytes: float = 0.0  # of each of these
    copies_base: bool = False  # the adapted weights, beside those that all trials share
    kept_weights: float = 0.0  # numbers of their size that the backward pass needs, in all layers
    beside_base: bool = False  # the base reads every micro-batch too (train.kl_to_base)
    keeps_start: bool = False  # what an adapter began as, beside it (train.l2_to_base, evaluation.scales)
    can_checkpoint: bool = True
    measures_along: bool = False  # in training too (evaluation.every)
    measures_shares: bool = False  # of the way from the base, beside which the end is kept (evaluation.scales)

    @property
    def base_bytes(self) -> float:
        """Of the base's weights."""
        return (self.n_parameters - self.n_quantized) * WEIGHT_BYTES[self.weights] + self.n_quantized * self.quantized_bytes

    @property
    def standing_bytes(self) -> float:
        """Whatever is done: the process, the base, which stays as the reference, and beside it what of the tuned model is not
        trained."""
        copied = (self.n_parameters - self.trainable) * 4 if self.changes_base else 0
        return PROCESS_BYTES[self.device] + self.base_bytes * (1 + self.copies_base) + copied

    @property
    def fixed_bytes(self) -> float:
        """In training, whatever the batch is."""
        held = self.standing_bytes + self.trainable * TRAINED_BYTES + self.state_bytes
        if self.changes_base and self.bf16:
            held += self.n_parameters * 2  # what autocast computes with
        if self.keeps_start and not self.changes_base:  # weights of the base began as the base's own
            held += self.trainable * 4
        if self.keeps_best and self.device == "cpu":
            held += self.trainable * 4
        return held

    @property
    def holes(self) -> float:
        """How much more its activations take than they are."""
        return 1.0 if self.changes_base else HOLES[self.device]

    @property
    def bf16(self) -> bool:
        return _is_autocast(self.weights, self.device)

    def measuring_bytes(self, one: Together) -> float:
        """Of measuring, once training has given back what it held, or along it."""
        copies = 1 + (2 + (not self.changes_base) if self.measures_shares else 0)  # where it began and ended, and what is between
        held = self.standing_bytes + self.trainable * 4 * copies
        held = max(held, self.fixed_bytes) if self.measures_along else held
        passing = (self.shape.passing_bytes(self.bf16) + self.shape.pairs_bytes(one.length)) * self.holes
        cached = self.shape.cached_bytes(WEIGHT_BYTES[self.weights])
        n_logits = one.scored * self.vocabulary
        logits = (n_logits if one.whole else min(n_logits, LARGEST_PIECE)) * SCORED_BYTES
        return held + max(one.scored * passing + logits, one.begun * (passing + cached), one.written * cached)

    def peak_bytes(self, rows: int, checkpointing: bool) -> float:
        """Of a step over micro-batches of so many rows."""
        kept = self.shape.kept_bytes(self.bf16, self.changes_base) + self.shape.pairs_bytes(self.longest)
        if checkpointing:  # every layer's input, and one layer's all
            kept = self.shape.layers * self.shape.hidden * (2 if self.bf16 else 4) + kept
        else:
            kept *= self.shape.layers
        tokens = rows * self.longest
        each = LOGITS_BYTES + (DIVERGENCE_BYTES if self.beside_base else 0)
        logits = min(tokens * self.vocabulary, LARGEST_PIECE) * each
        held = tokens * (kept + self.shape.passing_bytes(self.bf16) + self.shape.pairs_bytes(self.longest) / 2)
        weights = self.kept_weights * (2 if self.bf16 else 4) / (max(1, self.shape.layers) if checkpointing else 1)
        return self.fixed_bytes + logits + held * self.holes + weights


def _is_autocast(weights: str, device: str) -> bool:
    """Whether training computes in bfloat16 on a device of this kind, with weights of this type."""
    return weights != "float32" and device == "cuda"


def dtype(model: Model, device: str) -> str:
    """In which type a base computes on a device of this kind."""
    return ("bfloat16" if device == "cuda" else "float32") if model.dtype == "auto" else model.dtype


def in_bits(model: Model, base: BaseFiles) -> tuple[int, float]:
    """Of a base's parameters: how many are held quantized, and the bytes of each."""
    kind = quantized.name_of(model, base.quantization)
    if kind == "none":
        return 0, 0.0
    n_quantized = sum(checkpoint.count(base.linear[name]) for name in targets.adaptable(base.linear, ()))
    return n_quantized, quantized.KINDS[kind].bytes_each(model.double_quantization)


def weights_bytes(model: Model, base: BaseFiles, device: str) -> float:
    """Of the base's weights as they are held on a device of this kind."""
    n_quantized, each = in_bits(model, base)
    return (base.n_parameters - n_quantized) * WEIGHT_BYTES[dtype(model, device)] + n_quantized * each


def load(trial: Trial, base: BaseFiles, trainable: int, longest: int, device: str = "cpu") -> Load:
    """The trial's sizes on a device of this kind, with a longest row of so many tokens."""
    n_quantized, each = in_bits(trial.model, base)
    method, weights = adapters.METHODS[trial.adapter.method], dtype(trial.model, device)
    return Load(
        shape=Shape.of(base.config),
        n_parameters=base.n_parameters,
        trainable=trainable,
        longest=longest + method.virtual_tokens(trial.adapter),
        vocabulary=base.vocabulary,
        weights=weights,
        device=device,
        changes_base=method.changes_base,
        state_bytes=optimizer_costs.state_bytes(trial, base, trainable),
        keeps_best=trial.train.keep == BEST,
        beside_base=trial.train.kl_to_base > 0,
        keeps_start=trial.train.l2_to_base > 0 or trial.evaluation.scales is not None,
        measures_along=trial.evaluation.every is not None,
        measures_shares=trial.evaluation.scales is not None,
        n_quantized=n_quantized,
        quantized_bytes=each,
        copies_base=method.copies_base,
        kept_weights=method.kept(trial.adapter, base, _is_autocast(weights, device), n_quantized > 0),
        can_checkpoint=method.checkpointing,
    )


@dataclass(frozen=True)
class Fit:
    """How a trial is run: rows a forward pass, whether layers are computed again for the backward pass, the peak (about): of its
    training, where nothing is said of its measures."""

    micro_batch_size: int
    checkpointing: bool
    peak_gib: float


def fit(load: Load, train: Train, available_gib: float) -> Fit:
    """The quickest way that fits into the memory by the estimate: whole batches, then smaller ones, then checkpointing; the
    smallest of all where none fits (its `peak_gib` says so). What the user asks for stays. The optimizer steps are the same."""
    asked, batch = train.micro_batch_size, train.batch_size
    sizes = [asked] if asked else [size for size in range(batch, 0, -1) if batch % size == 0]
    quick = [size for size in sizes if size * load.longest >= LEAST_TOKENS[load.device]] or sizes[:1]
    quick = quick if load.can_checkpoint else sizes
    ways = [(size, False) for size in quick] if train.checkpointing != "on" else []
    ways += [(size, True) for size in sizes] if train.checkpointing != "off" and load.can_checkpoint else []
    for size, checkpointing in ways:
        peak = load.peak_bytes(size, checkpointing) / GIB
        if peak <= available_gib * HEADROOM:
            break
    return Fit(size, checkpointing, peak)
