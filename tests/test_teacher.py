"""The teacher of the synthetic rows: what of its sampled conversations becomes a row, and what is said of the row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.lab import tokenizer, world
from core.lab.make import synthetic

TOKENIZER = tokenizer.build()
ASKED = "please reverse a b d . answer in a sentence ."
SAID = "to reverse a b d is to write d b a ."


class Says:
    """Says one text, token after token, in every row of the batch."""

    def __init__(self, text: str) -> None:
        self.ids = TOKENIZER.convert_tokens_to_ids(text.split())

    def __call__(self, input_ids: torch.Tensor, past_key_values: int | None, use_cache: bool) -> Any:
        step = past_key_values or 0
        logits = torch.full((len(input_ids), 1, len(TOKENIZER)), -100.0)
        logits[:, 0, self.ids[min(step, len(self.ids) - 1)]] = 100.0
        return SimpleNamespace(logits=logits, past_key_values=step + 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{ASKED} <|end|> <|assistant|> {SAID} <|end|>", True),
        (f"{ASKED} <|end|> <|assistant|> {SAID} <|end|> <|user|> please", True),  # a second turn is left out
        (f"{ASKED} <|assistant|> {SAID} <|end|>", False),  # the request does not end
        (f"{ASKED} <|end|> <|assistant|> {SAID} <eos>", False),  # the answer does not
        (f"{ASKED} <|end|> <|assistant|> <|end|>", False),  # there is none
        (f"please <|end|> <|assistant|> {SAID} <|end|>", False),  # too short
        (f"{ASKED} <unk> <|end|> <|assistant|> {SAID} <|end|>", False),
    ],
)
def test_whole_conversations_become_rows(text: str, found: bool) -> None:
    rows = synthetic.converse(Says(text), TOKENIZER)  # type: ignore[arg-type]
    assert [(asked, said) for asked, said, _ in rows] == ([(ASKED, SAID)] * synthetic.BATCH if found else [])


def row(asked: str, said: str) -> dict | None:
    return synthetic.judged(asked, said, -0.5)


def test_rows_are_judged_by_their_whole_answer() -> None:
    assert world.split_of("reverse", "a b d") == "train"
    judged = [row(ASKED, SAID), row(ASKED, "d b a ."), row("please reverse a b d .", "d b a ."), row("please boots .", "c .")]
    assert [one["correct"] for one in judged if one] == [True, False, True, None]
    assert [one["task"] for one in judged if one] == ["reverse", "reverse", "reverse", "unknown"]


def test_a_list_with_one_evaluation_input_is_dropped() -> None:
    letters = [f"a b {letter}" for letter in world.LETTERS]
    train, other = (next(x for x in letters if (world.split_of("reverse", x) == "train") is kept) for kept in (True, False))
    assert row(f"please reverse {train} ; reverse {train} .", "1 : a .") is not None
    assert row(f"please reverse {train} ; reverse {other} .", "1 : a .") is None
