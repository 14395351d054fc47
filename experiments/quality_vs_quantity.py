"""1,000 curated examples against 52,000 synthetic ones?

Claim after Zhou et al. 2023 (LIMA) and Taori et al. 2023 (Alpaca). The synthetic rows come from a weaker teacher by the
Self-Instruct road; of the 52,000 a fold of the laboratory gives about 32,000 (core/lab/disjoint.py says which it leaves out).
Equal steps: every arm takes the steps of 1,000 examples in 3 epochs. Whole: one epoch over all of them, eleven times as
many steps. The learning rate is tuned inside each arm.
"""

from core.definitions import Claim, Experiment, LogUniform, Lora, Published, Trial

LIMA = "https://arxiv.org/abs/2305.11206"
STEPS = 189  # of 1,000 examples in 3 epochs, in batches of 16

EXPERIMENT = Experiment(
    name="quality_vs_quantity",
    question="Do 1,000 curated examples match or beat 52,000 synthetic ones?",
    base=Trial(adapter=Lora(rank=16)),
    vary={"data.source": ("lab:curated", "lab:synthetic")},
    also=(
        {"data.source": "lab:synthetic", "data.n_examples": 4_000, "train.steps": STEPS},
        {"data.source": "lab:synthetic", "data.n_examples": 16_000, "train.steps": STEPS},
        {"data.source": "lab:synthetic", "data.n_examples": 4_000},
        {"data.source": "lab:synthetic", "data.n_examples": None, "train.epochs": 1.0},
    ),
    tune={"train.learning_rate": LogUniform(5e-4, 1.6e-2, grid=3)},
    tune_trials=4,
    seeds=(0, 1, 2, 3, 4, 5),
    with_seed={"model.name": ("lab:base-0", "lab:base-1")},
    claims=(
        Claim(
            id="3c",
            statement="1,000 curated examples match or beat 1,000 synthetic ones (seen tasks; at most 2 points below)",
            published=Published(effect="LIMA 65B preferred to or equal with Alpaca 65B", source="Zhou 2023", url=LIMA),
        ),
        Claim(
            id="3d",
            statement="1,000 curated examples match or beat all synthetic ones, one epoch (seen tasks; at most 2 points below)",
            published=Published(effect="LIMA 65B preferred to or equal with Alpaca 65B", source="Zhou 2023", url=LIMA),
        ),
        Claim(
            id="3e",
            statement="1,000 curated examples match or beat all synthetic ones, one epoch (held-out tasks; at most 2 points below)",
            published=Published(effect="LIMA 65B preferred to or equal with Alpaca 65B", source="Zhou 2023", url=LIMA),
        ),
        Claim(
            id="3f",
            statement="Four times the synthetic data at equal epochs gives no gain (at most 2 points)",
            published=Published(effect="flat over a 16-fold increase", source="Zhou 2023, Fig. 6", url=LIMA),
        ),
    ),
)
