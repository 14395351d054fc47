"""Do more tasks or more clusters of tasks carry over to clusters that were never trained on?

Claims after Wei et al. 2021 (FLAN, Figure 6) and Wang et al. 2022 (Super-NaturalInstructions). Every arm has 1,000 examples, the same steps
and the same learning rate. A seed draws which clusters or tasks the examples come from; more of them contain the fewer. It also holds
out another quarter of the clusters. "Seen" clusters are those outside the held-out quarter, also where an arm trains on few of them.
"""

from core import lab
from core.experiment import Claim, Experiment, Published
from core.settings import Data, Lora, Trial

EXPERIMENT = Experiment(
    name="task_diversity",
    question="Do more tasks, or more clusters of tasks, carry over to clusters that were never trained on?",
    base=Trial(adapter=Lora(rank=16), data=Data(n_examples=1_000)),
    vary={"data.n_clusters": (1, 2, 4, 6, 9)},
    also=({"data.n_tasks": 1}, {"data.n_tasks": 3}, {"data.n_tasks": 10}, {"data.n_tasks": 30}),
    seeds=tuple(range(8)),
    with_seed={
        "data.held_out_fold": (0, 1, 2, 3),
        "model.name": lab.like("lab:base-0"),  # each fold on two of them
    },
    claims=(
        Claim(
            id="held_out_rises_with_clusters",
            statement="Held-out performance rises with the number of clusters trained on, at equal examples",
            published=Published(
                effect="+6.7 points per e-fold of clusters",
                source="Wei 2021, Fig. 6 (our fit)",
                url="https://arxiv.org/abs/2109.01652",
            ),
        ),
        Claim(
            id="held_out_rises_with_tasks",
            statement="Held-out performance rises with the number of tasks trained on, at equal examples",
            published=Published(
                effect="48.4 at 128 tasks, 54.3 at 757 (ROUGE-L, 3 B)", source="Wang 2022", url="https://arxiv.org/abs/2204.07705"
            ),
        ),
    ),
)
