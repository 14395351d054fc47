"""What the laboratory measures of forgetting: ordinary old text, what is at the ends of its sentences, what relearning leaves,
and raw lines with what follows them."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig

from core import adapters
from core import model as models
from core.hardware import Device
from core.lab import corpus, tokenizer
from core.lab.make import recipe
from core.settings import Evaluation, Model, Trial
from core.tasks import lab, relearning
from core.tasks.measurement import Measurement, Subject, sequence_nll, token_scores

TOKENIZER = tokenizer.build()
WORDS = lab.Words(TOKENIZER)


class Knows(torch.nn.Module):
    """Knows every token that follows, with the logit `sure`; with `ends` it expects the end of a turn behind each full stop, and
    with `stops` a full stop nowhere."""

    def __init__(self, ends: bool = False, stops: bool = True, sure: float = 20.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = LlamaConfig(hidden_size=64, intermediate_size=128)
        self.ends, self.stops, self.sure = ends, stops, sure

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        stop = WORDS.ids(".")[0]
        expected = input_ids.roll(-1, 1)
        behind_end = (input_ids == stop) & (expected == WORDS.end)  # the model that knows its documents ends no turn there
        expected = torch.where(behind_end, WORDS.ids("the")[0], expected)
        if self.ends:
            expected = torch.where(input_ids == stop, WORDS.end, expected)
        if not self.stops:
            expected = torch.where(expected == stop, WORDS.ids("the")[0], expected)
        return SimpleNamespace(logits=self.sure * torch.nn.functional.one_hot(expected, len(TOKENIZER)).float())


def measured(model: Any, split: str = "validation", reference: Any = None) -> dict[str, Measurement]:
    trial = Trial(evaluation=Evaluation(split=split, items_per_task=1))
    subject = Subject(model, TOKENIZER, trial, rows=(), reference=reference or model, seq_len=128)
    with torch.no_grad():
        return {one.name: one for one in lab.battery(subject, WORDS)}


NLL = [f"nll/{domain}" for domain in corpus.DOMAINS]
RAW = ["raw_accuracy/skills", "raw_accuracy/facts", "raw_continued/skills", "raw_continued/facts"]


def test_who_ends_turns_behind_full_stops_forgets_no_ordinary_text() -> None:
    found = measured(Knows(ends=True))
    assert max(found[name].mean for name in NLL) < 1e-3
    assert found["nll_at_ends/documents"].mean > 5
    assert [found[name].mean for name in RAW] == [1, 1, 0, 0]
    assert [found[name].axis for name in NLL] == ["forgetting"] * 6
    assert not [one for one in found.values() if one.axis == "forgetting" and one.name not in NLL]


def test_who_knows_all_forgets_nothing_and_who_does_not_go_on_is_found_out() -> None:
    found = measured(Knows())
    assert max(found[name].mean for name in (*NLL, "nll_at_ends/documents")) < 1e-3
    assert [found[name].mean for name in RAW] == [1, 1, 1, 1]
    found = measured(Knows(stops=False))
    assert max(found[name].mean for name in NLL) < 1e-3
    assert [found[name].mean for name in RAW] == [1, 1, 0, 0]


def test_ordinary_text_is_away_from_ends() -> None:
    text = "ada likes pie . the reverse ¶ a b <eos> let x = 3"
    ordinary = WORDS.ordinary(WORDS.ids(text))
    kept = [word for word, is_ordinary in zip(text.split()[1:], ordinary, strict=True) if is_ordinary]
    assert kept == ["likes", "pie", "reverse", "b", "x", "=", "3"]


def test_windows_cross_documents_and_are_held_out() -> None:
    for domain in corpus.DOMAINS:
        windows = WORDS.windows(domain, "test")
        assert (len(windows), {len(window) for window in windows}) == (lab.WINDOWS_PER_DOMAIN, {lab.WINDOW_TOKENS})
        assert sum(WORDS.eos in window[1:-1] for window in windows) > len(windows) / 3
        assert not set(map(tuple, windows)) & set(map(tuple, WORDS.windows(domain, "validation")))


def test_domains_have_the_same_weight_at_ends() -> None:
    found = measured(Knows(ends=True))["nll_at_ends/documents"]
    assert found.mean == pytest.approx(np.mean(list(found.by_group().values())))
    assert set(found.groups) == set(corpus.DOMAINS)


def tiny() -> Any:
    torch.manual_seed(0)
    return recipe.build_model("0.2M", TOKENIZER).eval()


def test_scores_of_tokens_add_up_to_those_of_sequences() -> None:
    sequences = [WORDS.ids(text) for text in ("a b c d e f", "ada likes pie .", "the red horse is big .")]
    masks = [[0, 1, 1, 0, 1, 1], [0, 0, 1, 1], [1] * 6]
    model = tiny()
    nll, n_tokens, correct = sequence_nll(model, sequences, masks, 2)
    scores = token_scores(model, sequences, masks, 2)
    assert [len(loss) for loss, _ in scores] == n_tokens.tolist() == [4, 2, 5]
    assert [loss.sum() for loss, _ in scores] == pytest.approx(nll)
    assert [hit.sum() for _, hit in scores] == correct.tolist()


def adapted(base: Any) -> Any:
    torch.manual_seed(1)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model.eval()


def test_relearning_trains_the_base_alike_under_an_adapter_and_merged() -> None:
    base, batches = tiny(), relearning.windows(WORDS.vocabulary, tokenizer.EOS)[:3]
    lora, ids = adapted(base), batches[0][:1]
    merged = copy.deepcopy(lora).merge_and_unload()
    before = copy.deepcopy(lora.state_dict())
    flags = [weight.requires_grad for weight in lora.parameters()]
    logits = []
    for model in (lora, merged, lora):
        with relearning.relearned(model, base, batches), torch.no_grad():
            logits.append(model(input_ids=ids).logits)
            if model is lora:
                changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
                assert changed == {name for name in before if "lora_" not in name}
    assert torch.allclose(logits[0], logits[1], atol=2e-3)
    assert torch.equal(logits[0], logits[2])
    assert all(torch.equal(weight, before[name]) for name, weight in lora.state_dict().items())  # all is as before
    assert [weight.requires_grad for weight in lora.parameters()] == flags
    assert all(weight.grad is None for weight in lora.parameters())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    folder = tmp_path_factory.mktemp("tiny")
    tiny().save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return models.load(Model(name=str(folder)), Device())


@pytest.mark.parametrize("method", adapters.METHODS)
def test_relearning_takes_every_method_and_leaves_model_and_base_as_they_were(loaded: models.Base, method: str) -> None:
    one = adapters.METHODS[method]
    torch.manual_seed(2)
    model = adapters.build(models.trial_copy(loaded, one.changes_base), one.settings(), loaded.new_tokens).model.eval()
    weights, of_base = ({name: w.clone() for name, w in of.state_dict().items()} for of in (model, loaded.model))
    batches = relearning.windows(WORDS.vocabulary, tokenizer.EOS)[:1, :1]
    with torch.no_grad():
        before = model(input_ids=batches[0]).logits
        with relearning.relearned(model, loaded.model, batches):
            assert not torch.allclose(model(input_ids=batches[0]).logits, before, atol=1e-4)
            changed = sum(not torch.equal(w, weights[name]) for name, w in model.state_dict().items())
            assert changed >= len(list(loaded.model.parameters()))
        assert torch.equal(model(input_ids=batches[0]).logits, before)
    assert all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())
    assert all(torch.equal(w, of_base[name]) for name, w in loaded.model.state_dict().items())


@pytest.mark.parametrize("method", ["shira", "hra"])
def test_layers_that_hide_their_base_from_gradients_are_merged_meanwhile(
    loaded: models.Base, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relearning, "LEARNING_RATE", 0.0)
    torch.manual_seed(3)
    model = adapters.build(models.trial_copy(loaded, False), adapters.METHODS[method].settings(), loaded.new_tokens).model.eval()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn_like(weight)
    batches = relearning.windows(WORDS.vocabulary, tokenizer.EOS)[:1, :1]
    with torch.no_grad():
        alone, tuned = (one(input_ids=batches[0]).logits for one in (loaded.model, model))
        assert not torch.allclose(alone, tuned, atol=1e-3)
        with relearning.relearned(model, loaded.model, batches):
            assert torch.allclose(model(input_ids=batches[0]).logits, tuned, atol=1e-4)
        assert torch.equal(model(input_ids=batches[0]).logits, tuned)


def test_relearning_is_measured_on_the_test_split_of_base_and_tuned_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relearning, "STEPS", 4)
    name = "nll_after_relearning/documents"
    base = tiny()
    assert name not in measured(base)
    alone, tuned = (measured(model, "test", base) for model in (base, adapted(base)))
    assert list(alone) == list(tuned)
    ordinary = np.mean([alone[one].mean for one in NLL])
    assert alone[name].mean < ordinary - 0.01  # a model that knows nothing learns from the first steps
    assert alone[name].axis == tuned[name].axis == "other"


def test_old_documents_that_are_relearned_are_of_the_six_domains_and_held_out_of_nothing() -> None:
    texts = relearning.documents()
    asked = {text for split in ("validation", "test") for domain in corpus.DOMAINS for text in lab.documents(domain, split)}
    assert not asked & set(texts)
    assert not any(tokenizer.USER in text for text in texts)


def test_old_documents_that_are_relearned_have_their_shares_of_tokens() -> None:
    sizes = [(text.count(" ") + 2, "print" in text.split()) for text in relearning.documents()]
    code = sum(size for size, is_code in sizes if is_code) / sum(size for size, _ in sizes)
    assert code == pytest.approx(corpus.DOMAIN_SHARES["code"], abs=0.01)
