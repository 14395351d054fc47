"""How far a model has gone from its base: where documents begin, whose answers are asked for, and what KL is taken on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from conftest import UNMARKED, make_tokenizer  # noqa: E402

from core import memory, preflight, warm  # noqa: E402
from core import model as models  # noqa: E402
from core import trial as trials  # noqa: E402
from core.data import encode  # noqa: E402
from core.hardware import Device  # noqa: E402
from core.settings import Data, Evaluation, Lora, Model, Train, Trial  # noqa: E402
from core.tasks import drift, generation, measurement, prompts, samples  # noqa: E402
from core.tasks.measurement import Subject  # noqa: E402

TURNS = "{% for m in messages %}{{ OPEN + m['content'] + CLOSE }}{% endfor %}{% if add_generation_prompt %}{{ OPEN }}{% endif %}"


def turns(opening: str, closing: str, first: str = "") -> str:
    return (f"{{{{ '{first}' }}}}" if first else "") + TURNS.replace("OPEN", f"'{opening}'").replace("CLOSE", f"'{closing}'")


def begun(template: str | None, adds_bos: bool = False, **named: str | None) -> list[str]:
    """What documents begin with, for a tokenizer that names its tokens so."""
    from tokenizers import processors

    made = make_tokenizer(specials=("<pad>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    for name, token in named.items():
        setattr(made, name, token)
    if adds_bos:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.chat_template = template
    encode.give_template(made)
    return [made.decode(ids) for ids in drift.beginnings(made, len(made))]


def test_what_neither_model_ever_says_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of -inf, as models have them that rule tokens out."""
    base, tuned = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    logits = {base: torch.tensor([[0.0, 0.0, -torch.inf]]), tuned: torch.tensor([[0.0, 1.0, -torch.inf]])}
    made = {
        of: SimpleNamespace(logits=lambda piece, own=own: own, pieces=lambda share: [slice(None)]) for of, own in logits.items()
    }
    monkeypatch.setattr(drift.head, "scored", lambda model, ids, at: made[model])
    monkeypatch.setattr(measurement, "shape_of", lambda model: memory.Shape(1, 1, 1, 1))
    kl, _, counts = drift._divergence(tuned, base, drift.Texts([[0, 1]], [[0, 1]]), 1)
    odds = math.e / (1 + math.e)
    assert counts.tolist() == [1]
    assert kl[0] == pytest.approx(0.5 * math.log(0.5 / (1 - odds)) + 0.5 * math.log(0.5 / odds), abs=1e-6)


def test_documents_begin_where_no_turn_does() -> None:
    chatml = turns("<|im_start|>", "<|im_end|>\n")
    names = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}  # SmolLM2-Instruct
    assert begun(chatml, **names) == ["<|endoftext|>"]
    assert begun(chatml, bos_token=None, eos_token="<|im_end|>") == ["<|endoftext|>"]  # Qwen2.5-Instruct
    assert begun(None) == ["<s>"]  # a base without a template
    assert begun(None, bos_token=None) == ["</s>"]
    assert begun(turns("<u>", "</s>")) == ["<s>"]  # Zephyr
    assert begun(turns("<u>", "</s>", first="<s>"), adds_bos=True) == ["<s>"]  # Mistral, Llama 3: once before all turns
    assert begun(turns("<s>[INST]", "</s>", first="<|endoftext|>")) == ["<|endoftext|>"]
    words = begun(turns("<s>[INST] ", " </s><|endoftext|>"), adds_bos=True)  # Llama 2 begins every turn as a document
    assert words == [f"<s>{word}" for word in drift.FIRST_WORDS]
    assert begun(turns("<s><|endoftext|>", "</s>")) == list(drift.FIRST_WORDS)


def test_documents_begin_somewhere_with_a_template_that_refuses() -> None:
    refusing = "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + turns("<s>", "</s>")
    assert begun(refusing) == ["<|endoftext|>"]


@pytest.fixture
def trial(make_model: Callable[..., str], rows_file: str) -> Trial:
    return Trial(
        model=Model(name=make_model("llama", UNMARKED)), data=Data(source=rows_file, n_examples=16, eval_share=0.4),
        adapter=Lora(rank=4), train=Train(epochs=2, batch_size=8, learning_rate=0.05),
        evaluation=Evaluation(drift_samples=4, drift_tokens=12, generations=0),
    )  # fmt: skip


def subject(trial: Trial) -> Subject:
    base = models.load(trial.model, Device())
    chosen = preflight.selected(trial).evaluation
    rows = encode.encode_all(base.tokenizer, chosen, 96).rows
    return Subject(base.model, base.tokenizer, trial, rows, base.model, 96, asked=chosen)


