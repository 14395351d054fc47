"""What is installed, as far as it decides a trial's numbers: a hash of this package's sources and versions of others. Compared
between the machines of a cluster, so cheap and without torch. And where it lies."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent  # of the checkout, or where the packages are installed
PACKAGES = ("torch", "transformers", "peft", "trl")


def python_path() -> str:
    """PYTHONPATH for a process of ours: this code before all other."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of ours: this one's, with `python_path` and what else is given."""
    return {**os.environ, "PYTHONPATH": python_path(), **more}


def command(module: str, *arguments: str) -> list[str]:
    """The command of a process of ours, for `environment`: -P keeps files of the working directory, which are
    the user's, from being imported in the place of modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


@functools.cache
def identity() -> dict[str, str]:
    """Name → hash or version."""
    return {"the code": source_hash(HERE)} | {name: version(name) for name in PACKAGES}


def source_hash(package: Path) -> str:
    """A hash of the Python files below a folder: their names and contents (16 hexadecimal digits)."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


@functools.cache  # looking it up takes half a millisecond, and every trial of a plan asks
def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """In what two machines differ, in a clause: "torch 2.13.0 there, 2.12.1 here"; "" where they are the same."""
    return ", ".join(
        f"{name} {theirs.get(name, 'none')} there, {value} here" for name, value in ours.items() if theirs.get(name) != value
    )
