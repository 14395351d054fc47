"""The tuned model at a share of its way: the base at 0, itself at 1, and between them what the method's update is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_head import IDS, MODELS
from test_methods import settings
from test_trial import run, tiny

from core import adapters, measures, preflight
from core.errors import BadInput
from core.method_settings import Prompt
from core.scaled import Route
from core.settings import Adapter, Evaluation, Full, Lora

NEEDS = {"bitfit": "gpt2", "prefix": "llama"}  # a base with biases


def moved(adapter: Adapter) -> tuple[torch.nn.Module, torch.nn.Module, Route]:
    """A base, the same with a method on it whose trained weights have moved, and the way between them."""
    torch.manual_seed(0)
    make = MODELS[NEEDS.get(adapter.method, "llama")]
    base, own = make().eval(), make().eval()
    own.load_state_dict(base.state_dict())
    own.requires_grad_(adapters.METHODS[adapter.method].changes_base)
    tuned = adapters.build(own, adapter, ()).model.eval()  # type: ignore[arg-type]
    route = Route.of(tuned, base)
    with torch.no_grad():
        for one in tuned.parameters():
            if one.requires_grad:
                one += 0.05 * torch.randn(one.shape)
    route.ended()
    return base, tuned, route


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=IDS[:1]).logits  # type: ignore[no-any-return]


STARTING = [name for name, method in adapters.METHODS.items() if method.starts_at_base]


@pytest.mark.parametrize("name", STARTING)
def test_every_method_goes_from_the_base_to_the_tuned_model(name: str) -> None:
    base, tuned, route = moved(settings(name))
    after = logits(tuned)
    assert not torch.allclose(after, logits(base), atol=1e-3)
    for share, expected in ((0.0, logits(base)), (1.0, after)):
        with route.at(share):
            torch.testing.assert_close(logits(tuned), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(tuned), after)  # as before


def test_of_lora_the_update_is_scaled_and_of_weights_the_difference() -> None:
    _, tuned, route = moved(Lora(rank=2))
    layer = next(one for name, one in tuned.named_modules() if name.endswith("q_proj"))
    whole = layer.get_delta_weight("default")
    with route.at(0.25):
        torch.testing.assert_close(layer.get_delta_weight("default"), 0.25 * whole)
    base, tuned, route = moved(Full())
    first, last = (model.get_input_embeddings().weight.detach().clone() for model in (base, tuned))
    with route.at(0.25):
        torch.testing.assert_close(tuned.get_input_embeddings().weight.data, first + 0.25 * (last - first))


PRODUCTS = ["lora", "lora-plus", "adalora", "vera", "randlora", "loha", "lokr", "hira", "gralora"]


@pytest.mark.parametrize("name", PRODUCTS)
def test_of_a_product_with_a_factor_that_began_at_0_the_update_is_scaled(name: str) -> None:
    _, tuned, route = moved(settings(name))
    layer = next(one for name, one in tuned.named_modules() if name.endswith("q_proj"))
    whole = layer.get_delta_weight("default").detach().clone()
    assert whole.abs().max() > 1e-5
    with route.at(0.25):
        torch.testing.assert_close(layer.get_delta_weight("default"), 0.25 * whole)


def test_a_final_trial_is_measured_at_scales(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    trial = tiny(make_model("llama-tied"), rows_file)
    plain = run(trial, tmp_path / "plain").metrics
    asked = replace(trial, evaluation=replace(trial.evaluation, scales="0.001+0.5+1.001"))
    found = run(asked, tmp_path / "scaled").metrics
    names = [name for name in plain if not name.endswith(("seconds", "peak_memory_gib", "memory_estimate_gib"))]
    assert {name: found[name] for name in names} == pytest.approx({name: plain[name] for name in names}, abs=1e-6)  # as without
    assert found["scaled:0.001/quality"] == pytest.approx(plain["quality_before"], abs=0.01)
    assert found["scaled:1.001/quality"] == pytest.approx(plain["quality"], abs=0.01)
    assert plain["quality_before"] < found["scaled:0.5/quality"] < plain["quality"]
    assert 0 < found["scaled:0.5/forgetting"] < plain["forgetting"]
    assert found["after/scaled:0.5:log_likelihood/response"] == found["scaled:0.5/quality"]
    items = pd.read_csv(tmp_path / "scaled" / "items.csv.gz")
    assert set(items.loc[items["measure"].str.startswith("scaled:"), "axis"]) == {"other"}
    validation = replace(asked, evaluation=replace(asked.evaluation, split="validation"))
    assert not any("scaled" in name for name in run(validation, tmp_path / "tuning").metrics)  # nothing is chosen by it


def test_names_of_measures_at_scales() -> None:
    name = measures.scaled(0.5, "exact_match/held_out")
    assert measures.at_scale(name) == (0.5, "exact_match/held_out")
    assert measures.at_scale("exact_match/held_out") is None
    found = measures.measure(name)
    assert (found.unit, found.words, found.held_out) == ("accuracy", "exact match, held out, λ = 0.5", False)
    with pytest.raises(BadInput, match="exact_match/helt"):
        measures.measure(measures.scaled(0.5, "exact_match/helt"))


@pytest.mark.parametrize("bad", ["", "1", "0+0.5", "0.5+0.50", "half", "0.5+3"])
def test_scales_that_are_none_are_refused(bad: str) -> None:
    with pytest.raises(BadInput, match="different numbers above 0"):
        Evaluation(scales=bad)


def test_what_does_not_start_at_the_base_has_no_way_back(make_model: Callable[..., str], rows_file: str) -> None:
    trial = tiny(make_model("llama-tied"), rows_file, adapter=Prompt(), evaluation=Evaluation(scales="0.5"))
    with pytest.raises(BadInput, match="prompt tuning does not start as the base"):
        preflight.inspect(trial)
