"""One file for each question, of the same name as in experiments/; a large one is a folder. Each defines QUESTION."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd

import experiments
from analysis.claims.question import Answer, Question
from analysis.claims.question import answer as answer_question


def load(name: str) -> Question[Any]:
    """The analysis of the question called `name`.

    Raises:
        BadInput: there is no such question, with the nearest name.
    """
    experiments.load(name)
    question: Question[Any] = importlib.import_module(f"analysis.questions.{name}").QUESTION
    return question


def answer(name: str, trials: pd.DataFrame, items: pd.DataFrame) -> Answer[Any]:
    """Tables and verdicts of a sweep of the question called `name`, from its frames (analysis/load.py)."""
    return answer_question(load(name), trials, items, experiments.load(name))
