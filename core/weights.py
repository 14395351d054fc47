"""A checkpoint's safetensors files, read without torch and before anything is loaded: which they are, every weight's shape.

A file begins with 8 bytes of length and a JSON header; the header has to describe the data exactly, which is checked as strictly
as the safetensors library does it when it loads them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInput

LONGEST_NAME = 255  # of a file, in bytes
CHUNK_BYTES = 1 << 22
LONGEST_HEADER = 100_000_000  # bytes; the library's own limit
# Bits of an element, by the names of safetensors 0.8.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
# What a parameter may be stored as; what is no parameter may be anything.
FLOATS = ("F16", "BF16", "F32", "F64")
# In files, but no parameters: masks and frequencies that older versions saved, and what balances a mixture's experts.
BUFFER = re.compile(r"(\battn\.bias|masked_bias|attention\.bias|inv_freq|e_score_correction_bias|position_ids)$")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
QUANT_STATE = ".quant_state.bitsandbytes__nf4"  # JSON about a packed weight, in a weight of its own

Shape = tuple[int, ...]


def damaged(path: Path, reason: str) -> BadInput:
    return BadInput(f"model: {path} is not a whole safetensors file ({reason}); fetch it again", field="model.name")


def files(directory: Path) -> list[Path]:
    """The checkpoint's safetensors files: those of the index, or model.safetensors; none if there is neither.

    Raises:
        BadInput: the index is damaged, names files that are not there, or there are both.
    """
    single = directory / SINGLE
    if not (directory / INDEX).is_file():
        return [path for path in [single] if path.is_file()]
    names = sorted(set(index(directory).values()))
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        text = f"{directory} lacks {', '.join(missing[:3])}, which its index names; fetch the model again"
        raise BadInput(f"model: {text}", field="model.name")
    if single.is_file() and SINGLE not in names:  # transformers would load this one and ignore the index
        raise BadInput(f"model: {directory} has its weights twice, in {SINGLE} and by {INDEX}; remove one", field="model.name")
    return [directory / name for name in names]


def index(directory: Path) -> dict[str, str]:
    """The index of a checkpoint in several files: the file of every weight.

    Raises:
        BadInput: it is no such index.
    """
    path = directory / INDEX
    content = read_json(path)
    found: Any = content.get("weight_map")
    if not (isinstance(found, dict) and found and all(map(_is_file_name, found.values()))):
        text = 'must have a "weight_map" from the names of weights to those of files beside it'
        raise BadInput(f"model: {path} {text}; fetch it again", field="model.name")
    return dict(found)


def _is_file_name(name: object) -> bool:
    text = isinstance(name, str) and name.isprintable() and len(name.encode()) <= LONGEST_NAME
    return text and Path(str(name)).name == name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        BadInput: it does not.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError, OSError) as error:
        if isinstance(error, BadInput):
            raise BadInput(f"model: {path}: {error.text}; leave one of them", field="model.name") from None
        raise BadInput(
            f"model: {path} is not JSON ({type(error).__name__}: {error}); fetch it again", field="model.name"
        ) from None
    if not isinstance(found, dict):
        raise BadInput(f"model: {path} is not a JSON object but {type(found).__name__}; fetch it again", field="model.name")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Of a key that stands twice JSON takes the last, and another reader the first."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise BadInput(f"{name}={found[name]!r:.80} stands there again, as {value!r:.80}")
        found[name] = value
    return found


def shapes(directory: Path) -> dict[str, Shape]:
    """Every weight's shape.

    Raises:
        BadInput: a file is damaged, a weight is in two files, or not in the file that the index names.
    """
    found: dict[str, Shape] = {}
    where: dict[str, str] = {}
    inside: dict[str, Mapping[str, object]] = {}
    for path in files(directory):
        entries, begin = _header(path)
        inside[path.name] = entries
        for name, shape in _unpacked(path, entries, begin).items():
            if name in found:
                text = f"{name} is in two files, {where[name]} and {path.name}; fetch the model again"
                raise BadInput(f"model: {directory}: {text}", field="model.name")
            found[name], where[name] = shape, path.name
    if (directory / INDEX).is_file():
        lost = [name for name, file in index(directory).items() if name not in inside[file]]
        if lost:
            text = f"{named(lost)} not in the file that {INDEX} names; fetch the model again"
            raise BadInput(f"model: {directory}: {text}", field="model.name")
        if not isinstance(read_json(directory / INDEX).get("metadata"), dict):  # transformers asks for it
            raise BadInput(f'model: {directory / INDEX} has no object "metadata"; fetch it again', field="model.name")
    return found


def named(names: list[str]) -> str:
    """Some of the names, and how many more there are."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + rest