def test_a_chat_model_forgets_on_its_answers_and_on_documents(trial: Trial, tmp_path: Path) -> None:
    told = preflight.inspect(trial)
    assert told.own_template
    result = trials.run(trial, told.provenance, tmp_path, Device())
    metrics = result.metrics
    assert result.facts["forgetting_measures"] == "kl/documents, kl/answers"
    for name in ("documents", "answers", "responses"):
        assert metrics[f"before/kl/{name}"] == 0
        assert metrics[f"after/kl/{name}"] > 1e-4
    own = [metrics[f"delta/kl/{name}"] for name in ("documents", "answers")]
    assert metrics["forgetting"] == pytest.approx(sum(own) / 2)
    assert [name for name in metrics if name.startswith("after/nll/")] == ["after/nll/documents", "after/nll/answers"]


def test_a_base_without_a_template_has_no_own_answers(trial: Trial, make_model: Callable[..., str], tmp_path: Path) -> None:
    bare = dataclasses.replace(trial, model=Model(name=make_model("llama")))
    told = preflight.inspect(bare)
    result = trials.run(bare, told.provenance, tmp_path, Device())
    assert not told.own_template
    assert result.facts["forgetting_measures"] == "kl/documents"
    measured = [name for name in result.metrics if name.startswith("after/kl/")]
    assert measured == ["after/kl/documents", "after/kl/responses"]


def test_answers_are_scored_and_their_prompts_are_not(trial: Trial) -> None:
    one = subject(trial)
    found = drift.answers(one)
    asked = [prompt.messages[-1]["content"] for prompt, _ in prompts.held_out(one)]
    assert len(found.ids) == 4
    for ids, mask, question in zip(found.ids, found.masks, asked, strict=False):
        n_prompt = mask.index(1)
        assert one.tokenizer.decode(ids[:n_prompt]) == f"<u>{question}<a>"
        assert set(mask[n_prompt:]) == {1}
        assert 1 <= len(ids) - n_prompt <= 13
    again = drift.answers(one)
    warm.SAMPLES.clear()
    assert again == found == drift.answers(one)  # kept, and drawn alike anew
    with torch.no_grad():
        kl, _, n_tokens = drift._divergence(one.model, models.trial_copy(models.load(trial.model, Device()), True), found, 3)
    assert n_tokens.tolist() == [sum(mask) for mask in found.masks]
    assert kl == pytest.approx(0, abs=1e-5)


def test_prompts_without_room_for_an_answer_are_left_out(trial: Trial) -> None:
    one = dataclasses.replace(subject(trial), seq_len=8)
    assert drift.answers(one).ids == []
    assert [m.name for m in drift.measure(one)] == ["kl/documents", "nll/documents", "kl/responses"]


def test_tools_are_in_the_prompts(trial: Trial, tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    raws = [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i} ."}], "tools": [tool]}
        for i in range(40)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in raws))
    template = "{% for t in tools %}<{{ t.function.name }}>{% endfor %}" + UNMARKED
    made = make_tokenizer(template)
    asked = dataclasses.replace(trial, data=Data(source=str(file), eval_share=0.4))
    (first, _), *_ = prompts.held_out(
        dataclasses.replace(subject(trial), trial=asked, asked=preflight.selected(asked).evaluation)
    )
    assert made.decode(generation.prompt_ids(made, [first])[0]).startswith("<get_weather><u>say ")
    assert samples._said(first).startswith("tools: get_weather\nuser: say ")


def test_workers_read_what_the_first_of_them_drew(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine would draw other texts: here another seed stands for it."""
    told = preflight.inspect(trial)

    def run(name: str, seed: int) -> str:
        monkeypatch.setattr(drift, "SAMPLING_SEED", seed)
        warm.clear()
        return trials.run(trial, told.provenance, tmp_path / name / "trials" / "a-final", Device()).facts["drift_texts"]

    first = run("sweep", 1)
    (documents,) = [path for path in (tmp_path / "sweep" / "texts").iterdir() if "[[[" in path.read_text()]
    before = documents.read_bytes()
    assert run("other", 2) != first  # in another sweep
    run("sweep", 2)
    assert documents.read_bytes() == before
    documents.write_bytes(before[:-20])  # damaged: drawn and written again
    run("sweep", 1)
    assert documents.read_bytes() == before
    assert not [path for path in documents.parent.iterdir() if path.suffix != ".json"]
