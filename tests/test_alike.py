"""Arms that can be compared: scored on the same rows, and not the same runs under two names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import ArmState, question

import experiments
from analysis import load, questions
from core import preflight
from core.errors import BadInput
from core.experiment import Experiment
from core.settings import Data, Lora, Trial
from sweeps import alike, run
from sweeps.options import Options
from sweeps.sweep import Sweep

Models = Callable[..., str]
WORDS = ["red", "green", "blue", "fox", "dog", "five"]


def write_rows(path: Path, n: int, asks: str = "say", answers: str = "it is", first: int = 0, **fields: object) -> str:
    rows = [
        {
            "instruction": f"{asks} {WORDS[i % 6]} {i} times",
            "output": f"{answers} {WORDS[i % 6]} .",
            "cluster": f"c{i % 4}",
            "task": f"t{i % 8}",
            "score": i % 5,
        }
        | fields
        for i in range(first, first + n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str]:
    """Two sources that ask different things."""
    return write_rows(tmp_path / "a.jsonl", 300), write_rows(tmp_path / "b.jsonl", 300, asks="name", answers="ok")


def prepared(question: str | Experiment, *settings: str, **options: object) -> run.Prepared:
    asked = experiments.load(question) if isinstance(question, str) else question
    return run.prepare(asked, Options(set=settings, **options))  # type: ignore[arg-type]


def experiment(base: Trial, vary: dict[str, tuple[object, ...]], **more: object) -> Experiment:
    return Experiment(name="made_up", question="?", base=base, vary=vary, seeds=(0, 1), **more)  # type: ignore[arg-type]


def refusal(asked: Experiment) -> BadInput:
    with pytest.raises(BadInput) as error:
        run.prepare(asked, Options())
    assert "\n" not in error.value.text
    return error.value


# Scored alike


@pytest.mark.parametrize("question", ["quality_vs_quantity", "reasoning_traces"])
def test_arms_with_rows_of_their_own_are_scored_on_rows_that_are_given(
    question: str, sources: tuple[str, str], tmp_path: Path, make_model: Models
) -> None:
    own = (f"data.source={','.join(sources)}", f"model.name={make_model('llama')}", "adapter.rank=4")
    with pytest.raises(BadInput) as error:
        prepared(question, *own)
    assert error.value.field == "data.source"
    begins = f"data.source={','.join(sources)}: each arm would be scored on held-out rows of its own source ("
    assert error.value.text.startswith(begins)
    assert error.value.text.endswith("; give --eval-data FILE, rows on which all arms are scored")
    asked = write_rows(tmp_path / "asked.jsonl", 60, asks="tell")
    plan = prepared(question, *own, eval_data=asked).plan
    hashes = {preflight.inspect(probe).evaluation_rows_hash for probe in plan.probes}
    assert len(hashes) == 1


def test_the_same_questions_with_other_answers_are_other_rows(tmp_path: Path, make_model: Models) -> None:
    bare, traces = write_rows(tmp_path / "a.jsonl", 300), write_rows(tmp_path / "b.jsonl", 300, answers="first this then")
    base = Trial(model=dataclasses.replace(Trial().model, name=make_model("llama")), data=Data(source=bare))
    assert "--eval-data" in refusal(experiment(base, {"data.source": (bare, traces)})).text


@pytest.mark.parametrize(
    ("field", "levels", "said"),
    [
        ("data.eval_share", (0.1, 0.3), "scored on different rows"),
        ("evaluation.max_rows", (5, 40), "scored on different rows"),
        ("evaluation.drift_samples", (8, 16), "forgetting would be measured on different texts"),
        ("evaluation.drift_tokens", (8, 16), "forgetting would be measured on different texts"),
    ],
)
def test_a_field_that_changes_what_is_scored_cannot_tell_arms_apart(
    field: str, levels: tuple[object, ...], said: str, sources: tuple[str, str], make_model: Models
) -> None:
    base = Trial(model=dataclasses.replace(Trial().model, name=make_model("llama")), data=Data(source=sources[0]))
    refused = refusal(experiment(base, {field: levels}))
    assert refused.field == field
    assert refused.text.startswith(f"{field}={levels[0]},{levels[1]}: ")
    assert said in refused.text


def test_rows_that_fit_only_some_arms_cannot_tell_arms_apart(tmp_path: Path, make_model: Models) -> None:
    rows = [{"instruction": f"say {i} {'fox ' * (i % 30)}", "output": "it is ."} for i in range(300)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = Trial(model=dataclasses.replace(Trial().model, name=make_model("llama")), data=Data(source=str(source)))
    refused = refusal(experiment(base, {"data.seq_len_tokens": (40, 64)}))
    assert refused.field == "data.seq_len_tokens"
    assert "--set data.seq_len_tokens=40" in refused.text
    assert len(run.prepare(experiment(base, {"data.seq_len_tokens": (120, 128)}), Options()).plan.arms) == 2  # all fit


def test_other_texts_for_forgetting_are_refused(sources: tuple[str, str], tmp_path: Path, make_model: Models) -> None:
    texts = [tmp_path / name for name in ("one.txt", "two.txt")]
    for text in texts:
        text.write_text(f"the quick brown fox of {text.name} jumps over the lazy dog . " * 200)
    base = Trial(model=dataclasses.replace(Trial().model, name=make_model("llama")), data=Data(source=sources[0]))
    refused = refusal(experiment(base, {"evaluation.base_text": tuple(map(str, texts))}))
    assert (refused.field, "different texts" in refused.text) == ("evaluation.base_text", True)


@pytest.mark.parametrize(
    ("field", "levels", "said"),
    [
        ("evaluation.items_per_task", (5, 10), "asked different questions"),
        ("data.held_out_fold", (0, 1), "asked different questions"),
        ("data.source", ("lab:curated", "lab:composed"), "different tasks (lab and composed)"),
    ],
)
def test_in_the_laboratory_all_arms_are_asked_the_same(field: str, levels: tuple[object, ...], said: str) -> None:
    refused = refusal(experiment(Trial(), {field: levels}))
    assert refused.field == field
    assert said in refused.text


def test_a_fold_that_goes_with_the_seed_is_asked_of_all_arms() -> None:
    asked = experiment(Trial(), {"adapter.rank": (2, 4)}, with_seed={"data.held_out_fold": (0, 1)})
    assert len(run.prepare(asked, Options()).plan.arms) == 2


def test_tokens_of_different_tokenizers_are_a_caution(sources: tuple[str, str], tmp_path: Path, make_model: Models) -> None:
    from conftest import make_tokenizer

    one, other = make_model("llama"), tmp_path / "other"
    other.mkdir()
    for file in Path(one).iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    base = Trial(data=Data(source=sources[0]))
    asked = experiment(base, {"model.name": (one, make_model("qwen2"))})
    assert not [note for note in run.prepare(asked, Options()).notes if "tokenizers" in note]  # of one tokenizer
    make_tokenizer(specials=("<pad>", "<s>", "</s>", "<other>")).save_pretrained(other)
    noted = run.prepare(dataclasses.replace(asked, vary={"model.name": (one, str(other))}), Options()).notes
    (caution,) = [note for note in noted if "tokenizers" in note]
    assert "2 different tokenizers" in caution


# The same runs


def repeated(asked: Experiment) -> dict[str, str]:
    return {one.arm.label: one.of for one in run.prepare(asked, Options()).plan.repeated}


@pytest.fixture
def own(sources: tuple[str, str], make_model: Models) -> Trial:
    """A trial with rows and a model of the user's."""
    return Trial(
        model=dataclasses.replace(Trial().model, name=make_model("llama")),
        data=Data(source=sources[0], n_examples=50),
        adapter=Lora(rank=4),
    )


