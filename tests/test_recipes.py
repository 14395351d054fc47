"""An open search with a made-up laboratory: promotions, determinism, definitions."""

from __future__ import annotations

import dataclasses
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from driven import drive, inspect

import experiments
from core.errors import BadInput
from core.experiment import DEFAULT_ARM, FOUND_ARMS, TUNED_ARM, Experiment, LogUniform, OpenSearch
from core.fields import flatten
from core.settings import Data, Model, Trial
from core.states import Phase, State
from sweeps import halving, overrides, plan, recipes, smoke
from sweeps.ledger import Outcome
from sweeps.plan import Job, Plan
from sweeps.proposals import Proposals
from sweeps.search import Search

REAL = experiments.load("best_recipe")
SPACE = {
    "adapter.rank": (2, 8, 32),
    "adapter.targets": ("attention", "all-linear"),
    "train.learning_rate": LogUniform(1e-4, 1e-1),
    "train.epochs": LogUniform(1.0, 9.0),
}
SEARCH = OpenSearch(space=SPACE, configurations=18, startup=6, batch=6)
EXPERIMENT = Experiment(name="made_up", question="?", base=Trial(), vary={}, search=SEARCH, seeds=(0, 1))
PLAN = Plan.of(EXPERIMENT, inspect)


def effects(trial: Trial) -> tuple[float, float]:
    """Gain and forgetting: both rise with the learning rate, gain falls again past 1e-2."""
    rate, steps = math.log10(trial.train.learning_rate), math.log(trial.train.epochs)
    return 0.8 - 0.2 * (rate + 2) ** 2 + 0.05 * steps, 0.3 * 10 ** (0.6 * (rate + 2)) * (1 + 0.2 * steps)


def truth(job: Job) -> Outcome:
    gain, cost = effects(job.trial)
    return Outcome(State.FINISHED, 0.1 + gain, 1.0, "", 0.1, cost * (1 + random.Random(job.key).gauss(0, 0.01)))


def new(known: dict[str, Outcome], studies: Path | None = None, experiment: Experiment = EXPERIMENT) -> Search:
    return Search(Plan.of(experiment, inspect), known, studies=studies)


@pytest.fixture(scope="module")
def whole() -> dict[str, Outcome]:
    search = new({})
    told = drive(search, truth)
    assert search.finished()
    return {job.key: truth(job) for job in told}


def recipe(job: Job, share: float) -> dict[str, object]:
    flat = flatten(job.trial)
    return {name: flat[name] for name in SPACE} | {"train.epochs": float(f"{job.trial.train.epochs / share:.3g}")}


def test_rungs_share_out_the_epochs_and_the_best_go_on(whole: dict[str, Outcome]) -> None:
    search = new(whole)
    jobs = {
        share: [job for job in search.jobs() if job.arm == label]
        for share, label in zip(SEARCH.rungs, SEARCH.labels(), strict=True)
    }
    assert [len(found) for found in jobs.values()] == [18, 6, 2] == SEARCH.sizes()
    assert SEARCH.labels() == ["rung 1/9", "rung 1/3", "rung 1"]
    seen = {share: [recipe(job, share) for job in found] for share, found in jobs.items()}
    assert all(
        upper in lower
        for high, low in zip(SEARCH.rungs[1:], SEARCH.rungs, strict=False)
        for upper in seen[high]
        for lower in [seen[low]]
    )
    assert {(job.trial.seed, job.trial.evaluation.split) for found in jobs.values() for job in found} == {
        (plan.TUNE_SEED, "validation")
    }
    first = jobs[SEARCH.rungs[0]]
    scores = [(whole[job.key].quality - 0.1, whole[job.key].forgetting) for job in first]  # type: ignore[operator]
    leading = recipes.ranking(scores, SEARCH.least_gain)[:6]  # type: ignore[arg-type]
    assert [recipe(first[i], 1 / 9) for i in sorted(leading)] == seen[1 / 3]


