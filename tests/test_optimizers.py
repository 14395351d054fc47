"""Every optimizer on one road: it trains, goes on from a state to the same bits, and what it keeps is what is counted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_methods import made as trial_of

import experiments
from core import adapters, memory, optimizer_costs, optimizers, preflight, rates
from core import base as bases
from core.adapters import METHODS
from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.fields import fingerprint, replace_field
from core.hardware import Device
from core.method_settings import LoraPlus
from core.optimizers import OPTIMIZERS, Kind
from core.rates import RATE
from core.settings import Adapter, Full, Model, Train, Trial
from sweeps import describe, moved
from sweeps.configured import configured
from sweeps.options import Options
from sweeps.plan import Plan, arms

torch = pytest.importorskip("torch")

from core import model as models  # noqa: E402
from core import optimizing, resume, train  # noqa: E402
from core.data.encode import Encoded  # noqa: E402

ROWS = [Encoded(str(i), [5 + i, 9, 30, 22 + i, 7, 40, 41], [0, 0, 0, 1, 1, 1, 1]) for i in range(8)]
# At which a tiny random model learns in a few steps; SGD's by trial.
LEARNS = {"sgd": 1.0, "lion": 3e-3}
NO_STATE = ("step", "qmap1", "qmap2", "RMS")  # counters and tables of 8-bit numbers
KEEPS_AT = 3  # steps


class Once(resume.Keeper):
    """Keeps the state after KEEPS_AT steps and no other."""

    looks = 0

    def due(self) -> bool:
        self.looks += 1
        return self.looks == KEEPS_AT


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that are made, with their optimizers."""
    found: list[Any] = []
    own = train.ResponseTrainer.create_optimizer

    def create(self: Any, model: Any = None) -> Any:
        found.append(self)
        return own(self, model)

    monkeypatch.setattr(train.ResponseTrainer, "create_optimizer", create)
    monkeypatch.setattr(optimizers, "LEAST_8_BIT", 256)  # so that 8 bits are used in a tiny model
    return found


def fitted(base: Model, adapter: Adapter, how: Train, keeper: resume.Keeper, folder: Path) -> tuple[Any, Any]:
    """The trained model, and what came of the training."""
    torch.manual_seed(0)
    loaded, device = models.load(base, Device()), Device()
    changes = METHODS[adapter.method].changes_base
    adapted = adapters.build(models.trial_copy(loaded, changes), adapter, loaded.new_tokens).model
    run = train.Run(how, 0, device, False, str(folder), None, False, keeper)
    return adapted, train.fit(adapted, loaded.tokenizer, ROWS, run)


@pytest.mark.parametrize("adapter", [LoraPlus(rank=8, rate_ratio=4), Full()], ids=lambda adapter: adapter.method)
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_trains_goes_on_to_the_same_bits_and_keeps_what_is_counted(
    make_model: Callable[..., str], tmp_path: Path, name: str, adapter: Adapter, trainers: list[Any]
) -> None:
    base = Model(name=make_model("qwen2"))
    how = Train(steps=8, batch_size=4, optimizer=name, learning_rate=LEARNS.get(name, 1e-2), weight_decay=0.1)
    mark = {"optimizer": name}
    whole, trained = fitted(base, adapter, how, Once(tmp_path, mark, 1.0), tmp_path)
    losses = [float(point["loss"]) for point in trained.history]
    assert sum(losses[-2:]) < sum(losses[:2])
    assert all(math.isfinite(loss) for loss in losses)

    again, gone_on = fitted(base, adapter, how, resume.Keeper(tmp_path, mark, 1e9), tmp_path)
    assert gone_on.resumed_at == KEEPS_AT
    assert [point["loss"] for point in gone_on.history] == losses
    for (what, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), what

    for trainer in trainers:
        check_rates(trainer, how)
        check_bytes(trainer, Trial(model=base, adapter=adapter, train=how))


def check_rates(trainer: Any, how: Train) -> None:
    """Each parameter is trained once, LoRA+'s B at its own rate; weight decay is for matrices; the schedule moves all groups."""
    groups = trainer.optimizer.param_groups
    trained = {id(one): one for group in groups for one in group["params"]}
    assert len(trained) == sum(len(group["params"]) for group in groups)
    assert trained.keys() == {id(one) for one in trainer.model.parameters() if one.requires_grad}
    for group in groups:
        assert {group["initial_lr"] / getattr(one, "rate_ratio", 1.0) for one in group["params"]} == {how.learning_rate}
        assert group["lr"] < 0.2 * group["initial_lr"]
        assert {one.ndim > 1 for one in group["params"]} == {group["weight_decay"] > 0}


