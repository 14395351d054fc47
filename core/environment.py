"""What the entry points set right before anything else: streams that any text can be printed to, and a user with a name and a
home, whom libraries ask for when they are imported."""

from __future__ import annotations

import atexit
import locale
import os
import pwd
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

UTF8 = ("utf-8", "utf8")


def settle() -> None:
    """To be called first by an entry point."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for as long as we live
        with suppress(AttributeError, ValueError):  # a test's stream
            getattr(sys, name).reconfigure(errors="backslashreplace")
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) and not _has_name():
        os.environ["LOGNAME"] = f"uid{os.getuid()}"  # getpass, which torch and MLflow ask, raises where the uid has no name
    if not os.path.isabs(os.path.expanduser("~")):  # neither HOME nor an entry in passwd: libraries would make a folder "~"
        with suppress(OSError):
            os.environ["HOME"] = tempfile.mkdtemp(prefix="tunelab-home-")
            atexit.register(_remove, os.environ["HOME"], os.getpid())


def in_utf8() -> None:
    """Starts this program anew where Python would read paths and files in another encoding (the C locale, Latin-1): rows,
    reports and records are UTF-8 everywhere, and so are the names of files."""
    if not sys.flags.utf8_mode and not (sys.getfilesystemencoding() == "utf-8" and locale.getencoding().lower() in UTF8):
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _has_name() -> bool:
    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
