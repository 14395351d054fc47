"""A base model's files, without torch: where they are, what they hold (shapes from the safetensors header), their hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core import remembered, unchanged, weights
from core.errors import BadInput, first_line
from core.fields import content_hash
from core.lab import base_path
from core.naming import expanded
from core.settings import Model

LONGEST_DEFAULT_SEQ = 1_024  # for data.seq_len_tokens=None, where the model's context is longer
LEAST_ROOM = 8  # tokens of a sequence beside virtual ones
SMALL_BYTES = 1 << 20  # hashed directly: quicker than the cache
ADAPTER = "adapter_config.json"
GGUF_TEXT = "GGUF is for inference; take the model's safetensors weights"
PICKLE_TEXT = "unpickling runs code; convert it to safetensors"
OTHER_WEIGHTS = ("*.gguf", "pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
# Beside the weights, what decides a model's tokens and numbers.
HASHED = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja"),
)


def locate(model: Model) -> Path:
    """The directory with the model's files; a hub model is downloaded into the hub's cache first.

    Raises:
        BadInput: there is no such model, or it lacks a configuration or safetensors weights.
    """
    if model.revision is not None and (model.name.startswith("lab:") or is_local(model.name)):
        text = "revisions are the hub's, and this model is read from a directory; leave it out"
        raise BadInput(f"model.revision={model.revision}: {text}", field="model.revision")
    if model.name.startswith("lab:"):
        directory = base_path(model.name)
    elif is_local(model.name):
        directory = _local(model.name)
    else:
        directory = _download(model)
    if (directory / ADAPTER).is_file():
        of = _base_of(directory)
        text = f"{directory} holds an adapter{of}, not a model; give that base, or a model that the adapter is merged into"
        raise BadInput(f"model.name={model.name}: {text}", field="model.name")
    if not (directory / "config.json").is_file():
        text = f"no config.json in {directory}{_elsewhere(directory, 'config.json')}"
        gguf = "" if _elsewhere(directory, "config.json") or not any(directory.glob("*.gguf")) else f" ({GGUF_TEXT})"
        raise BadInput(f"model.name={model.name}: {text}{gguf}; give a directory with a model", field="model.name")
    if not weights.files(directory):
        others = sorted(path.name for pattern in OTHER_WEIGHTS for path in directory.glob(pattern))
        reason = _elsewhere(directory, "*.safetensors")
        if others:
            reason = f" ({others[0]} is refused: {GGUF_TEXT if others[0].endswith('.gguf') else PICKLE_TEXT})"
        text = f"no safetensors weights in {directory}{reason}; give a directory that has model.safetensors or its index"
        raise BadInput(f"model.name={model.name}: {text}", field="model.name")
    return directory


def _local(name: str) -> Path:
    local = expanded("model.name", name)
    if local.is_file():
        text = GGUF_TEXT if local.suffix == ".gguf" else "give the directory that has config.json, tokenizer and weights"
        raise BadInput(f"model.name={name}: a file; {text}", field="model.name")
    if not local.is_dir():
        text = "no such directory (nor lab:base-<seed>, nor a hub id owner/name)"
        text += "; give owner/name alone, or download it" if "://" in name else ""
        raise BadInput(f"model.name={name}: {text}", field="model.name")
    return local


def _base_of(directory: Path) -> str:
    name = weights.read_json(directory / ADAPTER).get("base_model_name_or_path")
    return f" of {name}" if isinstance(name, str) and name else ""


def _elsewhere(directory: Path, pattern: str) -> str:
    """A hint at a folder inside that has what lacks here."""
    inside = sorted(path.parent for path in directory.glob(f"*/{pattern}"))
    return f" (but in {inside[0]})" if inside else ""


def is_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or expanded("model.name", name).exists()


def _download(model: Model) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*FILES, "*.py"] if model.trust_remote_code else list(FILES)
    asked: dict[str, Any] = {"revision": model.revision, "allow_patterns": patterns}
    part = ""
    try:
        with suppress(FileNotFoundError):  # a cached snapshot needs no network
            if _is_whole(cached := Path(snapshot_download(model.name, local_files_only=True, **asked))):
                return cached
            part = "; of its files only some are in the cache"
        return Path(snapshot_download(model.name, **asked))
    except Exception as error:  # no network, no such repository, gated: many kinds of several libraries
        raise BadInput(
            f"model.name={model.name}: neither a directory here nor a model that the hub gives ({first_line(error)}{part})",
            field="model.name",
        ) from None


def _is_whole(directory: Path) -> bool:
    """Whether a cached snapshot has a configuration, a tokenizer and all weights: `sizes.py`, or a look at the tokenizer, leaves
    one file of many."""
    there = any(directory.glob("*.safetensors"))
    if (directory / weights.INDEX).is_file():
        there = all((directory / name).is_file() for name in weights.index(directory).values())
    words = [*directory.glob("*token*"), *directory.glob("vocab*"), *directory.glob("spiece*")]
    return there and (directory / "config.json").is_file() and bool(words)


def count(shape: Iterable[int]) -> int:
    return math.prod(shape)


def of_text(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the language model, which models that see or hear too have within theirs."""
    found: Mapping[str, Any] = settings.get("text_config") or settings
    return found