def check_bytes(trainer: Any, trial: Trial) -> None:
    """What lies in memory is what the table says of these shapes, and of a model that is trained whole what its files say."""
    optimizer, name = trainer.optimizer.optimizer, trial.train.optimizer
    kinds, parameters = optimizing.kinds(trainer.model), dict(trainer.model.named_parameters())
    for what, kind in kinds.items():
        state = optimizer.state[parameters[what]]
        held = sum(value.numel() * value.element_size() for key, value in state.items() if key not in NO_STATE)
        assert held == optimizers.bytes_of(name, kind, parameters[what].shape), what
    counted = sum(optimizers.bytes_of(name, kind, parameters[what].shape) for what, kind in kinds.items())
    files = bases.read(trial.model)
    n_trained = adapters.n_trained(trial, files)
    told = optimizer_costs.state_bytes(trial, files, n_trained)
    if trial.adapter.method == "full":
        assert told == counted
        assert memory.load(trial, files, n_trained, 64).state_bytes == told
    else:
        assert told == pytest.approx(counted, rel=0.25) or (name == "adafactor" and told > counted)


def test_an_optimizer_that_was_not_chosen_changes_no_trial(make_model: Callable[..., str], rows_file: str) -> None:
    trial = trial_of("lora", make_model("qwen2"), rows_file)
    same = replace(trial, train=replace(trial.train, optimizer="adamw"))
    assert fingerprint(same, {}) == fingerprint(trial, {}) != fingerprint(replace_field(trial, "train.optimizer", "lion"), {})
    with pytest.raises(BadInput, match=r"train.optimizer='lionn': did you mean 'lion'\?") as error:
        Train(optimizer="lionn")
    assert error.value.field == "train.optimizer"


@pytest.mark.parametrize("method", list(METHODS))
def test_which_methods_train_matrices_is_what_they_build(make_model: Callable[..., str], rows_file: str, method: str) -> None:
    trial = replace_field(trial_of(method, make_model("qwen2"), rows_file), "train.optimizer", "muon")
    loaded, one = models.load(trial.model, Device()), METHODS[method]
    found = optimizing.kinds(adapters.build(models.trial_copy(loaded, one.changes_base), trial.adapter, loaded.new_tokens).model)
    assert (Kind.MATRIX in found.values()) is one.trains_matrices
    if one.trains_matrices:
        adapters.method_of(trial)
        return
    with pytest.raises(BadInput, match=r"train.optimizer=muon: it trains the matrices of linear layers, and .* trains none; use"):
        preflight.inspect(trial)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "mixtral"])
def test_files_tell_what_each_optimizer_keeps(make_model: Callable[..., str], architecture: str) -> None:
    base = Model(name=make_model(architecture))
    files, network = bases.read(base), models.load(base, Device())
    whole = models.trial_copy(network, changes_base=True)
    kinds = optimizing.kinds(whole)
    shapes = {name: parameter.shape for name, parameter in whole.named_parameters()}
    for name in OPTIMIZERS:
        trial = Trial(model=base, adapter=Full(), train=Train(optimizer=name))
        counted = sum(optimizers.bytes_of(name, kind, shapes[what]) for what, kind in kinds.items())
        told = optimizer_costs.state_bytes(trial, files, adapters.n_trained(trial, files))
        # 8 bits begin at 4,096 numbers, which the stacked experts have and one alone in the files has not.
        assert told == counted or (architecture == "mixtral" and name == "adamw-8bit" and told > counted)


def test_muon_takes_lora_of_stacked_experts_for_no_matrix(make_model: Callable[..., str]) -> None:
    """PEFT has the A's of all experts in one layer, and the B's."""
    base, adapter = Model(name=make_model("mixtral")), LoraPlus(rank=2)
    files, network = bases.read(base), models.load(base, Device())
    built = adapters.build(models.trial_copy(network, False), adapter, network.new_tokens).model
    kinds, parameters = optimizing.kinds(built), dict(built.named_parameters())
    lora = {name: kind for name, kind in kinds.items() if "lora_" in name}
    assert {kind for name, kind in lora.items() if ".experts." in name} == {Kind.OTHER}
    assert {kind for name, kind in lora.items() if ".experts." not in name} == {Kind.MATRIX}
    trial = Trial(model=base, adapter=adapter, train=Train(optimizer="muon"))
    told = optimizer_costs.trained(trial, files, adapters.n_trained(trial, files))
    stacked = sum(parameters[name].numel() for name in lora if ".experts." in name)
    assert [math.prod(shape) for kind, shape in told if kind is Kind.OTHER] == [stacked]
    _, beside = optimizing.groups(built, trial.train, ())
    trained_beside = {id(one) for group in beside for one in group["params"]}
    assert trained_beside >= {id(parameters[name]) for name in lora if ".experts." in name}
    alone = replace_field(trial, "adapter", LoraPlus(rank=2, targets="mlp"))
    with pytest.raises(BadInput, match="LoRA of stacked experts is none; use one of adamw") as error:
        adapters.n_trained(alone, files)
    assert error.value.field == "train.optimizer"


