"""How much curated data is enough?

Claims after Zhou et al. 2023 (LIMA), where sixteen times the data gave no gain, and after the practitioners' rule that 200 to 500 pairs
are needed. Epoch-matched arms see every example three times. Step-matched arms all take the steps that 1,000 examples take in 3
epochs. The learning rate is tuned inside each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

LIMA = "https://arxiv.org/abs/2305.11206"
LEVELS = (25, 50, 100, 200, 500, 1_000, 2_000, 4_000, 8_000)
STEPS = 189  # of 1,000 examples in 3 epochs, in batches of 16

EXPERIMENT = Experiment(
    name="data_quantity",
    question="How much curated data is enough, at equal epochs and at equal steps?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.n_examples": LEVELS},
    also=tuple({"data.n_examples": n, "train.steps": STEPS} for n in LEVELS if n != 1_000),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    tune_again=2,
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="sixteen_times_data_no_gain_equal_epochs",
            statement="Sixteen times the data (500 → 8,000 curated) gives no gain: at most 3 points (equal epochs)",
            published=Published(effect="flat from 2K to 32K", source="Zhou 2023, Fig. 6", url=LIMA),
        ),
        Claim(
            id="sixteen_times_data_no_gain_equal_steps",
            statement="Sixteen times the data (500 → 8,000 curated) gives no gain: at most 3 points (equal steps)",
            published=Published(effect="flat from 2K to 32K", source="Zhou 2023, Fig. 6", url=LIMA),
        ),
        Claim(
            id="500_examples_reach_90_percent",
            statement="500 examples reach 90 % of the quality of 8,000 (equal epochs)",
            published=Published(effect="200–500 pairs suffice", source="practitioners' rule; no primary source", url=LIMA),
        ),
        Claim(
            id="100_examples_miss_90_percent",
            statement="100 examples do not reach 90 % of the quality of 8,000 (equal epochs)",
            published=Published(effect="200–500 pairs are needed", source="practitioners' rule; no primary source", url=LIMA),
        ),
    ),
)
