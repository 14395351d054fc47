"""When does rank start to matter?

Claims after Schulman et al. 2025 (LoRA Without Regret: rank matters where the data exceed the adapter's capacity) and the
practitioners' rule that rank 64 nears full fine-tuning beyond 5,000 examples. The learning rate is tuned inside each arm.
"""

from core.definitions import Claim, Experiment, LogUniform, Lora, Published, Trial

SCHULMAN = "https://thinkingmachines.ai/blog/lora/"
SIZES = (250, 1_000, 4_000)

EXPERIMENT = Experiment(
    name="rank_vs_data",
    question="When does LoRA rank start to matter: does more data need more rank?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"adapter.rank": (1, 16, 64), "data.n_examples": SIZES},
    also=tuple({"adapter.method": "full", "data.n_examples": n} for n in SIZES),
    tune={"train.learning_rate": LogUniform(2e-4, 3e-2, grid=4)},
    tune_trials=5,
    seeds=(0, 1, 2, 3),
    with_seed={"model.name": ("lab:base-0", "lab:base-1")},
    claims=(
        Claim(
            id="16c",
            statement="Rank 64 nears full fine-tuning (within 3 %) at 4,000 examples",
            published=Published(effect="equal until capacity binds", source="Schulman 2025", url=SCHULMAN),
        ),
        Claim(
            id="16d",
            statement="Rank buys more the more data there are: 64 against 1, at 4,000 against 250 examples",
            published=Published(effect="low ranks fall behind as data grow", source="Schulman 2025", url=SCHULMAN),
        ),
    ),
)