def are_same(directory: Path, one: str, other: str) -> bool:
    """Whether two weights of the checkpoint are of one type and shape and hold the same bytes."""
    found = []
    for path in files(directory):
        entries, begin = _header(path)
        for name in {one, other} & entries.keys():
            start, end = entries[name]["data_offsets"]
            found.append((path, begin + start, end - start, entries[name]["dtype"], entries[name]["shape"]))
    (path, start, *kind), (other_path, other_start, *other_kind) = found
    if kind != other_kind:
        return False
    with path.open("rb") as file, other_path.open("rb") as other_file:
        file.seek(start)
        other_file.seek(other_start)
        sizes = (min(CHUNK_BYTES, kind[0] - at) for at in range(0, kind[0], CHUNK_BYTES))
        return all(file.read(size) == other_file.read(size) for size in sizes)


def _unpacked(path: Path, entries: Mapping[str, dict[str, Any]], begin: int) -> dict[str, Shape]:
    """The file's weights; one that bitsandbytes has packed in 4 bits has its own shape, without what is stored beside it."""
    found = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    packs = [name for name in found if name.endswith(QUANT_STATE)]
    if not packs:
        _check_types(path, entries)
    for name in packs:
        start, end = entries[name]["data_offsets"]
        with path.open("rb") as file:
            file.seek(begin + start)
            state = file.read(end - start)
        try:
            shape = json.loads(state)["shape"]
        except (ValueError, KeyError, TypeError, RecursionError):
            shape = None
        packed = name.removesuffix(QUANT_STATE)
        if not _whole_numbers(shape) or packed not in found:
            raise damaged(path, f"{name} does not tell the shape of a weight of 4 bits")
        found = {other: kept for other, kept in found.items() if not other.startswith(packed + ".")}
        found[packed] = tuple(shape)
    return found


def _check_types(path: Path, entries: Mapping[str, dict[str, Any]]) -> None:
    """Whole numbers would be read as if they were weights.

    Raises:
        BadInput: a parameter is stored as something else than floating point numbers of 16 bits or more.
    """
    for name, entry in entries.items():
        if entry["dtype"] not in FLOATS and not BUFFER.search(name):
            text = f"{name} is stored as {entry['dtype']}, and weights must be {', '.join(FLOATS)}; take the unquantized model"
            raise BadInput(f"model: {path}: {text}", field="model.name")


def _header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The checked entries of the file's header, and where its data begin."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first == b"version ":
            raise damaged(path, "a Git LFS pointer, not the data: git lfs pull fetches them")
        if size < 8 or length + 8 > size:
            raise damaged(path, f"cut off: {size:,} bytes, and its header alone should end at {length + 8:,}")
        if length > LONGEST_HEADER:
            raise damaged(path, f"a header of {length:,} bytes")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(header.items(), key=_begin):
        end = _check(path, name, entry, end)
    if end != size - length - 8:
        raise damaged(path, f"{end:,} bytes of weights are described and {size - length - 8:,} are there")
    return header, length + 8


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _begin(item: tuple[str, Any]) -> tuple[int, int]:
    """What weights are ordered by: where their data begin and end; those that say nothing readable come first."""
    entry = item[1]
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return (offsets[0], offsets[1]) if isinstance(offsets, list) and _whole_numbers(offsets) and len(offsets) == 2 else (-1, -1)


def _whole_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check(path: Path, name: str, entry: Any, begin: int) -> int:
    """Where the weight's data end; they have to begin at `begin`."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise damaged(path, f"{name} has no dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise damaged(path, f"{name} has the unknown dtype {dtype!r}")
    if not _whole_numbers(shape):
        raise damaged(path, f"{name} has the shape {shape!r}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise damaged(path, f"{name} has the data_offsets {offsets!r}")
    if offsets[0] != begin or (offsets[1] - offsets[0]) * 8 != math.prod(shape) * BITS[dtype]:
        raise damaged(path, f"{name} with shape {shape} and {dtype} does not fit its data_offsets {offsets}")
    return int(offsets[1])
