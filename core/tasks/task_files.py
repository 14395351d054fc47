"""The harness's tasks that a trial names: their files, what these read, and whether the harness is there. Without torch."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core import checkpoint
from core.data import files
from core.errors import BadInput
from core.fields import content_hash
from core.settings import Evaluation, Trial

FIELD = "evaluation.lm_eval"
INSTALL = "pip install -e '.[lm-eval]'"


def names(evaluation: Evaluation) -> list[str]:
    """The tasks: files, or names that the harness knows."""
    return [one.strip() for one in (evaluation.lm_eval or "").split("+") if one.strip()]


def check(trial: Trial) -> None:
    """The harness is installed, and every file can be read.

    Raises:
        BadInput: it is not, or a file cannot.
    """
    asked = names(trial.evaluation)
    if not asked:
        text = f"lm-eval needs {FIELD}=FILE.yaml, a task of the harness; several are joined with +"
        raise BadInput(f"evaluation.tasks={trial.evaluation.tasks!r}: {text}", field=FIELD)
    if importlib.util.find_spec("lm_eval") is None:
        raise BadInput(f"{FIELD}={trial.evaluation.lm_eval}: the harness is not installed: {INSTALL}", field=FIELD)
    for one in asked:
        if _is_file(one):
            list(_read_files(Path(one)))


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def hash_of(evaluation: Evaluation) -> str:
    """A content hash of the task files and of the local files that they name; of a task of the harness's own, its name."""
    found = []
    for one in names(evaluation):
        paths = list(_read_files(Path(one))) if _is_file(one) else []
        found.append([one if not paths else "", *(checkpoint.file_hash(path) for path in paths)])
    return content_hash(found)


def _read_files(path: Path) -> Iterator[Path]:
    """The task file, and those that it names: data, other task files that it includes, modules of its functions."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Tags of the harness (!function) are texts here."""

    Loader.add_multi_constructor("!", lambda loader, tag, node: loader.construct_scalar(node) + ".py")
    files.existing(FIELD, str(path))
    yield path
    try:
        said: Any = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        text = " ".join(str(error).split())[:200]
        raise BadInput(f"{FIELD}={path}: cannot be read as a task file ({text})", field=FIELD) from None
    if not isinstance(said, dict):
        raise BadInput(f"{FIELD}={path}: must hold the fields of a task", field=FIELD)
    for text in _texts(said.get("dataset_kwargs")):
        if (own := Path(text)).is_file():
            yield own
        elif re.search(r"\.(jsonl?|csv|parquet|txt)(\.gz)?$", text) and "://" not in text:
            raise BadInput(f"{FIELD}={path}: its data file {text} is not here (paths are seen from where you start)", field=FIELD)
    for text in sorted(set(_texts(said))):
        beside = path.parent / (f"{text.removesuffix('.py').rpartition('.')[0]}.py" if text.endswith(".py") else text)
        if beside.suffix in (".py", ".yaml", ".yml") and beside.is_file() and beside != path:
            yield beside


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
