"""Logits at scored positions, in pieces: the model's own, whatever its architecture does to them, and with the same gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from core import head, packing

SMALL = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED = SMALL | {"num_key_value_heads": 1}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)),
    "gemma2, which caps its logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=0.05, pad_token_id=0)
    ),
    "cohere, which multiplies them": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=7.0, pad_token_id=0)),
    "granite, which divides them": lambda: GraniteForCausalLM(GraniteConfig(**GROUPED, logits_scaling=0.1)),
}
IDS = torch.tensor([[3, 7, 9, 11, 4, 8], [5, 6, 2, 0, 0, 0]])  # the second is padded
AT = (torch.tensor([0, 0, 0, 1]), torch.tensor([1, 3, 4, 1]))
TARGETS = torch.tensor([9, 4, 8, 2])


@pytest.fixture(autouse=True)
def _two_tokens_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LARGEST_PIECE", 100)


def whole(model: nn.Module) -> torch.Tensor:
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    return model(input_ids=IDS, attention_mask=mask).logits[AT]


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_the_models_own_logits_and_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    found = head.scored(model, IDS, AT)
    assert found.pieces() == [slice(0, 2), slice(2, 4)]
    torch.testing.assert_close(torch.cat([found.logits(piece) for piece in found.pieces()]), whole(model))

    loss = head.summed_cross_entropy(found, TARGETS)
    (expected,) = torch.autograd.grad(nn.functional.cross_entropy(whole(model), TARGETS, reduction="sum"), first(model))
    (given,) = torch.autograd.grad(loss, first(model))
    torch.testing.assert_close(given, expected)


def first(model: nn.Module) -> torch.Tensor:
    return model.get_input_embeddings().weight  # type: ignore[operator,union-attr,return-value]


def test_a_head_that_is_not_understood_is_left_to_the_model() -> None:
    class Odd(LlamaForCausalLM):
        def forward(self, *args, **options):  # type: ignore[no-untyped-def]
            out = super().forward(*args, **options)
            out.logits = out.logits * 3 + 1
            return out

    torch.manual_seed(0)
    model = Odd(LlamaConfig(**GROUPED)).eval()
    found = head.scored(model, IDS, AT)
    torch.testing.assert_close(torch.cat([found.logits(piece) for piece in found.pieces()]), whole(model))


def test_the_logits_of_one_piece_are_held_at_a_time() -> None:
    """What the loss keeps for its gradient holds no tensor of tokens × vocabulary."""
    model = MODELS["llama"]()
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        head.summed_cross_entropy(head.scored(model, IDS, AT), TARGETS)
    assert not [shape for shape in kept if shape[-1:] == (50,) and shape[0] in (2, 4)]


def test_of_no_position_a_head_is_not_taken_as_understood() -> None:
    model = MODELS["llama"]().eval()
    none = torch.empty(0, dtype=torch.long)
    assert len(head.scored(model, IDS, (none, none)).hidden) == 0
    assert model.get_output_embeddings() not in head._UNDERSTOOD
    head.scored(model, IDS, (torch.tensor([0]), torch.tensor([1])))
    assert model.get_output_embeddings() in head._UNDERSTOOD


UNEVEN = torch.tensor([[3, 7, 9, 11, 4, 8, 2, 6], [5, 6, 2, 0, 0, 0, 0, 0], [4, 4, 1, 9, 0, 0, 0, 0]])
PLACES = (torch.tensor([0, 0, 2, 1, 2]), torch.tensor([6, 3, 2, 1, 1]))


@pytest.mark.parametrize("name", MODELS)
def test_rows_without_their_padding_say_the_same_with_the_same_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()  # without dropout
    found = []
    for road in (head._scored, head.scored):
        model.zero_grad()
        states = road(model, UNEVEN, PLACES).hidden
        states.square().sum().backward()
        found.append((states, next(model.parameters()).grad))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_rows_are_packed_where_the_model_takes_them() -> None:
    model = MODELS["llama"]()
    packed = packing.packed(model, UNEVEN, PLACES)
    assert packed is not None
    assert packed.ids.tolist() == [[3, 7, 9, 11, 4, 8, 2, 5, 6, 4, 4, 1]]  # what comes after the last scored token is left out
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 1, 2]]
    assert packed.ids[0, packed.at[1]].tolist() == UNEVEN[PLACES].tolist()
    head.scored(model, UNEVEN, PLACES)
    assert head._PACKED[model]
    assert model.config._attn_implementation == "sdpa"
    assert packing.packed(model, UNEVEN[:1], (torch.tensor([0]), torch.tensor([7]))) is None  # nothing to gain
    model.gradient_checkpointing_enable()
    assert packing.packed(model, UNEVEN, PLACES) is None  # layers would be computed again outside


def test_a_model_in_which_rows_would_see_each_other_reads_them_padded() -> None:
    class Counting(LlamaForCausalLM):
        def forward(self, input_ids: torch.Tensor, **asked: object) -> object:
            return super().forward(input_ids=(input_ids + input_ids.cumsum(1)) % 50, **asked)

    torch.manual_seed(0)
    model = Counting(LlamaConfig(**GROUPED))
    assert torch.equal(head.scored(model, UNEVEN, PLACES).hidden, head._scored(model, UNEVEN, PLACES).hidden)
    assert not head._PACKED[model]
