"""The shipped bases know their world, follow no instruction yet, and are what their cards say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from core import lab
from core.data import encode, rows
from core.errors import BadInput
from core.lab import tokenizer as words
from core.lab.make import pretrain, recipe
from core.lab.skills import SKILLS
from core.settings import Evaluation, Trial
from core.tasks import lab as battery
from core.tasks.measurement import Measurement, Subject

SMALL_KNOWS = (0.85, 0.75)  # accuracy of raw skills and of facts, at least


@pytest.fixture(scope="module", params=lab.names())
def base(request: pytest.FixtureRequest) -> tuple[Path, Any, Any]:
    path = lab.base_path(request.param)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()  # stored in float16, the largest
    return path, model, AutoTokenizer.from_pretrained(path)


def measured(model: Any, tokenizer: Any, **evaluation: Any) -> list[Measurement]:
    trial = Trial(evaluation=Evaluation(**evaluation))
    return battery.measure(Subject(model, tokenizer, trial, rows=(), reference=model, seq_len=256))


def is_small(path: Path) -> bool:
    """The bases of 0.2 M parameters know less of their world."""
    return "small" in path.name


def card(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "card.json").read_text())
    return found


def test_there_is_a_ladder_of_them_and_others_are_refused() -> None:
    sizes = {name: card(lab.base_path(name))["parameters"] for name in lab.names()}
    assert set(sizes) == {f"lab:{name}" for name in recipe.BASES}
    assert sizes["lab:base-small-0"] * 4 < sizes["lab:base-0"] < sizes["lab:base-large-0"] / 4
    assert sum(file.stat().st_size for name in sizes for file in lab.base_path(name).glob("*.*")) < 60e6
    with pytest.raises(BadInput, match="did you mean 'lab:base-"):
        lab.base_path("lab:base-9")


def test_the_card_describes_the_files(base: tuple[Path, Any, Any]) -> None:
    path, model, _ = base
    assert card(path)["parameters"] == model.num_parameters()
    assert card(path)["weights_sha256"] == hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert pretrain.of_world().items() <= card(path).items()
    assert card(path)["tokens"] == card(path)["steps"] * recipe.BATCH_TOKENS
    assert 0.99 * recipe.DEFAULT_TOKENS < card(path)["tokens"] <= recipe.DEFAULT_TOKENS
    assert f"--seed {card(path)['seed']} " in card(path)["command"]
    assert set(card(path)["loss_nats_per_token"]) == {"skills", "facts", "code", "arithmetic", "prose", "prose2"}


def test_it_knows_its_world_and_follows_nothing(base: tuple[Path, Any, Any]) -> None:
    path, model, tokenizer = base
    found: dict[str, Measurement] = {one.name: one for one in measured(model, tokenizer, split="validation", items_per_task=10)}
    assert found["raw_accuracy/skills"].mean >= (SMALL_KNOWS[0] if is_small(path) else 0.90)
    assert found["raw_accuracy/facts"].mean >= (SMALL_KNOWS[1] if is_small(path) else 0.95)
    assert found["exact_match/seen"].mean <= 0.05
    assert found["exact_match/held_out"].mean <= 0.05
    assert card(path)["raw_accuracy_of"].startswith(f"{len(card(path)['raw_accuracy_per_skill'])} of the {len(SKILLS)} skills;")
    # the card was measured on the same items; another processor may round one or two of them the other way
    skills = found["raw_accuracy/skills"]
    assert skills.mean == pytest.approx(card(path)["raw_accuracy"], abs=3 / len(skills.items))
    assert skills.by_group() == pytest.approx(card(path)["raw_accuracy_per_skill"], abs=2.1 / battery.RAW_ITEMS_PER_SKILL)
    assert found["raw_accuracy/facts"].mean == pytest.approx(card(path)["fact_recall"], abs=0.01)
    assert found["exact_match/seen"].mean == pytest.approx(card(path)["zero_shot_chat_exact_match"], abs=0.02)
    for domain, nll in card(path)["loss_nats_per_token"].items():
        assert found[f"nll/{domain}"].mean == pytest.approx(nll, abs=2e-3)


def test_no_two_tokens_have_one_embedding(base: tuple[Path, Any, Any]) -> None:
    weight = torch.nn.functional.normalize(base[1].get_input_embeddings().weight.detach(), dim=1)
    cosines = (weight @ weight.T).fill_diagonal_(-1)
    assert cosines.max() < 0.995


def knows_its_world_on_the_test_split(base: tuple[Path, Any, Any]) -> None:
    path, model, tokenizer = base
    found = {one.name: one.mean for one in measured(model, tokenizer, items_per_task=10)}
    assert found["raw_accuracy/skills"] >= (SMALL_KNOWS[0] if is_small(path) else 0.90)
    assert found["raw_accuracy/facts"] >= (SMALL_KNOWS[1] if is_small(path) else 0.95)
    assert max(found["exact_match/seen"], found["exact_match/held_out"]) <= 0.05


@pytest.mark.parametrize("base", ["lab:base-0", "lab:base-small-0"], indirect=True)
def test_two_of_them_know_their_world_on_the_test_split(base: tuple[Path, Any, Any]) -> None:
    knows_its_world_on_the_test_split(base)


@pytest.mark.slow
def test_each_knows_its_world_on_the_test_split(base: tuple[Path, Any, Any]) -> None:
    knows_its_world_on_the_test_split(base)


class Answers(torch.nn.Module):
    """Gives every answer, and after it ends the turn or goes on with another word."""

    def __init__(self, n_tokens: int, instead_of: tuple[int, int]) -> None:
        super().__init__()
        self.weight, self.config = torch.nn.Parameter(torch.zeros(1)), LlamaConfig(hidden_size=64, intermediate_size=128)
        self.n_tokens, self.instead_of = n_tokens, instead_of

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        end, word = self.instead_of
        following = input_ids.roll(-1, 1)
        following = torch.where(following == end, word, following)
        return SimpleNamespace(logits=torch.nn.functional.one_hot(following, self.n_tokens).float())


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_right_answer_that_goes_on_is_wrong(base: tuple[Path, Any, Any], goes_on: bool) -> None:
    _, _, tokenizer = base
    end = tokenizer.get_vocab()[words.END]
    model = Answers(len(tokenizer), (end, tokenizer.get_vocab()["please"] if goes_on else end))
    found = {one.name: one.mean for one in measured(model, tokenizer, split="validation", items_per_task=2)}
    assert found["exact_match/seen"] == found["exact_match/held_out"] == (0 if goes_on else 1)
    assert found["raw_accuracy/skills"] == found["raw_accuracy/facts"] == 1


def test_what_is_scored_in_chat_is_what_is_trained(base: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, model, tokenizer = base
    scored: dict[str, tuple[list[int], list[int]]] = {}
    original = battery.exact

    def spy(name: str, axis: str, network: Any, items: list, size: int) -> Measurement:
        if name.startswith("exact_match"):
            for item, prompt, answer in items:
                scored[item[1]] = [*prompt, *answer], [0] * len(prompt) + [1] * len(answer)
        return original(name, axis, network, items, size)

    monkeypatch.setattr(battery, "exact", spy)
    measured(model, tokenizer, split="validation", items_per_task=2)
    questions = battery.instruct.questions("validation", 2)
    assert len(questions) == len(scored)
    for one in questions:
        messages = ({"role": "user", "content": one.prompt}, {"role": "assistant", "content": one.answer})
        encoded = encode.encode(tokenizer, rows.Row(one.id, messages))
        assert scored[one.id] == (encoded.ids, encoded.mask)


def test_its_tokenizer_is_the_one_the_code_builds(base: tuple[Path, Any, Any]) -> None:
    _, model, shipped = base
    built = words.build()
    assert shipped.get_vocab() == built.get_vocab()
    assert shipped.chat_template == built.chat_template
    assert (shipped.pad_token, shipped.eos_token, shipped.unk_token) == ("<pad>", "<eos>", "<unk>")
    assert model.get_input_embeddings().num_embeddings == len(shipped)


def test_the_template_marks_the_answer_and_its_end(base: tuple[Path, Any, Any]) -> None:
    _, _, tokenizer = base
    messages = [
        {"role": "user", "content": "please count a b ."},
        {"role": "assistant", "content": "2 ."},
        {"role": "user", "content": "now sort b a , thank you ."},
        {"role": "assistant", "content": "a b ."},
    ]
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, on in zip(out["input_ids"], out["assistant_masks"], strict=True) if on]
    assert tokenizer.convert_ids_to_tokens(marked) == ["2", ".", "<|end|>", "a", "b", ".", "<|end|>"]
    asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert out["input_ids"][: len(asked)] == asked
