"""Which layers should LoRA adapt?

Claims after Hu et al. 2021 (LoRA, Table 5), Biderman et al. 2024 and Schulman et al. 2025. Each preset runs at rank 16. It runs again at
the rank that gives it, on the laboratory's base and within 5 %, as many parameters as all-linear has at rank 4. The learning rate is
tuned inside each arm.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

EXPERIMENT = Experiment(
    name="target_modules",
    question="Which layers should LoRA adapt, at equal rank and at equal numbers of parameters?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"adapter.targets": ("attention-qv", "attention", "mlp", "all-linear")},
    also=(
        {"adapter.targets": "attention-qv", "adapter.rank": 19},
        {"adapter.targets": "attention", "adapter.rank": 10},
        {"adapter.targets": "mlp", "adapter.rank": 7},
        {"adapter.targets": "all-linear", "adapter.rank": 4},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 3e-2, grid=4)},
    tune_trials=5,
    tune_again=2,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="k_and_o_add_little_at_equal_parameters",
            statement="Adding k and o to q and v is worth at most 2 points of quality, at equal numbers of parameters",
            published=Published(
                effect="+0.0 WikiSQL, +0.4 MultiNLI points; a practitioners' rule says 5 %, without a source",
                source="Hu 2021, Table 5",
                url="https://arxiv.org/abs/2106.09685",
            ),
        ),
        Claim(
            id="mlp_beats_attention",
            statement="MLP beats attention only, at equal numbers of parameters",
            published=Published(effect="all ≈ MLP > attention", source="Biderman 2024", url="https://arxiv.org/abs/2405.09673"),
        ),
        Claim(
            id="all_linear_beats_attention",
            statement="All-linear beats attention only, at equal numbers of parameters",
            published=Published(
                effect="attention only underperforms even at more parameters",
                source="Schulman 2025",
                url="https://thinkingmachines.ai/blog/lora/",
            ),
        ),
    ),
)
