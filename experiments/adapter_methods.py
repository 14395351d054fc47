"""Which method of tuning gives the most quality for its forgetting, each at its own best learning rate?

After the tables of methods of He et al. 2022, Ding et al. 2023 and PEFT's method comparison, most of which have one rate or one seed.
Every method's rate is tuned inside a range of its own, as wide for all and around what its paper or PEFT's comparison uses beside
LoRA; rates beyond an end are tried. BitFit is no arm: the laboratory's Llama-like bases have no biases. Where your base has them,
`--set adapter.method=lora,bitfit,full` compares it. Settings are the methods' usual ones, so numbers of parameters differ.
"""

from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

PEFT = "https://github.com/huggingface/peft/tree/main/method_comparison"
# Of LoRA's range, by the papers' rates (core/method_settings.py names them): VeRA 10 to 100 times LoRA's; (IA)³ 3e-3 and prompt
# tuning 0.3 where LoRA has 1e-4 to 3e-4; PiSSA a tenth; LoRA+ a fifth for A at a ratio of 16; full a tenth (Schulman 2025).
RATE_TIMES = {
    "pissa": 0.3, "lora-plus": 0.2, "vera": 10.0, "ia3": 10.0, "prefix": 10.0, "prompt": 30.0, "p-tuning": 1.0,
    "layernorm": 3.0, "last-layers": 0.3, "full": 0.1,
}  # fmt: skip

EXPERIMENT = Experiment(
    name="adapter_methods",
    question="Which method gives the most quality for its forgetting, each at its own best learning rate?",
    base=Trial(adapter=Lora(rank=16)),
    vary={
        "adapter.method": (
            "lora", "dora", "pissa", "lora-plus", "vera", "ia3", "oft", "prefix", "prompt", "p-tuning", "layernorm", "last-layers",
            "full",
        ),
    },
    tune={"train.learning_rate": LogUniform(3e-4, 3e-2, grid=4)},
    tune_trials=5,
    tune_again=2,
    rate_times=RATE_TIMES,
    seeds=tuple(range(8)),
    with_seed={"model.name": tuple(f"lab:base-{i}" for i in range(8))},
    claims=(
        Claim(
            id="prompt_tuning_falls_behind_lora",
            statement="Prompt tuning is below LoRA on a small base",
            published=Published(
                effect="far below model tuning at 77 M to 1 B parameters, equal at 11 B", source="Lester 2021, Fig. 1",
                url="https://arxiv.org/abs/2104.08691",
            ),
        ),
        Claim(
            id="dora_beats_lora",
            statement="DoRA beats LoRA at equal rank",
            published=Published(
                effect="+3.7 points on commonsense reasoning (LLaMA-7B, 78.4 against 74.7)", source="Liu 2024, Table 1",
                url="https://arxiv.org/abs/2402.09353",
            ),
        ),
        Claim(
            id="pissa_beats_lora",
            statement="PiSSA beats LoRA at equal rank",
            published=Published(
                effect="GSM8K 72.9 against 67.7 (Mistral-7B)", source="Meng 2024, abstract", url="https://arxiv.org/abs/2404.02948"
            ),
        ),
        Claim(
            id="lora_plus_beats_lora",
            statement="LoRA+ beats LoRA when both rates are tuned",
            published=Published(effect="+1 to 2 %", source="Hayou 2024, abstract", url="https://arxiv.org/abs/2402.12354"),
        ),
        Claim(
            id="vera_at_most_5_points_below_lora",
            statement="VeRA is at most 5 points below LoRA, with fewer parameters",
            published=Published(
                effect="the same performance with far fewer parameters", source="Kopiczko 2023, abstract",
                url="https://arxiv.org/abs/2310.11454",
            ),
        ),
        Claim(
            id="scales_forget_less_than_lora",
            statement="(IA)³, which trains scales alone, forgets less than LoRA",
            published=Published(effect="forgetting stands beside quality, at one seed", source="PEFT's method comparison", url=PEFT),
        ),
    ),
)  # fmt: skip
