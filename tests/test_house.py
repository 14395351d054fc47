"""The house: which way imports go, which file owns which large dependency, and that questions are well formed."""

from __future__ import annotations

import ast
import csv
import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import experiments
from analysis import carry, formatting, questions
from analysis.claims.verdicts import read, summary
from core import installation
from core.fields import flatten
from sweeps import plan

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "experiments", "sweeps", "analysis")
MAY_IMPORT = {
    "core": {"core"},
    "experiments": {"core", "experiments"},
    "sweeps": {"core", "experiments", "sweeps"},
    "analysis": {"core", "experiments", "analysis"},
}
OWNERS: dict[str, tuple[str, ...]] = {
    "mlflow": ("core/tracking/*.py",),
    "ray": tuple(f"sweeps/{name}.py" for name in ("executor", "worker", "cluster", "nodes", "watch", "texts")),
    "optuna": ("sweeps/tuning.py", "sweeps/halving.py", "sweeps/studies.py", "analysis/questions/best_recipe/importance.py"),
    "trl": ("core/train.py",),
    "bitsandbytes": ("core/model.py", "core/optimizers.py"),
    "matplotlib": ("analysis/figures/*.py", "analysis/questions/*/figure.py"),
}
SLOW_TO_IMPORT = ("torch", "transformers", "trl", "peft", "mlflow", "ray", "optuna", "datasets")
AT_ONCE = (
    "experiments",
    "analysis.report",
    "analysis.compare",
    "analysis.judge",
    "analysis.export",
    "sweeps.run",
    "sweeps.describe",
    "sweeps.plan",
    "core.preflight",
)
# What a module must leave out when it is imported.
LEFT_OUT = dict.fromkeys((*AT_ONCE, "analysis.stats"), (*SLOW_TO_IMPORT, "pandas", "matplotlib"))
# Directories of one machine, indexes other than the public ones, and hosts that only one network knows.
MACHINE = re.compile(
    rb"/(?:work|root)/|file:///(?:opt|srv)/|https?://(?!pypi\.org/)[^\s\"'<>]*/simple\b|"
    rb"index-url[= ]+https?://(?!pypi\.org|download\.pytorch\.org)|https?://[\w.@:-]+\.(?:internal|local|lan|corp|svc)\b"
)


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text.splitlines()) <= 150
    assert len(text) <= 12 * 1024


RESULTS = ROOT / "analysis/results"


@pytest.mark.parametrize("kept", [RESULTS, RESULTS / "first_edition"], ids=["kept", "first edition"])
def test_the_readme_of_the_results_says_what_they_say(kept: Path) -> None:
    table = (kept / "summary.md").read_text()
    assert table in (kept / "README.md").read_text()
    rows = list(csv.DictReader((kept / "ledger.csv").open(encoding="utf-8")))
    names = list(dict.fromkeys(row["question"] for row in rows))
    assert table == formatting.markdown(*summary({name: read(kept / name / "verdicts.json") for name in names}))
    for name in names:
        found = {row["id"]: row for row in json.loads((kept / name / "verdicts.json").read_text())}
        shown = [(row["id"], row["verdict"], row["shown"]) for row in rows if row["question"] == name]
        assert shown == [(key, row["verdict"], row["shown"]) for key, row in found.items()]


def test_the_comparison_of_the_editions_is_that_of_todays_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry.main([f"first={RESULTS / 'first_edition'}", f"second={RESULTS}"]) == 0
    assert (RESULTS / "editions.md").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("name", [path.parent.name for path in sorted(RESULTS.glob("*/verdicts.json"))])
def test_kept_results_are_of_the_planned_seeds(name: str) -> None:
    seeds: dict[str, set[str]] = {}
    for row in csv.DictReader((RESULTS / name / "trials.csv").open(encoding="utf-8")):
        found = seeds.setdefault(row["arm"], set())
        if row["phase"] == "final" and row["state"] == "finished":
            found.add(row["seed"])
    asked = experiments.load(name)
    finished = {len(found) for found in seeds.values() if found or not asked.search}  # a search tunes without arms
    assert finished == {len(asked.seeds)}  # run to its end