def test_more_examples_than_there_are_are_the_same_runs(tmp_path: Path, make_model: Models) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 1_020)  # 920 or so without those that are scored
    own = {"model": make_model("llama"), "data": rows}
    made = prepared("data_quantity", "adapter.rank=4", **own)
    assert [(one.arm.label, one.of) for one in made.plan.repeated] == [
        ("n_examples=2000", "n_examples=1000"),
        ("n_examples=4000", "n_examples=1000"),
        ("n_examples=8000", "n_examples=1000"),
        ("n_examples=4000 steps=189", "n_examples=2000 steps=189"),
        ("n_examples=8000 steps=189", "n_examples=2000 steps=189"),
    ]
    assert len(made.plan.arms) == 17 - 5
    assert (made.plan.n_tuning, made.plan.n_final) == (12 * 4, 12 * 8)
    assert "n_examples=2000: the same runs as n_examples=1000, run once" in made.notes
    fewer = prepared("data_quantity", "adapter.rank=4", without=("n_examples=1000",), **own).plan
    assert ("n_examples=4000", "n_examples=2000") in [(one.arm.label, one.of) for one in fewer.repeated]
    assert fewer.sweep == made.plan.sweep


@pytest.mark.parametrize(
    ("field", "levels", "expected"),
    [
        ("data.n_clusters", (None, 4, 3), {"n_clusters=4": "n_clusters=None"}),
        ("data.n_tasks", (7, None, 8), {"n_tasks=8": "n_tasks=None"}),
        ("data.best_share", (1.0, 0.999, 0.5), {"best_share=0.999": "best_share=1"}),
        ("data.noise_share", (0.0, 0.001, 0.5), {"noise_share=0.001": "noise_share=0"}),
        ("data.held_out_fold", (0, 1), {"held_out_fold=1": "held_out_fold=0"}),  # the laboratory's alone
        ("train.epochs", (1.0, 1.1, 1.25, 2.0), {"epochs=1.25": "epochs=1.1"}),  # four steps an epoch
        ("train.steps", (None, 12, 13), {"steps=12": "steps=None"}),  # three epochs
        ("train.micro_batch_size", (None, 16, 4), {"micro_batch_size=16": "micro_batch_size=None"}),
        ("evaluation.tasks", ("auto", "text"), {"tasks=text": "tasks=auto"}),
        ("data.seq_len_tokens", (None, 128), {"seq_len_tokens=128": "seq_len_tokens=None"}),
        ("evaluation.max_rows", (500, 600), {"max_rows=600": "max_rows=500"}),
        ("train.schedule", ("linear", "cosine"), {}),
        ("train.batch_size", (8, 16), {}),
    ],
)
def test_levels_that_come_to_the_same(field: str, levels: tuple[object, ...], expected: dict[str, str], own: Trial) -> None:
    assert repeated(experiment(own, {field: levels})) == expected


