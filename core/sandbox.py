"""Where chat templates run: Jinja as transformers sets it up, without randomness and clock, and with limits.

Templates come from strangers. What they may do is what transformers lets them do (an immutable sandbox, loop controls, `tojson`,
`raise_exception`, `strftime_now`, `{% generation %}`); beyond that, a rendering ends after MOST_SECONDS of its thread's own time
and may build no text or list longer than MOST_SIZE. The same conversation gives the same text always: `strftime_now` tells the
day that it is made with, and `random` and `lipsum` are not there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_SECONDS = 2.0  # of processor time for one rendering; a long conversation takes some milliseconds
MOST_SIZE = 100_000_000  # characters of a text, entries of a list
MOST_BITS = 100_000  # of a number
WITH_WIDTHS = ("batch", "slice", "indent", "wordwrap", "tojson")  # filters with an argument that says how much to make
WIDE_FORMAT = re.compile(r"\d{7}|%[^a-zA-Z%]*\*")
SEQUENCES = (str, list, tuple)
LOOKS_EVERY = 16  # steps of loops between looks at the clock
GENERATION = ("\U0010fff0", "\U0010fff1")  # around what {% generation %} marks, where that is asked for


class LimitError(Exception):
    """A template takes too long or builds too much."""


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}: what the assistant says, between two characters that no text has."""

    tags = {"generation"}  # noqa: RUF012  # as in Jinja

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        environment: Any = self.environment
        if not environment.marking:
            return nodes.Scope(body).set_lineno(line)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Callable[[], str]) -> str:
        return caller().join(GENERATION)


class _Limits(NodeTransformer):
    """Every loop counts its steps; what an operator or a filter makes is measured."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.name in WITH_WIDTHS:
            node.args = [_filtered(one, "_narrow") for one in node.args]
            for one in node.kwargs:
                one.value = _filtered(one.value, "_narrow")
        return node if node.node is None else _filtered(node, "_measured")

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_measured")

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = nodes.Filter(node.filter, "_measured", [], [], None, None, lineno=node.lineno)
        return node


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def measured(value: Any) -> Any:
    """The text or list, if it is not too long; anything else as it is."""
    if isinstance(value, SEQUENCES) and len(value) > MOST_SIZE:
        raise LimitError(f"it builds more than {MOST_SIZE:,} characters or entries")
    return value


def _narrow(value: Any) -> Any:
    """A filter's or a text method's argument, if it is no width or count beyond all use."""
    if isinstance(value, int) and abs(value) > MOST_SIZE:
        raise LimitError(f"it asks for {value:.0e} characters or entries")
    return value


def _check_operands(operator: str, left: Any, right: Any) -> None:
    """Refuses what would fill the memory before its result could be measured."""
    for thing, count in ((left, right), (right, left)):
        if operator == "*" and isinstance(count, int) and isinstance(thing, str | list | tuple):
            _narrow(len(thing) * count)
    if isinstance(left, int) and isinstance(right, int) and operator in ("*", "**"):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > MOST_BITS:
            raise LimitError("it computes with numbers beyond all use")
    if operator == "%":
        _formatted(left)


def _formatted(form: Any) -> Any:
    if isinstance(form, str) and WIDE_FORMAT.search(form):
        raise LimitError("it formats text of a width beyond all use")
    return form


def _check_arguments(function: Any, values: Sequence[Any]) -> None:
    """Of a text's method: no width beyond all use."""
    method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
    if isinstance(text := getattr(method, "__self__", None), str):
        if method.__name__.startswith("format"):
            _formatted(text)
        for value in values:
            _narrow(value)
        if method.__name__ in ("replace", "join"):
            _narrow(len(text) * max((len(value) for value in values if isinstance(value, str | list | tuple)), default=0))


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template; `clock_starts` before each rendering. With `marking`, what is compiled puts GENERATION
    around what {% generation %} marks."""

    limit_error = LimitError
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, today: datetime) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.marking, self.n_steps, self.end = False, 0, 0.0
        for name in ("random", "center"):
            del self.filters[name]
        del self.globals["lipsum"]
        make = self.filters["format"]
        self.filters["format"] = lambda form, *values, **named: make(_formatted(form), *values, **named)
        self.filters |= {"tojson": _tojson, "_counted": self._counted, "_measured": measured, "_narrow": _narrow}
        self.globals |= {"raise_exception": _raise, "strftime_now": today.strftime, "namespace": _Names}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Limits().visit(super()._parse(source, name, filename))
        return tree

    def clock_starts(self) -> None:
        self.n_steps, self.end = 0, time.thread_time() + MOST_SECONDS

    def look_at_the_clock(self) -> None:
        if time.thread_time() > self.end:
            raise LimitError(f"it takes more than {MOST_SECONDS:g} s")

    def _counted(self, items: Any) -> Any:
        if isinstance(items, list | tuple) and len(items) <= LOOKS_EVERY:
            self.n_steps += len(items)
            if self.n_steps > LOOKS_EVERY * LOOKS_EVERY:
                self.n_steps = 0
                self.look_at_the_clock()
            return items
        return self._steps(items)

    def _steps(self, items: Any) -> Any:
        for i, item in enumerate(items):
            if i % LOOKS_EVERY == 0:
                self.look_at_the_clock()
            yield item

    def call(*arguments: Any, **named: Any) -> Any:
        self, function, values = arguments[0], arguments[2], arguments[3:]
        self.n_steps += 1
        if self.n_steps > LOOKS_EVERY:
            self.n_steps = 0
            self.look_at_the_clock()
        if values:
            _check_arguments(function, values)
        return measured(ImmutableSandboxedEnvironment.call(*arguments, **named))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            return measured(left + right)
        _check_operands(operator, left, right)
        return measured(super().call_binop(context, operator, left, right))


class _Names(Namespace):
    """Jinja's namespace without names that begin with an underscore, as in transformers."""

    def __init__(*arguments: Any, **named: Any) -> None:
        self, values = arguments[0], dict(*arguments[1:], **named)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace takes no name that begins with an underscore: {name!r}")


def _tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: object) -> None:
    raise jinja2.TemplateError(str(message))
