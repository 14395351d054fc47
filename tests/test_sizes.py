"""The house stays small: no file over 300 lines but tables of data, no function over 40, few with over 5 parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("core", "experiments", "sweeps", "analysis") for path in (ROOT / package).rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 300, 40, 5
# Functions with more parameters, each with the reason.
MANY_PARAMETERS: dict[str, str] = {}


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and method with its dotted name."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                yield f"{prefix}{child.name}", child
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")

    yield from walk(ast.parse(path.read_text()), f"{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}.")


def n_parameters(function: ast.FunctionDef) -> int:
    """Parameters without self, *args and **kwargs."""
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES
    long = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions(path)}
    assert {name: lines for name, lines in long.items() if lines > MOST_FUNCTION_LINES} == {}


def test_few_functions_have_many_parameters_and_each_says_why() -> None:
    many = {name for path in FILES for name, node in functions(path) if n_parameters(node) > MOST_PARAMETERS}
    assert many == set(MANY_PARAMETERS)
    assert len(many) <= 10