def test_clusters_of_which_every_seed_draws_others_are_compared_at_every_seed(own: Trial, tmp_path: Path) -> None:
    """One cluster is large: where the seed draws it first, both arms have the same rows."""
    large = write_rows(tmp_path / "large.jsonl", 200, cluster="large")
    small = write_rows(tmp_path / "small.jsonl", 200, asks="name", cluster="small")
    both = tmp_path / "both.jsonl"
    both.write_text(Path(large).read_text() + "".join(Path(small).read_text().splitlines(keepends=True)[:20]))
    base = dataclasses.replace(own, data=Data(source=str(both), n_clusters=1))
    assert repeated(experiment(base, {"data.n_examples": (300, 400)})) == {"n_examples=400": "n_examples=300"}
    at = {seed: preflight.inspect(dataclasses.replace(base, seed=seed)).n_available for seed in range(6)}
    few = next(seed for seed, n in at.items() if n < 50)
    many = next(seed for seed, n in at.items() if n > 50)
    base = dataclasses.replace(base, seed=few)
    asked = experiment(base, {"data.n_examples": (60, 100)})
    assert repeated(dataclasses.replace(asked, seeds=(few,))) == {"n_examples=100": "n_examples=60"}
    assert repeated(dataclasses.replace(asked, seeds=(few, many))) == {}


