"""A trainer's state as tensors and JSON, and back: trained weights, what the optimizer keeps, the schedule, the generators, the
losses.

Taken and given back at the beginning of an optimizer step, when no gradient is held and after whatever draws numbers between
steps. The order of rows follows from the seed and the step alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from core.resume import State

WEIGHT, MOMENT, BESIDE, KEPT = "weight|", "optimizer|", "beside|", "kept by the trainer|"
SCHEDULE = ("last_epoch", "_step_count", "_last_lr")  # of the scheduler; the rest is made with it


class Trainer(Protocol):
    """What is used of core.train.ResponseTrainer, which imports this."""

    losses: list[torch.Tensor]
    token_counts: list[torch.Tensor]
    beside: dict[str, list[torch.Tensor]]
    kept: dict[str, torch.Tensor]
    loss_name: str
    resumed: State | None
    model: Any
    optimizer: Any
    lr_scheduler: Any
    state: Any
    args: Any


def trained(model: Any) -> dict[str, nn.Parameter]:
    """What training changes; tied tensors once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def captured(trainer: Trainer, rates: list[float], seconds: float) -> State:
    """Everything that the next step depends on. Tensors are the trainer's own, not copies."""
    parameters, optimizer = trained(trainer.model), _optimizer(trainer)
    scheduler = trainer.lr_scheduler
    tensors: dict[str, torch.Tensor] = {WEIGHT + name: parameter.data for name, parameter in parameters.items()}
    counts: dict[str, dict[str, float]] = {}  # what an optimizer keeps of a parameter that is no tensor: how many steps it took
    for name, parameter in parameters.items():
        held = optimizer.state[parameter]
        tensors |= {f"{MOMENT}{key}|{name}": value for key, value in held.items() if isinstance(value, torch.Tensor)}
        counts[name] = {key: value for key, value in held.items() if not isinstance(value, torch.Tensor)}
    tensors |= {"losses": torch.stack(trainer.losses), "token_counts": torch.stack(trainer.token_counts)}
    tensors |= {BESIDE + name: torch.stack(values) for name, values in trainer.beside.items()}
    tensors |= {KEPT + name: value for name, value in trainer.kept.items()}
    drawn, words = generators()
    rest = {
        **words,
        "rates": list(rates),
        "seconds": seconds,
        "schedule": {name: value for name, value in scheduler.state_dict().items() if name in SCHEDULE},
        "counts": counts,
        "learning_rates": [float(group["lr"]) for group in optimizer.param_groups],
    }
    return State(trainer.state.global_step, tensors | drawn, rest)


def restore(trainer: Trainer, state: State) -> None:
    """Puts the state into a trainer whose model, optimizer and scheduler are made."""
    restore_weights(trainer, state)
    optimizer = _optimizer(trainer)
    names = {id(parameter): name for name, parameter in trained(trainer.model).items()}
    own = optimizer.state_dict()
    moments: dict[str, dict[str, Any]] = {name: dict(held) for name, held in state.rest["counts"].items()}
    for name, tensor in state.tensors.items():
        if name.startswith(MOMENT):
            _, key, parameter = name.split("|", 2)
            moments.setdefault(parameter, {})[key] = tensor
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own["state"] = {i: moments[names[id(parameter)]] for i, parameter in enumerate(ordered) if moments[names[id(parameter)]]}
    for group, rate in zip(own["param_groups"], state.rest["learning_rates"], strict=True):
        group["lr"] = rate
    optimizer.load_state_dict(own)
    scheduler = trainer.lr_scheduler
    scheduler.load_state_dict({**state.rest["schedule"], "lr_lambdas": [None] * len(scheduler.lr_lambdas)})


def restore_weights(trainer: Trainer, state: State) -> None:
    """The trained weights, and the losses so far."""
    with torch.no_grad():
        for name, parameter in trained(trainer.model).items():
            parameter.copy_(state.tensors[WEIGHT + name])
    device = trainer.args.device
    trainer.losses = list(state.tensors["losses"].to(device))
    trainer.token_counts = list(state.tensors["token_counts"].to(device))  # beside those of steps to come
    trainer.beside = {name: list(values.to(device)) for name, values in _named(state, BESIDE).items()}
    trainer.kept = kept(state)


def kept(state: State) -> dict[str, torch.Tensor]:
    """What else the training held."""
    return _named(state, KEPT)


def _named(state: State, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, without that."""
    return {name.removeprefix(prefix): one for name, one in state.tensors.items() if name.startswith(prefix)}


def seed(number: int) -> None:
    """All generators of this process. TRL and PEFT seed too late or not at all."""
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  # the libraries underneath draw from the global generator
    torch.manual_seed(number)


def generators() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Where every generator of this process is: tensors, and what JSON holds."""
    tensors = {"generator": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["generator_cuda"] = torch.cuda.get_rng_state()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002  # libraries draw from the global generator
    return tensors, {"random": random.getstate(), "numpy": _plain(numpy_state)}


def restore_generators(tensors: Mapping[str, torch.Tensor], words: Mapping[str, Any]) -> None:
    torch.set_rng_state(tensors["generator"])
    if torch.cuda.is_available() and "generator_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator_cuda"])
    version, numbers, gauss = words["random"]
    random.setstate((version, tuple(numbers), gauss))
    found = words["numpy"]
    key = np.array(found["state"]["key"], dtype=np.uint32)
    np.random.set_state({**found, "state": {**found["state"], "key": key}})  # noqa: NPY002


def _optimizer(trainer: Trainer) -> Any:
    """The one that accelerate has wrapped."""
    return getattr(trainer.optimizer, "optimizer", trainer.optimizer)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
