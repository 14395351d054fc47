"""What a training is given beside model and rows, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from core.batches import Curriculum
from core.curve import Point
from core.hardware import Device
from core.resume import Keeper
from core.settings import Prefer, Train
from core.tasks.along import Along


@dataclass(frozen=True)
class Run:
    """How one training goes: its settings, the seed of its order and dropout, where, in which precision, the trial's folder
    (signs of life and states are written there), how its steps fit into the memory, what keeps its states, what measures the
    model along the way, in which order rows come, and what base it is held near to."""

    train: Train
    seed: int
    device: Device
    bf16: bool
    output: str
    micro_batch_size: int | None = None  # sequences of a forward pass; None: the whole batch
    checkpointing: bool = False  # layers are computed again for the backward pass instead of kept
    keeper: Keeper | None = None
    along: Along | None = None
    curriculum: Curriculum | None = None  # in which order rows come; None: in a random one
    prefer: Prefer | None = None  # of a second stage
    after: Trained | None = None  # what the first stage came to, whose steps a second one's follow
    reference: nn.Module | None = None  # the untouched base, to stay near to


@dataclass
class Trained:
    """What training leaves behind beside the model."""

    steps: int = 0
    planned_steps: int = 0
    tokens: int = 0  # tokens in the sequences, without padding
    diverged_at: int | None = None
    seconds: float = 0.0  # of every attempt, without what is measured along the way
    resumed_at: int = 0  # the step at which it went on from a state
    kept_step: int | None = None  # whose weights the model has, where the best ones were to be kept
    history: list[Point] = field(default_factory=list)
