"""What the programs of the command line share: how their words are read, and how it is told what is wrong with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from core.errors import BadInput, Problems, message, nearest

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line like all others."""

    def __init__(self, prog: str, description: str | None) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=form, allow_abbrev=False)

    @property
    def options(self) -> list[str]:
        """In the order in which they were added; without --help."""
        return [action.option_strings[0] for action in self._actions if action.option_strings and action.dest != "help"]

    def read(self, words: Sequence[str] | None, one: str) -> tuple[argparse.Namespace, Problems]:
        """What the words (None: those of this process) say, and a problem for each that no option knows; `one`: what is said of
        a word that is no option.

        Raises:
            BadInput: an option lacks its value, or has one that it does not take.
        """
        found, unknown = self.parse_known_args(words)
        problems = Problems()
        for text in unknown_words(unknown, self.options, one):
            problems.add(text)
        return found, problems

    def error(self, message: str) -> NoReturn:
        option, _, why = message.removeprefix("argument ").partition(": ")
        raise BadInput(f"{option}: needs a value" if "expected one argument" in why else message)


def unknown_words(words: Sequence[str], options: Sequence[str], one: str) -> list[str]:
    """What is to be said of each word of a command line that no option knows; `one`: of a word that is no option. What follows
    an unknown option is its value and is not told again."""
    told = [word for before, word in zip(["", *words], words, strict=False) if word.startswith("-") or not before.startswith("-")]
    return [f"{word}: unknown; {nearest(word.partition('=')[0], options) if word.startswith('-') else one}" for word in told]


def refused(error: BadInput, as_text: Callable[[BadInput], str] = message) -> int:
    """Tells every problem in a line of its own on stderr; the exit code."""
    for problem in error.problems:
        print(f"error: {as_text(problem)}", file=sys.stderr)
    return EXIT_BAD_INPUT