def files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports anywhere, lazily or not, each with whether it is for type checkers alone."""
    tree = ast.parse(path.read_text())
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    guarded = {id(inner) for guard in guards for statement in guard.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in guarded


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_large_dependencies_have_one_owner(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    own = name.split("/")[0]
    for module, only_types in imported(path):
        top = module.split(".")[0]
        assert top not in PACKAGES or top in MAY_IMPORT[own], f"{name} imports {module}"
        owners = (name,) if only_types else OWNERS.get(top, (name,))
        assert any(fnmatch.fnmatch(name, owner) for owner in owners), f"{name} imports {module}, which belongs to {owners}"


def module_of(path: Path) -> str:
    """The dotted name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def graph() -> dict[str, set[str]]:
    """Our modules → those of ours that they import: lazy imports and those for type checkers alone count like any."""
    paths = {module_of(path): path for path in files()}
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}  # modules, or names in a module
                wanted |= inner if inner <= paths.keys() else {node.module or "", *inner}
        found[name] = wanted & paths.keys() - {name}
    return found


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle of imports; none if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_imports_go_in_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    edges = graph()
    assert "analysis.claims.tables" in edges["analysis.figures.panels"]  # for type checkers alone
    assert "analysis.reports.book" in edges["analysis.report"]  # lazy
    assert circle(edges) == []


def test_no_room_of_the_analysis_imports_one_that_imports_it() -> None:
    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    rooms: dict[str, set[str]] = {}
    for name, wanted in graph().items():
        if room(name).startswith("analysis."):
            rooms.setdefault(room(name), set()).update(room(one) for one in wanted if one.startswith("analysis."))
    assert rooms["analysis.reports"] >= {"analysis.questions", "analysis.claims"}
    assert circle({name: wanted - {name} for name, wanted in rooms.items()}) == []


def test_statistics_can_be_used_alone() -> None:
    allowed = {"numpy", "scipy", *sys.stdlib_module_names}
    for path in (ROOT / "analysis/stats").glob("*.py"):
        for module, _ in imported(path):
            assert module.split(".")[0] in allowed or module.startswith("analysis.stats"), f"{path.name} imports {module}"


@pytest.mark.parametrize("module", LEFT_OUT)
def test_what_answers_at_once_imports_nothing_large(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {LEFT_OUT[module]!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def dependency_modules() -> set[str]:
    """Top-level modules of every installed package that the project needs, directly or not."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: set[str] = set()
    while wanted:
        name = canonicalize_name(Requirement(wanted.pop()).name)
        if name not in found:
            found.add(name)
            try:
                wanted += metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # an extra, or meant for another system
                continue
    return {module for module, owners in metadata.packages_distributions().items() if found & set(map(canonicalize_name, owners))}


def test_no_file_is_called_like_a_module_that_it_would_hide() -> None:
    """`python sweeps/run.py` puts sweeps/ first on the path."""
    taken = set(sys.stdlib_module_names) | dependency_modules()
    assert {"torch", "ray", "mlflow", "numpy", "scipy", "yaml"} <= taken
    for package in PACKAGES:
        own = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
        assert not own & taken, f"{package}/ hides {own & taken}"


def test_processes_of_ours_import_no_file_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert path.name == "installation.py" or not re.search(r'"-m",', path.read_text()), path
    (tmp_path / "hashlib.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment["PYTHONPATH"] = installation.python_path()
    assert subprocess.run(installation.command("core.installation"), env=environment).returncode == 0


def test_every_file_of_questions_is_listed_and_no_claim_is_made_twice() -> None:
    assert set(experiments.names()) == {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__"}
    counts = Counter(claim.id for name in experiments.names() for claim in experiments.load(name).claims)
    assert counts
    assert max(counts.values()) == 1, counts


@pytest.mark.parametrize("name", experiments.names())
def test_every_question_is_well_formed_and_has_its_analysis(name: str) -> None:
    experiment = experiments.load(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    assert plan.arms(experiment)
    assert all(field in flatten(experiment.base) for field in experiment.tune)
    assert questions.load(name).rules.keys() == {claim.id for claim in experiment.claims}


def test_what_is_committed_names_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    for path in filter(Path.is_file, paths):  # a file may be deleted and not yet committed
        found = MACHINE.search(path.read_bytes())
        assert not found, f"{path.relative_to(ROOT)}: {found and found[0]!r}"
