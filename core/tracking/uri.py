"""Which store to log to: from the command line, from MLflow's variable, or the embedded one; whether it answers."""

from __future__ import annotations

import http.client
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from core.errors import BadInput, redacted
from core.tracking.sqlite import normalised, sqlite_file, sqlite_uri, why_unusable, why_unwritable
from core.tracking.views import key

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
KINDS = "must be sqlite:////absolute/file.db, http(s)://host:port or a database's URI"


def chosen_uri(asked: str | None, output: Path) -> tuple[str, str]:
    """The store to log to and where its URI comes from: the command line, MLflow's own variable, or the embedded store, whose
    directory may have to be made first.

    Raises:
        BadInput: nothing answers there, or it cannot be written to.
    """
    for uri, origin in ((asked, "--tracking-uri"), (os.environ.get(URI_VARIABLE), URI_VARIABLE)):
        if uri:
            check_uri(uri, origin, writes=True)
            return normalised(uri), origin
    if output.is_dir():
        check_uri(default_uri(output), writes=True)
    return default_uri(output), ""


def default_uri(output: Path) -> str:
    """The embedded store: one SQLite file beside the runs, by its absolute path."""
    return sqlite_uri(output.resolve() / "mlflow.db")


class _Unusable(Exception):
    """Why a store cannot be used; `check_uri` adds which store."""


def check_uri(uri: str, origin: str = "--tracking-uri", timeout_seconds: float = 4, writes: bool = False) -> None:
    """Whether the store answers, before anything is started and without importing MLflow; with `writes`, whether a file can be
    written too.

    Raises:
        BadInput: the URI is of no known kind, nothing answers there, or it cannot be written to.
    """
    try:
        _check(uri, timeout_seconds)
        if writes and (file := sqlite_file(uri)) and (why := why_unwritable(file)):
            raise _Unusable(f"{why}; name a file in a directory that can be written to")
    except _Unusable as reason:
        raise BadInput(f"{origin} {redacted(uri)}: {reason}", field=origin) from None


def check_form(uri: str | None, origin: str = "--tracking-uri") -> None:
    """Whether a URI can be one of a store, without asking for it: what a dry run tells.

    Raises:
        BadInput: it is of no known kind, or names no host.
    """
    try:
        if uri is not None:
            _parts(uri)
    except _Unusable as reason:
        raise BadInput(f"{origin} {redacted(uri or '')}: {reason}", field=origin) from None


def _parts(uri: str) -> tuple[urllib.parse.SplitResult, str]:
    """The URI's parts, and its kind."""
    try:
        parts = urllib.parse.urlsplit(uri)
        _ = parts.port  # read here, as it raises
    except ValueError:  # its text may hold a piece of the password
        raise _Unusable(f"not a URI; {KINDS}") from None
    kind = parts.scheme.partition("+")[0]
    if kind not in ("http", "https", "databricks", *DATABASES) and sqlite_file(uri) is None:
        raise _Unusable(KINDS)
    if kind in ("http", "https") and not parts.hostname:
        raise _Unusable("names no host; give http(s)://host:port")
    return parts, kind


def _check(uri: str, timeout_seconds: float) -> None:
    parts, kind = _parts(uri)
    if kind in ("http", "https"):
        _check_server(uri, timeout_seconds)
    elif (file := sqlite_file(uri)) is not None:  # one in memory could not be read by other processes
        if why := why_unusable(file):
            raise _Unusable(why)
    elif kind in DATABASES:
        _check_driver(uri)
        try:
            socket.create_connection((parts.hostname or "localhost", parts.port or DATABASES[kind]), timeout_seconds).close()
        except (OSError, ValueError) as error:
            raise _Unusable(f"no answer ({_why(error)})") from None


def _check_driver(uri: str) -> None:
    """What speaks to the database is imported by MLflow only when a sweep has started."""
    import sqlalchemy

    try:
        sqlalchemy.make_url(uri).get_dialect().import_dbapi()
    except Exception as error:  # a module that lacks, a dialect that there is not; dialects of others raise what they like
        known = isinstance(error, ImportError | sqlalchemy.exc.ArgumentError)
        why = str(error) if known and "://" not in str(error) else type(error).__name__
        raise _Unusable(f"its driver cannot be used ({why}); install it, or name another as in postgresql+psycopg2://") from None


def _check_server(uri: str, timeout_seconds: float) -> None:
    parts = urllib.parse.urlsplit(uri)
    bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with urllib.request.urlopen(bare.rstrip("/") + "/health", timeout=timeout_seconds) as answer:
            page = answer.read(1) == b"<"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return  # a server that asks for credentials: MLflow's client has them (MLFLOW_TRACKING_USERNAME, …_TOKEN)
        raise _Unusable(f"something answers, but not an MLflow server (HTTP {error.code})") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _Unusable(f"no answer ({_why(reason)})") from None
    if page:
        raise _Unusable("a web page answers, but not an MLflow server")


def _why(error: Any) -> str:
    """The operating system's words; other texts may repeat the address and are told by their kind alone."""
    return getattr(error, "strerror", None) or (type(error).__name__ if isinstance(error, Exception) else "no such address")


def page(uri: str, experiment_id: str, sweep: str, view: str = "") -> str:
    """Where the UI shows a sweep's prepared view (core/tracking/views.py): its charts, under the menu for training.

    Nothing else may stand in the address: beside a filter of its own the UI leaves the view out.
    """
    server = redacted(uri).rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    shown = f"viewStateShareKey={key(sweep, view)}&workflowType=machine_learning&compareRunsMode=CHART"
    return f"{server}/#/experiments/{experiment_id}/runs?{shown}"
