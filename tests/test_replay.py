"""Old text that is replayed: what is scored is not among it, whatever the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest
from conftest import make_tokenizer
from test_trial import run, tiny

from core import preflight, replay
from core.against_forgetting import REPLAYED_TOKENS
from core.data import files
from core.errors import BadInput
from core.lab import corpus
from core.settings import Data, Evaluation, Trial
from core.tasks.text import text_ids, text_windows

WINDOW = 32


def words(n: int, of: int = 0) -> str:
    """A text that repeats nothing."""
    return " ".join(f"{of}w{i}" for i in range(n))


def test_a_document_of_the_corpus_has_as_many_tokens_as_is_reckoned_with() -> None:
    lengths = [text.count(" ") + 1 + 2 for text in islice(corpus.stream(1), 1_500)]  # one token a word, and an end at each side
    assert mean(lengths) == pytest.approx(REPLAYED_TOKENS, rel=0.04)


def test_pieces_meet_no_scored_range_and_their_order_is_the_seeds() -> None:
    scored = [range(64, 96), range(130, 140)]
    found = [list(replay.pieces(325, 32, scored, seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert sorted(one.start for one in found[0]) == [0, 32, 96, 160, 192, 224, 256, 288]  # the next has 5 tokens
    assert all(set(piece).isdisjoint(one) for piece in found[0] for one in scored)


def test_the_windows_that_are_scored_are_those_of_before() -> None:
    assert replay.scored_windows(330, 32, 100, "validation") == [0, 64, 128, 192, 256, 320]
    assert replay.scored_windows(330, 32, 2, "test") == [32, 160]
    ranges = replay.scored_ranges(330, 32, Evaluation(max_rows=2), 32)
    assert [one.start for one in ranges] == [0, 192, 32, 160]


def test_what_is_scored_is_not_replayed_from_another_file(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    scored_text, other = words(400), words(400, of=1)
    for name, text in {"scored": scored_text, "mixed": f"{other}\n{scored_text[300:1200]}\n{other[:500]}"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    told, text = (files.read_text("data.replay_text", str(tmp_path / f"{name}.txt")) for name in ("scored", "mixed"))
    windows = [own for split in ("validation", "test") for _, own in text_windows(tokenizer, told, split, WINDOW, 1_000)]
    ids = text_ids(tokenizer, text)
    found, n = replay.sequences(tokenizer, ids, replay.pieces(len(ids), WINDOW, [], 0), windows, 10_000)
    assert len(found) == 10_000 > n > 10
    runs = {run for one in windows for run in replay.runs(one)}
    assert all(runs.isdisjoint(replay.runs(one.ids)) for one in found)
    whole = set(replay.runs(ids))
    assert not runs.isdisjoint(whole)  # it was there
    assert found[0].mask == [1] * len(found[0].ids)
    fewer, _ = replay.sequences(tokenizer, ids, replay.pieces(len(ids), WINDOW, [], 0), windows, 5)
    assert fewer == found[:5]  # nested


def asked(trial: Trial, text: Path, **data: object) -> Trial:
    evaluation = replace(trial.evaluation, base_text=str(text), max_rows=2)
    return replace(trial, data=replace(trial.data, seq_len_tokens=WINDOW, **data), evaluation=evaluation)


def test_a_trial_replays_what_its_base_text_leaves(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(words(400))
    trial = asked(tiny(make_model("llama-tied"), rows_file), text)
    with_replay = replace(trial, data=replace(trial.data, replay_share=0.25))
    told = preflight.inspect(with_replay)
    assert told.steps > preflight.inspect(trial).steps
    assert told.longest_tokens <= WINDOW
    found, plain = run(with_replay, tmp_path / "replayed"), run(trial, tmp_path / "plain")
    assert (found.state, found.reason) == ("finished", "")
    assert found.metrics["rows/replayed"] == found.metrics["rows/replayed_different"] == 8
    assert found.metrics["train/steps"] == told.steps
    assert found.metrics["before/nll/base_text"] == plain.metrics["before/nll/base_text"]  # scored on the same
    assert found.metrics["forgetting"] < plain.metrics["forgetting"]
    held = replace(with_replay, train=replace(trial.train, kl_to_base=1.0, kl_on="replayed"))
    assert run(held, tmp_path / "held").metrics["forgetting"] < plain.metrics["forgetting"]


@pytest.mark.parametrize(
    ("data", "text", "message"),
    [
        ({"replay_share": 0.1}, None, "no text to replay; give --base-text FILE"),
        ({"replay_text": "TEXT"}, words(400), "replays nothing without a data.replay_share"),
        ({"replay_share": 0.1}, words(20), "none is left to be replayed"),
        ({"replay_share": 0.1, "replay_text": "nowhere.txt"}, words(400), "no such file"),
        ({"replay_share": 0.1, "replay_domain": "code"}, words(400), "only for the laboratory"),
    ],
)
def test_replay_that_cannot_be_is_refused(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, data: dict, text: str | None, message: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text or "nothing")
    data = {name: str(path) if value == "TEXT" else value for name, value in data.items()}
    trial = asked(tiny(make_model("llama-tied"), rows_file), path, **data)
    trial = replace(trial, evaluation=replace(trial.evaluation, base_text=str(path) if text else None, max_rows=500))
    with pytest.raises(BadInput, match=message):
        preflight.inspect(trial)


def test_a_replayed_text_that_changed_is_refused(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    from core import trial as trials
    from core.hardware import Device

    text = tmp_path / "old.txt"
    text.write_text(words(400))
    data = Data(source=rows_file, n_examples=24, eval_share=0.4, replay_share=0.2, replay_text=str(text))
    trial = replace(tiny(make_model("llama-tied"), rows_file), data=data)
    hashes = preflight.provenance(trial)
    text.write_text(words(400, of=2))
    with pytest.raises(BadInput, match=r"data\.replay_text=.*changed after the sweep was planned"):
        trials.run(trial, hashes, tmp_path / "out", Device())
