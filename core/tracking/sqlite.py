"""SQLite stores: their URIs, what their files hold, and the moments in which one is made or found at another place."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from core.errors import BadInput

BEGINNING = b"SQLite format 3\0"
LEAST_FREE_BYTES = 1 << 20  # MLflow's empty tables take 0.6 MB
ARTIFACTS = "mlartifacts"  # the folder of a store's artifacts, beside its file
OPENING_SECONDS = 120.0  # making the tables takes a few; a process that takes longer than this is stuck
_PLAIN = re.compile(r"[\w./~ @,=+:-]*")


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file for MLflow and Optuna (SQLAlchemy reads %XX, and ends the path at a `?`)."""
    text = os.path.abspath(path)
    if _PLAIN.fullmatch(text):
        return f"sqlite:///{text}"
    # with "sqlite://" alone, MLflow would make the folders of the quoted text, beside the right ones
    return f"sqlite+pysqlite:///{urllib.parse.quote(text, safe='/')}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI, absolute; None for other URIs and for a database in memory.

    A path that was typed as it is, with its `%` or `?`, is taken as it is where its folder exists.
    """
    scheme, found, rest = uri.partition(":///")
    if not found or scheme.lower().partition("+")[0] != "sqlite" or rest.startswith("file:"):
        return None
    database, _, query = rest.partition("?")
    as_typed = "+" not in scheme and Path(rest).parent.is_dir() and (not query or "/" in query or Path(rest).exists())
    path = rest if as_typed else urllib.parse.unquote(database)
    return Path(os.path.abspath(path)) if path.strip("/") not in ("", ":memory:") else None


def normalised(uri: str) -> str:
    """A SQLite URI as `sqlite_uri` writes it; any other as it is."""
    file = sqlite_file(uri)
    return uri if file is None else sqlite_uri(file)


def artifacts_of(uri: str) -> str | None:
    """Where the artifacts of a SQLite store lie, as a URI; None where the server decides."""
    file = sqlite_file(uri)
    return None if file is None else (file.parent / ARTIFACTS).as_uri()


def why_unusable(file: Path) -> str:
    """Why the file can't be a store, in a clause; "" where it can, also where it must be made first."""
    if not file.parent.is_dir():
        return f"the directory {file.parent} does not exist"
    if file.exists() and not file.is_file():  # a pipe would be waited for, and a device replaced
        return f"cannot be read: {file} is no regular file"
    try:
        with file.open("rb") as opened:
            beginning = opened.read(len(BEGINNING))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if beginning not in (b"", BEGINNING):
        return f"{file} is not an SQLite database"
    try:
        tables = _names(file)
    except sqlite3.OperationalError:  # another process holds it: MLflow waits for it
        return ""
    except sqlite3.DatabaseError as error:
        return f"{file} is damaged ({error})"
    if tables and not {"experiments", "runs", "alembic_version"} <= tables:
        shown = ", ".join(sorted(tables)[:3])
        return f"{file} is not MLflow's: it has the tables {shown}; name another file"
    return ""


def why_unwritable(file: Path) -> str:
    """Why the file can't be written to, or what lies beside it can't, in a clause; "" where it can. Leaves nothing behind."""
    for place in (file, file.parent, file.parent / ARTIFACTS):
        probe = place / f".probe.{os.getpid()}"
        try:
            if place.is_file():
                place.open("r+b").close()
            if place.is_dir() or (place.name == ARTIFACTS and place.exists()):
                probe.write_bytes(bytes(LEAST_FREE_BYTES))
        except OSError as error:
            return f"{place} cannot be written to ({error.strerror})"
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    return ""


def _looked_into(file: Path, seconds: float = 5.0) -> sqlite3.Connection:
    """A connection to read with. It may write where the file can be written to: what a killed process left unfinished in the
    journal must be rolled back before anything can be read."""
    writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    return sqlite3.connect(f"{file.as_uri()}?mode={'rw' if writable else 'ro'}", uri=True, timeout=seconds)


def _names(file: Path) -> set[str]:
    with closing(_looked_into(file, seconds=1)) as database:
        return {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def revision(file: Path) -> str:
    """The version of MLflow's schema that the file has."""
    with closing(_looked_into(file)) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    return str(found)


@contextmanager
def opening(uri: str) -> Iterator[Path | None]:
    """One process at a time makes what a SQLite store lacks; yields its file. Other stores have servers for that.

    Raises:
        BadInput: another process holds the store for minutes.
    """
    file = sqlite_file(uri)
    if file is None:
        yield None
        return
    try:
        lock = file.with_name(f".{file.name}.lock").open("a")
    except OSError:  # in a directory that can only be read nothing is made either
        yield file
        return
    with lock:
        _take(lock.fileno(), file)
        yield file


def _take(lock: int, file: Path) -> None:
    until = time.monotonic() + OPENING_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise BadInput(f"{file}: another process has been opening it for {OPENING_SECONDS:.0f} s") from None
            time.sleep(0.02)
        except OSError:  # a file system without locks
            return


def remains(file: Path) -> Iterator[Path]:
    """Files that a process left which was killed while it made the store."""
    return (path for path in file.parent.iterdir() if re.fullmatch(rf"\.{re.escape(file.name)}\.\d+(-\w+)?", path.name))


def relocate(file: Path) -> None:
    """Makes the artifacts' places right after the store was moved or copied: MLflow keeps them as absolute URIs, and a copy
    would write into the original."""
    here = (file.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(file, timeout=20)) as database:
        for number, place in database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
            if place and place != here and _was_ours(place, file):
                moved = (here, len(place) + 1, number, f"{place}/")
                database.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
                    " WHERE experiment_id = ? AND instr(artifact_uri, ?) = 1", moved
                )  # fmt: skip
                database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here, number))
        database.commit()


def _was_ours(place: str, file: Path) -> bool:
    """Whether the artifacts lay beside the file: they do so now, or are nowhere else."""
    parts = urllib.parse.urlsplit(place)
    old = Path(urllib.parse.unquote(parts.path))
    return parts.scheme == "file" and old.name == ARTIFACTS and ((file.parent / ARTIFACTS).is_dir() or not old.is_dir())
