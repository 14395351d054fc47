"""The penalties that hold a training near its base: against dense computations, and what they do to a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_head import IDS, MODELS, TARGETS, _two_tokens_a_piece  # noqa: F401  # pieces of two tokens
from test_trial import run, tiny

from core import adapters, batches, model, near_base, preflight, train
from core.data.encode import Encoded
from core.errors import BadInput
from core.hardware import Device
from core.method_settings import Prompt
from core.settings import Full, Lora, Model, Train
from core.training import Run

AT, KL_AT = torch.tensor([[0, 0, 0, 1], [1, 3, 4, 1]]), torch.tensor([[0, 0, 1], [0, 2, 0]])
BATCH = {"input_ids": IDS, "at": AT, "labels": TARGETS, "kl_at": KL_AT}


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A base, and one whose weights have moved."""
    torch.manual_seed(0)
    base, tuned = MODELS[name]().eval(), MODELS[name]().eval()
    base.requires_grad_(False)
    return base, tuned


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2, which caps its logits"])
def test_both_losses_and_their_gradient_are_those_of_a_dense_computation(name: str) -> None:
    base, tuned = pair(name)
    loss, divergence = near_base.summed_losses(tuned, base, BATCH)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    p, q = (model(input_ids=IDS, attention_mask=mask).logits.double().log_softmax(-1) for model in (base, tuned))
    kl = (p.exp() * (p - q)).sum(-1)[tuple(KL_AT)].sum()
    expected = -q[tuple(AT)].gather(-1, TARGETS[:, None]).sum()
    assert divergence.item() == pytest.approx(kl.item(), rel=1e-3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    weights = list(tuned.parameters())
    found = torch.autograd.grad(loss + 0.3 * divergence, weights)
    for one, dense in zip(found, torch.autograd.grad(expected + 0.3 * kl, weights), strict=True):
        torch.testing.assert_close(one, dense.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("adapter", [Lora(rank=2), Full()], ids=lambda one: one.method)
def test_at_the_start_there_is_no_penalty(adapter: adapters.Adapter) -> None:
    base, _ = pair("llama")
    copy = MODELS["llama"]().eval()
    copy.load_state_dict(base.state_dict())
    tuned = adapters.build(copy, adapter, ()).model.eval()  # type: ignore[arg-type]
    _, divergence = near_base.summed_losses(tuned, base, BATCH)
    assert divergence.item() == pytest.approx(0, abs=1e-6)


def test_which_tokens_it_is_taken_on() -> None:
    rows = [Encoded("a", [5, 6, 7, 8], [0, 0, 1, 1], [1, 1, 0, 0]), Encoded("b", [5, 6], [0, 1])]
    found = batches.collate(rows, 0)
    assert found["at"].tolist() == [[0, 0, 1], [1, 2, 0]]
    assert found["kl_at"].tolist() == [[0], [0]]  # the first token is predicted by nothing
    assert "kl_at" not in batches.collate(rows[1:], 0)
    only_held = batches.collate([Encoded("c", [5, 6, 7], [0, 0, 0], [1, 1, 1])], 0)
    assert only_held["at"].shape == (2, 0)
    base, tuned = pair("llama")
    loss, divergence = near_base.summed_losses(tuned, base, only_held)
    assert loss.item() == 0
    assert divergence.item() > 0


@pytest.mark.parametrize("adapter", [Lora(rank=2), Full()], ids=lambda one: one.method)
def test_decay_goes_the_rates_part_of_the_way_back(adapter: adapters.Adapter) -> None:
    base, other = pair("llama")
    model = adapters.build(other, adapter, ()).model  # type: ignore[arg-type]
    first = {name: one.clone() for name, one in near_base.starts(model, base).items()}
    decay = near_base.DecayToBase(model, base, decay=2.0)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if isinstance(adapter, Full):
        assert decay.first["lm_head.weight"].data_ptr() == base.lm_head.weight.data_ptr()  # type: ignore[union-attr]  # no copy
    with torch.no_grad():
        for one in trained.values():
            one += 1
    now = {name: one.detach().clone() for name, one in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=0.1)
    decay.on_pre_optimizer_step(None, None, None, optimizer=optimizer)
    for name, one in trained.items():
        torch.testing.assert_close(one.data, now[name] + 0.2 * (first[name] - now[name]))


def test_both_means_are_over_the_tokens_of_a_step_however_it_is_cut(make_model: Callable[..., str], tmp_path: Path) -> None:
    base = model.load(Model(name=make_model("qwen2")), Device())
    learnt, held = [1, 2, 3, 1, 1, 0], [1, 4, 0, 2, 0, 3]  # tokens of each row; of the last nothing is learnt
    rows = [
        Encoded(str(i), [5 + i, *range(9, 16)], [0] * (8 - n) + [1] * n, [0] + [1] * m + [0] * (7 - m))
        for i, (n, m) in enumerate(zip(learnt, held, strict=True))
    ]
    how, found = Train(steps=4, batch_size=4, learning_rate=3e-2, kl_to_base=5.0, schedule="constant"), []
    for micro in (4, 2, 1):
        torch.manual_seed(0)
        own = adapters.build(model.trial_copy(base, False), Lora(rank=4), base.new_tokens).model
        asked = Run(how, 0, Device(), False, str(tmp_path), micro, reference=base.model)
        history = train.fit(own, base.tokenizer, rows, asked).history
        found.append([point[name] for point in history for name in ("loss", "kl_to_base")])
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-6)
    assert found[2] == pytest.approx(found[0], rel=1e-4, abs=1e-6)
    assert found[0][-1] > 1e-3


def test_what_is_held_near_stays_near(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    trial = replace(tiny(make_model("llama-tied"), rows_file), adapter=Full())
    ways = {
        "plain": {},
        "kl": {"kl_to_base": 30.0, "kl_on": "prompts"},
        "l2": {"l2_to_base": 300.0},
    }
    train = replace(trial.train, learning_rate=2e-3)
    found = {name: run(replace(trial, train=replace(train, **way)), tmp_path / name).metrics for name, way in ways.items()}
    assert found["kl"]["after/kl/documents"] < 0.9 * found["plain"]["after/kl/documents"]
    assert found["l2"]["after/kl/documents"] < 0.9 * found["plain"]["after/kl/documents"]
    assert found["kl"]["train/loss_final"] > 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": Train(kl_on="prompts")}, "no penalty without a train.kl_to_base"),
        ({"train": Train(kl_to_base=0.1, kl_on="replayed")}, "nothing is replayed without a data.replay_share"),
        ({"train": Train(l2_to_base=0.1), "adapter": Prompt()}, "does not start as the base"),
    ],
)
def test_settings_that_do_nothing_are_refused(make_model: Callable[..., str], rows_file: str, changed: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        preflight.inspect(replace(tiny(make_model("llama-tied"), rows_file), **changed))


@pytest.mark.parametrize("bad", [{"kl_to_base": -1.0}, {"kl_on": "answers"}, {"l2_to_base": 1e4, "learning_rate": 1e-3}])
def test_settings_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(BadInput, match=next(iter(bad))):
        Train(**bad)
