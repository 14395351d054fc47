"""What keeps a model from forgetting at equal quality: replay, staying near the base, less training, or scaling it back afterwards?

After Scialom et al. 2022 and Ibrahim et al. 2024 (replay), Li & Hoiem 2016 and Li et al. 2018 (penalties of the KL divergence and of
the distance from the base), Wortsman et al. 2022 (WiSE-FT) and Shenfeld et al. 2025 (RL's Razor). Every way runs along the same four
learning rates, so that it is compared at equal quality with plain LoRA, or full fine-tuning, whose lower rates are themselves the
simplest mitigation. The two plain trainings of the highest rates are scaled back after training, which trains nothing. All arms see
the same instruction rows, and a seed draws one of the laboratory's eight bases; replay adds documents to them, so that its
trainings have 5 % more steps. On a real model replay needs --base-text. Rows in the base's own words (SDFT, Yang et al. 2024) are no
arm, as the laboratory's bases cannot rewrite; sweeps/instruct.py --rewrite makes them of yours.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Scalar, Train, Trial

IBRAHIM, SCIALOM = "https://arxiv.org/abs/2403.08763", "https://arxiv.org/abs/2205.12393"
WORTSMAN, SHENFELD = "https://arxiv.org/abs/2109.01903", "https://arxiv.org/abs/2509.04259"
LWF, L2_SP = "https://arxiv.org/abs/1606.09282", "https://arxiv.org/abs/1802.01483"
LORA_RATES = (2.5e-4, 6.3e-4, 1.6e-3, 4e-3)  # from the rise to past the top
FULL_RATES = (1e-4, 2.5e-4, 6.3e-4, 1.6e-3)
FULL: dict[str, Scalar] = {"adapter.method": "full"}
SCALES = "0.2+0.4+0.6+0.8"
REPLAY: dict[str, Scalar] = {"data.replay_share": 0.05}
# How strong a penalty is was chosen by a look at one run each of one base of the first edition: about as much quality as without,
# at less forgetting.
WAYS: tuple[dict[str, Scalar], ...] = (
    REPLAY,
    {"train.kl_to_base": 0.1, "train.kl_on": "response"},
    {"train.kl_to_base": 1.0, "train.kl_on": "prompts"},
    {**REPLAY, "train.kl_to_base": 1.0, "train.kl_on": "replayed"},
    {"train.l2_to_base": 10.0},
    {"train.epochs": 1.0},
)
FULL_WAYS: tuple[dict[str, Scalar], ...] = ({}, REPLAY, {"train.l2_to_base": 10.0})
NO_NUMBER = "no number for tuning on instructions found; distance from the old model is a penalty since"

EXPERIMENT = Experiment(
    name="mitigations",
    question="What keeps a model from forgetting at equal quality?",
    base=Trial(adapter=Lora(rank=16), train=Train(epochs=3.0)),
    vary={"train.learning_rate": LORA_RATES[:-1]},
    also=(
        {"train.learning_rate": LORA_RATES[-1], "evaluation.scales": SCALES},
        *({**way, "train.learning_rate": rate} for way in WAYS for rate in LORA_RATES),
        *({**FULL, **way, "train.learning_rate": rate} for way in FULL_WAYS for rate in FULL_RATES[:-1]),
        {**FULL, "train.learning_rate": FULL_RATES[-1], "evaluation.scales": SCALES},
        *({**FULL, **way, "train.learning_rate": FULL_RATES[-1]} for way in FULL_WAYS[1:]),
    ),
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="replay_forgets_less_at_equal_quality",
            statement="At equal quality on seen tasks, the loss on ordinary old text rises less by LoRA with 5 % of replayed text than by plain LoRA, whose rate may be lower",
            published=Published(
                effect="rise .27 → about .06 nats at 5 % (405 M, not at equal quality; not checked against the paper)",
                source="Ibrahim 2024", url=IBRAHIM,
            ),
        ),
        Claim(
            id="kl_on_responses_forgets_less_at_equal_quality",
            statement="At equal quality on seen tasks, the loss on ordinary old text rises less by LoRA with a KL penalty on the responses than by plain LoRA",
            published=Published(effect="no number found; forgetting follows from KL on the new task", source="Shenfeld 2025", url=SHENFELD),
        ),
        Claim(
            id="kl_on_prompts_forgets_less_at_equal_quality",
            statement="At equal quality on seen tasks, the loss on ordinary old text rises less by LoRA with a KL penalty on the prompts than by plain LoRA",
            published=Published(effect=NO_NUMBER, source="Li & Hoiem 2016 (on outputs for new inputs)", url=LWF),
        ),
        Claim(
            id="l2_forgets_less_at_equal_quality",
            statement="At equal quality on seen tasks, the loss on ordinary old text rises less by full fine-tuning with a decay towards the base's weights than without",
            published=Published(effect=NO_NUMBER, source="Li 2018 (L2-SP)", url=L2_SP),
        ),
        Claim(
            id="fewer_epochs_forget_less_at_equal_quality",
            statement="At equal quality on seen tasks, the loss on ordinary old text rises less by LoRA with one epoch than with three",
            published=Published(effect="no number found", source="practitioners' rule; compare Scialom 2022", url=SCIALOM),
        ),
        Claim(
            id="scaling_back_forgets_less_than_a_lower_rate",
            statement="At equal quality on seen tasks, the loss on ordinary old text is raised less by LoRA scaled back after training than by LoRA at a lower rate",
            published=Published(
                effect="0.8 to 3.3 points more than fine-tuning on seven data sets, 4 to 6 more than earlier work under shifts (CLIP)",
                source="Wortsman 2022, abstract", url=WORTSMAN,
            ),
        ),
        Claim(
            id="interpolated_weights_forget_less_than_a_lower_rate",
            statement="At equal quality on seen tasks, the loss on ordinary old text is raised less by fully tuned weights interpolated with the base's than by a lower rate",
            published=Published(
                effect="0.8 to 3.3 points more than fine-tuning on seven data sets, 4 to 6 more than earlier work under shifts (CLIP)",
                source="Wortsman 2022, abstract", url=WORTSMAN,
            ),
        ),
        Claim(
            id="replay_saves_more_than_kl_on_prompts",
            statement="At equal quality on seen tasks, 5 % of replayed text saves more of the rise on ordinary old text than a KL penalty on the prompts",
            published=Published(
                effect="no comparison of the two found; of replay alone almost 100 % of accuracy kept with 1 %", source="Scialom 2022", url=SCIALOM
            ),
        ),
        Claim(
            id="kl_on_the_task_tells_forgetting",
            statement="The rise of loss on ordinary old text is told by the KL divergence on the tuning task's held-out prompts alone: R² of at least 0.71",
            published=Published(
                effect="R² of a quadratic .96 (small networks) and .71 (language models; our reading, not checked)", source="Shenfeld 2025",
                url=SHENFELD,
            ),
        ),
    ),
)  # fmt: skip
