"""What does quality cost in forgetting, and does LoRA pay less than full fine-tuning?

Claims after Luo et al. 2023, Biderman et al. 2024 (LoRA Learns Less and Forgets Less) and Kalajdzievski 2024 (scaling laws for
forgetting). Methods and ranks run along their learning rates, which are an axis and not tuned. At equal steps, arms of one rate are
compared; at equal quality, points of two curves. One epoch beside three shows whether the comparison depends on the training's
length. 0.3 to 9 epochs at one rate show how forgetting grows with the steps. Each seed holds out another quarter of the
clusters, so that what was in the mix is not always the same.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Train, Trial

BIDERMAN, KALAJDZIEVSKI = "https://arxiv.org/abs/2405.09673", "https://arxiv.org/abs/2401.05605"
LUO = "https://arxiv.org/abs/2308.08747"
LORA_RATES, FULL_RATES = (
    (2.5e-4, 6.3e-4, 1.6e-3, 4e-3, 1e-2),
    (1e-4, 2.5e-4, 6.3e-4, 1.6e-3, 4e-3),
)  # from the rise to past the top
LORA_RATE, FULL_RATE = 1.6e-3, 6.3e-4  # each below its method's best in the first edition: where the number of epochs varies
FULL, RANK_16 = {"adapter.method": "full"}, {"adapter.rank": 16}
AT_EQUAL_QUALITY = Published(
    effect="about one front, less in some cases: r 256 against full keeps .631 against .446 (code), .599 against .599 (math)",
    source="Biderman 2024, section 4.3; numbers our reading", url=BIDERMAN,
)  # fmt: skip
NOT_FOUND = Published(effect="no measured effect found", source="compare Biderman 2024", url=BIDERMAN)

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
    seeds=tuple(range(8)),
    with_seed={
        "data.held_out_fold": (0, 1, 2, 3),
        "model.name": lab.like("lab:base-0"),  # each fold on two of them
    },
    claims=(
        Claim(
            id="absent_domains_forget_more",
            statement="Ordinary text of domains that no tuning row asks about (code and prose in every fold) rises more in loss than that of domains asked about (LoRA, rank 16)",
            published=Published(
                effect="uneven: accuracy falls 7 to 17 % in reasoning, 17 to 28 % in reading comprehension", source="Luo 2023, Table 4", url=LUO
            ),
        ),
        Claim(
            id="raw_skills_lose_over_5_points",
            statement="Tuning at a working rate costs over 5 points of the raw skills' answers, the level of a warning (LoRA, rank 16)",
            published=Published(effect="7 to 28 % of accuracy after five tasks", source="Luo 2023, Table 4", url=LUO),
        ),
        Claim(
            id="half_of_the_rise_is_mode",
            statement="A short look at old documents brings back at least half of the rise on ordinary old text, at a working rate (LoRA, rank 16)",
            published=Published(
                effect="much of what seems forgotten comes back; no share of a loss (not checked)", source="compare Zheng 2025, Spurious Forgetting",
                url="https://arxiv.org/abs/2501.13453",
            ),
        ),
        Claim(
            id="lora_forgets_less_at_equal_quality",
            statement="At equal quality on seen tasks, LoRA (rank 16) forgets less than full fine-tuning: rise of loss on ordinary old text (or drift, where none is given)",
            published=AT_EQUAL_QUALITY,
        ),
        Claim(
            id="lora_forgets_less_at_equal_held_out_quality",
            statement="At equal quality on held-out tasks, LoRA (rank 16) forgets less than full fine-tuning: rise of loss on ordinary old text",
            published=NOT_FOUND,
        ),
        Claim(
            id="lora_loses_less_at_equal_quality",
            statement="At equal quality on seen tasks, LoRA (rank 16) loses less than full fine-tuning: what is left of the rise after relearning",
            published=NOT_FOUND,
        ),
        Claim(
            id="lora_keeps_skills_at_equal_quality",
            statement="At equal quality on seen tasks, LoRA (rank 16) loses at most 3 points more of the raw skills' answers than full fine-tuning",
            published=AT_EQUAL_QUALITY,
        ),
        Claim(
            id="lora_better_held_out",
            statement="Each at the rate that is best for seen tasks, LoRA (rank 16) answers held-out tasks better than full fine-tuning",
            published=NOT_FOUND,
        ),
        Claim(
            id="forgetting_linear_in_loss",
            statement="Over trainings of other rates and ranks, the rise on ordinary old text falls in a straight line with the fine-tuning loss, R² above .94 (LoRA)",
            published=Published(
                effect="R² above .94 along trainings, cross-entropy against the base's predictions (another quantity)",
                source="Kalajdzievski 2024", url=KALAJDZIEVSKI,
            ),
        ),
    ),
)  # fmt: skip
