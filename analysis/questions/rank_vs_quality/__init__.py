"""Does LoRA rank buy quality once the learning rate is retuned for each rank, and what does it cost in forgetting?"""

from __future__ import annotations

import math

import pandas as pd

from analysis.claims.published import PublishedCurve
from analysis.claims.question import Question
from analysis.claims.tables import View
from analysis.questions.rank_vs_quality.against_full import prepare
from analysis.questions.rank_vs_quality.figure import draw
from analysis.questions.rank_vs_quality.rules import RULES
from analysis.questions.rank_vs_quality.sections import CAPTION, cautions, extra_frames, sections

# GPT-2 Medium on E2E; hyperparameters were tuned at rank 4. Ranks to 1,024 are published; beyond 32 nothing changes.
HU = PublishedCurve(
    "quality", (1, 2, 4, 8, 16, 32, 64, 128), (1.23, 1.21, 1.18, 1.17, 1.16, 1.16, 1.16, 1.16), "Hu 2021, Table 18",
    "validation loss by rank, GPT-2 Medium on E2E, axis turned so that better is up", "https://arxiv.org/abs/2106.09685",
    lower_is_better=True,
)  # fmt: skip


def rank_or_full(trials: pd.DataFrame) -> pd.DataFrame:
    """Where an arm stands among the others: at its rank, full fine-tuning behind every rank."""
    return trials.assign(rank_or_full=trials["adapter.rank"].astype(float).fillna(math.inf))


VIEW = View(
    x="rank_or_full",
    x_label="LoRA rank",
    measures=("quality", "forgetting"),
    derive=rank_or_full,
    published=(HU,),
)
QUESTION = Question(
    VIEW,
    RULES,
    prepare=prepare,
    draw=draw,
    caption=CAPTION,
    sections=sections,
    extra_frames=extra_frames,
    cautions=cautions,
)
