"""A local file's bytes: read once, unpacked within a limit, hashed as they were read, decoded with the place of what is wrong."""

from __future__ import annotations

import codecs
import functools
import gzip
import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from core import unchanged
from core.errors import BadInput, of_field

SOURCES = ("data.source", "data.eval_source")
LARGEST_BYTES = 4 << 30  # all rows are held in memory, several times this size
# A gzip file may be 1,000 times larger unpacked; instruction data are 3 to 10 times.
UNPACKED_BYTES, UNPACKED_RATIO = 100 << 20, 50
CHUNK_BYTES = 1 << 20
WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


# What a file is that its name does not say: how it begins, and what to do about it.
OTHERWISE = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), "a Git LFS pointer, not the data: fetch them with git lfs pull"),
    (re.compile(rb"/annex/objects/|\.?/?\.git/annex/"), "a git-annex pointer, not the data: fetch them with git annex get"),
    (re.compile(rb"\s*(<!--.{0,2000}?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.I | re.S), "an HTML page"
     " (a login or an error, often): download the file itself; on the hub its link has /resolve/ in it, not /blob/"),
    (re.compile(rb"\s*<\?xml\b", re.I), "XML, not rows or plain text (a storage's error message, often): download it again"),
    (re.compile(rb"PK\x03\x04"), "a zip archive: unpack it; of a spreadsheet, save it as csv"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "compressed with zstd: unpack it, or gzip it (.gz)"),
    (re.compile(rb"BZh[1-9]1AY"), "compressed with bzip2: unpack it, or gzip it (.gz)"),
    (re.compile(rb"\xfd7zXZ\x00"), "compressed with xz: unpack it, or gzip it (.gz)"),
    (re.compile(rb".{257}ustar", re.S), "a tar archive: unpack it and name a file in it"),
    (re.compile(rb"ARROW1"), "an Arrow file: save it as parquet"),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database: save the table as csv or parquet"),
    (re.compile(rb"%PDF-"), "a PDF: give its text alone, as plain text"),
)  # fmt: skip
GZIP, PARQUET = b"\x1f\x8b\x08", b"PAR1"

WIDE_ZEROS = ((False, True) * 2, (True, False) * 2, (False, True, True, True), (True, True, True, False))  # of ASCII letters


@dataclass(frozen=True)
class Text:
    """A text and the hash of the file's bytes that it was read from."""

    source: str
    text: str
    content: str


def exists(source: str) -> bool:
    """Whether there is anything under this path; False for what cannot be a path."""
    try:
        return Path(source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, no such user
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file under this path; False for what cannot be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def existing(field: str, source: str) -> Path:
    """The path of a local file.

    Raises:
        BadInput: it is missing, not a file, unreadable or empty, or no path at all.
    """
    try:
        path = Path(source).expanduser()
        if not path.exists():
            several = field in SOURCES and "," in source
            more = "; several in shares are written A.jsonl=0.7,B.jsonl=0.3, each with a number above 0" if several else ""
            more = "; download it, and name the file" if "://" in source else more
            raise BadInput(f"{field}={source}: no such file{more}", field=field)
        if not path.is_file():
            what = "a folder; name a file in it" if path.is_dir() else "a pipe or a device; write its content to a file"
            raise BadInput(f"{field}={source}: is not a file but {what}", field=field)
        if (size := path.stat().st_size) == 0:
            raise BadInput(f"{field}={source}: is empty", field=field)
        if size > LARGEST_BYTES:
            text = f"has {size / 2**30:.0f} GiB; rows are held in memory, so give at most {LARGEST_BYTES >> 30} GiB"
            raise BadInput(f"{field}={source}: {text}", field=field)
        with path.open("rb"):
            return path
    except OSError as error:
        raise BadInput(f"{field}={source[:200]}: cannot be read ({error.strerror})", field=field) from None
    except (ValueError, RuntimeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{field}={source[:200]!r}: is no path ({error})", field=field) from None


def hash_of(data: bytes) -> str:
    """The content hash of a file with these bytes; the same as the beginning of `checkpoint.file_hash`."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The file's bytes, unpacked where its name ends with .gz, and the hash of those on the disk.

    Raises:
        BadInput: it cannot be read, is no whole gzip file, unpacks to more than its size lets expect, or is something else than
            its name says.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    data = packed
    if path.suffix == ".gz":
        if not packed.startswith(GZIP):
            _refuse_other(path, packed)
        data = _unpacked(path, packed)
    _refuse_other(path, data)
    return data, hash_of(packed)


def _refuse_other(path: Path, data: bytes) -> None:
    """Bytes that are known by how they begin, and are neither text nor what the file's name says.

    Raises:
        BadInput: they are; with what to do about it.
    """
    if what := next((what for begins, what in OTHERWISE if begins.match(data[:4_000])), ""):
        raise BadInput(f"{path}: is {what}")
    if data.startswith(GZIP):
        ways = "twice: unpack it once" if path.suffix == ".gz" else f"under another name: rename it to {path.name}.gz"
        raise BadInput(f"{path}: is gzipped {ways}")
    if data.startswith(PARQUET) and ".parquet" not in path.suffixes:
        raise BadInput(f"{path}: is a Parquet file under another name: rename it to {path.stem}.parquet")


def _unpacked(path: Path, packed: bytes) -> bytes:
    import io

    most, chunks, size = min(LARGEST_BYTES, UNPACKED_BYTES + UNPACKED_RATIO * len(packed)), [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            while chunk := file.read(CHUNK_BYTES):
                chunks.append(chunk)
                if (size := size + len(chunk)) > most:
                    text = f"{len(packed):,} bytes unpack to more than {most >> 20:,} MiB; unpack it if that is right"
                    raise BadInput(f"{path}: {text}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(
            f"{path}: not a whole gzip file ({error}); fetch it again, or drop .gz from its name if it is not packed"
        ) from None
    return b"".join(chunks)


def refuse_wide(path: Path, data: bytes) -> None:
    """UTF-16 and UTF-32, told by their first bytes, or by the zeros between those of plain letters.

    Raises:
        BadInput: the bytes are such text.
    """
    zeros = tuple(byte == 0 for byte in data[:4])
    if data.startswith(WIDE) or zeros in WIDE_ZEROS:
        raise BadInput(f"{path}: UTF-16 or UTF-32 text; save it as UTF-8")


def decoded(path: Path, data: bytes) -> str:
    """The bytes as UTF-8 text, without a byte order mark.

    Raises:
        BadInput: they are not; with the line.
    """
    refuse_wide(path, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}: line {line}: not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8") from None


def read_text(field: str, source: str) -> Text:
    """A plain text file, gzipped or not; read again when it changes.

    Raises:
        BadInput: it cannot be read, has no text, or holds rows instead.
    """
    path = existing(field, source)
    with of_field(field):
        return _read_text(field, source, unchanged.stamp(path) or read_bytes(path)[1])


@functools.lru_cache(maxsize=2)
def _read_text(field: str, source: str, state: object) -> Text:
    data, content = read_bytes(existing(field, source))
    text = decoded(Path(source), data)
    if not text.strip():
        raise BadInput(f"{field}={source}: has no text", field=field)
    first = next(line for line in text.splitlines() if line.strip())
    if _is_object(first) or (first.lstrip()[:1] in "[{" and _is_object(text)):
        raise BadInput(f"{field}={source}: holds JSON rows; give their text alone, as plain text", field=field)
    return Text(source, text, content)


def _is_object(text: str) -> bool:
    """Whether the text is a JSON object, or a list of them."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) or (isinstance(found, list) and bool(found) and all(isinstance(one, dict) for one in found))
