"""The estimate of a trial's memory against what is counted, and how trials are made to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from test_trial import run, tiny
from transformers import LlamaConfig, LlamaForCausalLM

from core import adapters, memory, memory_of_measures, preflight, train
from core.errors import BadInput
from core.experiment import Experiment
from core.fields import replace_field
from core.settings import Data, Full, Lora, Model, Train, Trial
from core.states import Phase, State
from core.trial_rows import Counted
from sweeps import fits
from sweeps.plan import Plan
from sweeps.resources import Resources

SIZES = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
ROWS, TOKENS = 2, 64


def kept(layers: int, method: adapters.Adapter, bf16: bool) -> int:
    """Bytes that the backward pass holds, but for parameters and their casts."""
    dtype = torch.bfloat16 if bf16 and isinstance(method, Lora) else torch.float32
    base = LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=layers)).to(dtype)
    base.requires_grad_(isinstance(method, Full))
    model = adapters.build(base, method, ()).model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights and ROWS * TOKENS in (tensor.shape[0], tensor.shape[:2].numel()):
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        model(input_ids=torch.randint(0, 64, (ROWS, TOKENS)), use_cache=False, logits_to_keep=1)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("method", [Lora(rank=2), Full()])
def test_what_a_layer_keeps_is_what_is_counted(method: adapters.Adapter, bf16: bool) -> None:
    counted = (kept(3, method, bf16) - kept(2, method, bf16)) / (ROWS * TOKENS)
    estimate = memory.Shape.of(SIZES | {"num_hidden_layers": 2}).kept_bytes(bf16, isinstance(method, Full))
    assert estimate / 1.3 < counted < estimate * 1.3


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", ["Gemma2", "Llama"])
def test_attention_that_is_computed_as_written_keeps_a_value_for_each_pair_of_tokens(kind: str, bf16: bool) -> None:
    found, tokens = [], 48  # no width of the model
    for layers in (2, 3):
        config = getattr(transformers, f"{kind}Config")(**SIZES, head_dim=16, num_hidden_layers=layers)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16 if bf16 else torch.float32).train()
        squares: dict[int, int] = {}

        def pack(tensor: torch.Tensor, squares: dict[int, int] = squares) -> torch.Tensor:
            if tensor.shape[-2:] == (tokens, tokens):
                squares[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(input_ids=torch.randint(0, 64, (ROWS, tokens)), use_cache=False, logits_to_keep=1)
        found.append(sum(squares.values()))
    estimate = memory.Shape.of(config.to_dict()).pairs_bytes(tokens)
    counted = (found[1] - found[0]) / (ROWS * tokens)
    assert estimate / 1.3 <= counted <= estimate * 1.3


LLAMA_8B = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
LOAD = memory.Load(
    shape=memory.Shape.of(LLAMA_8B | {"num_key_value_heads": 8}),
    n_parameters=8_030_000_000,
    trainable=42_000_000,
    longest=1_024,
    vocabulary=128_256,
    weights="bfloat16",
    device="cuda",
    changes_base=False,
    state_bytes=8 * 42_000_000,
)


def test_a_large_batch_becomes_smaller_ones_and_then_layers_are_computed_again() -> None:
    """Beside weights and optimizer 16 rows of 1,024 tokens were counted to take 115 GiB, 9.6 with checkpointing."""
    beside = [(LOAD.peak_bytes(16, checkpointing) - LOAD.fixed_bytes) / memory.GIB for checkpointing in (False, True)]
    assert beside == pytest.approx([115, 9.6], rel=0.3)
    roomy, card, small = (memory.fit(LOAD, Train(batch_size=16), gib) for gib in (1_000, 80, 24))
    assert (roomy.micro_batch_size, roomy.checkpointing) == (16, False)
    assert (card.micro_batch_size, card.checkpointing) == (4, False)
    assert small.checkpointing
    assert all(one.peak_gib < gib for one, gib in ((roomy, 1_000), (card, 80), (small, 24)))
    assert memory.fit(LOAD, Train(batch_size=16), 8).peak_gib > 8  # nothing fits: said, not hidden
    asked = memory.fit(LOAD, Train(batch_size=16, micro_batch_size=16, checkpointing="off"), 8)
    assert (asked.micro_batch_size, asked.checkpointing) == (16, False)


def test_scoring_reads_few_tokens_at_a_time_on_a_cpu() -> None:
    """The laboratory's windows (64 of 128 tokens) stay one pass; a wide model reads less, and on a GPU all that is allowed."""
    of_base = {"num_hidden_layers": 5, "hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4}
    assert memory.Shape.of(of_base).most_scored("cpu") >= 64 * 128
    assert 4_096 < memory.Shape.of(SMOL).most_scored("cpu") < 8_192
    assert LOAD.shape.most_scored("cuda") == memory.MOST_SCORED


SMOL = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
SMOL_LOAD = replace(
    LOAD, shape=memory.Shape.of(SMOL), n_parameters=134_515_008, trainable=4_884_480, longest=64, vocabulary=49_152,
    weights="float32", device="cpu", state_bytes=8 * 4_884_480,
)  # fmt: skip


def test_measures_take_a_pass_with_its_logits_or_the_texts_that_are_written() -> None:
    counts = Counted(24, 60.0, 10.0, 20, 1_024, 128, own_template=True)
    plain = Trial(
        model=Model(name="m"), data=Data(source="rows.jsonl", n_examples=8), adapter=Lora(), train=Train(epochs=1), seed=0
    )
    read = replace(plain, evaluation=replace(plain.evaluation, base_text="text.txt", max_rows=24))

    def peak(trial: Trial, load: memory.Load = SMOL_LOAD, phase: Phase = Phase.FINAL) -> float:
        return memory_of_measures.peak_gib(load, trial, counts, phase)

    few, windows = peak(plain), peak(read)
    held = SMOL_LOAD.measuring_bytes(memory.Together()) / memory.GIB
    passing = SMOL_LOAD.shape.most_scored("cpu") * SMOL_LOAD.shape.passing_bytes(False) * 1.25 / memory.GIB
    assert windows == pytest.approx(held + passing + memory.LARGEST_PIECE * memory.SCORED_BYTES / memory.GIB)
    assert held < few <= windows
    # 64 texts of 60 tokens are gone on with by 2,000: as many at a time as their keys and values have room
    long = replace(plain, evaluation=replace(plain.evaluation, max_new_tokens=2_000, generations=64))
    assert peak(long) == pytest.approx(held + memory.LARGEST_CACHE / memory.GIB, rel=0.05)
    assert peak(long, phase=Phase.TUNE) < peak(long)  # prompts that people see are written to in final trials alone
    # texts of the base are drawn all at a time; with a large cache that is the most
    drawn = replace(plain, evaluation=replace(plain.evaluation, drift_samples=2_000))
    assert peak(drawn) == pytest.approx(held + memory.LARGEST_CACHE / memory.GIB, rel=0.05)
    # measured along its training, which goes on; and at shares of the way, whose ends are kept
    trained = 4 * SMOL_LOAD.trainable / memory.GIB
    assert peak(plain, replace(SMOL_LOAD, measures_along=True)) == pytest.approx(peak(plain) + 3 * trained)
    assert peak(plain, replace(SMOL_LOAD, measures_shares=True)) == pytest.approx(peak(plain) + 3 * trained)


def test_the_harness_scores_whole_batches() -> None:
    """400 tokens × 64 items × 152,000 words in float32, with their logarithms."""
    load = replace(SMOL_LOAD, vocabulary=152_000)
    whole = memory.Together(400, 64 * 400, whole=True)
    more = load.measuring_bytes(whole) - load.measuring_bytes(replace(whole, whole=False))
    assert more == pytest.approx((64 * 400 * 152_000 - memory.LARGEST_PIECE) * memory.SCORED_BYTES)


@pytest.mark.parametrize(
    ("field", "value", "lower"),
    [
        ("evaluation.max_new_tokens", 500, "evaluation.batch_size=32, evaluation.max_new_tokens=250, model.quantization=nf4"),
        ("train.micro_batch_size", 24, "data.seq_len_tokens="),
    ],
)
def test_what_does_not_fit_is_told_with_what_makes_it_smaller(
    make_model: Callable[..., str], rows_file: str, monkeypatch: pytest.MonkeyPatch, field: str, value: int, lower: str
) -> None:
    """Measures that take more than training are lowered by what they read and write at a time."""
    asked = replace_field(tiny(make_model("llama"), rows_file), "train.batch_size", 24)
    asked = replace_field(replace_field(asked, field, value), "evaluation.generations", 64)
    plan = Plan.of(Experiment(name="made_up", question="?", base=asked, vary={"adapter.rank": (1,)}), preflight.provenance)
    known = {trial: replace(preflight.inspect(trial), longest_tokens=100) for trial in plan.probes}
    monkeypatch.setattr(fits, "available_gib", lambda device: 0.1)
    with pytest.raises(BadInput) as found:
        fits.check(plan, known, Resources(1, 1))
    assert lower in found.value.text
    assert found.value.text.startswith("what is measured in a trial of") == (field == "evaluation.max_new_tokens")
    monkeypatch.delattr(fits, "available_gib")  # of a cluster nobody asks this machine, which may have no card
    fits.check(plan, known, Resources(1, 1, 1.0, local=False))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"n_layer": 2, "n_embd": 32, "n_head": 2}, memory.Shape(2, 32, 128, 32)),
        ({"text_config": LLAMA_8B}, memory.Shape(32, 4096, 14336, 4096)),
        (
            LLAMA_8B | {"num_experts_per_tok": 2, "moe_intermediate_size": 100, "head_dim": 64, "num_key_value_heads": 4},
            memory.Shape(32, 4096, 200, 256),
        ),
    ],
)
def test_shapes_go_by_many_names(config: dict[str, object], expected: memory.Shape) -> None:
    assert memory.Shape.of(config) == expected


