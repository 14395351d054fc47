"""Where rows come from: a local file (json, jsonl, csv, tsv, parquet, gzipped or not) or a hub id.

Every reader yields (place, raw row); the place ("line 3", "row 3") goes into the message about a malformed row. A row that
cannot be read while those after it can is an `Unreadable`; what spoils the rest of the file raises BadInput.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.data import files
from core.data.conversation import Unreadable, field_names
from core.errors import BadInput, first_line
from core.once import FieldTwice, once

Placed = Iterator[tuple[str, Any]]
MOST_PARQUET_ROWS = 20_000_000  # a file of kilobytes can hold one text this many times

NESTED = "nested too deeply to be read"
PARTED = "part rows by one comma"
DIGITS = "has a number of more digits than can be read"


def _parsed(line: bytes | str) -> Any:
    """One line's JSON; an `Unreadable` where it is none."""
    try:
        return json.loads(line.decode() if isinstance(line, bytes) else line, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        return Unreadable(f"not JSON ({error.msg} at column {error.colno})")
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8 text (byte 0x{error.object[error.start]:02x})")
    except RecursionError:
        return Unreadable(NESTED)
    except FieldTwice as error:
        return Unreadable(str(error))
    except ValueError:  # of Python's limit on the digits of whole numbers
        return Unreadable(DIGITS)


def _jsonl(path: Path, data: bytes) -> Placed:
    files.refuse_wide(path, data)
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield f"line {number}", _parsed(line)


def _json(path: Path, data: bytes) -> Placed:
    """A JSON array of rows, read one element at a time so that each row's line is known; or JSON lines under that name."""
    text = files.decoded(path, data)
    if text.lstrip()[:1] == "[":
        yield from _elements(path, text)
        return
    _refuse_one_object(path, text)
    yield from _jsonl(path, data)


def _refuse_one_object(path: Path, text: str) -> None:
    """One object over several lines is neither a list of rows nor JSON lines."""
    first = text.lstrip().partition("\n")[0]
    if isinstance(_parsed(first), Unreadable) and isinstance(whole := _parsed(text), dict):
        fields = field_names(whole)
        raise BadInput(f"{path}: is one JSON object (fields: {fields}), not a list of rows; give the list alone: [row, row]")


def _elements(path: Path, text: str) -> Placed:
    decoder, at, line, seen, n = json.JSONDecoder(object_pairs_hook=once), text.index("[") + 1, 1, 0, 0
    while True:
        at = _after_space(text, at)
        line, seen = line + text.count("\n", seen, at), at
        if text[at : at + 1] == "]":
            if text[at + 1 :].strip():
                raise BadInput(f"{path}: line {line}: something follows the end of the list of rows; give one list")
            return
        if n:
            at = _after_comma(path, text, (at, line))
            line, seen = line + text.count("\n", seen, at), at
        if text[at : at + 1] == ",":
            raise BadInput(f"{path}: line {line}: {'two commas in a row' if n else 'a comma before the first row'}; {PARTED}")
        raw, at = _element(path, decoder, text, (at, line))
        n += 1
        yield f"line {line}", raw


def _after_comma(path: Path, text: str, place: tuple[int, int]) -> int:
    """Where the next row begins, of a list that has not ended at this character, on this line."""
    at, line = place
    if not text[at : at + 1]:
        raise BadInput(f"{path}: line {line}: not JSON (the list of rows does not end); a part of the file is missing")
    if text[at] != ",":
        raise BadInput(f"{path}: line {line}: no comma between two rows; {PARTED}")
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "]":
        raise BadInput(f"{path}: line {line}: a comma after the last row; {PARTED}")
    return at


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _element(path: Path, decoder: json.JSONDecoder, text: str, place: tuple[int, int]) -> tuple[Any, int]:
    """The row that begins at this character, on this line; and where it ends."""
    at, line = place
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise BadInput(f"{path}: line {line}: {NESTED}") from None
    except FieldTwice as error:
        raise BadInput(f"{path}: line {line}: {error}") from None
    except ValueError:
        raise BadInput(f"{path}: line {line}: {DIGITS}") from None


def _csv(path: Path, data: bytes) -> Placed:
    """`strict`: a quote that is never closed would swallow all rows that follow."""
    csv.field_size_limit(1 << 30)
    text = io.StringIO(files.decoded(path, data), newline="")
    reader = csv.DictReader(text, delimiter="\t" if ".tsv" in path.suffixes else ",", strict=True)
    begins = 1
    try:
        header = reader.fieldnames or ()
        if repeated := [name for name in header if list(header).count(name) > 1]:
            raise BadInput(f"{path}: line 1: two columns are called {repeated[0]!r}; rename or drop one")
        begins = reader.line_num + 1
        for raw in reader:
            place, begins = f"line {reader.line_num}", reader.line_num + 1
            if None in raw or None in raw.values():
                yield place, Unreadable(f"{'more' if None in raw else 'fewer'} fields than the header's {len(header)}")
            else:
                yield place, raw
    except csv.Error as error:
        raise BadInput(f"{path}: line {begins}: not CSV ({error}); close or double its quotes") from None


def _parquet(path: Path, data: bytes) -> Placed:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        told, names = file.metadata, file.schema_arrow.names
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        if told.num_rows > MOST_PARQUET_ROWS or size > files.LARGEST_BYTES:
            raise BadInput(f"{path}: {told.num_rows:,} rows of {size >> 20:,} MiB unpacked; give a part of it")
        if repeated := [name for name in names if names.count(name) > 1]:
            raise BadInput(f"{path}: two columns are called {repeated[0]!r}; rename or drop one")
        rows = file.read().to_pylist()
    except BadInput:
        raise
    except Exception as error:  # pyarrow raises many kinds about damaged files
        raise BadInput(f"{path}: not a Parquet file ({first_line(error)}); fetch or write it again") from None
    for number, raw in enumerate(rows, 1):
        yield f"row {number}", raw


READERS: dict[str, Callable[[Path, bytes], Placed]] = {
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
    return files.exists(source) or _suffix(Path(source)) in READERS or source.startswith((".", "/", "~"))


def read_file(field: str, source: str) -> tuple[Placed, str]:
    """The raw rows of a local file with their lines, and the hash of the bytes that they are read from.

    Raises:
        BadInput: the file cannot be read.
    """
    path = files.existing(field, source)
    if _suffix(path) not in READERS:
        endings = f"{', '.join(READERS)}, gzipped (.gz) or not"
        text = f"unknown ending {_suffix(path)!r}; must be one of {endings}: rename JSON lines to .jsonl, convert other formats"
        raise BadInput(f"{field}={source}: {text}", field=field)
    data, content = files.read_bytes(path)
    return READERS[_suffix(path)](path, data), content


def read_readable(field: str, source: str) -> Placed:
    """As `read_file`, of a file of which every row is needed.

    Raises:
        BadInput: the file, or one of its rows, cannot be read.
    """
    for place, raw in read_file(field, source)[0]:
        if isinstance(raw, Unreadable):
            raise BadInput(f"{source}: {place}: {raw.reason}")
        yield place, raw


def read_hub(field: str, source: str) -> Placed:
    """The raw rows of a hub data set: "owner/name", "owner/name:SPLIT" (else train) or, where it has several configurations,
    "owner/name:CONFIG:SPLIT"."""
    from datasets import load_dataset

    name, *rest = source.split(":", 2)  # a further colon is no name's, and the hub says so
    split, config = ([*reversed(rest), None, None])[:2]
    try:
        rows = load_dataset(name, config or None, split=split or "train")
        for number, raw in enumerate(rows, 1):
            yield f"row {number}", dict(raw)
    except Exception as error:  # the library raises many kinds: not found, no network, gated, no such split, no decoder
        text = "neither a file here nor a data set that can be loaded from the hub"
        why = first_line(error)
        if "config name is missing" in why.lower():  # the next line names those that there are
            text, why = "has configurations; name one as owner/name:CONFIG:SPLIT", " ".join(str(error).splitlines()[1:2])
        raise BadInput(f"{field}={source}: {text} ({why})", field=field) from None
