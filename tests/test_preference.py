"""The second stage: its loss is TRL's, its reference the model after the first stage, its trials go on and are told as others."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import run, tiny
from torch import nn

from core import head, preference, preflight, train
from core.adapters import adalora
from core.data.encode import Encoded, EncodedPair
from core.errors import BadInput
from core.method_settings import AdaLora
from core.preference_settings import Prefer
from core.result import Result
from core.settings import Full, Lora, Train, Trial
from sweeps import fits
from sweeps.resources import Resources


def pair(number: int, prompt: list[int], chosen: list[int], rejected: list[int]) -> EncodedPair:
    both = (Encoded("", prompt + said, [0] * len(prompt) + [1] * len(said)) for said in (chosen, rejected))
    return EncodedPair(number, *both)


PAIRS = [
    pair(0, [5, 6, 7], [8, 9, 2], [10, 2]),
    pair(1, [5, 11], [12, 2], [13, 14, 15, 16, 2]),
    pair(2, [20, 21, 22, 23], [24, 2], [25, 2]),
]


@pytest.fixture
def models(make_model: Callable[..., str]) -> tuple[nn.Module, nn.Module]:
    """A model and its reference, a little apart."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(make_model("llama"))
    reference = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model, reference


def theirs(models: tuple[nn.Module, nn.Module], folder: Path, path: str, **options: Any) -> torch.Tensor:
    """TRL's loss of PAIRS."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    class Quiet(DPOTrainer):  # type: ignore[misc]
        def _send_telemetry(self) -> None:
            pass

    args = DPOConfig(output_dir=str(folder), use_cpu=True, report_to="none", gradient_checkpointing=False, bf16=False, **options)
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    trainer = Quiet(
        models[0], models[1], args=args, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(path)
    )  # fmt: skip
    as_rows = [
        {
            "prompt_ids": one.chosen.ids[: one.chosen.mask.index(1)],
            "chosen_ids": one.chosen.ids[one.chosen.mask.index(1) :],
            "rejected_ids": one.rejected.ids[one.rejected.mask.index(1) :],
        }
        for one in PAIRS
    ]
    return trainer._compute_loss(trainer.model, DataCollatorForPreference(pad_token_id=0)(as_rows), False)


@pytest.mark.parametrize(("method", "kind", "beta"), [("dpo", "sigmoid", 0.1), ("dpo", "sigmoid", 2.0), ("ipo", "ipo", 0.3)])
def test_the_loss_and_its_gradient_are_those_of_trl(
    models: tuple[nn.Module, nn.Module], make_model: Callable[..., str], tmp_path: Path, method: str, kind: str, beta: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(head, "LARGEST_PIECE", 700)  # logits in pieces of two tokens
    model, reference = models
    inputs = preference.collate(PAIRS, 0)
    before, _ = preference.log_probabilities(reference, inputs)
    sums, lengths = preference.log_probabilities(model, inputs)
    loss = preference.LOSSES[method](sums - before.detach(), lengths, beta).mean()
    first = model.get_input_embeddings().weight  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(loss, first)
    theirs_loss = theirs((model, reference), tmp_path, make_model("llama"), loss_type=[kind], beta=beta)
    torch.testing.assert_close(loss, theirs_loss)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs_loss, first)[0])


def test_log_probabilities_are_those_of_each_answer_alone(models: tuple[nn.Module, nn.Module]) -> None:
    sums, lengths = preference.log_probabilities(models[0], preference.collate(PAIRS, 0))
    for j, side in enumerate(("chosen", "rejected")):
        for one in PAIRS:
            row: Encoded = getattr(one, side)
            logits = models[0](input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
            alone = sum(logits[i - 1, row.ids[i]] for i in range(1, len(row.ids)) if row.mask[i])
            torch.testing.assert_close(sums[j, one.number], alone)
            assert lengths[j, one.number] == sum(row.mask)


def staged(path: str, rows_file: str, pairs_file: str, **prefer: Any) -> Trial:
    found = tiny(path, rows_file)
    own = Prefer(**{"source": pairs_file, "n_pairs": None, "rate_ratio": 1.0, **prefer})
    return replace(found, prefer=own, evaluation=replace(found.evaluation, split="validation"))


def stage(result: Result) -> list[dict[str, float]]:
    return [point for point in result.history if "preference_loss" in point]


@pytest.mark.parametrize("adapter", [Lora(rank=2, dropout=0.3), Full()])
def test_the_reference_is_the_model_after_the_first_stage(
    make_model: Callable[..., str], rows_file: str, pairs_file: str, tmp_path: Path, adapter: Any
) -> None:
    trial = replace(staged(make_model("llama"), rows_file, pairs_file, method="dpo", epochs=4), adapter=adapter)
    result = run(trial, tmp_path / "dpo")
    first, last = stage(result)[0], stage(result)[-1]
    assert first["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)  # no answer has gained yet
    assert first["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert last["reward_margin"] > 0.1
    assert result.metrics["prefer/reward_accuracy"] > 0.9
    n_first = result.metrics["train/steps"]
    assert [point["step"] for point in stage(result)] == [n_first + i + 1 for i in range(int(result.metrics["prefer/steps"]))]
    plain = run(replace(trial, prefer=Prefer()), tmp_path / "sft")
    assert result.metrics["train/loss_final"] == plain.metrics["train/loss_final"]  # the first stage is as without a second
    assert result.metrics["quality"] != plain.metrics["quality"]
    assert result.provenance["pairs"] == preflight.provenance(trial)["pairs"]


def test_the_control_has_as_many_steps_and_sequences(
    make_model: Callable[..., str], rows_file: str, pairs_file: str, tmp_path: Path
) -> None:
    dpo, chosen = (
        run(staged(make_model("llama"), rows_file, pairs_file, method=name, n_pairs=16), tmp_path / name)
        for name in ("dpo", "chosen")
    )
    assert dpo.metrics["prefer/steps"] == chosen.metrics["prefer/steps"]
    assert chosen.metrics["prefer/tokens"] == pytest.approx(dpo.metrics["prefer/tokens"], rel=0.1)
    assert chosen.metrics["prefer/loss"] < chosen.metrics["train/loss_final"]
    assert not stage(chosen)


def test_a_loss_that_is_not_finite_ends_the_stage_and_is_told(
    make_model: Callable[..., str], rows_file: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(preference.LOSSES, "dpo", lambda gains, lengths, beta: gains[0] * math.nan)
    result = run(staged(make_model("llama"), rows_file, pairs_file, method="dpo"), tmp_path)
    assert result.state == "diverged"
    assert result.reason.startswith("the loss is not finite at step 1 of ")
    assert result.reason.endswith("of the second stage")


def test_memory_and_time_count_both_answers(make_model: Callable[..., str], rows_file: str, pairs_file: str) -> None:
    trial = staged(make_model("llama"), rows_file, pairs_file, method="dpo")
    inputs = preflight.inspect(trial)
    assert inputs.pairs is not None
    assert (inputs.pairs.n_used, inputs.pairs.n_source) == (24, 24)
    one = fits.needs(trial, inputs, share := Resources(1, 1)).peak_gib
    long = replace(inputs, pairs=replace(inputs.pairs, longest_tokens=4_000))
    assert fits.needs(replace(trial, train=replace(trial.train, micro_batch_size=1)), long, share).peak_gib > one


def test_a_rate_of_the_stage_that_is_out_of_range_is_refused(
    make_model: Callable[..., str], rows_file: str, pairs_file: str
) -> None:
    trial = staged(make_model("llama"), rows_file, pairs_file, method="dpo", rate_ratio=1_000)
    with pytest.raises(BadInput, match=r"prefer.rate_ratio=1000: the stage's rate, 50 with .*, must be at least"):
        preflight.inspect(replace(trial, train=replace(trial.train, learning_rate=0.05)))


def test_both_stages_have_the_penalty_of_adalora(
    make_model: Callable[..., str], rows_file: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()
    own = adalora.penalty
    for kind in (train.ResponseTrainer, preference.PreferenceTrainer):
        monkeypatch.setattr(kind, "begin", lambda self, told=kind.__name__, begin=kind.begin: (asked.append(told), begin(self)))
    monkeypatch.setattr(adalora, "penalty", lambda model: (asked.append("penalty"), own(model))[1])
    trial = staged(make_model("llama"), rows_file, pairs_file, method="dpo", n_pairs=4)
    run(replace(trial, adapter=AdaLora(rank=2), train=replace(trial.train, steps=1)), tmp_path)
    assert asked == ["ResponseTrainer", "penalty", "PreferenceTrainer", *["penalty"] * (len(asked) - 3)]
    assert len(asked) > 3


def test_settings_of_the_stage_follow_the_first() -> None:
    trial = Trial(train=Train(learning_rate=1e-3, epochs=5, batch_size=8, micro_batch_size=4, keep="best"))
    dpo = replace(trial, prefer=Prefer(method="dpo", rate_ratio=0.1, epochs=2)).second_stage(40)
    assert (dpo.learning_rate, dpo.n_steps(40), dpo.batch_size, dpo.keep) == (pytest.approx(1e-4), 10, 8, "last")
    near = replace(trial, train=replace(trial.train, kl_to_base=0.1, l2_to_base=30.0), prefer=Prefer(method="chosen"))
    assert (near.second_stage(40).kl_to_base, near.second_stage(40).l2_to_base) == (0.0, 0.0)  # it has a reference of its own
    chosen = replace(trial, prefer=Prefer(method="chosen", rate_ratio=0.1, epochs=2)).second_stage(40)
    assert (chosen.n_steps(40), chosen.batch_size, chosen.micro_batch_size) == (10, 16, 8)


def test_penalties_that_the_stage_is_without_are_told(make_model: Callable[..., str], rows_file: str, pairs_file: str) -> None:
    trial = staged(make_model("llama"), rows_file, pairs_file, method="dpo", n_pairs=4)
    near = replace(trial, train=replace(trial.train, kl_to_base=0.1, l2_to_base=30.0))
    both = "train.kl_to_base=0.1 and train.l2_to_base=30"
    told = f"{both}: in the first stage alone; the second one (prefer.method=dpo) goes on without"
    for one, says in ((near, True), (trial, False), (replace(near, prefer=Prefer()), False)):
        assert (told in preflight.inspect(one).notes) is says
