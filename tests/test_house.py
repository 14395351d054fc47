"""The house: which way imports go, which file owns which large dependency, and that questions are well formed."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import experiments
from core.definitions import flatten
from sweeps import plan

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "experiments", "sweeps", "analysis")
MAY_IMPORT = {
    "core": {"core"},
    "experiments": {"core", "experiments"},
    "sweeps": {"core", "experiments", "sweeps"},
    "analysis": {"core", "experiments", "analysis"},
}
OWNERS = {
    "mlflow": {"core/tracking.py"},
    "ray": {"sweeps/executor.py"},
    "optuna": {"sweeps/search.py"},
    "trl": {"core/train.py"},
    "matplotlib": {"analysis/style.py", "analysis/rank_figure.py"},
}
HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "ray", "optuna", "datasets", "pandas", "matplotlib")


def files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, lazily or not; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text())
    skipped = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    hidden = {id(inner) for node in skipped for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_large_dependencies_have_one_owner(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    own = name.split("/")[0]
    for module in imported(path):
        top = module.split(".")[0]
        assert top not in PACKAGES or top in MAY_IMPORT[own], f"{name} imports {module}"
        assert name in OWNERS.get(top, {name}), f"{name} imports {module}, which belongs to {OWNERS[top]}"


@pytest.mark.parametrize("module", ["experiments", "sweeps.run", "sweeps.describe", "sweeps.plan", "core.preflight"])
def test_what_answers_at_once_imports_nothing_large(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scripts_directories_shadow_nothing() -> None:
    """`python sweeps/run.py` puts sweeps/ first on the path: a file there called like a module would hide it."""
    taken = set(sys.stdlib_module_names) | set(HEAVY) | {"scipy", "numpy", "bitsandbytes", "yaml", "packaging"}
    assert not {path.stem for name in ("sweeps", "analysis") for path in (ROOT / name).glob("*.py")} & taken


@pytest.mark.parametrize("name", experiments.names())
def test_every_question_is_well_formed_and_has_its_analysis(name: str) -> None:
    experiment = experiments.load(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    ids = [claim.id for claim in experiment.claims]
    assert len(set(ids)) == len(ids)
    assert plan.cells(experiment)
    assert all(field in flatten(experiment.base) for field in experiment.tune)
    assert callable(importlib.import_module(f"analysis.{name}").main)


def test_what_is_committed_names_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    forbidden = ["/" + "work/", "/" + "root/", "file:" + "///opt"]
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".gz", ".safetensors") or not path.is_file():
            continue
        text = path.read_text()
        assert not [word for word in forbidden if word in text], name