def test_checkpointing_changes_no_bit(make_model: Callable[..., str], rows_file: str, tmp_path: Path) -> None:
    trials = [tiny(make_model("llama"), rows_file, train=Train(epochs=1, checkpointing=asked)) for asked in ("off", "on")]
    plain, again = (run(trial, tmp_path / name) for trial, name in zip(trials, "ab", strict=True))
    assert (plain.facts["checkpointing"], again.facts["checkpointing"]) == ("off", "on")
    assert plain.history == again.history
    assert plain.metrics["quality"] == again.metrics["quality"]


def test_a_trial_that_runs_out_of_memory_is_run_again_with_smaller_steps(
    make_model: Callable[..., str], rows_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = tiny(make_model("llama"), rows_file, train=Train(epochs=1, batch_size=8))
    whole, fit, tried = run(trial, tmp_path / "a"), train.fit, []

    def limited(model: object, tokenizer: object, rows: object, how: train.Run) -> train.Trained:
        tried.append(how.micro_batch_size)
        if how.micro_batch_size == 8:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return fit(model, tokenizer, rows, how)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "PROCESS_BYTES", {"cpu": 0.0})  # or the tiny trial's own part would not show
    monkeypatch.setattr(train, "fit", limited)
    smaller = run(trial, tmp_path / "b")
    assert smaller.state is State.FINISHED
    assert tried[0] == 8
    assert tried[-1] < 8
    assert smaller.facts["ran_out_of_memory"].startswith("micro-batches of")
    assert smaller.metrics["quality"] == pytest.approx(whole.metrics["quality"], rel=1e-4)

    monkeypatch.setattr(train, "fit", lambda *_: limited(*_[:3], replace(_[3], micro_batch_size=8)))
    assert run(trial, tmp_path / "c").state is State.OOM
