"""Measures for real data: what is sampled from a base, and how a base text is cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data import files
from core.errors import BadInput
from core.hardware import Device
from core.settings import Model

torch = pytest.importorskip("torch")


def samples(path: str) -> list[list[int]]:
    from core import model
    from core.tasks import drift

    base = model.load(Model(name=path), Device())
    with torch.no_grad():
        return [ids for ids, _ in drift._documents(base.model, base.tokenizer, 6, 16)]


def test_the_models_own_way_of_generating_changes_no_sample(make_model: Callable[..., str], tmp_path: Path) -> None:
    plain = make_model("llama")
    odd = tmp_path / "odd"
    shutil.copytree(plain, odd)
    settings = {"do_sample": True, "temperature": 0.1, "top_k": 2, "top_p": 0.5, "repetition_penalty": 3.0, "min_p": 0.3}
    settings |= {"no_repeat_ngram_size": 1, "suppress_tokens": list(range(40, 300)), "eos_token_id": [2, 77], "num_beams": 2}
    (odd / "generation_config.json").write_text(json.dumps(settings))
    assert samples(str(odd)) == samples(plain)
    from core import model

    assert model.load(Model(name=str(odd)), Device()).model.generation_config.temperature == 0.1  # is saved with full weights


def begins_with_bos(path: str, directory: Path) -> str:
    """The model with a tokenizer that puts <s> before a text."""
    from tokenizers import Tokenizer, processors

    shutil.copytree(path, directory)
    inner = Tokenizer.from_file(str(directory / "tokenizer.json"))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    inner.save(str(directory / "tokenizer.json"))
    return str(directory)


def windows(path: str, file: Path, split: str, seq_len: int) -> list[tuple[str, list[int]]]:
    from core import model
    from core.tasks import text

    read = files.read_text(text.BASE_TEXT, str(file))
    return text.text_windows(model.load_tokenizer(Model(name=path), path), read, split, seq_len, 100)


@pytest.mark.parametrize("with_bos", [False, True])
def test_windows_of_a_base_text(make_model: Callable[..., str], tmp_path: Path, with_bos: bool) -> None:
    path = begins_with_bos(make_model("llama"), tmp_path / "model") if with_bos else make_model("llama")
    file = tmp_path / "base.txt"
    file.write_text(" ".join(f"the fox jumps {i}" for i in range(60)))
    found = {split: windows(path, file, split, 32) for split in ("validation", "test")}
    everything = sorted((int(name.split()[1]), ids) for pieces in found.values() for name, ids in pieces)
    assert not {name for name, _ in found["validation"]} & {name for name, _ in found["test"]}
    assert {len(ids) for _, ids in everything[:-1]} == {32}
    if with_bos:
        assert {ids[0] for _, ids in everything} == {1}
        everything = [(start, ids[1:]) for start, ids in everything]
    from core import model

    tokenizer = model.load_tokenizer(Model(name=path), path)
    whole = tokenizer(file.read_text(), add_special_tokens=False)["input_ids"]
    assert [token for _, ids in everything for token in ids] == whole[: len(whole) if len(everything[-1][1]) > 1 else -1]


@pytest.mark.parametrize("with_bos", [False, True])
def test_a_base_text_that_cannot_serve_both_splits_is_refused(
    make_model: Callable[..., str], tmp_path: Path, with_bos: bool
) -> None:
    """By the trial and before it, in the same words."""
    from core import chat

    path = begins_with_bos(make_model("llama"), tmp_path / "model") if with_bos else make_model("llama")
    file, needed = tmp_path / "base.txt", 2 * (32 - with_bos)
    file.write_text("." * needed)  # one token each
    chat.count_base_text(Path(path), str(file), file.read_text(), 32)
    assert all(len(windows(path, file, split, 32)) == 1 for split in ("validation", "test"))
    file.write_text("." * (needed - 1))
    said = []
    for split in ("validation", "test"):
        with pytest.raises(BadInput) as error:
            windows(path, file, split, 32)
        said.append(str(error.value))
    with pytest.raises(BadInput) as error:
        chat.count_base_text(Path(path), str(file), file.read_text(), 32)
    assert {*said, str(error.value)} == {said[0]}
    assert f"evaluation.base_text={file}: has {needed - 1} tokens, needs {needed} " in said[0]


def test_a_scoring_pass_reads_no_more_tokens_than_fit(make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever evaluation.batch_size is; the scores are those of one pass."""
    from core import memory, model
    from core.tasks.measurement import batches_by_length, sequence_nll

    lengths = [5, 40, 7, 30, 900, 30, 30]
    parted = batches_by_length(lengths, 3, 100)
    assert sorted(i for batch in parted for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100 for batch in parted)
    assert parted == [[0, 2, 3], [5, 6], [1], [4]]
    base = model.load(Model(name=make_model("llama")), Device()).model
    texts = [list(range(3, 3 + n)) for n in (20, 12, 18, 9)]
    whole = sequence_nll(base, texts, texts, 64)[0]
    monkeypatch.setattr(memory, "MOST_SCORED", 30)
    assert sequence_nll(base, texts, texts, 64)[0] == pytest.approx(whole)
