"""Does LoRA rank buy quality, and what does it cost in forgetting, once the learning rate is retuned for each rank?

Claims after Hu et al. 2021 (LoRA), Biderman et al. 2024 (LoRA Learns Less and Forgets Less) and Schulman et al. 2025 (LoRA Without
Regret). The learning rate is tuned inside each arm on validation items. The best rate then runs on fresh seeds, each on another base,
and is scored on test items. Four seeds take the first four of the eight bases, so that the question takes five minutes; `--seeds 8`
takes all of them. Equality with full fine-tuning needs more seeds than four and is asked in rank_vs_data; equal quality and the ratio
of best rates are asked with seeds in forgetting_tradeoff and learning_rate.
"""

from core import lab
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
    tune={"train.learning_rate": LogUniform(1.25e-4, 8e-3, grid=4)},  # steps of 4, and up to two more beyond an end
    tune_trials=4,
    seeds=tuple(range(4)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="lora_forgets_5_to_8_times_less",
            statement="At equal steps, each at its best learning rate, the loss on ordinary old text rises 5–8× less with LoRA (rank 16) than with full fine-tuning",
            published=Published(
                effect="accuracy on other tasks falls 0.9–9× less, by task and rank; no primary source of 5–8×",
                source="our ratio, base assumed at .646; Biderman 2024, Table S2",
                url=BIDERMAN,
            ),
        ),
        Claim(
            id="rank_16_beats_rank_1",
            statement="Rank 16 is a good start: it beats rank 1",
            published=Published(
                effect="validation loss on E2E 1.23 at rank 1, 1.16 at rank 16 (a loss, not accuracy)",
                source="Hu 2021, Table 18",
                url="https://arxiv.org/abs/2106.09685",
            ),
        ),
        Claim(
            id="lora_within_3_percent_of_full",
            statement="LoRA (best rank, chosen on validation) is at most 3 % below full fine-tuning",
            published=Published(
                effect="equal until capacity binds; a practitioners' rule says 2–3 % below", source="Schulman 2025", url=SCHULMAN
            ),
        ),
    ),
)
