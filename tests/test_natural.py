"""Pretraining a base on text of one's own: what is kept apart is not read, and the same command makes the same base."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.lab.make import natural
from core.lab.make.recipe import BATCH_TOKENS


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 400,000 characters of made-up sentences; a tenth of them stands twice."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioustrnlm", k=draw.randint(2, 8))) for _ in range(400)]
    lines = [" ".join(draw.choices(words, k=20)) + "." for _ in range(3_400)]
    path = tmp_path_factory.mktemp("text") / "made up.txt"
    path.write_text("\n".join([*lines, *lines[:340]]), encoding="utf-8")
    return path


def test_passages_are_the_text(text: Path) -> None:
    whole = text.read_text(encoding="utf-8")
    parts = list(natural.passages(whole))
    assert "\n".join(parts) == whole
    assert all(natural.PASSAGE_CHARACTERS <= len(part) + 1 < 1_400 for part in parts[:-1])


def test_what_is_kept_apart_is_not_read(text: Path) -> None:
    texts = natural.gather([str(text), str(text)])
    assert not set(texts.learnt) & set(texts.held_out)
    assert 0.005 < len(texts.held_out) / len(texts.learnt) < 0.05
    one = natural.gather([str(text)])
    assert set(one.held_out) == set(texts.held_out)
    assert one.content != texts.content


def test_windows_go_on_where_they_were() -> None:
    draw = random.Random(1)
    windows = natural.Windows([[draw.randrange(9) for _ in range(draw.randint(5, 900))] for _ in range(60)], seed=3)
    all_of_them, later, other = windows(), windows(4), natural.Windows(windows.passages, seed=4)()
    batches = [next(all_of_them) for _ in range(7)]
    assert all(torch.equal(next(later), batch) for batch in batches[4:])
    assert batches[0].shape == (BATCH_TOKENS // natural.CONTEXT_TOKENS, natural.CONTEXT_TOKENS)
    assert not torch.equal(next(other), batches[0])


def test_a_base_is_a_model_like_any_other(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--text", str(text), "--size", "0.2M", "--threads", "1", "--vocabulary", "400", "--tokens", str(3 * BATCH_TOKENS)]
    assert natural.main([*command, "--output", str(tmp_path / "a")]) == 0
    card = json.loads((tmp_path / "a/card.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32)
    held_out = (tmp_path / "a/held_out.txt").read_text()
    ids = torch.tensor(tokenizer(held_out)["input_ids"][: natural.CONTEXT_TOKENS])[None]
    assert tokenizer.decode(ids[0]) == held_out[: len(tokenizer.decode(ids[0]))]
    assert model(input_ids=ids, labels=ids).loss.item() == pytest.approx(card["held_out_nats_per_token"], abs=0.3)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "so?"}], tokenize=False, add_generation_prompt=True)
    assert asked == "Question: so?\nAnswer:"
    assert natural.main([*command, "--output", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b/card.json").read_text())["weights_sha256"] == card["weights_sha256"]
    capsys.readouterr()
    assert natural.main([*command, "--output", str(tmp_path / "a")]) == 0
    assert "finished already" in capsys.readouterr().out
    assert natural.main([*command, "--seed", "1", "--output", str(tmp_path / "a")]) == 2
    assert "holds a base with seed=0, and 1 is asked for" in capsys.readouterr().err


def test_what_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("Too little.\n")
    for wrong, why in (
        (["--text", str(tmp_path / "short.txt")], "too little text"),
        (["--text", str(tmp_path / "none.txt")], "none.txt"),
        (["--text", str(tmp_path / "short.txt"), "--tokens", "5"], "--tokens 5: give at least 4096"),
    ):
        assert natural.main([*wrong, "--output", str(tmp_path / "x")]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
