"""What a base model's files say of it, without torch: its shapes, width and context, and what its tokenizer lacks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import architecture, chat, checkpoint, limits, targets, weights
from core.errors import BadInput
from core.settings import Model


@dataclass(frozen=True)
class BaseFiles:
    """A base model as far as its files tell. `config`: its config.json, as `architecture.read` gives it; `shapes`: of every
    weight, by its name."""

    directory: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    hash: str = ""
    words_hash: str = ""  # of what decides how rows are written
    new_tokens: int = 0  # that ChatML has to add
    quantization: str = "none"  # of the weights in the files: "nf4" or "none"

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def width(self) -> int:
        return checkpoint.hidden_size(checkpoint.of_text(self.config))

    @functools.cached_property
    def vocabulary(self) -> int:
        """Where config.json does not say it (some leave out what is the usual), the rows of the embeddings."""
        embeddings = (shape[0] for name, shape in self.shapes.items() if architecture.EMBEDDING.search(name))
        said = checkpoint.of_text(self.config).get("vocab_size") or self.config.get("vocab_size")
        return int(said or max(embeddings, default=0))

    @property
    def context(self) -> int | None:
        return checkpoint.context_tokens(checkpoint.of_text(self.config))

    @functools.cached_property
    def tied(self) -> bool:
        """Whether the output head is the embeddings."""
        return not any(name.endswith(architecture.HEADS) for name in self.shapes)

    @functools.cached_property
    def linear(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the matrices, by the names of their layers: linear layers, and embeddings too, but no expert's and
        none that cannot be adapted."""
        matrices = {name: shape for name, shape in self.shapes.items() if len(shape) == 2 and name.endswith(".weight")}
        layers = {_layer(name): shape for name, shape in matrices.items() if not targets.is_of_an_expert(name)}
        return {name: layers[name] for name in targets.supported(self.model_type, layers)}

    def sizes(self, layer: str) -> tuple[int, int]:
        """Outputs and inputs of a linear layer."""
        rows, columns = self.linear[layer]
        return (columns, rows) if self.model_type in targets.TRANSPOSED else (rows, columns)

    @functools.cached_property
    def experts(self) -> dict[str, tuple[int, ...]]:
        """The shapes (experts, a, b) of the parameters that hold the experts of a layer once the base is loaded.

        Raises:
            BadInput: its experts are of no known form.
        """
        return targets.experts(self.shapes)

    @functools.cached_property
    def has_experts(self) -> bool:
        return any(targets.is_of_an_expert(name) or targets.is_fused(name, shape) for name, shape in self.shapes.items())

    @functools.cached_property
    def n_parameters(self) -> int:
        """All parameters, with those of the rows that ChatML adds to the embeddings."""
        return (
            sum(checkpoint.count(shape) for name, shape in self.shapes.items() if not weights.BUFFER.search(name))
            + self._n_added()
        )

    @property
    def new_token_parameters(self) -> int:
        """What a method has to train so that new tokens get a meaning: their rows of embedding and head."""
        return self.new_tokens * self._per_token

    @property
    def _per_token(self) -> int:
        return self.width * (1 if self.tied else 2)

    def _n_added(self) -> int:
        """Parameters of the rows that ChatML adds; the checkpoint's embeddings may have room for them already."""
        if not self.new_tokens:
            return 0
        embedded = max((shape[0] for name, shape in self.shapes.items() if targets.EXCLUDED.search(_layer(name))), default=0)
        inner = chat.tokenizer(self.directory)
        size = inner.get_vocab_size() + self.new_tokens if inner is not None else embedded
        return max(0, size - embedded) * self._per_token


def _layer(weight: str) -> str:
    return weight.rpartition(".")[0]


SAID = "The answer is 42."  # any tokenizer keeps something of it
_HELD: list[dict[Model, BaseFiles]] = []  # what was looked at inside each open `held`


@contextmanager
def held() -> Iterator[None]:
    """Inside, a base's files are looked at once for all trials of a sweep, and not at every question about one of them."""
    _HELD.append({})
    try:
        yield
    finally:
        _HELD.pop()


def read(model: Model) -> BaseFiles:
    """The base's files, read once in a process as long as they do not change.

    Raises:
        BadInput: there is no such base, or its files cannot be used.
    """
    if not _HELD:
        return _looked_at(model)
    known = _HELD[-1]
    if model not in known:
        known[model] = _looked_at(model)
    return known[model]


def _looked_at(model: Model) -> BaseFiles:
    directory = checkpoint.locate(model)
    files = [file for file in sorted(directory.iterdir()) if file.is_file()]
    stamps = [(file.name, checkpoint.state(file)) for file in files]
    return _read(directory, model, tuple(stamps))


@functools.lru_cache(maxsize=16)
def _read(directory: Path, model: Model, stamps: tuple[tuple[str, object], ...]) -> BaseFiles:
    settings = architecture.read(directory, model.trust_remote_code)
    _check_vocabulary(directory, settings)
    _check_beside(directory, settings)
    shapes = weights.shapes(directory)
    architecture.check_weights(directory, settings, shapes)
    return BaseFiles(
        directory,
        settings,
        architecture.without_tied_head(directory, settings, shapes),
        hash=checkpoint.model_hash(directory),
        words_hash=checkpoint.words_hash(directory),
        new_tokens=chat.n_new_tokens(directory, model.chat_template),
        quantization=architecture.quantization(directory, settings),
    )


def _check_beside(directory: Path, settings: dict[str, Any]) -> None:
    """The numbers in the other JSON files."""
    if (path := directory / "generation_config.json").is_file():
        limits.check_generation(path, weights.read_json(path), settings.get("vocab_size"))
    if (path := directory / "tokenizer_config.json").is_file():
        limits.check_tokenizer(path, weights.read_json(path))


def _check_vocabulary(directory: Path, settings: dict[str, Any]) -> None:
    """Every token of the tokenizer has a row in the embeddings, but for special ones that nothing uses (as Gemma 3 has, for
    images): core/rehearsal.py looks at what is used.

    Raises:
        BadInput: some have none, so that the tokenizer is another model's.
    """
    inner = chat.tokenizer(directory)
    rows = settings.get("vocab_size")
    if inner is not None and inner.normalizer is not None and not inner.normalizer.normalize_str(SAID).strip():
        text = f"its normalizer leaves nothing of {SAID!r}; take the tokenizer that belongs to the model"
        raise BadInput(f"model: {directory / 'tokenizer.json'}: {text}", field="model.name")
    if inner is None or rows is None:
        return
    special = {index for index, token in inner.get_added_tokens_decoder().items() if token.special}
    known = ((token, index) for token, index in inner.get_vocab().items() if index not in special)
    token, last = max(known, key=lambda item: item[1], default=("", -1))
    if last >= rows:
        text = f"vocab_size={rows}: the tokenizer has tokens up to {last} ({token!r}); it may be another model's"
        raise BadInput(f"model: {directory / 'config.json'}: {text}", field="model.name")
