"""The settings of a trial's second stage: training on preferences, after the instruction tuning and from where that ended."""

from __future__ import annotations

from dataclasses import dataclass

from core.part import Part

NONE, DPO, IPO, CHOSEN = METHODS = ("none", "dpo", "ipo", "chosen")
LAB_PAIRS = "lab:pairs"


@dataclass(frozen=True, kw_only=True)
class Prefer(Part):
    """The second stage trains what the first one trained, on pairs of a chosen and a rejected answer to one prompt.

    `dpo`: direct preference optimization (Rafailov et al. 2023); `ipo`: its squared loss (Azar et al. 2023), of means over an
    answer's tokens as its authors have it. The reference of both is the model after the first stage. `chosen`: the control,
    which goes on with the first stage's loss on chosen answers alone, with as many steps and sequences a step as the others.
    Batch size (in pairs), schedule, warmup, weight decay and clipping are those of `train`; its penalties, `train.kl_to_base` and
    `train.l2_to_base`, are the first stage's alone.
    """

    PREFIX = "prefer."
    method: str = NONE
    source: str = LAB_PAIRS  # laboratory: right answers and wrong ones by program; else a file or a hub id
    n_pairs: int | None = 500  # a seeded nested subset; None takes all
    beta: float = 0.1  # how dear it is to leave the reference
    # The stage's rate over train.learning_rate, so that it moves with method and width: Zephyr's and Tulu 2's (5e-7 over 2e-5).
    rate_ratio: float = 0.025
    epochs: float = 1

    def __post_init__(self) -> None:
        self._one_of("method", METHODS)
        self._text("source", f"{LAB_PAIRS}, a file or a hub id")
        self._whole("n_pairs", 1, 1_000_000_000, ", or none for all")
        self._require(0 < self.beta <= 1_000, "beta", "above 0 and at most 1000")
        self._require(1e-6 <= self.rate_ratio <= 1_000, "rate_ratio", "at least 1e-6 and at most 1000")
        self._require(0 < self.epochs <= 1_000, "epochs", "above 0 and at most 1000")

    @property
    def on(self) -> bool:
        """Whether there is a second stage."""
        return self.method != NONE

    @property
    def sequences(self) -> int:
        """Of what a batch counts: both answers of a pair, or a chosen one."""
        return 1 if self.method == CHOSEN else 2
