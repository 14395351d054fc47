"""A dozen prompts with what base and tuned model write to them, for people to look at: `generations.json` of a final trial.

The file is a table as MLflow's UI shows one: {"columns": [...], "data": [[...], ...]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from core import warm
from core.data import encode
from core.data.kinds import kind_of
from core.result import CUT, GENERATIONS, write_whole
from core.tasks import generation, prompts
from core.tasks.costs import MOST_SHOWN_TOKENS
from core.tasks.measurement import Subject
from core.tasks.prompts import Prompt

COLUMNS = ("prompt", "right answer", "base", "tuned")


def write(output: Path, tuned: Subject) -> None:
    """Writes the table of a trial that is scored on the test split. The laboratory's models have no words for people."""
    evaluation = tuned.trial.evaluation
    if evaluation.split != "test" or not evaluation.generations or kind_of(tuned.trial.data.source).laboratory:
        return
    asked = prompts.held_out(tuned)[: evaluation.generations]
    put, right = [prompt for prompt, _ in asked], [answer for _, answer in asked]
    how = generation.Decoding(
        encode.end_ids(tuned.tokenizer),
        evaluation.max_new_tokens or min(MOST_SHOWN_TOKENS, generation.room(tuned, right)),
        evaluation.batch_size,
    )
    ids = generation.prompt_ids(tuned.tokenizer, put)
    known = warm.GENERATIONS.setdefault(tuned.reference, warm.Store(1))  # of one evaluation

    def written(model: nn.Module) -> list[str]:
        found = generation.write(model, ids, how)
        texts = generation.texts(tuned.tokenizer, found)
        return [text if one.stopped else text + CUT for text, one in zip(texts, found, strict=True)]

    before = known.get((how, tuple(map(tuple, ids))), lambda: written(tuned.reference))
    rows = [[_said(one), *texts] for one, *texts in zip(put, right, before, written(tuned.model), strict=True)]
    write_whole(
        output / GENERATIONS, (json.dumps({"columns": COLUMNS, "data": rows}, ensure_ascii=False, indent=1) + "\n").encode()
    )


def _said(one: Prompt) -> str:
    """The user's words; of a longer conversation every turn with its role, before them the names of tools that can be called."""
    told = [f"tools: {', '.join(map(_name, one.tools))}"] if one.tools else []
    if len(one.messages) == 1 and not told:
        return one.messages[0]["content"]
    return "\n".join([*told, *(f"{message['role']}: {message['content']}" for message in one.messages)])


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name", "?") if isinstance(function, Mapping) else function)
