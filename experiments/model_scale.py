"""How do gains, forgetting and the best recipe move with the size of the base?

Claims after Zhang et al. 2024 (fine-tuning loss as a joint power law in model and data), Luo et al. 2023 (forgetting grows with scale)
and Schulman et al. 2025 (best learning rate, rank). The laboratory's ladder has 0.2, 0.9 and 4 M parameters, pretrained on as many
tokens; the largest had half the others' learning rate in its matrices. What each knows of its world stands in its card
(core/lab/bases). Of 0.2 and 0.9 M a seed draws one of three bases; of 4 M there is one yet, of which intervals say
nothing but what new seeds on it would do. The learning rate is tuned inside each arm; its range was widened after a look at the first
edition (LOG.md).
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

ZHANG, LUO = "https://arxiv.org/abs/2402.17193", "https://arxiv.org/abs/2308.08747"
SCHULMAN = "https://thinkingmachines.ai/blog/lora/"
SIZES = ("lab:base-small", "lab:base", "lab:base-large")
BASES = tuple(f"{size}-0" for size in SIZES)  # each stands for its size
N_BASES = 3  # of each size, at most

EXPERIMENT = Experiment(
    name="model_scale",
    question="How do gains, forgetting and the best recipe move with the size of the base?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"model.name": BASES, "data.n_examples": (125, 500, 2_000)},
    also=tuple({"model.name": name, "data.n_examples": 500, "adapter.rank": rank} for name in BASES for rank in (2, 64)),
    tune={"train.learning_rate": LogUniform(2.5e-4, 6.4e-2, grid=4)},
    tune_trials=6,
    tune_again=2,
    seeds=tuple(range(6)),
    drawn={name: lab.like(name)[:N_BASES] for name in BASES},
    claims=(
        Claim(
            id="larger_base_is_better",
            statement="A larger base is better after tuning (500 examples, rank 16)",
            published=Published(
                effect="loss falls as X^-α, α = .31 to .36 (LoRA, translation)", source="Zhang 2024, Table 4", url=ZHANG
            ),
        ),
        Claim(
            id="size_buys_more_than_data",
            statement="Size buys more than data: an e-fold of parameters more than an e-fold of examples",
            published=Published(
                effect="α = .31 to .36 against β = .025 to .081 (LoRA; exponents of a loss, another quantity)",
                source="Zhang 2024, Table 4",
                url=ZHANG,
            ),
        ),
        Claim(
            id="larger_base_forgets_more",
            statement="A larger base forgets more: rise on ordinary old text (500 examples, rank 16)",
            published=Published(
                effect="accuracy falls 9.2 % at 1.2 B, 20.2 % at 3.7 B (mT0, domain knowledge)",
                source="Luo 2023, Table 4",
                url=LUO,
            ),
        ),
        Claim(
            id="rank_16_enough_on_largest",
            statement="Rank 16 is enough on the largest bases too: rank 64 is at most 5 points better (500 examples)",
            published=Published(effect="equal until capacity binds", source="Schulman 2025", url=SCHULMAN),
        ),
    ),
)
