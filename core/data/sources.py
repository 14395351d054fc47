"""Where rows come from: a local file (json, jsonl, csv, parquet, gzipped or not), a hub id, or the laboratory.

Every reader yields (place, raw row); the place ("line 3", "row 3") goes into the message about a malformed row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.errors import BadInput

Placed = Iterator[tuple[str, Any]]


def _read_text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInput(f"{path}: not a whole gzip file ({error})") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}: line {line}: not UTF-8 text") from None


def _jsonl(path: Path) -> Placed:
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(f"{path}: line {number}: not JSON ({error.msg} at column {error.colno})") from None


def _json(path: Path) -> Placed:
    """A JSON array of rows, read one element at a time so that each row's line is known; or JSON lines under that name."""
    text = _read_text(path)
    if text.lstrip()[:1] != "[":
        yield from _jsonl(path)
        return
    decoder, at, line, seen = json.JSONDecoder(), text.index("[") + 1, 1, 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        line, seen = line + text.count("\n", seen, at), at
        if text[at : at + 1] == "]":
            return
        try:
            raw, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}: line {error.lineno}: not JSON ({error.msg} at column {error.colno})") from None
        yield f"line {line}", raw


def _csv(path: Path) -> Placed:
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), delimiter="\t" if ".tsv" in path.suffixes else ",")
    csv.field_size_limit(1 << 30)
    try:
        for raw in reader:
            if None in raw:
                raise BadInput(f"{path}: line {reader.line_num}: more fields than the header's {len(reader.fieldnames or ())}")
            yield f"line {reader.line_num}", raw
    except csv.Error as error:
        raise BadInput(f"{path}: line {reader.line_num}: not CSV ({error})") from None


def _parquet(path: Path) -> Placed:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    for number, raw in enumerate(table.to_pylist(), 1):
        yield f"row {number}", raw


READERS: dict[str, Callable[[Path], Placed]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def is_file(source: str) -> bool:
    """Whether the source names a local file (existing, or by its ending)."""
    return Path(source).expanduser().exists() or _suffix(Path(source)) in READERS or source.startswith((".", "/", "~"))


def existing_file(field: str, source: str) -> Path:
    """The path of a local file.

    Raises:
        BadInput: it is missing, not a file, unreadable or empty.
    """
    path = Path(source).expanduser()
    try:
        if not path.exists():
            raise BadInput(f"{field}={source}: no such file", field=field)
        if not path.is_file():
            raise BadInput(f"{field}={source}: is not a file", field=field)
        if path.stat().st_size == 0:
            raise BadInput(f"{field}={source}: is empty", field=field)
        with path.open("rb"):
            return path
    except OSError as error:
        raise BadInput(f"{field}={source}: cannot be read ({error.strerror})", field=field) from None


def read_file(field: str, source: str) -> Placed:
    """The raw rows of a local file, with their lines."""
    path = existing_file(field, source)
    if _suffix(path) not in READERS:
        raise BadInput(
            f"{field}={source}: unknown ending; must be one of {', '.join(READERS)}, gzipped (.gz) or not", field=field
        )
    return READERS[_suffix(path)](path)


def read_text_file(field: str, source: str) -> str:
    """A plain text file, gzipped or not."""
    try:
        text = _read_text(existing_file(field, source))
    except BadInput as error:
        raise BadInput(error.text, field=field) from None
    if not text.strip():
        raise BadInput(f"{field}={source}: has no text", field=field)
    return text


def read_hub(field: str, source: str) -> Placed:
    """The raw rows of a hub data set, "owner/name" or "owner/name:split" (split: train)."""
    from datasets import load_dataset

    name, _, split = source.partition(":")
    try:
        rows = load_dataset(name, split=split or "train")
    except Exception as error:  # the library raises many kinds: not found, no network, gated, no such split
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{field}={source}: neither a file here nor a data set that can be loaded from the hub ({reason})", field=field
        ) from None
    return ((f"row {number}", dict(raw)) for number, raw in enumerate(rows, 1))
