"""Which method of tuning gives the most quality for its forgetting, each at its own best learning rate?

After the tables of methods of He et al. 2022, Ding et al. 2023 and PEFT's method comparison, most of which have one rate or one seed.
Every method's rate is tuned inside a range of its own, as wide for all and around what its paper or PEFT's comparison uses beside
LoRA; rates beyond an end are tried. BitFit is no arm: the laboratory's Llama-like bases have no biases. Where your base has them,
`--set adapter.method=lora,bitfit,full` compares it, and so are the methods that are not in the grid for their time. Settings are the
methods' usual ones, so numbers of parameters differ. The report has our order beside that of PEFT's comparison.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

PEFT = "https://github.com/huggingface/peft/tree/main/method_comparison"
# Of LoRA's range. By the papers' rates (core/method_settings names them): VeRA 10 to 100 times LoRA's; (IA)³ 3e-3 and prompt tuning
# 0.3 where LoRA has 1e-4 to 3e-4; PiSSA a tenth; LoRA+ a fifth for A at a ratio of 16; full a tenth (Schulman 2025). By PEFT's
# comparison, where LoRA has 1e-4: SHiRA 3e-4; RoAd and DeLoRA 1e-3; LoKr 3e-3, HiRA 4.5e-3; C3A 0.3, which is divided by a layer's
# width. VB-LoRA, FourierFT and AdaLoRA fell behind there at LoRA's rate: three to ten times it.
RATE_TIMES = {
    "pissa": 0.3, "olora": 0.3, "lora-plus": 0.2, "vera": 10.0, "ia3": 10.0, "prefix": 10.0, "prompt": 30.0, "p-tuning": 1.0,
    "layernorm": 3.0, "last-layers": 0.3, "full": 0.1, "shira": 3.0, "road": 10.0, "delora": 10.0, "lokr": 10.0, "hira": 10.0,
    "c3a": 100.0, "vblora": 10.0, "fourierft": 10.0, "adalora": 3.0,
}  # fmt: skip

EXPERIMENT = Experiment(
    name="adapter_methods",
    question="Which method gives the most quality for its forgetting, each at its own best learning rate?",
    base=Trial(adapter=Lora(rank=16)),
    vary={
        "adapter.method": (
            "lora", "dora", "pissa", "lora-plus", "lora-fa", "adalora", "vera", "randlora", "vblora", "loha", "lokr", "hira",
            "gralora", "delora", "miss", "shira", "c3a", "waveft", "osf", "ia3", "oft", "road", "prefix", "prompt",
            "p-tuning", "layernorm", "last-layers", "full",
        ),
    },
    tune={"train.learning_rate": LogUniform(3e-4, 3e-2, grid=4)},
    tune_trials=5,
    tune_again=2,
    rate_times=RATE_TIMES,
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
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
            id="vera_at_most_6_points_below_lora",
            statement="VeRA is at most 6 points below LoRA, with fewer parameters",
            published=Published(
                effect="the same performance with far fewer parameters", source="Kopiczko 2023, abstract",
                url="https://arxiv.org/abs/2310.11454",
            ),
        ),
        Claim(
            id="scales_forget_less_than_lora",
            statement="(IA)³, which trains scales alone, forgets less than LoRA: rise on ordinary old text",
            published=Published(
                effect="no less: 0.050 against 0.050 nats a token, at 39.8 against 47.8 on GSM8K (rate 1e-3, one seed)",
                source="PEFT's comparison", url=PEFT,
            ),
        ),
        Claim(
            id="hira_beats_lora",
            statement="HiRA beats LoRA at equal rank",
            published=Published(effect="GSM8K 51.3 against 47.8 (Llama-3.2-3B, one seed)", source="PEFT's comparison", url=PEFT),
        ),
        Claim(
            id="sparse_updates_beat_lora",
            statement="SHiRA, which trains single weights, beats LoRA at equal parameters",
            published=Published(effect="GSM8K 51.0 against 47.8 (Llama-3.2-3B, one seed)", source="PEFT's comparison", url=PEFT),
        ),
        Claim(
            id="orthogonal_subspaces_forget_less_than_lora",
            statement="OSF, which keeps the largest singular directions, forgets less than LoRA: rise on ordinary old text",
            published=Published(
                effect="0.017 against 0.050 nats a token, at 42.7 against 47.8 on GSM8K (one seed)", source="PEFT's comparison",
                url=PEFT,
            ),
        ),
        Claim(
            id="shared_matrix_forgets_more_than_lora",
            statement="MiSS forgets more than LoRA: rise on ordinary old text",
            published=Published(effect="0.197 against 0.050 nats a token (one seed)", source="PEFT's comparison", url=PEFT),
        ),
    ),
)  # fmt: skip
