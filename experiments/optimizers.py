"""Does the optimizer matter, and does LoRA pay for large batches?

Claims after Dettmers et al. 2022, Zhao et al. 2024, Chen et al. 2023, Liu et al. 2026 and Schulman et al. 2025. Every optimizer trains
LoRA and all weights at a learning rate that is tuned for it, in a range moved by its usual ratio to AdamW's (core/optimizers.py
names the sources). A seed draws one of the laboratory's eight bases. Batches of 4 and 64 stand beside AdamW's of 16, with as many tokens,
so with four times or a quarter of the steps. LoRA has rank 32, as 8-bit AdamW keeps 32 bits of matrices with fewer than 4,096 numbers.
The laboratory's bases were pretrained by Muon (their matrices) and AdamW (the rest): of a base that AdamW pretrained, expect the
contrary of Muon's claim.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

ZHAO = "https://arxiv.org/abs/2407.07972"

EXPERIMENT = Experiment(
    name="optimizers",
    question="Does the optimizer matter at its own best learning rate, and does LoRA pay for large batches?",
    base=Trial(adapter=Lora(rank=32)),
    vary={
        "adapter.method": ("lora", "full"),
        "train.optimizer": ("adamw", "adamw-8bit", "adafactor", "lion", "muon", "sgd"),
    },
    also=tuple({"adapter.method": method, "train.batch_size": size} for method in ("lora", "full") for size in (4, 64)),
    tune={"train.learning_rate": LogUniform(5e-4, 3e-2, grid=4)},
    tune_trials=4,
    tune_again=2,
    rate_times={"full": 0.1},
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="adamw_8bit_equals_adamw",
            statement="Full fine-tuning by AdamW with states of 8 bits equals that with 32 bits, within 4 points of accuracy",
            published=Published(
                effect="the performance of 32 bits, at the same settings", source="Dettmers 2022, abstract",
                url="https://arxiv.org/abs/2110.02861",
            ),
        ),
        Claim(
            id="adafactor_equals_adamw",
            statement="Full fine-tuning by Adafactor equals AdamW, within 4 points of accuracy, each at its best rate",
            published=Published(effect="comparable in pretraining (150 M to 1.2 B)", source="Zhao 2024, abstract", url=ZHAO),
        ),
        Claim(
            id="lion_equals_adamw",
            statement="Full fine-tuning by Lion equals AdamW, within 4 points of accuracy, each at its best rate",
            published=Published(effect="comparable in pretraining (150 M to 1.2 B)", source="Zhao 2024, abstract", url=ZHAO),
        ),
        Claim(
            id="lion_takes_a_lower_rate",
            statement="Lion's best learning rate is below AdamW's (full fine-tuning)",
            published=Published(
                effect="3 to 10 times lower", source="Chen 2023 (its advice, quoted by libraries; paper not read)",
                url="https://arxiv.org/abs/2302.06675",
            ),
        ),
        Claim(
            id="sgd_falls_behind_adamw",
            statement="Full fine-tuning by SGD with momentum is below AdamW, each at its best rate",
            published=Published(effect="below all others in pretraining", source="Zhao 2024, abstract", url=ZHAO),
        ),
        Claim(
            id="muon_forgets_less_than_adamw",
            statement="Full fine-tuning by Muon, by which the laboratory's bases were pretrained, forgets less than by AdamW: rise on ordinary old text",
            published=Published(
                effect="the optimizer of pretraining forgets less at the same or better quality; no number in the abstract",
                source="Liu 2026, abstract", url="https://arxiv.org/abs/2605.06654",
            ),
        ),
        Claim(
            id="lora_pays_for_large_batches",
            statement="From batches of 4 to batches of 64, LoRA loses more quality than full fine-tuning does, at equal tokens",
            published=Published(
                effect="the gap grows with the batch, whatever the rank; small at 32 (10,000 examples, loss)",
                source="Schulman 2025", url="https://thinkingmachines.ai/blog/lora/",
            ),
        ),
    ),
)  # fmt: skip
