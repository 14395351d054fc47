"""What does a base of 4 or 8 bits cost, in quality, in forgetting and in memory?

Claims after Dettmers et al. 2023 (QLoRA) and 2022 (LLM.int8()). LoRA of rank 16 is trained on a base whose linear layers are held
as NF4, FP4 (both with quantized scales), NF4 with scales in float32, int8, or not quantized; the learning rate is tuned in each.
Full fine-tuning of the whole base stands beside it. Forgetting is the change from each arm's own base; what the rounding itself
costs, the report tells beside it. Embeddings and the output head stay whole, as bitsandbytes leaves them.
"""

from core import lab
from core.experiment import Claim, Experiment, LogUniform, Published
from core.settings import Lora, Trial

QLORA = "https://arxiv.org/abs/2305.14314"

EXPERIMENT = Experiment(
    name="quantization",
    question="What does a base of 4 or 8 bits cost, in quality, in forgetting and in memory?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"model.quantization": ("none", "nf4", "fp4", "int8")},
    also=(
        {"model.quantization": "nf4", "model.double_quantization": False},
        {"adapter.method": "full"},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 3e-2, grid=4)},
    tune_trials=5,
    tune_again=2,
    seeds=tuple(range(8)),  # one a base: what differs between bases stays, so more seeds would tell little more
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="nf4_equals_whole_base",
            statement="LoRA on an NF4 base equals LoRA on the whole base: neither below nor above it by more than 4 %",
            published=Published(
                effect="equal: 53.1 against 53.0 points of MMLU; a practitioners' rule says 2–5 % below",
                source="Dettmers 2023, Table 4",
                url=QLORA,
            ),
        ),
        Claim(
            id="nf4_beats_fp4",
            statement="LoRA on an NF4 base beats LoRA on an FP4 base",
            published=Published(effect="53.1 against 52.2 points of MMLU", source="Dettmers 2023, Table 4", url=QLORA),
        ),
        Claim(
            id="quantized_scales_cost_nothing",
            statement="Quantizing the scales too (double quantization) costs at most 3 points of accuracy",
            published=Published(effect="no loss, 0.37 bits a parameter less", source="Dettmers 2023, Section 3", url=QLORA),
        ),
        Claim(
            id="int8_costs_nothing",
            statement="LoRA on an int8 base is at most 3 points of accuracy below LoRA on the whole base",
            published=Published(
                effect="no loss up to 175 B parameters", source="Dettmers 2022", url="https://arxiv.org/abs/2208.07339"
            ),
        ),
    ),
)
