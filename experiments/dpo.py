"""What does a second stage on preferences add to instruction tuning, and what does it cost in forgetting?

Claims after Rafailov et al. 2023 (DPO; the second stage's loss), Ivison et al. 2023 (Tulu 2: DPO after instruction tuning) and
Ouyang et al. 2022 (the "alignment tax"). Every arm has the same first stage. The second one trains on 500 pairs of a right and a wrong
answer, by DPO at three betas, or, as the control, goes on with the first stage's loss on the right answers alone: as many steps, and
as many sequences. Its learning rate, as a share of the first stage's, is tuned inside each arm. A seed draws one of the laboratory's
eight bases. What these pairs teach is to tell right from wrong, not what people like: neither length nor style differs between the two
answers of a pair.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.preference_settings import CHOSEN, DPO, NONE, Prefer
from core.settings import Lora, Scalar, Trial

RAFAILOV, IVISON = "https://arxiv.org/abs/2305.18290", "https://arxiv.org/abs/2311.10702"
FULL: dict[str, Scalar] = {"adapter.method": "full", "train.learning_rate": 8e-4}
MIDDLE = 0.1  # the beta of DPO's and Tulu 2's authors

EXPERIMENT = Experiment(
    name="dpo",
    question="What does DPO after instruction tuning add, and what does it cost in forgetting?",
    base=Trial(adapter=Lora(rank=16), prefer=Prefer(method=DPO, beta=MIDDLE)),
    vary={"prefer.method": (DPO,), "prefer.beta": (0.03, MIDDLE, 0.3)},
    also=(
        {"prefer.method": NONE},
        {"prefer.method": CHOSEN},
        {**FULL, "prefer.method": NONE},
        {**FULL, "prefer.method": CHOSEN},
        {**FULL, "prefer.method": DPO},
    ),
    tune={"prefer.rate_ratio": LogUniform(0.003, 0.3, grid=4)},
    tune_trials=5,
    tune_again=2,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="dpo_raises_quality",
            statement="DPO after instruction tuning raises quality on seen tasks",
            published=Published(
                effect="AlpacaEval 73.9 → 85.1 (Tulu 2 7B, model card); MT-Bench 6.30 → 6.29", source="Ivison 2023", url=IVISON
            ),
        ),
        Claim(
            id="dpo_beats_more_tuning_on_chosen",
            statement="DPO beats going on with the chosen answers alone, with as many steps and sequences",
            published=Published(
                effect="preferred above fine-tuning on the chosen (from memory, unchecked)", source="Rafailov 2023, Fig. 2, 3",
                url=RAFAILOV,
            ),
        ),
        Claim(
            id="dpo_costs_forgetting",
            statement="DPO after instruction tuning forgets more than instruction tuning alone: rise on ordinary old text",
            published=Published(
                effect='an "alignment tax" of RLHF on public benchmarks (of PPO; from memory, unchecked)', source="Ouyang 2022",
                url="https://arxiv.org/abs/2203.02155",
            ),
        ),
        Claim(
            id="dpo_forgets_less_than_more_tuning",
            statement="DPO forgets less than going on with the chosen answers alone: rise on ordinary old text",
            published=Published(effect="no measured effect found", source="compare Rafailov 2023", url=RAFAILOV),
        ),
        Claim(
            id="higher_beta_forgets_less",
            statement="DPO at beta 0.3, which holds the model nearer to its reference, forgets less than at 0.03: rise on ordinary old text",
            published=Published(
                effect="beta weighs the KL divergence from the reference: by the loss itself, equation 3", source="Rafailov 2023",
                url=RAFAILOV,
            ),
        ),
        Claim(
            id="lora_dpo_forgets_less_than_full",
            statement="Instruction tuning and DPO by LoRA forget less than both by full fine-tuning: rise on ordinary old text",
            published=Published(effect="no measured effect found", source="compare Ivison 2023", url=IVISON),
        ),
    ),
)  # fmt: skip
