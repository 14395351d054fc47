"""What a rule is made of, as text: its own lines, and every definition of the analysis that it uses. Reads our files and
imports none.

Texts are normalised (no comments, docstrings or layout), so that only what a rule does can change them.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "analysis"
ROOT = Path(__file__).parents[2]
QUESTIONS = f"{PACKAGE}.questions"
Place = tuple[str, str]  # a module, and a name in it
LEFT_OUT = (f"{PACKAGE}.figures", f"{PACKAGE}.formatting", f"{PACKAGE}.escaping")  # how things look decides nothing


@dataclass(frozen=True)
class Module:
    """The definitions at the top of one of our modules, and where the names come from that it imports from us."""

    defined: Mapping[str, ast.stmt]
    imported: Mapping[str, Place]  # ("module", "") for a module itself


@dataclass(frozen=True)
class Source:
    """A rule: the text of its question's own definitions with the constants that these name; and all others that it uses, by
    their places."""

    text: str
    others: Mapping[str, str]  # "analysis.stats.decision.verdict" → its text


def of_rule(question: str, claim: str) -> Source:
    """Of the rule that the question called `question` has for a claim."""
    module = f"{QUESTIONS}.{question}"
    where, rule = _entry(module, claim)
    roots = list(_used(where, rule))
    if "own" in {node.attr for node in ast.walk(rule) if isinstance(node, ast.Attribute)} or _reads_own(roots):
        roots += list(_prepared(module))
    found: dict[Place, ast.stmt] = {}
    _follow(roots, found)
    own = [place for place in found if place[0].startswith(module)]
    constants = [place for root in own for place in _used(root[0], found[root]) if isinstance(found[place], ast.Assign)]
    texts = dict.fromkeys(_text(place) for place in sorted({*own, *constants}))
    others = {".".join(place): _text(place) for place in sorted(found) if place not in own}
    return Source("\n".join([f"{claim}: {ast.unparse(rule)}", *texts]), others)


@functools.cache
def _module(name: str) -> Module | None:
    """One of our modules; None where it is none."""
    path = ROOT.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if name.split(".")[0] != PACKAGE or not file.is_file():
        return None
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, Place] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            defined |= dict.fromkeys(names, node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                place = (inner, "") if _is_module(inner) else (node.module or "", alias.name)
                imported[alias.asname or alias.name] = place
    return Module(defined, imported)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _resolved(module: str, name: str) -> Place | None:
    """Where a name that a module uses is defined; None where that is not with us."""
    known = _module(module)
    if known is None or module.startswith(LEFT_OUT):
        return None
    if name in known.defined:
        return module, name
    if name not in known.imported:
        return None
    there, inner = known.imported[name]
    return (there, "") if not inner else _resolved(there, inner)


def _used(module: str, node: ast.AST) -> Iterator[Place]:
    """The definitions of ours that a piece of a module names, also as attributes of a module."""
    for one in _walked(node):
        if isinstance(one, ast.Name) and (place := _resolved(module, one.id)) and place[1]:
            yield place
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            within = _resolved(module, one.value.id)
            if within and not within[1] and (place := _resolved(within[0], one.attr)):
                yield place


def _walked(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a definition, but for what only annotates it."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.AST):
                    yield from _walked(one)


def _follow(roots: list[Place], found: dict[Place, ast.stmt]) -> None:
    """All definitions that these use, and those that they use in turn."""
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        known = _module(place[0])
        if place in found or known is None:
            continue
        found[place] = known.defined[place[1]]
        waiting += _used(place[0], found[place])


def _entry(module: str, claim: str) -> tuple[str, ast.expr]:
    """The rule of a claim in a question's RULES, and the module in which it stands.

    Raises:
        KeyError: the table, as it is written, has no such entry.
    """
    place = _resolved(module, "RULES")
    known = _module(place[0]) if place else None
    if place is None or known is None:
        raise KeyError(f"{module}: RULES")
    value = getattr(known.defined[place[1]], "value", None)
    for table in (one for one in ast.walk(value) if isinstance(one, ast.Dict)) if value else ():
        for key, rule in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == claim:
                return place[0], rule
    raise KeyError(f"{module}: no rule of {claim}")


def _reads_own(roots: list[Place]) -> bool:
    """Whether one of these definitions reads what its question prepares."""
    nodes = [known.defined[name] for module, name in roots if (known := _module(module))]
    return any(isinstance(one, ast.Attribute) and one.attr == "own" for node in nodes for one in ast.walk(node))


def _prepared(module: str) -> Iterator[Place]:
    """What a question prepares for its rules."""
    found = (_resolved(module, name) for name in ("prepare", "QUESTION"))
    return itertools.islice((place for place in found if place and place[1]), 1)


@functools.cache
def _text(place: Place) -> str:
    """A definition without its docstrings."""
    known = _module(place[0])
    assert known
    copy = ast.parse(ast.unparse(known.defined[place[1]]))
    for one in ast.walk(copy):
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(one, clean=False) is not None:
            one.body = one.body[1:] or [ast.Pass()]
    return ast.unparse(copy)
