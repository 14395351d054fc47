"""What does quality cost in forgetting, and does LoRA pay less than full fine-tuning?

Claims after Luo et al. 2023, Biderman et al. 2024 (LoRA Learns Less and Forgets Less) and Kalajdzievski 2024 (scaling laws for
forgetting). Methods and ranks run along their learning rates, which are an axis and not tuned. At equal steps, arms of one rate are
compared; at equal quality, points of two curves. One epoch beside three shows whether the comparison depends on the training's
length. 0.3 to 9 epochs at one rate show whether forgetting is a power of the steps. Each seed holds out another quarter of the
clusters, so that what was in the mix is not always the same.
"""

from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Train, Trial

BIDERMAN, KALAJDZIEVSKI = "https://arxiv.org/abs/2405.09673", "https://arxiv.org/abs/2401.05605"
LUO, SCIALOM = "https://arxiv.org/abs/2308.08747", "https://arxiv.org/abs/2205.12393"
LORA_RATES, FULL_RATES = (
    (2.5e-4, 6.3e-4, 1.6e-3, 4e-3, 1e-2),
    (1e-4, 2.5e-4, 6.3e-4, 1.6e-3, 4e-3),
)  # from the rise to past the top
LORA_RATE, FULL_RATE = 1.6e-3, 6.3e-4  # each below its method's best: where the number of epochs varies
FULL, RANK_16 = {"adapter.method": "full"}, {"adapter.rank": 16}
AT_EQUAL_QUALITY = Published(
    effect="r 256 against full, source-domain accuracy: .631 against .446 (code), .599 against .599 (math)",
    source="Biderman 2024 (our reading)", url=BIDERMAN,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="forgetting_tradeoff",
    question="What does quality cost in forgetting, and does LoRA pay less than full fine-tuning?",
    base=Trial(adapter=Lora(rank=16), train=Train(epochs=3.0)),
    vary={"adapter.rank": (4, 16, 64), "train.learning_rate": LORA_RATES},
    also=(
        *(FULL | {"train.learning_rate": rate} for rate in FULL_RATES),
        *(RANK_16 | {"train.learning_rate": rate, "train.epochs": 1.0} for rate in LORA_RATES[1:]),
        *(FULL | {"train.learning_rate": rate, "train.epochs": 1.0} for rate in FULL_RATES[1:]),
        *(RANK_16 | {"train.learning_rate": LORA_RATE, "train.epochs": epochs} for epochs in (0.3, 9.0)),
        *(FULL | {"train.learning_rate": FULL_RATE, "train.epochs": epochs} for epochs in (0.3, 9.0)),
    ),
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
    with_seed={
        "data.held_out_fold": (0, 1, 2, 3),
        "model.name": tuple(f"lab:base-{i}" for i in (0, 1, 0, 1, 1, 0, 1, 0)),  # each fold on each base
    },
    claims=(
        Claim(
            id="absent_domains_forget_more",
            statement="Domains of text that no tuning row asks about (code and prose in every fold) forget more than those asked about (LoRA, rank 16)",
            published=Published(
                effect="uneven: 7 to 17 % reasoning, 17 to 28 % reading comprehension", source="Luo 2023, Table 4", url=LUO
            ),
        ),
        Claim(
            id="absent_skills_lose_more",
            statement="Raw skills of clusters outside the mix lose more than those in it (LoRA, rank 16)",
            published=Published(effect="almost 100 % kept with 1 % of it in the mix", source="Scialom 2022", url=SCIALOM),
        ),
        Claim(
            id="raw_skills_lose_over_5_points",
            statement="Tuning at a working rate costs over 5 points of the raw skills, the level of a warning (LoRA, rank 16)",
            published=Published(effect="7 to 28 % after five tasks", source="Luo 2023, Table 4", url=LUO),
        ),
        Claim(
            id="lora_forgets_less_at_equal_rate",
            statement="At equal steps and equal rate, LoRA (rank 16) forgets less than full fine-tuning",
            published=Published(
                effect="at 20 B tokens of code, each at its best rate: source-domain accuracy .635, full .545", source="Biderman 2024, Table S2",
                url=BIDERMAN,
            ),
        ),
        Claim(
            id="lora_forgets_less_at_equal_quality",
            statement="At equal quality, LoRA (rank 16) forgets less than full fine-tuning: loss on pretraining text (or drift, where none is given)",
            published=AT_EQUAL_QUALITY,
        ),
        Claim(
            id="lora_keeps_skills_at_equal_quality",
            statement="At equal quality, LoRA (rank 16) forgets less than full fine-tuning: accuracy of raw skills",
            published=AT_EQUAL_QUALITY,
        ),
        Claim(
            id="lower_rate_forgets_less_all_methods",
            statement="A lower learning rate forgets less (all ranks and full fine-tuning together)",
            published=Published(
                effect="no number found", source="practitioners' rule; compare Biderman 2024", url=BIDERMAN
            ),
        ),
        Claim(
            id="forgetting_linear_in_loss",
            statement="Forgetting is inverse-linear in the fine-tuning loss (LoRA)",
            published=Published(effect="R² above .94", source="Kalajdzievski 2024", url=KALAJDZIEVSKI),
        ),
        Claim(
            id="forgetting_power_of_steps",
            statement="Forgetting is a power of the steps, with an exponent of about 0.15 (LoRA, rank 16)",
            published=Published(effect="exponent .147 of a shifted power law (OpenOrca)", source="Kalajdzievski 2024", url=KALAJDZIEVSKI),
        ),
    ),
)  # fmt: skip