def test_settings_of_an_adapter_that_come_to_the_same(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    stabilized = {"adapter.rank_stabilized": (False, True)}
    assert repeated(experiment(dataclasses.replace(own, adapter=Lora(rank=1)), stabilized))
    assert not repeated(experiment(own, stabilized))
    presets = {"adapter.targets": ("attention-qv", "attention", "mlp", "all-linear")}
    assert not repeated(experiment(own, presets))
    monkeypatch.setattr(alike, "layers", lambda trial: ("q_proj",) if trial.adapter.targets != "mlp" else ("up_proj",))
    first = "lora targets=attention-qv"
    assert repeated(experiment(own, presets)) == {"lora targets=attention": first, "lora targets=all-linear": first}


def test_copies_of_a_model_or_of_rows_are_the_same_runs(own: Trial, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(own.data.source).read_bytes())
    assert repeated(experiment(own, {"data.source": (own.data.source, str(copy))}))
    model = tmp_path / "model"
    model.mkdir()
    for file in Path(own.model.name).iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    assert repeated(experiment(own, {"model.name": (own.model.name, str(model))}))


def test_rows_that_are_too_long_keep_steps_apart(own: Trial, tmp_path: Path) -> None:
    """How many rows are too long is an estimate; steps that follow from it are not taken for the same."""
    rows = tmp_path / "long.jsonl"
    long = [{"instruction": "say " + "fox " * 300 + str(i), "output": "fox"} for i in range(2)]
    rows.write_text(Path(own.data.source).read_text() + "".join(json.dumps(row) + "\n" for row in long))
    base = dataclasses.replace(own, data=Data(source=str(rows), n_examples=None))
    n_steps = preflight.inspect(base).steps
    assert repeated(experiment(base, {"train.steps": (None, n_steps)})) == {}


def test_replayed_documents_that_round_to_none() -> None:
    base = dataclasses.replace(Trial(), data=Data(n_examples=20))
    asked = experiment(base, {"data.replay_share": (0.0, 0.01, 0.25)})
    assert repeated(asked) == {"replay_share=0.01": "replay_share=0"}


def test_an_arm_that_is_tuned_is_not_one_that_is_not(own: Trial) -> None:
    tune = experiments.load("rank_vs_quality").tune
    also = ({"data.n_examples": 900, "train.learning_rate": 1e-3},)
    asked = experiment(own, {"data.n_examples": (800, 900)}, also=also, tune=tune, tune_trials=5)
    made = run.prepare(asked, Options()).plan
    assert {one.arm.label: one.of for one in made.repeated} == {"n_examples=900": "n_examples=800"}
    assert len(made.arms) == 2


def test_claims_about_an_arm_that_is_the_same_runs_are_not_tested(tmp_path: Path, make_model: Models) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 1_020)
    made = prepared("data_quantity", "adapter.rank=4", model=make_model("llama"), data=rows).plan
    told = json.loads(Sweep(made, tmp_path, f"sqlite:///{tmp_path}/mlflow.db", tmp_path).repeated())
    assert told[2] == {"arm": "n_examples=8000", "of": "n_examples=1000", "fields": {"data.n_examples": 8_000}}
    arms = {
        f"n_examples={n}": ArmState({"data.n_examples": n, "train.steps": None}, ability=n / 1_000) for n in (100, 500, 1_000)
    }
    trials, items = question(arms, n_items=40)
    answered = questions.answer("data_quantity", load.told(trials, told), items)
    assert {arm.label for arm in answered.tables.arms} == set(arms)
    notes = {one.id: (str(one.verdict), one.note) for one in answered.verdicts}
    why = "n_examples=8000 is the same runs as n_examples=1000, run once"
    assert notes["500_examples_reach_90_percent"] == ("not tested", why)
    assert notes["sixteen_times_data_no_gain_equal_epochs"] == ("not tested", why)
    without = questions.answer("data_quantity", trials, items)
    assert all("no arm with data.n_examples=8000" in one.note for one in without.verdicts if "epochs" in one.id)
