"""Pretraining of laboratory bases: it repeats from its seed, and goes on after a kill to the same weights."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core import resume
from core.lab import tokenizer
from core.lab.make import attention, pretrain, reading, recipe
from core.lab.make.pretrain import Job
from core.lab.make.recipe import Base

N_STEPS = 8
TINY = Base("0.2M", 0, N_STEPS * recipe.BATCH_TOKENS)


def short_run(weights_seed: int, corpus_seed: int, folder: Path) -> list[torch.Tensor]:
    torch.manual_seed(weights_seed)
    vocabulary = tokenizer.build()
    base = Base("0.9M", corpus_seed, 3 * recipe.BATCH_TOKENS)
    one = reading.Reading(base, recipe.build_model("0.9M", vocabulary), vocabulary)
    folder.mkdir(exist_ok=True)
    reading.read(one, resume.Keeper(folder, {}, every_seconds=600), partial(recipe.windows, vocabulary, base), lambda: None)
    assert one.step == 3
    return [weight.detach().clone() for weight in one.model.parameters()]


def test_pretraining_repeats_from_its_seed(tmp_path: Path) -> None:
    """The seed decides the first weights and the documents: either alone makes another base."""
    first, again = (short_run(0, 0, tmp_path / name) for name in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (short_run(1, 0, tmp_path / "c"), short_run(0, 1, tmp_path / "d")):
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.fixture
def unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a base knows takes longer to measure than such short ones take to be made."""
    monkeypatch.setattr(pretrain, "examine", lambda *_: {"raw_accuracy": 0.0, "raw_accuracy_per_skill": {}})


def killed(job: Job, at: int) -> None:
    """Makes the base in a process of its own, which is killed within step `at`."""
    if (child := os.fork()) == 0:
        learn = reading.Reading.learn

        def kill(one: reading.Reading, batch: torch.Tensor) -> Any:
            loss = learn(one, batch)
            if one.step == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss

        reading.Reading.learn = kill  # type: ignore[method-assign]
        pretrain.make(job)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def weights(job: Job) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(job.output / "model.safetensors")
    return found


@pytest.mark.usefixtures("unexamined")
def test_a_killed_pretraining_goes_on_to_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, broken = (Job(TINY, tmp_path / name, 1, seconds) for name, seconds in (("whole", 600.0), ("broken", 0.0)))
    pretrain.make(whole)
    for at in (5, 7):  # twice: the second time from a state that was taken after the first
        killed(broken, at)
        assert (broken.output / resume.FILE).exists()
        assert not (broken.output / "card.json").exists()
        assert not broken.finished
    capsys.readouterr()
    pretrain.make(broken)
    assert "goes on at step" in capsys.readouterr().out
    assert all(torch.equal(weight, weights(broken)[name]) for name, weight in weights(whole).items())
    assert broken.finished
    assert not list(broken.output.glob(".*"))  # no state is left
    cards = [json.loads((job.output / "card.json").read_text()) for job in (whole, broken)]
    assert cards[0] | {"minutes": 0} == cards[1] | {"minutes": 0}


@pytest.mark.usefixtures("unexamined")
def test_the_state_of_another_base_is_not_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(Job(TINY, tmp_path / "base", 1, 0.0), 3)
    other = Job(Base("0.2M", 1, 2 * recipe.BATCH_TOKENS), tmp_path / "base", 1)
    pretrain.make(other)
    assert "begins anew; the state" in capsys.readouterr().out
    alone = Job(other.base, tmp_path / "alone", 1)
    pretrain.make(alone)
    assert all(torch.equal(weight, weights(other)[name]) for name, weight in weights(alone).items())


def test_names_make_bases_that_are_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Job] = []

    def make(job: Job) -> dict[str, Any]:
        made.append(job)
        job.output.mkdir()
        (job.output / "card.json").write_text(json.dumps({"command": job.command, **pretrain.of_world()}))
        return {"raw_accuracy": 1.0, "raw_accuracy_per_skill": {}}

    monkeypatch.setattr(pretrain, "make", make)
    options = ["--output", str(tmp_path), "--threads", "1"]
    assert pretrain.main(["base-1", "base-small-0", *options]) == 0
    assert [(job.base, job.output.name) for job in made] == [(recipe.BASES[name], name) for name in ("base-1", "base-small-0")]
    assert pretrain.main(["--all", *options]) == 0
    assert sorted(job.output.name for job in made) == sorted(recipe.BASES)  # each once
    assert pretrain.main(["--seed", "9", "--size", "4M", "--output", str(tmp_path / "own"), "--threads", "1"]) == 0
    assert (made[-1].base, made[-1].output) == (Base("4M", 9), tmp_path / "own")
    capsys.readouterr()
    for wrong, why in (
        (["base-9"], "base-9: did you mean"),
        ([], "Name some of base-"),
        (["--all", "--seed", "3"], "base of your own"),
        (["base-0", "--tokens", "9"], "those of one step"),
    ):
        assert pretrain.main([*wrong, *options]) == 2
        assert why in capsys.readouterr().err


def test_pretraining_attends_as_the_model_does_later() -> None:
    """The two products of pretraining give the logits of torch's attention, and are gone afterwards."""
    model = recipe.build_model("0.2M", tokenizer.build())
    ids = torch.randint(len(tokenizer.vocabulary()), (2, recipe.WINDOW_TOKENS))
    with torch.no_grad():
        usual = model(input_ids=ids).logits
        with attention.used(model):
            assert model.config._attn_implementation == attention.NAME
            torch.testing.assert_close(model(input_ids=ids).logits, usual, atol=1e-5, rtol=0)
    assert model.config._attn_implementation != attention.NAME
