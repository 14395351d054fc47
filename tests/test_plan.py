"""The plan: arms and labels, settings, seeds, which change starts a new sweep, and which trial stays the same trial."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

import experiments
from core.errors import BadInput
from core.experiment import Experiment, LogUniform
from core.fields import flatten
from core.settings import Data, Full, Lora, Scalar, Train, Trial
from sweeps import describe, overrides, plan, smoke
from sweeps.plan import Inspect, Plan

RANKS = experiments.load("rank_vs_quality")


def inspect(trial: Trial) -> dict[str, str]:
    return {"data": f"hash of {trial.data.source}", "model": f"hash of {trial.model.name}"}


def made(experiment: Experiment, hashes: Inspect = inspect) -> Plan:
    return Plan.of(experiment, hashes)


def counts(experiment: Experiment) -> tuple[int, int]:
    return made(experiment).n_tuning, made(experiment).n_final


def labels(experiment: Experiment) -> list[str]:
    return [arm.label for arm in plan.arms(experiment)]


def keys(experiment: Experiment, values: dict[str, float]) -> dict[str, str]:
    """Name → key of every trial, were `values` the best of each arm."""
    found: dict[str, str] = {}
    for arm in plan.arms(experiment):
        jobs = [made(experiment).tuning_job(arm, number, point) for number, point in enumerate(arm.grid)]
        jobs += [made(experiment).final_job(arm, index, values) for index in range(len(experiment.seeds))]
        found |= {job.name: job.key for job in jobs}
    return found


def test_every_experiment_has_arms_whose_trials_build() -> None:
    for name in experiments.names():
        experiment = experiments.load(name)
        found = plan.arms(experiment)
        assert len({arm.label for arm in found}) == len(found)
        assert made(experiment).probes
        assert len(made(experiment).sweep) == 16


def test_arms_are_the_grid_and_then_the_arms() -> None:
    assert labels(RANKS) == ["lora r=1", "lora r=4", "lora r=16", "lora r=64", "full"]
    assert made(RANKS).axes == ("adapter.rank", "adapter.method")
    crossed = Experiment(
        name="sizes",
        question="?",
        base=Trial(),
        vary={"data.n_examples": (250, None), "data.source": ("lab:curated", "lab:synthetic")},
    )
    assert labels(crossed)[0] == "n_examples=250 source=lab:curated"
    assert len(set(labels(crossed))) == 4
    two = Experiment(name="batches", question="?", base=Trial(), vary={"train.batch_size": (8,), "evaluation.batch_size": (8,)})
    assert labels(two) == ["train.batch_size=8 evaluation.batch_size=8"]
    assert labels(Experiment(name="one", question="?", base=Trial(), vary={})) == ["base"]


def test_the_same_arm_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="are the same"):
        plan.arms(dataclasses.replace(RANKS, also=({"adapter.rank": 16},)))
    with pytest.raises(BadInput, match="are the same"):
        plan.arms(dataclasses.replace(RANKS, also=({"adapter.rank": 16, "adapter.alpha_over_rank": 2.0},)))


def test_an_arm_that_fixes_a_tuned_field_is_not_tuned() -> None:
    experiment = dataclasses.replace(RANKS, also=({"adapter.method": "full", "train.learning_rate": 1e-3},))
    full = plan.arms(experiment)[-1]
    assert full.tune == {}
    assert counts(experiment) == (16, 20)
    assert made(experiment).final_job(full, 0, {}).trial.train.learning_rate == 1e-3


def test_set_on_the_varied_field_replaces_its_levels() -> None:
    assert labels(overrides.apply_settings(RANKS, ["adapter.rank=8"])) == ["lora r=8", "full"]
    assert labels(overrides.apply_settings(RANKS, ["adapter.rank = 4, 16,4"])) == ["lora r=4", "lora r=16", "full"]


def test_arms_can_be_left_out_and_added_later_in_the_same_sweep() -> None:
    less = overrides.without(RANKS, ["full", "lora r=64, lora r=1"])
    assert labels(less) == ["lora r=4", "lora r=16"]
    assert counts(less) == (8, 8)
    assert made(less).sweep == made(RANKS).sweep
    assert labels(overrides.without(less, [])) == labels(less)  # what an experiment leaves out itself stays out
    assert labels(overrides.without(less, ["lora r=4"])) == ["lora r=16"]
    best = {"train.learning_rate": 1e-3}
    assert keys(less, best).items() <= keys(RANKS, best).items()
    levels: dict[str, tuple[Scalar, ...]] = {"train.batch_size": (8, 16), "data.source": ("a,b.jsonl",)}
    commas = Experiment(name="files", question="?", base=Trial(), vary=levels)
    assert labels(overrides.without(commas, ["batch_size=8 source=a,b.jsonl"])) == ["batch_size=16 source=a,b.jsonl"]
    with pytest.raises(BadInput, match=r"'ful': there is no such arm; choose from lora r=1, .*, full$"):
        overrides.without(RANKS, ["ful"])
    with pytest.raises(BadInput, match="no arm is left"):
        overrides.without(RANKS, labels(RANKS))


def test_set_on_the_tuned_field_fixes_it() -> None:
    fixed = overrides.apply_settings(RANKS, ["train.learning_rate=2e-3"])
    assert (fixed.tune, fixed.tune_trials) == ({}, 0)
    assert counts(fixed) == (0, 20)
    arm = plan.arms(fixed)[0]
    assert arm.grid == ()
    assert made(fixed).final_job(arm, 0, {}).trial.train.learning_rate == 2e-3


def test_a_range_on_the_tuned_field_is_searched_instead_in_another_sweep() -> None:
    wider = overrides.apply_settings(RANKS, ["train.learning_rate = 1.25e-4 .. 1e-1"])
    assert wider.tune == {"train.learning_rate": LogUniform(1.25e-4, 1e-1, grid=4)}
    assert counts(wider) == counts(RANKS)
    assert made(wider).sweep != made(RANKS).sweep  # arms of one report are tuned over one range
    shared = set(keys(wider, {"train.learning_rate": 1e-3}).values()) & set(keys(RANKS, {"train.learning_rate": 1e-3}).values())
    assert len(shared) == 5 + 20  # the low end in each arm, and the finals of the same best
    assert overrides.apply_settings(wider, ["train.learning_rate=1e-3"]).tune == {}


def test_set_on_a_field_that_varies_beside_the_grid_replaces_its_levels() -> None:
    breadth = experiments.load("task_diversity")
    few = overrides.apply_settings(breadth, ["data.n_tasks=2,5", "data.n_clusters=1,3"])
    assert labels(few) == ["n_clusters=1", "n_clusters=3", "n_tasks=2", "n_tasks=5"]
    assert labels(overrides.apply_settings(few, ["data.n_tasks=4"])) == ["n_clusters=1", "n_clusters=3", "n_tasks=4"]
    with pytest.raises(BadInput, match="n_tasks=0"):
        overrides.apply_settings(breadth, ["data.n_tasks=0,5"])
    with pytest.raises(BadInput, match="arms differ in this field"):  # one arm of another method is no axis
        overrides.apply_settings(RANKS, ["adapter.method=dora"])


def test_set_on_a_field_in_which_arms_differ_that_are_left_out_changes_the_others() -> None:
    """Whatever the order of --set: labels are those that the arms have after what names them."""
    quantity = experiments.load("quality_vs_quantity")
    settings = ["train.epochs=2", "data.source=a.jsonl,b.jsonl"]
    with pytest.raises(BadInput, match=r"leave them out: --without 'source=b.jsonl n_examples=None epochs=1'$"):
        overrides.apply_settings(quantity, settings)
    left_out = ["source=b.jsonl n_examples=None epochs=1"]
    changed = overrides.without(overrides.apply_settings(quantity, settings, left_out), left_out)
    assert changed.base.train.epochs == 2
    assert not any("train.epochs" in arm.overrides for arm in plan.arms(changed))


def test_set_on_any_other_field_changes_every_arm_that_has_it() -> None:
    changed = overrides.apply_settings(RANKS, ["train.epochs=2", "adapter.dropout=0.1", "data.n_examples=1_000"])
    trials = made(changed).probes
    assert {trial.train.epochs for trial in trials} == {2.0}
    assert {trial.adapter.dropout for trial in trials if isinstance(trial.adapter, Lora)} == {0.1}
    assert sum(isinstance(trial.adapter, Full) for trial in trials) == 4  # one per base that a seed draws
    assert {trial.data.n_examples for trial in trials} == {1_000}


def test_set_on_a_field_that_goes_with_the_seed_fixes_it() -> None:
    changed = overrides.apply_settings(RANKS, ["model.name=lab:base-1"])
    assert changed.with_seed == {}
    assert {trial.model.name for trial in made(changed).probes} == {"lab:base-1"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rte=1e-3", "did you mean 'train.learning_rate'"),
        ("adapter.ranks=4", "did you mean 'adapter.rank'"),
        ("rank=4", "did you mean 'adapter.rank'"),
        ("adapter=full", "no such field"),
        ("adapter.rank=0", "adapter.rank=0: must be at least 1"),
        ("adapter.rank=4,zero", "adapter.rank='zero': must be a whole number"),
        ("adapter.rank=", "must look like"),
        ("train.epochs", "must look like"),
        ("train.epochs=-1", "train.epochs=-1.0: must be above 0"),
        ("train.epochs=nan", "train.epochs='nan': must be a number"),
        ("data.n_examples=250,500", "several values fit only a field that the experiment varies (adapter.rank)"),
        ("data.n_examples=1,000", "one number is written without commas"),
        ("adapter.rank=1,000", "adapter.rank=0: must be at least 1"),
        ("train.epochs=1,2", "several values fit only a field that the experiment varies"),
        ("train.learning_rate=1e-1..1e-4", "the high end must be at least 2 times the low end"),
        ("train.learning_rate=1e-3..1e-3", "the high end must be at least 2 times the low end"),
        ("train.learning_rate=1e-3..1.5e-3", "the high end must be at least 2 times the low end"),
        ("train.learning_rate=0..1e-3", "train.learning_rate=0.0: must be at least 1e-12"),
        ("train.learning_rate=1e-3..20", "train.learning_rate=20.0: must be at least 1e-12 and below 10"),
        ("train.learning_rate=low..high", "train.learning_rate='low': must be a number"),
        ("train.learning_rate=1e-3..", "must look like 1e-4..1e-1"),
        ("train.learning_rate=1e-4...1e-1", "must look like 1e-4..1e-1"),
        ("train.learning_rate=1e-4..1e-3..1e-2", "must look like 1e-4..1e-1"),
        ("train.epochs=1..3", "a range fits only a field that the experiment tunes (train.learning_rate)"),
        ("adapter.rank=1..64", "a range fits only a field that the experiment tunes (train.learning_rate)"),
        ("adapter.targets=attn", "adapter.targets='attn': did you mean"),
        ("adapter.method=full", "adapter.method=full"),
        ("adapter.method=lora", "adapter.method=lora"),
        ("adapter.method=loraa", "did you mean 'lora'"),
        ("seed=3", "use --seeds N"),
        ("evaluation.split=validation", "the sweep sets this itself"),
    ],
)
def test_bad_settings_are_one_clear_line(setting: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        overrides.apply_settings(RANKS, [setting])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_seeds_go_on_with_the_next_free_numbers() -> None:
    assert overrides.with_seeds(RANKS, 5).seeds == (0, 1, 2, 3, 4)
    assert overrides.with_seeds(RANKS, 2).seeds == (0, 1)
    assert overrides.with_seeds(dataclasses.replace(RANKS, seeds=(7, 1)), 4).seeds == (7, 1, 0, 2)
    for count in (0, 101):
        with pytest.raises(BadInput, match=f"--seeds {count}"):
            overrides.with_seeds(RANKS, count)


def test_arms_share_what_goes_with_a_seed() -> None:
    for index, base in enumerate(("lab:base-0", "lab:base-1", "lab:base-2")):
        jobs = [made(RANKS).final_job(arm, index, {"train.learning_rate": 1e-3}) for arm in plan.arms(RANKS)]
        assert {(job.trial.model.name, job.trial.seed, job.trial.evaluation.split) for job in jobs} == {(base, index, "test")}


def test_an_arm_that_stands_for_its_kind_draws_a_base_with_each_seed() -> None:
    kinds = {f"lab:{size}-0": tuple(f"lab:{size}-{i}" for i in range(3)) for size in ("base-small", "base-large")}
    sizes = dataclasses.replace(RANKS, vary={"model.name": tuple(kinds)}, also=(), with_seed={}, drawn=kinds, seeds=(0, 1, 2, 3))
    found = Plan.of(sizes, inspect)
    drawn = [found.final_job(found.arms[1], index, {}).trial.model.name for index in range(4)]
    assert drawn == [f"lab:base-large-{i}" for i in (0, 1, 2, 0)]
    assert found.n_variants == 1
    assert {trial.model.name for trial in found.probes} == {name for kind in kinds.values() for name in kind}


def test_smoke_is_small_and_takes_the_ends() -> None:
    small = smoke.small(RANKS)
    assert labels(small) == ["lora r=1", "lora r=64", "full"]
    assert (small.tune_trials, small.seeds) == (3, (0,))
    assert small.base.data.n_examples == 250
    for arm in plan.arms(small):
        assert [point["train.learning_rate"] for point in arm.grid] == [1.25e-4, 1e-3, 8e-3]
    assert smoke.small(overrides.apply_settings(RANKS, ["adapter.rank=8"])).vary == {"adapter.rank": (8,)}
    assert smoke.small(overrides.apply_settings(RANKS, ["train.learning_rate=1e-3"])).tune_trials == 0
    assert smoke.small(overrides.apply_settings(RANKS, ["data.n_examples=none"])).base.data.n_examples == 250


def test_smoke_leaves_out_arms_that_differ_in_size() -> None:
    sizes = dataclasses.replace(RANKS, vary={"data.n_examples": (25, 8_000)}, also=({"data.n_examples": 25, "train.steps": 189},))
    assert labels(smoke.small(sizes)) == ["n_examples=25", "n_examples=1000"]


def test_other_sources_take_the_places_of_the_old_ones_in_every_arm() -> None:
    from experiments.quality_vs_quantity import EXPERIMENT

    other = overrides.apply_settings(EXPERIMENT, ["data.source=good.jsonl,many.jsonl"])
    assert {arm.overrides["data.source"] for arm in plan.arms(other)} == {"good.jsonl", "many.jsonl"}
    assert len(plan.arms(other)) == len(plan.arms(EXPERIMENT))
    with pytest.raises(BadInput, match="give 2 values"):
        overrides.apply_settings(EXPERIMENT, ["data.source=good.jsonl"])
    curated = overrides.apply_settings(EXPERIMENT, ["data.source=lab:curated"])
    assert labels(curated) == ["source=lab:curated", "source=lab:curated n_clusters=2"]


def test_adding_a_rank_or_a_seed_goes_on_in_the_same_sweep() -> None:
    more_ranks = overrides.apply_settings(RANKS, ["adapter.rank=1,2,4,16,64,128"])
    more = overrides.with_seeds(more_ranks, 6)
    less = overrides.with_seeds(overrides.apply_settings(RANKS, ["adapter.rank=4"]), 1)
    ids = {made(experiment).sweep for experiment in (RANKS, more_ranks, more, less)}
    assert len(ids) == 1
    best = {"train.learning_rate": 1e-3}
    assert keys(RANKS, best).items() <= keys(more, best).items()
    assert keys(less, best).items() <= keys(RANKS, best).items()


@pytest.mark.parametrize(
    "setting",
    ["train.epochs=2", "data.source=other.jsonl", "model.name=lab:base-1", "train.learning_rate=1e-3", "adapter.dropout=0.1"],
)
def test_another_input_or_setting_is_another_sweep(setting: str) -> None:
    changed = overrides.apply_settings(RANKS, [setting])
    assert made(changed).sweep != made(RANKS).sweep
    best = {} if "learning_rate" in setting else {"train.learning_rate": 2e-3}
    finals = [keys(experiment, values) for experiment, values in ((RANKS, {"train.learning_rate": 2e-3}), (changed, best))]
    # dropout leaves full fine-tuning as it was; another base is the one that seeds 1 and 3 had all along
    same = set(finals[0].items()) & set(finals[1].items())
    assert all(name.startswith("full") or name.endswith(("seed 1", "seed 3")) for name, _ in same)


def test_changed_content_under_the_same_name_is_another_sweep_and_another_trial() -> None:
    def changed(trial: Trial) -> dict[str, str]:
        return inspect(trial) | {"data": "other content"}

    assert made(RANKS, changed).sweep != made(RANKS).sweep
    arm = plan.arms(RANKS)[0]
    jobs = [made(RANKS, look).final_job(arm, 0, {"train.learning_rate": 1e-3}) for look in (inspect, changed)]
    assert jobs[0].key != jobs[1].key


def test_adding_a_source_to_an_experiment_that_varies_it_goes_on_in_the_same_sweep() -> None:
    sources = Experiment(name="sources", question="?", base=Trial(), vary={"data.source": ("lab:curated", "lab:synthetic")})
    more = overrides.apply_settings(sources, ["data.source=lab:curated,lab:synthetic,mine.jsonl"])
    assert made(sources).sweep == made(more).sweep
    assert keys(sources, {}).items() <= keys(more, {}).items()


def test_phase_is_part_of_the_key() -> None:
    arm, best = plan.arms(RANKS)[0], {"train.learning_rate": 1e-3}
    tuning, final = made(RANKS).tuning_job(arm, 0, best), made(RANKS).final_job(arm, 0, best)
    assert tuning.key.endswith("-tune")
    assert final.key.endswith("-final")
    assert (tuning.trial.seed, tuning.trial.evaluation.split) == (plan.TUNE_SEED, "validation")


def test_the_tuning_seed_may_not_be_a_final_seed() -> None:
    clash = dataclasses.replace(RANKS, seeds=(0, plan.TUNE_SEED))
    with pytest.raises(BadInput, match=f"seed {plan.TUNE_SEED} is the tuning seed"):
        made(clash)


def test_the_tuning_grid_is_the_same_in_every_arm() -> None:
    grids = [arm.grid for arm in plan.arms(RANKS)]
    assert all(grid == grids[0] for grid in grids)
    rates = [point["train.learning_rate"] for point in grids[0]]
    assert len(rates) == 4
    assert (rates[0], rates[-1]) == (1.25e-4, 8e-3)
    ratios = [high / low for low, high in itertools.pairwise(rates)]
    assert max(ratios) / min(ratios) < 1.02
    with pytest.raises(BadInput, match="tune_trials=3: must be at least the 4 grid points"):
        plan.arms(dataclasses.replace(RANKS, tune_trials=3))


def test_a_field_that_only_some_arms_have_is_tuned_only_there() -> None:
    experiment = dataclasses.replace(
        RANKS, tune={"adapter.alpha_over_rank": LogUniform(0.5, 8, grid=3)}, tune_trials=3, base=Trial(train=Train(epochs=1))
    )
    tuned = {arm.label: len(arm.grid) for arm in plan.arms(experiment)}
    assert tuned == {"lora r=1": 3, "lora r=4": 3, "lora r=16": 3, "lora r=64": 3, "full": 0}
    assert counts(experiment) == (12, 20)


def test_probes_are_each_distinct_input_once() -> None:
    assert len(made(RANKS).probes) == 20  # five arms, four bases
    one_base = dataclasses.replace(RANKS, with_seed={}, base=Trial(data=Data(source="mine.jsonl")))
    assert len(made(one_base).probes) == 5
    assert {flatten(trial)["data.source"] for trial in made(one_base).probes} == {"mine.jsonl"}


def test_bases_that_arms_draw_are_counted_and_told_and_an_empty_draw_is_refused() -> None:
    found = Plan.of(experiments.load("model_scale"), inspect)
    fewest = min(len(names) for names in found.experiment.drawn.values() if len(names) > 1)
    assert (found.n_bases, found.n_more_bases) == (fewest, found.experiment.tune_again)
    told = describe.tuning(found, found.experiment)
    assert f"the best two again on {found.n_more_bases} more bases" in told[0]
    assert Plan.of(experiments.load("quantization"), inspect).n_bases == 8
    for empty in ({"with_seed": {"model.name": ()}}, {"drawn": {"lab:base-0": ()}}):
        with pytest.raises(BadInput, match="nothing for seeds to take turns over"):
            dataclasses.replace(found.experiment, **empty)  # type: ignore[arg-type]