def test_a_step_of_muon_takes_time_and_8_bits_on_a_cpu(make_model: Callable[..., str]) -> None:
    base = Model(name=make_model("llama"))
    files = bases.read(base)

    def took(name: str, device: str) -> float:
        trial = Trial(model=base, adapter=Full(), train=Train(optimizer=name))
        return optimizer_costs.step_seconds(trial, files, files.n_parameters, 1e10, device)

    assert took("adamw", "cuda") == took("adamw-8bit", "cuda") == 0
    assert took("muon", "cuda") > 0
    assert took("adamw-8bit", "cpu") == pytest.approx(20e-9 * files.n_parameters)


# Learning rates


def asked(name: str, model: str = "", *settings: str) -> Experiment:
    return configured(experiments.load(name), Options(model=model or None, set=settings))


def test_ranges_go_with_the_optimizer_wherever_the_model_is(make_model: Callable[..., str]) -> None:
    model = make_model("llama")
    for base in ("", model):
        plain = {arm.label: arm.tune[RATE] for arm in arms(asked("rank_vs_quality", base))}
        lion = {arm.label: arm.tune[RATE] for arm in arms(asked("rank_vs_quality", base, "train.optimizer=lion"))}
        for label, space in plain.items():
            ends = (rates.rounded(space.low * 0.2), rates.rounded(space.high * 0.2))
            assert (lion[label].low, lion[label].high, lion[label].grid) == (*ends, space.grid)
        sgd = asked("rank_vs_quality", base, "train.optimizer=sgd")
        assert all(arm.tune[RATE].high < 10 for arm in arms(sgd))  # a trial takes no more
        found = asked("rank_vs_quality", base, "train.optimizer=lion")
        assert "for LoRA with Lion" in moved.ranges(found)
    given = asked("rank_vs_quality", model, "train.optimizer=lion", f"{RATE}=1e-4..1e-2")
    assert {arm.tune[RATE] for arm in arms(given)} == {LogUniform(1e-4, 1e-2, given.tune[RATE].grid)}
    assert moved.ranges(given) == ""


def test_a_sweep_of_optimizers_is_told_from_one_with_other_ranges() -> None:
    def sweep(experiment: Experiment) -> str:
        return Plan.of(experiment, preflight.provenance).sweep

    plain, lion = asked("rank_vs_quality"), asked("rank_vs_quality", "", "train.optimizer=lion")
    assert sweep(plain) == sweep(dataclasses.replace(plain, optimizer_times={"lion": 0.3}))
    assert sweep(plain) != sweep(lion) != sweep(dataclasses.replace(lion, optimizer_times={"lion": 0.3}))


def test_a_fixed_rate_goes_with_the_optimizer_and_that_is_said(make_model: Callable[..., str]) -> None:
    question = experiments.load("epochs")
    own = asked("epochs", "", "train.optimizer=lion")
    assert own.base.train.learning_rate == pytest.approx(0.2 * question.base.train.learning_rate)
    assert moved.told(own, question, False) == [
        "learning rate: 4e-4 (the laboratory's 2e-3, for Lion 0.2 times AdamW's (Chen 2023: 3 to 10 times lower than AdamW's))"
    ]
    there = asked("epochs", make_model("llama"), "train.optimizer=lion")
    assert there.base.train.learning_rate == pytest.approx(0.2 * 5.9e-3, rel=0.02)
    assert "moved to width 32" in moved.told(there, question, False)[0]
    assert asked("epochs", "", "train.optimizer=lion", f"{RATE}=1e-3").base.train.learning_rate == 1e-3
    assert asked("epochs", "", "train.optimizer=adamw-8bit").base.train.learning_rate == question.base.train.learning_rate


def test_a_prompt_encoders_numbers_are_no_embedding_of_the_base() -> None:
    layer = torch.nn.Embedding(3, 4)
    assert optimizing.kind_of("base.model.embed_tokens.weight", layer) is Kind.EMBEDDING
    assert optimizing.kind_of("prompt_encoder.default.embedding.weight", layer) is Kind.OTHER
    assert optimizing.kind_of("lm_head.weight", torch.nn.Linear(3, 4)) is Kind.EMBEDDING
    assert optimizing.kind_of("model.layers.0.self_attn.q_proj.lora_A.default.weight", torch.nn.Linear(3, 4)) is Kind.MATRIX


def test_an_adapter_too_small_for_8_bits_is_told(make_model: Callable[..., str], rows_file: str) -> None:
    def said(**changes: Any) -> list[str]:
        trial = trial_of("lora", make_model("llama"), rows_file)
        for name, value in ({"train.optimizer": "adamw-8bit"} | changes).items():
            trial = replace_field(trial, name.replace("__", "."), value)
        return describe.in_32_bits(trial, preflight.inspect(trial))

    assert len(said()) == 1
    assert "fewer than 4,096 numbers keep 32 bits, and LoRA trains some of 104 on average" in said()[0]
    assert said(adapter__method="full") == said(train__optimizer="lion") == []