def test_finals_are_the_base_and_what_had_the_whole_training(whole: dict[str, Outcome]) -> None:
    search = new(whole)
    last = [recipe(job, 1.0) for job in search.jobs() if job.arm == "rung 1"]
    finals = {job.arm: job for job in search.jobs() if job.phase is Phase.FINAL}
    assert finals[DEFAULT_ARM].trial == dataclasses.replace(EXPERIMENT.base, seed=1)
    assert set(finals) - {DEFAULT_ARM, TUNED_ARM} <= set(FOUND_ARMS)
    assert all(recipe(job, 1.0) in last for label, job in finals.items() if label in FOUND_ARMS)
    left_out, more = (sum(getattr(part, name)() for part in search.parts) for name in ("n_not_run", "n_more"))
    assert len(whole) == PLAN.n_trials - left_out + more == len(search.jobs())
    assert left_out == 2 * (5 - len(finals))


def test_the_usual_recipe_is_tuned_at_the_steps_of_the_best_found(whole: dict[str, Outcome]) -> None:
    search = new(whole)
    best = next(job for job in search.jobs() if job.arm == FOUND_ARMS[0])
    own = [job for job in search.jobs() if job.arm == TUNED_ARM]
    assert {job.trial.train.epochs for job in own} == {best.trial.train.epochs}  # as many rows
    tuned = {job.trial.train.learning_rate: whole[job.key].quality or 0.0 for job in own if job.phase is Phase.TUNE}
    assert len(tuned) >= plan.USUAL_RATES
    rates = {job.trial.train.learning_rate for job in own if job.phase is Phase.FINAL}
    assert rates == {max(tuned, key=lambda rate: tuned[rate])}
    base = dataclasses.replace(EXPERIMENT.base.train, epochs=1, learning_rate=1)
    assert {dataclasses.replace(job.trial.train, epochs=1, learning_rate=1) for job in own} == {base}


def test_steps_are_those_of_the_rows_that_are_there(make_model: Callable[..., str], rows_file: str) -> None:
    """Of 60 rows each recipe trains on as many, whatever it asks for; the laboratory has them all."""
    files = Trial(model=Model(name=make_model("llama")), data=Data(source=rows_file, n_examples=1_000))
    for base, epochs in ((files, 3.0), (REAL.base, 6.0)):
        search = new({}, experiment=dataclasses.replace(EXPERIMENT, base=base))
        (arm,) = (part for part in search.parts if isinstance(part, halving.UsualArm))
        found = {FOUND_ARMS[0]: {"data.n_examples": 2_000, "train.epochs": 3.0}}
        arm.halving = SimpleNamespace(arms=lambda found=found: found)  # type: ignore[assignment]
        assert arm._epochs() == epochs


@pytest.mark.parametrize("slots", [2, 7])
def test_neither_the_order_of_outcomes_nor_an_interruption_matters(whole: dict[str, Outcome], slots: int) -> None:
    assert {job.key for job in drive(new({}), truth, slots=slots, order=random.Random(slots))} == set(whole)
    for stop in range(0, len(whole), 5):
        known = {job.key: truth(job) for job in drive(new({}), truth, slots=slots, order=random.Random(stop), stop_after=stop)}
        assert {job.key for job in drive(new(known), truth)} == set(whole) - set(known)


def test_who_looks_on_from_another_thread_changes_nothing(whole: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*arguments: Any) -> list[recipes.Recipe]:
        time.sleep(0.05)
        return propose(*arguments)

    propose, search, over = halving.propose, new({}), threading.Event()
    seen: list[int] = []  # by the thread that looks; one batch must not be proposed twice for it
    monkeypatch.setattr(halving, "propose", slowly)

    def look() -> None:
        while not over.wait(0.001):
            seen.append(sum(part.n_not_run() + part.has_no_setting() for part in search.parts))

    onlooker = threading.Thread(target=look)
    onlooker.start()
    told = drive(search, truth)
    over.set()
    onlooker.join()
    assert seen
    assert {job.key for job in told} == set(whole)


