"""On what does it depend whether LoRA forgets less than full fine-tuning, and how far apart their best learning rates are?

After Biderman et al. 2024 (LoRA Learns Less and Forgets Less) and Schulman et al. 2025 (LoRA Without Regret). In the usual
setting of the laboratory's first edition two of their findings came out otherwise: at equal quality LoRA had the higher loss on
pretraining text, and its best rate was about 3 times that of full fine-tuning, not 10 times. Here one thing at a time is changed:
LoRA's scale and rank, the schedule, the kind of data, the base's width. The rate is an axis and nothing is tuned; every rate runs with
every seed, and a seed draws the base: one of eight, of the narrow ones one of three; there is one wide base yet. Rates were added after a look at the
first edition (LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Scalar, Trial

BIDERMAN, SCHULMAN = "https://arxiv.org/abs/2405.09673", "https://thinkingmachines.ai/blog/lora/"
BASELINE = "baseline"
N_RATES = 5
# Five rates from the rise of quality to past its top (in the first edition), a step of 2.83 apart; where the update is stronger they begin a step lower,
# and on the wide base, which learns at lower rates too, there is one more below.
STEPS = (8.8e-5, 2.5e-4, 7e-4, 2e-3, 5.7e-3, 1.6e-2)
FULL_STEPS = (3.5e-5, 1e-4, 2.8e-4, 8e-4, 2.3e-3, 6.4e-3)
LOWER, USUAL = 0, 1  # where the five begin


@dataclass(frozen=True)
class Condition:
    """What differs from the baseline; with which of STEPS and FULL_STEPS its rates begin, and how many they are. `full` False: the
    change concerns LoRA alone, so that the baseline's full fine-tuning stands beside it."""

    changes: Mapping[str, Scalar]
    begin: int = USUAL
    full: bool = True
    rates: int = N_RATES

    def arms(self) -> Sequence[Mapping[str, Scalar]]:
        """LoRA's arms, then full fine-tuning's."""
        lora = [{**self.changes, "train.learning_rate": rate} for rate in STEPS[self.begin :][: self.rates]]
        full = {"adapter.method": "full", **self.changes}
        return lora + [{**full, "train.learning_rate": rate} for rate in FULL_STEPS[self.begin :][: self.rates] if self.full]


CONDITIONS: dict[str, Condition] = {
    BASELINE: Condition({}),
    "alpha/rank 8": Condition({"adapter.alpha_over_rank": 8.0}, LOWER, full=False),
    "rank 64": Condition({"adapter.rank": 64}, LOWER, full=False),
    "constant schedule": Condition({"train.schedule": "constant"}, LOWER),
    "new facts": Condition({"data.source": "lab:new-facts"}),
    "narrow base": Condition({"model.name": "lab:base-small-0"}),
    "wide base": Condition({"model.name": "lab:base-large-0"}, LOWER, rates=N_RATES + 1),
}
ARMS = [arm for condition in CONDITIONS.values() for arm in condition.arms()]

EXPERIMENT = Experiment(
    name="lora_vs_full",
    question="On what does it depend whether LoRA forgets less than full fine-tuning, and how far apart their best rates are?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"train.learning_rate": STEPS[USUAL:][:N_RATES]},
    also=tuple(ARMS[N_RATES:]),  # without the baseline's LoRA, which is the grid
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    drawn={name: lab.like(name) for name in ("lab:base-small-0", "lab:base-large-0")},
    laboratory_only=True,
    claims=(
        Claim(
            id="lora_forgets_less_with_new_facts",
            statement="At equal quality on seen tasks, LoRA forgets less than full fine-tuning where half of the data are new facts: rise on ordinary old text",
            published=Published(
                effect="no measured effect by new facts; r 256 against full keeps .631 against .446 (code), .599 against .599 (math)",
                source="compare Biderman 2024, section 4.3", url=BIDERMAN,
            ),
        ),
        Claim(
            id="lora_forgets_less_on_wide_base",
            statement="At equal quality on seen tasks, LoRA forgets less than full fine-tuning on bases twice as wide: rise on ordinary old text",
            published=Published(
                effect="7 B, r 256 against full: keeps .631 against .446 (code), .599 against .599 (math)",
                source="Biderman 2024, section 4.3; numbers our reading", url=BIDERMAN,
            ),
        ),
        Claim(
            id="width_favours_lora",
            statement="The wider the base, the better LoRA does against full fine-tuning in the rise on ordinary old text at equal quality",
            published=Published(effect="no measured effect found", source="compare Biderman 2024", url=BIDERMAN),
        ),
        Claim(
            id="larger_alpha_lowers_rate_ratio",
            statement="A larger alpha over rank lowers the ratio of best learning rates (8 against 2)",
            published=Published(
                effect="no measured effect found (alpha held at 32; 1 / alpha expected of theory)", source="Schulman 2025",
                url=SCHULMAN,
            ),
        ),
    ),
)  # fmt: skip
