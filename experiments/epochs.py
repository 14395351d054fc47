"""When does more training stop paying?

Claims after Kalajdzievski 2024 (forgetting is a power law in steps) and Ouyang et al. 2022, who trained for 16 epochs, because the
reward kept rising while the validation loss overfitted after one. The learning rate is the same in every arm; its decay stretches with
the epochs.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Lora, Train, Trial

EXPERIMENT = Experiment(
    name="epochs",
    question="When does more training on the same examples stop paying, and what does it cost in forgetting?",
    base=Trial(adapter=Lora(rank=16), train=Train(learning_rate=2e-3)),
    vary={"train.epochs": (1.0, 2.0, 3.0, 5.0, 8.0, 15.0)},
    seeds=tuple(range(8)),
    with_seed={"model.name": lab.like("lab:base-0")},
    claims=(
        Claim(
            id="forgetting_speeds_up_past_3_epochs",
            statement="Past 3 epochs forgetting speeds up: the loss on ordinary old text rises more per epoch",
            published=Published(
                effect="a shifted power law in steps, exponent .15, along one training: it slows down",
                source="Kalajdzievski 2024",
                url="https://arxiv.org/abs/2401.05605",
            ),
        ),
        Claim(
            id="loss_falls_without_quality",
            statement="From 3 to 15 epochs the training loss falls and quality on seen tasks gains at most 2 points",
            published=Published(
                effect="the opposite: reward rises for 16 epochs while the validation loss overfits after one",
                source="Ouyang 2022",
                url="https://arxiv.org/abs/2203.02155",
            ),
        ),
    ),
)
