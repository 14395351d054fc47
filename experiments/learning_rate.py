"""Where is the best learning rate for LoRA and for full fine-tuning, how flat is the top, and what does the rate cost?

Claims after Schulman et al. 2025 (LoRA Without Regret) and Biderman et al. 2024. The rate is the axis, so nothing is tuned. Every rate
runs with every seed, and a seed draws one of the laboratory's eight bases.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Trial

BIDERMAN = "https://arxiv.org/abs/2405.09673"

EXPERIMENT = Experiment(
    name="learning_rate",
    question="Where is the best learning rate for LoRA and for full fine-tuning, and what does the rate cost in forgetting?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"adapter.method": ("lora", "full"), "train.learning_rate": (1e-4, 2.5e-4, 6.3e-4, 1.6e-3, 4e-3, 1e-2, 2.5e-2)},
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="lower_rate_forgets_less",
            statement="A lower learning rate forgets less: the loss on ordinary old text rises with the rate (mean of LoRA, rank 16, and full fine-tuning)",
            published=Published(effect="no number found", source="practitioners' rule; compare Biderman 2024", url=BIDERMAN),
        ),
        Claim(
            id="lower_rate_loses_less",
            statement="A lower learning rate loses less: what is left of the rise after relearning grows with the rate (mean of both methods)",
            published=Published(effect="no measured effect found", source="compare Biderman 2024", url=BIDERMAN),
        ),
        Claim(
            id="lora_rate_10_times_full",
            statement="LoRA's best learning rate is about 10× that of full fine-tuning",
            published=Published(
                effect="9.8× (constant schedule; 15× in runs of about 100 steps)",
                source="Schulman 2025",
                url="https://thinkingmachines.ai/blog/lora/",
            ),
        ),
    ),
)
