"""Examples before the question: in the laboratory's chats, as an axis, and against the base that is asked with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated import question, truths

import experiments
from analysis import questions
from analysis.stats import Over
from core.settings import Evaluation
from sweeps import plan, scored


def test_examples_stand_before_the_question() -> None:
    pytest.importorskip("torch")
    from core import model as models
    from core.hardware import Device
    from core.lab import instruct
    from core.settings import Model
    from core.tasks import lab

    words = lab.Words(models.load(Model(name="lab:base-0"), Device()).tokenizer)
    asked = instruct.questions("test", 1)
    told = lab.examples(Evaluation(shots=2))
    assert lab.examples(Evaluation()) == {}
    plain = words.chat(asked[0])
    item, prompt, answer = words.chat(asked[0], told=told[asked[0].task, asked[0].style])
    assert (item, answer) == (plain[0], plain[2])
    assert prompt[-len(plain[1]) :] == plain[1]
    own = [words.chat(one) for one in told[asked[0].task, asked[0].style]]
    assert prompt[: -len(plain[1])] == [token for _, before, after in own for token in (*before, *after)]
    assert len(own) == 2
    prompts = {one.prompt for one in instruct.questions("test", 20)}
    assert not prompts & {one.prompt for of_task in told.values() for one in of_task}
    questions = instruct.questions("test", 20)
    assert max(sum(map(len, words.chat(one, told=told[one.task, one.style])[1:])) for one in questions) < 240  # of 256


def test_arms_with_other_examples_are_compared() -> None:
    from core import preflight

    made = plan.Plan.of(experiments.load("shots"), preflight.provenance)
    one, two, _ = [made.trial(0, arm.overrides) for arm in made.arms]
    assert one != two
    inputs = preflight.inspect(one)
    assert scored.ruler(one, inputs) == scored.ruler(two, inputs)


def answered(of_base: dict[int, float], of_tuned: dict[int, float]) -> dict[str, str]:
    """The verdicts on a simulated sweep in which base and tuned answer this share rightly, by the number of examples."""
    trials, items = question(truths("shots"), seeds=4, n_items=200, tuned=False)
    rng = np.random.default_rng(0)
    shots = trials.set_index("fingerprint")["evaluation.shots"].astype(int)
    seen = items["axis"] == "quality"
    at = items.loc[seen, "fingerprint"].map(shots)
    for column, shares in (("before", of_base), ("after", of_tuned)):
        drawn = pd.Series(rng.random(int(seen.sum())), index=at.index)
        items.loc[seen, column] = (drawn < at.map(shares).astype(float)).astype(float)
    found = questions.answer("shots", trials, items)
    return {one.id: one.verdict for one in found.verdicts}


def test_tuning_is_held_against_the_prompted_base() -> None:
    found = answered({0: 0.1, 1: 0.3, 2: 0.5}, {0: 0.8, 1: 0.8, 2: 0.6})
    assert [found[name] for name in experiments_ids()] == ["supported", "contradicted", "supported"]
    found = answered({0: 0.5, 1: 0.7, 2: 0.9}, {0: 0.6, 1: 0.7, 2: 0.8})
    assert [found[name] for name in experiments_ids()] == ["contradicted", "supported", "supported"]


def test_differences_from_a_base_speak_for_the_bases_that_were_drawn() -> None:
    found = questions.answer("shots", *question(truths("shots"), seeds=4, n_items=50, tuned=False)).verdicts  # two bases
    assert [one.over for one in found[:2]] == [Over.THESE_BASES] * 2  # the simulated base answers nothing, whatever the seed


def experiments_ids() -> list[str]:
    return [claim.id for claim in experiments.load("shots").claims]


def test_forgetting_stands_beside_quality() -> None:
    made = questions.answer("shots", *question(truths("shots"), n_items=50, tuned=False)).tables
    assert made.shown[:3] == ["quality", "exact_match/held_out", "forgetting"]