def test_failures_are_not_promoted_and_do_not_stop_the_search() -> None:
    def outcome(job: Job) -> Outcome:
        if job.phase is Phase.TUNE and job.trial.train.learning_rate > 1e-2:
            return Outcome(State.DIVERGED, None, 1.0, "the loss is not finite")
        return truth(job)

    search = new({})
    told = drive(search, outcome, slots=3, order=random.Random(0))
    assert search.finished()
    assert all(
        job.trial.train.learning_rate <= 1e-2 for job in told if job.arm in ("rung 1/3", "rung 1") or job.arm in FOUND_ARMS
    )
    nothing = new({})
    told = drive(nothing, lambda job: Outcome(State.CRASHED, None, 1.0, "no") if job.phase is Phase.TUNE else truth(job))
    assert nothing.finished()
    assert {job.arm for job in told} == {"rung 1/9", DEFAULT_ARM}
    assert [part.has_no_setting() for part in nothing.parts] == [False] * 4 + [True] * 4
    assert sum(part.n_not_run() for part in nothing.parts) == 8 + plan.USUAL_RATES + 2  # and all of the usual recipe tuned


def test_the_study_holds_every_trial_once(whole: dict[str, Outcome], tmp_path: Path) -> None:
    import optuna

    studies = tmp_path / "optuna.db"
    for known in (dict(list(whole.items())[:9]), whole):
        assert new(known, studies).close() == 0
    storage = optuna.storages.RDBStorage(f"sqlite:///{studies}")
    found = {name: optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)}
    assert {name: len(study.trials) for name, study in found.items()} == {
        f"{PLAN.sweep} rung 1/9": 18,
        f"{PLAN.sweep} rung 1/3": 6,
        f"{PLAN.sweep} rung 1": 2,
        f"{PLAN.sweep} usual recipe, tuned": 5,
    }
    assert {len(study.directions) for name, study in found.items() if " rung " in name} == {2}
    storage.engine.dispose()


