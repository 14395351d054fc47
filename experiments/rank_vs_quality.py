"""Does LoRA rank buy quality, and what does it cost in forgetting, once the learning rate is retuned for each rank?

Claims after Hu et al. 2021 (LoRA), Biderman et al. 2024 (LoRA Learns Less and Forgets Less) and Schulman et al. 2025 (LoRA Without
Regret). The learning rate is tuned inside each arm on validation items. The best rate then runs on fresh seeds and is scored on test
items. The two laboratory bases alternate over the seeds, so that each has two.
"""

from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

BIDERMAN = "https://arxiv.org/abs/2405.09673"
SCHULMAN = "https://thinkingmachines.ai/blog/lora/"

EXPERIMENT = Experiment(
    name="rank_vs_quality",
    question="Does LoRA rank buy quality once the learning rate is retuned for each rank, and what does it cost in forgetting?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"adapter.rank": (1, 4, 16, 64)},
    also=({"adapter.method": "full"},),
    tune={"train.learning_rate": LogUniform(1e-4, 3e-2, grid=5)},
    tune_trials=6,
    seeds=(0, 1, 2, 3),
    with_seed={"model.name": ("lab:base-0", "lab:base-1")},
    claims=(
        Claim(
            id="lora_forgets_5_to_8_times_less",
            statement="At equal steps, each at its best learning rate, LoRA (rank 16) forgets 5–8× less than full fine-tuning",
            published=Published(
                effect="0.9–9× less, by task and rank", source="derived from Biderman 2024, Table S2", url=BIDERMAN
            ),
        ),
        Claim(
            id="lora_forgets_less_at_equal_quality_tuning",
            statement="At equal quality, LoRA (rank 16) forgets less than full fine-tuning",
            published=Published(effect="code: much less; math: no less", source="Biderman 2024, matched learning", url=BIDERMAN),
        ),
        Claim(
            id="rank_16_beats_rank_1",
            statement="Rank 16 is a good start: it beats rank 1",
            published=Published(
                effect="E2E validation loss 1.23 at rank 1, 1.16 at rank 16",
                source="Hu 2021, Table 18",
                url="https://arxiv.org/abs/2106.09685",
            ),
        ),
        Claim(
            id="rank_64_equals_full",
            statement="Rank 64 equals full fine-tuning: neither below nor above it by more than 3 %",
            published=Published(effect="equal until capacity binds", source="Schulman 2025", url=SCHULMAN),
        ),
        Claim(
            id="lora_within_3_percent_of_full",
            statement="LoRA (best rank, chosen on validation) is at most 3 % below full fine-tuning",
            published=Published(effect="2–3 % below, or equal", source="Schulman 2025; Biderman 2024", url=SCHULMAN),
        ),
        Claim(
            id="lora_rate_10_times_full_tuning",
            statement="LoRA's best learning rate is about 10× that of full fine-tuning",
            published=Published(effect="9.8×", source="Schulman 2025", url=SCHULMAN),
        ),
    ),
)
