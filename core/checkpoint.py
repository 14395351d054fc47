"""A base model's files, without torch: where they are, what they hold (shapes from the safetensors header), their hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core import remembered, unchanged
from core.errors import BadInput
from core.fields import content_hash
from core.lab import base_path
from core.settings import Model

LONGEST_DEFAULT_SEQ = 1_024  # for data.seq_len_tokens=None, where the model's context is longer
SMALL_BYTES = 1 << 20  # hashed directly: quicker than the cache
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
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
    if model.name.startswith("lab:"):
        directory = base_path(model.name)
    elif _is_local(model.name):
        local = Path(model.name).expanduser()
        if not local.is_dir():
            raise BadInput(
                f"model.name={model.name}: no such directory (nor lab:base-<seed>, nor a hub id owner/name)", field="model.name"
            )
        directory = local
    else:
        directory = _download(model)
    if not (directory / "config.json").is_file():
        raise BadInput(f"model.name={model.name}: no config.json in {directory}", field="model.name")
    if not weight_files(directory):
        pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
        reason = f" ({pickles[0]} is refused: unpickling runs code; convert it to safetensors)" if pickles else ""
        raise BadInput(f"model.name={model.name}: no safetensors weights in {directory}{reason}", field="model.name")
    return directory


def _is_local(name: str) -> bool:
    return Path(name).expanduser().exists() or name.startswith((".", "/", "~")) or name.count("/") != 1


def _download(model: Model) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*FILES, "*.py"] if model.trust_remote_code else list(FILES)
    try:
        try:  # a cached snapshot needs no network
            return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=patterns, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=patterns))
    except Exception as error:  # no network, no such repository, gated: many kinds of several libraries
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise BadInput(
            f"model.name={model.name}: neither a directory here nor a model that the hub gives ({reason})", field="model.name"
        ) from None


def weight_files(directory: Path) -> list[Path]:
    """The checkpoint's safetensors files: those of the index, or model.safetensors."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise BadInput(f"model: {directory} lacks {missing[0]}, which its index names", field="model.name")
        return [directory / name for name in names]
    return [path for path in [directory / "model.safetensors"] if path.is_file()]


def shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Every weight's shape, read from the headers (8 bytes of length, then JSON) without the weights."""
    found: dict[str, tuple[int, ...]] = {}
    for path in weight_files(directory):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                if length + 8 > size:
                    raise ValueError("cut off")
                header = json.loads(file.read(length))
                end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
                if end + length + 8 > size:
                    raise ValueError("cut off")
            except (ValueError, KeyError) as error:
                raise BadInput(f"model: {path} is not a whole safetensors file ({error})", field="model.name") from None
        found |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return found


def count(shape: Iterable[int]) -> int:
    return math.prod(shape)


def config(directory: Path) -> dict[str, Any]:
    """config.json; a multimodal model's text part."""
    try:
        settings: dict[str, Any] = json.loads((directory / "config.json").read_text())
    except ValueError as error:
        raise BadInput(f"model: {directory / 'config.json'} is not JSON ({error})", field="model.name") from None
    return settings | settings.get("text_config", {})


def hidden_size(settings: dict[str, Any]) -> int:
    """The model's width under the names that configurations use; 0 if none is known."""
    return next((int(settings[name]) for name in ("hidden_size", "n_embd", "d_model", "dim") if settings.get(name)), 0)


def context_tokens(settings: dict[str, Any]) -> int | None:
    """The longest sequence the model knows positions for."""
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    return next((int(settings[name]) for name in names if settings.get(name)), None)


def resolve_seq_len(asked: int | None, context: int | None) -> int:
    """`data.seq_len_tokens`, or by default the smaller of the model's context and LONGEST_DEFAULT_SEQ."""
    if asked is not None and context is not None and asked > context:
        raise BadInput(f"data.seq_len_tokens={asked}: the model's context has {context} tokens", field="data.seq_len_tokens")
    return asked or min(context or LONGEST_DEFAULT_SEQ, LONGEST_DEFAULT_SEQ)


def check_rank(rank: int, width: int) -> None:
    """Narrow layers (grouped-query keys and values) may have a lower rank than the adapter; the whole model may not.

    Raises:
        BadInput: the rank is above the model's width, so no layer's update needs it.
    """
    if 0 < width < rank:
        raise BadInput(
            f"adapter.rank={rank}: above the layers' width; this model is {width} wide, so at most {width}", field="adapter.rank"
        )


def model_hash(directory: Path) -> str:
    """A content hash of the weights, configuration and tokenizer."""
    files = [*weight_files(directory), *(directory / name for name in HASHED if (directory / name).is_file())]
    return content_hash({path.name: file_hash(path) for path in files})


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