def hidden_size(settings: Mapping[str, Any]) -> int:
    """The model's width under the names that configurations use; 0 if none is known."""
    return next((int(settings[name]) for name in ("hidden_size", "n_embd", "d_model", "dim") if settings.get(name)), 0)


def context_tokens(settings: Mapping[str, Any]) -> int | None:
    """The longest sequence the model knows positions for."""
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    return next((int(settings[name]) for name in names if settings.get(name)), None)


def resolve_seq_len(asked: int | None, context: int | None, taken: int = 0) -> int:
    """`data.seq_len_tokens`, or by default the smaller of the model's context and LONGEST_DEFAULT_SEQ. `taken`: positions of the
    context that virtual tokens take."""
    if context is not None and context < LEAST_ROOM:
        text = f"its config.json gives it a context of {context} tokens, and {LEAST_ROOM} are the least; take another model"
        raise BadInput(f"model.name: {text}", field="model.name")
    if context is not None and taken + LEAST_ROOM > context:
        text = f"the model's context has {context} tokens; use at most {max(1, context - LEAST_ROOM)}"
        raise BadInput(f"adapter.virtual_tokens={taken}: {text}", field="adapter.virtual_tokens")
    if asked is not None and context is not None and asked + taken > context:
        beside = f", of which virtual tokens take {taken}" if taken else ""
        text = f"the model's context has {context} tokens{beside}"
        raise BadInput(f"data.seq_len_tokens={asked}: {text}", field="data.seq_len_tokens")
    return asked or min((context or LONGEST_DEFAULT_SEQ + taken) - taken, LONGEST_DEFAULT_SEQ)


def drift_tokens(asked: int, context: int | None) -> int:
    """How many tokens a text sampled from the base may have: what is asked, or what the context holds after its first token."""
    return asked if context is None else max(1, min(asked, context - 1))


def check_rank(rank: int, width: int) -> None:
    """Narrow layers (grouped-query keys and values) may have a lower rank than the adapter; the whole model may not.

    Raises:
        BadInput: the rank is above the model's width, so no layer's update needs it.
    """
    if 0 < width < rank:
        raise BadInput(
            f"adapter.rank={rank}: above the layers' width; this model is {width} wide, so at most {width}", field="adapter.rank"
        )


def words_hash(directory: Path) -> str:
    """A content hash of what decides how rows are written: all of the model but its weights. The laboratory's bases share it."""
    return content_hash({path.name: file_hash(path) for path in _beside_weights(directory)})


def model_hash(directory: Path) -> str:
    """A content hash of the weights, configuration and tokenizer."""
    files = [*weights.files(directory), *_beside_weights(directory)]
    return content_hash({path.name: file_hash(path) for path in files})


def _beside_weights(directory: Path) -> list[Path]:
    return [path for name in HASHED if (path := directory / name).is_file()]


def state(path: Path) -> object:
    """What a cache knows a file by: equal as long as its content is."""
    return unchanged.stamp(path) or file_hash(path)


def file_hash(path: Path) -> str:
    """sha256 of a file; a large file's is remembered as long as its stamp stays."""
    if path.stat().st_size <= SMALL_BYTES:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    stamp = unchanged.stamp(path)
    key = ["file", str(path.resolve()), stamp]
    if stamp is None or (known := remembered.recall(key)) is None:
        with path.open("rb") as file:
            known = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        if stamp is not None:
            remembered.keep(key, known)
    return str(known["sha256"])
