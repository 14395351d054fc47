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
from core.naming import expanded
from core.settings import Evaluation, Trial
from core.tasks import harness_names

FIELD = "evaluation.lm_eval"
LOWER = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter", "wer")  # metrics: is better
INSTALL = "pip install -e '.[lm-eval]'"


def names(evaluation: Evaluation) -> list[str]:
    """The tasks: files, or names that the harness knows."""
    given = [one.strip() for one in (evaluation.lm_eval or "").split("+") if one.strip()]
    return [str(expanded(FIELD, one)) if _is_file(one) else one for one in given]


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
    for path in (Path(one) for one in asked if _is_file(one)):
        list(_read_files(path))
        _check_metrics(path)
    for one, help in harness_names.unknown([one for one in asked if not _is_file(one)]).items():
        raise BadInput(f"{FIELD}={one}: no task of the harness; {help}", field=FIELD)


def _check_metrics(path: Path) -> None:
    """A measure is a share of which more is better: a task that has none of them gives none."""
    said = _fields(path)
    metrics = said.get("metric_list")
    if metrics is None and "include" not in said and said.get("output_type") == "loglikelihood_rolling":
        metrics = [{"metric": "word_perplexity"}]  # what the harness then takes
    named = [one for one in metrics if isinstance(one, dict)] if isinstance(metrics, list) else []
    if named and all(one.get("higher_is_better", one.get("metric") not in LOWER) is False for one in named):
        names = ", ".join(str(one.get("metric")) for one in named)
        text = f"of {names} less is better; give it a metric between 0 and 1 of which more is, such as acc or exact_match"
        raise _wrong(path, text)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def hash_of(evaluation: Evaluation) -> str:
    """A content hash of the task files and of the local files that they name; of a task of the harness's own, its name."""
    found = []
    for one in names(evaluation):
        paths = list(_read_files(Path(one))) if _is_file(one) else []
        found.append([one if not paths else "", *(checkpoint.file_hash(path) for path in paths)])
    return content_hash(found)


class Function(str):
    """A tag !function: the file of its module."""


def _read_files(path: Path) -> Iterator[Path]:
    """The task file, and those that it names: data, other task files that it includes, modules of its functions."""
    files.existing(FIELD, str(path))
    yield path
    said = _fields(path)
    for text in _texts(said.get("dataset_kwargs")):
        if files.is_file(own := Path(text)):
            yield own
        elif re.search(r"\.(jsonl?|csv|parquet|txt)(\.gz)?$", text) and "://" not in text:
            raise _wrong(path, f"its data file {text:.200} is not here (paths are seen from where you start)")
    includes = set(_texts(said.get("include")))
    for text in sorted({*_texts(said)}):
        beside = path.parent / (f"{text.removesuffix('.py').rpartition('.')[0]}.py" if text.endswith(".py") else text)
        if beside.suffix in (".py", ".yaml", ".yml") and files.is_file(beside) and beside != path:
            yield beside
        elif (isinstance(text, Function) or text in includes) and not files.is_file(beside):
            raise _wrong(path, f"names {beside.name:.200}, which is not beside it; put it there")


def _fields(path: Path) -> dict[str, Any]:
    """What a task file holds.

    Raises:
        BadInput: it is no YAML, or of no task.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Tags of the harness (!function) are texts here."""

    Loader.add_multi_constructor("!", lambda loader, tag, node: Function(loader.construct_scalar(node) + ".py"))
    try:
        said: Any = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # a date of no calendar is a ValueError
        text = " ".join(str(error).split())[:200]
        raise _wrong(path, f"cannot be read as a task file ({text}); mend it") from None
    if not isinstance(said, dict):
        raise _wrong(path, "must hold the fields of a task, such as task: NAME")
    name = said.get("task", said.get("group"))
    if "include" not in said and not (isinstance(name, str | list) and name):
        raise _wrong(path, f"task={name!r:.80}: must be the task's name")
    return said


def _wrong(path: Path, text: str) -> BadInput:
    return BadInput(f"{FIELD}={path}: {text}", field=FIELD)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value at any depth; what aliases repeat, which may hold itself, is looked at once."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, dict) else one