def test_batches_are_proposed_once_and_kept(whole: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, batches, propose = tmp_path / "proposals.jsonl", list[int](), halving.propose
    monkeypatch.setattr(halving, "propose", lambda *rest: batches.append(rest[3]) or propose(*rest))

    def keys(writes: bool) -> set[str]:
        search = Search(PLAN, whole, Proposals(path, writes))
        return {job.key for job in search.jobs()}

    assert keys(writes=True) == set(whole)
    assert batches == [6, 6]
    monkeypatch.setattr(recipes, "first", lambda search: pytest.fail("the first configurations are kept too"))
    assert keys(writes=False) == set(whole)
    assert batches == [6, 6]


def test_fronts_and_ranking_against_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(30):
        scores = [(rng.randrange(6) / 5, rng.randrange(6) / 5) for _ in range(rng.randrange(1, 14))]

        def depth(i: int, scores: list[tuple[float, float]] = scores) -> int:
            """The longest chain of points that beat one another, down to i: the number of its front."""
            better = [j for j, s in enumerate(scores) if s != scores[i] and s[0] >= scores[i][0] and s[1] <= scores[i][1]]
            return 1 + max((depth(j) for j in better), default=-1)

        for number, front in enumerate(recipes.fronts(scores)):
            assert front == [i for i in range(len(scores)) if depth(i) == number]
        order = recipes.ranking(scores, 0.5)
        assert sorted(order) == list(range(len(scores)))
        best = max(gain for gain, _ in scores)
        kept = [scores[i][0] >= 0.5 * best > 0 for i in order]
        assert kept == sorted(kept, reverse=True)


def test_on_a_front_the_loneliest_go_first_and_learning_nothing_goes_last() -> None:
    scores = [(1.0, 1.0), (0.95, 0.9), (0.94, 0.88), (0.7, 0.3), (0.6, 0.2), (0.0, 0.0)]
    assert recipes.ranking(scores, 0.5) == [0, 4, 3, 2, 1, 5]
    assert recipes.ranking([(-0.2, 0.1), (-0.1, 0.5)], 0.5) == [1, 0]


def test_arms_are_the_ends_and_the_knee() -> None:
    scores = [(1.0, 1.0), (0.9, 0.2), (0.6, 0.1), (0.65, 0.19), (0.1, 0.0)]
    assert recipes.arms(scores, 0.5) == {"best quality": 0, "knee": 1, "least forgetting": 2}
    assert recipes.arms(scores[:1], 0.5) == {"best quality": 0}
    assert recipes.arms([(1.0, 0.5), (0.6, 0.2)], 0.5) == {"best quality": 0, "least forgetting": 1}
    assert recipes.arms([], 0.5) == {}


def test_the_first_configurations_fill_the_space() -> None:
    found = recipes.filling(SPACE, 48, (), 0)
    assert len({tuple(one.values()) for one in found}) == 48
    kinds = Counter((one["adapter.rank"], one["adapter.targets"]) for one in found)
    counts = [kinds[rank, targets] for rank, targets in product((2, 8, 32), ("attention", "all-linear"))]
    assert max(counts) - min(counts) <= 4  # drawn at random they differ by 9 on average
    assert all(1e-4 <= float(str(one["train.learning_rate"])) <= 1e-1 for one in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rungs": (1 / 3, 1 / 9, 1.0)}, "must rise"), ({"rungs": ()}, "must rise"), ({"startup": 19}, "startup=19"),
        ({"configurations": 8}, "too few for 3 rungs"), ({"space": {}}, "must have a field"), ({"reduction": 1}, "reduction=1"),
        ({"space": {"adapter.rank": (4,)}}, "adapter.rank: needs two"), ({"least_gain": 1.0}, "least_gain"),
        ({"space": {"adapter.rank": (4, 8)}}, "the space has only 2"),
    ],
)  # fmt: skip
def test_a_bad_search_is_one_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        dataclasses.replace(SEARCH, **change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"adapter.rank": (0, 4)}, "adapter.rank=0"), ({"adapter.rnk": (1, 4)}, "adapter.rank"), ({"seed": (1, 2)}, "seed"),
        ({"adapter.rank": LogUniform(1.0, 4.0)}, "whole number"), ({"train.steps": (10, 20)}, "train.steps"),
        ({"train.learning_rate": LogUniform(1.0, 50.0)}, "learning_rate=50"),
    ],
)  # fmt: skip
def test_a_bad_field_is_one_line(space: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        dataclasses.replace(EXPERIMENT, search=dataclasses.replace(SEARCH, space={**SPACE, **space}))


def test_a_search_has_no_grid() -> None:
    with pytest.raises(BadInput, match="no vary"):
        dataclasses.replace(EXPERIMENT, vary={"adapter.rank": (1, 2)})


def test_settings_change_the_space() -> None:
    changed = overrides.apply_settings(
        REAL, ["adapter.rank=4,8", "train.learning_rate=1e-3..1e-2", "train.epochs=2", "data.source=lab:synthetic"]
    )
    assert changed.search is not None
    assert changed.search.space["adapter.rank"] == (4, 8)
    assert changed.search.space["train.learning_rate"] == LogUniform(1e-3, 1e-2)
    assert "train.epochs" not in changed.search.space
    assert (changed.base.train.epochs, changed.base.data.source) == (2, "lab:synthetic")
    assert recipes.at_rung({}, 1 / 3, changed.base) == {"train.epochs": 0.6667}
    for setting, said in (
        ("adapter.rank=1..4", "range fits only"),
        ("train.steps=9", "train.steps"),
        ("adapter.rank=0,4", "rank=0"),
    ):
        with pytest.raises(BadInput, match=said):
            overrides.apply_settings(REAL, [setting])
    assert Plan.of(changed, inspect).sweep != Plan.of(REAL, inspect).sweep
    assert Plan.of(overrides.with_seeds(overrides.without(REAL, ["knee"]), 9), inspect).sweep == Plan.of(REAL, inspect).sweep
    assert Plan.of(smoke.small(REAL), inspect).n_trials <= 19
