"""Measures for real data: what is sampled from a base, and how a base text is cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.definitions import Model
from core.device import Device

torch = pytest.importorskip("torch")


def samples(path: str) -> list[list[int]]:
    from core import model
    from core.tasks import text

    base = model.load(Model(name=path), Device())
    with torch.no_grad():
        return text.sample_base(base.model, base.tokenizer, 6, 16)


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
