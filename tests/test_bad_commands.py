"""Commands that cannot be understood: each is told in one line with what to mend, exit code 2, nothing written."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experiments
from analysis import report
from core.errors import BadInput
from core.settings import Trial
from sweeps import overrides, run
from sweeps.options import OPTIONS, Options, parse
from sweeps.plan import Plan
from sweeps.run import main

Q = "rank_vs_quality"
LONG = "x" * 5_000
NUMBERS = ("", " ", "x", "nan", "1,2", "'1'", "--", "٣", "1_", "0x1", "½")
LEVELS = ",".join(map(str, range(1, 10_001)))

# --set FIELD=VALUE → words of the answer, beside the field's name
SETTINGS: dict[str, tuple[str, ...]] = {
    f"adapter.rank={LEVELS}": ("10,000 levels", "at most"),
    "adapter.rank=1e400": ("'1e400'", "whole number"),
    "adapter.rank=inf": ("'inf'", "whole number"),
    "adapter.rank=nan": ("'nan'", "whole number"),
    "adapter.rank=8.0": ("'8.0'", "whole number"),
    "adapter.rank=true": ("'true'", "whole number"),
    "adapter.rank=none": ("'none'", "whole number"),
    "adapter.rank=999999999999999999999999": ("at most 128",),
    "adapter.rank=" + "9" * 5_000: ("whole number",),
    "adapter.rank=-4": ("-4", "at least 1"),
    "adapter.rank=[1,2]": ("'[1'", "whole number"),
    "adapter.rank='8'": ("whole number",),
    "adapter.rank=８": ("'８'", "whole number"),
    "adapter.rank=8,": ("a level is empty",),
    "adapter.rank=,8": ("a level is empty",),
    "adapter.rank=8,,9": ("a level is empty",),
    "adapter.rank=8 9": ("'8 9'", "whole number"),
    "adapter.rank=8;9": ("'8;9'", "whole number"),
    "adapter.rank==8": ("'=8'", "whole number"),
    "adapter.rank=1..64": ("a range fits only",),
    "adapter..rank=8": ("did you mean 'adapter.rank'?",),
    ".rank=8": ("did you mean 'adapter.rank'?",),
    "Adapter.Rank=8": ("did you mean 'adapter.rank'?",),
    "rank=8": ("did you mean 'adapter.rank'?",),
    "adapter=lora": ("no such field",),
    "adapter.method=x": ("'x'", "choose from lora, dora, "),
    "adapter.alpha_over_rank=0": ("above 0",),
    "adapter.dropout=1": ("below 1",),
    "adapter.targets=attn": ("did you mean 'attention'?",),
    "adapter.targets=": ("must look like",),
    "model=1": ("no such field",),
    "model.PREFIX=x": ("no such field",),
    "model.name=": ("must look like",),
    "model.name=nosuch": ("no such directory",),
    "model.name=/": ("no config.json",),
    f"model.name={LONG}": ("must be lab:base-<seed>, a directory or a hub id",),
    "model.name=a\0b": ("must be lab:base-<seed>, a directory or a hub id",),
    "model.name=lab:base--1": ("lab:base-1",),
    "model.dtype=int8": ("choose from auto, float32, bfloat16",),
    "model.quantization=int4": ("did you mean 'int8'",),
    "model.trust_remote_code=maybe": ("true or false",),
    f"data.source={LONG}.jsonl": ("must be lab:curated",),
    "data.source=gone.jsonl": ("no such file",),
    "data.source=lab:curate": ("did you mean 'lab:curated'?",),
    "data.source=a\nb.jsonl": ("must be lab:curated",),
    "data.source=\udcff.jsonl": ("must be lab:curated",),
    "data.n_examples=0": ("at least 1",),
    "data.n_examples=-5": ("at least 1",),
    "data.n_examples=1e3": ("'1e3'", "whole number"),
    "data.n_examples=99999999999999": ("at most 1,000,000,000",),
    "data.n_examples=1,000": ("one number is written without commas",),
    "data.eval_source=lab:curated": ("evaluated on the laboratory's own",),
    "data.eval_share=0": ("between 0 and 1",),
    "data.eval_share=nan": ("'nan'", "a number"),
    "data.seq_len_tokens=1": ("at least 8",),
    "data.seq_len_tokens=100000": ("context",),
    "data.held_out_fold=9": ("0, 1, 2 or 3",),
    "data.n_clusters=0": ("at least 1",),
    "data.replay_share=2": ("between 0 and 0.9",),
    "data.replay_domain=x": ("data.replay_share",),
    "data.best_share=0": ("above 0",),
    "data.best_share=0.5": ("score",),
    "data.noise_share=-1": ("between 0 and 1",),
    "train.learning_rate=": ("must look like",),
    "train.learning_rate=1e-4..nan": ("'nan'", "a number"),
    "train.learning_rate=..": ("1e-4..1e-1",),
    "train.learning_rate=inf..1": ("'inf'", "a number"),
    "train.learning_rate=1e-4..1e-1,1e-2": ("a number",),
    "train.learning_rate=1e-3,1e-2": ("several values",),
    "train.learning_rate=1e-1..1e-4": ("at least 2 times",),
    "train.learning_rate=-1e-3": ("at least 1e-12",),
    "train.epochs=1e9": ("at most 1000",),
    "train.epochs=0": ("above 0",),
    "train.steps=0": ("at least 1",),
    "train.steps=1e3": ("whole number",),
    "train.batch_size=999999999999": ("at most 1,000,000",),
    "train.batch_size=0": ("at least 1",),
    "train.micro_batch_size=7": ("a divisor of train.batch_size=16",),
    "train.schedule=lin": ("did you mean 'linear'?",),
    "train.warmup_share=1": ("below 1",),
    "train.weight_decay=-1": ("at least 0",),
    "train.max_grad_norm=0": ("above 0",),
    "train.loss_on=x": ("choose from response, ",),
    "train.__class__=2": ("no such field",),
    "train.=2": ("no such field",),
    "evaluation.tasks=foo": ("'foo'", "choose from"),
    "evaluation.tasks=+": ("choose from",),
    "evaluation.tasks=lab+lab": ("lab is named twice",),
    "evaluation.chat=x": ("choose from template, plain, other",),
    "evaluation.items_per_task=0": ("at least 1",),
    "evaluation.drift_samples=99999999": ("at most 1,000,000",),
    "evaluation.split=test": ("the sweep sets this itself",),
    "evaluation.base_text=/etc/passwd": ("evaluated on the laboratory's own",),
    "seed=1": ("use --seeds N",),
    "a=b=c": ("no such field", "choose from model.name"),
}

# A command → words of its answer.
COMMANDS: list[tuple[list[str], tuple[str, ...]]] = [
    *(([Q, option, text], (option, "must be" if text.strip() else "must not be empty"))
      for option in ("--seeds", "--concurrency", "--gpus-per-trial", "--trial-timeout") for text in NUMBERS if text != "--"),
    *(([Q, option], (f"{option}: needs a value",)) for option in OPTIONS
      if OPTIONS[option][1].get("action") != "store_true"),
    *(([Q, option, value], (option, words)) for option in ("--model", "--data", "--eval-data", "--base-text", "--tracking-uri",
      "--output") for value, words in (("", "must not be empty"), (" ", "must not be empty"), ("a\0b", "control characters"))),
    *(([Q, f"{option}=1"], (f"{option}=1: this option takes no value",)) for option in ("--smoke", "--dry-run", "--status")),
    *(([Q, *2 * [option, "1"]], (f"{option}: given 2 times",)) for option in ("--seeds", "--concurrency", "--model", "--data")),
    ([Q, "--seeds", "-1"], ("--seeds -1", "between 1 and 100")),
    ([Q, "--seeds", "1" + "0" * 30], ("--seeds 1000", "between 1 and 100")),
    ([Q, "--seeds", "1.5"], ("--seeds '1.5'", "whole number")),
    ([Q, "--concurrency", "0"], ("--concurrency 0", "at least 1")),
    ([Q, "--concurrency", "9" * 20], ("--concurrency 999", "at most 10,000")),
    ([Q, "--gpus-per-trial", "1.5"], ("between 0 and 1",)),
    ([Q, "--gpus-per-trial", "-1"], ("between 0 and 1",)),
    ([Q, "--trial-timeout", "1e400"], ("--trial-timeout inf", "at most")),
    ([Q, "--retry", "all"], ("--retry 'all'", "must be failed")),
    ([Q, "--retry", "failed", "--dry-run"], ("--retry: does nothing with --dry-run; leave one out",)),
    ([Q, "--retry", "failed", "--status"], ("--retry: does nothing with --status",)),
    (["--all", "--probe", "--status"], ("--probe: does nothing with --status",)),
    ([Q, "--output", LONG], ("--output", "must be a directory")),
    ([Q, "--without", ""], ("--without ''", "no such arm")),
    ([Q, "--without", ","], ("--without ''", "no such arm")),
    ([Q, "--without", "full,"], ("--without ''", "no such arm")),
    ([Q, "--without", "lora r=65"], ("--without 'lora r=65'", "choose from lora r=1, ")),
    ([Q, "--without", LONG], ("--without", "no such arm")),
    ([Q, "--without", "lora r=1,lora r=4,lora r=16,lora r=64,full"], ("no arm is left",)),
    ([Q, "--set", "="], ("'='", "must look like train.epochs=2")),
    ([Q, "--set", "train.epochs"], ("must look like",)),
    ([Q, "--set", ""], ("''", "must look like")),
    ([Q, "--set", "train.epochs=1", "--set", "train.epochs=2"], ("train.epochs is set twice",)),
    ([Q, "--model", "nosuch"], ("model.name=nosuch", "no such directory")),
    ([Q, "--model", LONG], ("model.name=", "must be lab:base-<seed>")),
    ([Q, "--data", LONG], ("data.source=", "must be lab:curated")),
    ([Q, "--eval-data", LONG], ("data.eval_source=", "a file or a hub id")),
    ([Q, "--base-text", LONG], ("evaluation.base_text=", "a text file")),
    ([Q, "--data", "gone.jsonl"], ("data.source=gone.jsonl", "no such file")),
    ([Q, "--bogus"], ("--bogus: unknown",)),
    ([Q, "--Seeds", "2"], ("--Seeds: unknown; did you mean '--seeds'?",)),
    ([Q, "-s"], ("-s: unknown; choose from",)),
    ([Q, "epochs"], ("epochs: unknown; one experiment at a time",)),
    ([Q, "--list"], ("--list shows every experiment", f"leave out {Q}")),
    (["--list", "--seeds", "2"], ("--list shows every experiment", "leave out --seeds")),
    (["--all", Q], ("--all runs every experiment", f"leave out {Q}")),
    ([Q, "--status", "--dry-run"], ("--dry-run and --status: one at a time",)),
    ([], ("name an experiment",)),
    (["", "--dry-run"], ("experiment '' is unknown",)),
    (["nosuch"], ("'nosuch' is unknown: choose from adapter_methods",)),
    (["RANK_VS_QUALITY"], ("did you mean 'rank_vs_quality'?",)),
    (["rank-vs-quality"], ("did you mean 'rank_vs_quality'?",)),
    (["experiments/epochs.py"], ("did you mean 'epochs'?",)),
    (["\0"], ("is unknown",)),
    (["best_recipe", "--set", "adapter.method=full"], ("adapter.method=full", "it has no adapter.rank", "leave out")),
    (["best_recipe", "--set", "train.steps=3"], ("train.steps",)),
    (["best_recipe", "--set", "train.epochs=1..x"], ("train.epochs='x'",)),
    (["best_recipe", "--retry", "failed"], ("--retry failed", "start anew")),
    (["quality_vs_quantity", "--data", "x.jsonl"], ("--data x.jsonl", "--set data.source=A,B")),
    (["quality_vs_quantity", "--set", "data.source=a,b,c"], ("give 2 values",)),
    (["knowledge", "--model", "x"], ("model.name=x", "leave out --model")),
    (["replay", "--set", "data.source=x.jsonl"], ("data.source=x.jsonl", "leave out --set data.source")),
]  # fmt: skip

REPORTS: list[tuple[list[str], tuple[str, ...]]] = [
    (["nosuch"], ("question 'nosuch': choose from adapter_methods",)),
    (["Epochs"], ("did you mean 'epochs'?",)),
    ([Q, "epochs"], ("epochs: unknown; one question at a time",)),
    ([Q, "--sweep"], ("--sweep: needs a value",)),
    ([Q, "--sweep", ""], ("--sweep: must not be empty",)),
    ([Q, "--sweep", "a", "--sweep", "b"], ("--sweep b", "one sweep of one question")),
    ([Q, "--outptu", "x"], ("--outptu: unknown; did you mean '--output'?",)),
    ([Q, "--output", ""], ("--output: must not be empty",)),
    ([Q, "--output", LONG], ("--output",)),
    ([Q, "--report", "a\0b"], ("--report", "control characters")),
    ([Q, "--tracking-uri", ""], ("--tracking-uri: must not be empty",)),
    ([Q, "--tracking-uri", "foo://x"], ("foo://x",)),
]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be written where the command stands."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def answered(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert all(line.startswith("error: ") and line[7:].strip() for line in said.err.splitlines())
    assert all(line.isprintable() and len(line) < 2_500 for line in said.err.splitlines())
    assert not said.err.rstrip().endswith((":", ";"))
    assert not list(Path.cwd().iterdir())
    return said.err


def test_there_are_enough() -> None:
    assert len(SETTINGS) + len(COMMANDS) + len(REPORTS) >= 200


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda text: ascii(text[:40]))
def test_a_bad_setting_is_one_line(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = answered([Q, "--dry-run", "--set", setting], capsys)
    assert line.count("\n") == 1
    assert all(word in line for word in (setting.partition("=")[0], *SETTINGS[setting])), line


@pytest.mark.parametrize(("arguments", "words"), COMMANDS, ids=lambda value: ascii(value)[:60])
def test_a_bad_command_is_one_line(arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    line = answered(arguments, capsys)
    assert line.count("\n") == 1
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("arguments", "words"), REPORTS, ids=lambda value: ascii(value)[:60])
def test_a_bad_command_of_the_report_is_one_line(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(arguments) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert all(word in line for word in ("error: ", *words)), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([Q, "--seeds", "x", "--concurrency", "", "--bogus"], ("--seeds 'x'", "--concurrency: must", "--bogus: unknown")),
        ([Q, "--set", "a=1", "--set", "adapter.rank=0", "--seeds", "0", "--concurrency", "0"],
         ("a: no such", "adapter.rank=0", "--seeds 0", "--concurrency 0")),
        ([Q, "--without", "x", "--without", "y"], ("--without 'x'", "--without 'y'")),
        ([Q, "--set", "model.quantization=nf4", "--set", "adapter.rank=8,1000"], ("adapter.rank=1000", "--without full")),
        (["nosuch", "--seeds", "x"], ("'nosuch' is unknown", "--seeds 'x'")),
    ],
)  # fmt: skip
def test_independent_problems_are_told_at_once(
    arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = answered(arguments, capsys).splitlines()
    assert len(lines) == len(words)
    for word in words:
        assert sum(word in line for line in lines) == 1, lines


NAMES = st.sampled_from(
    ["adapter.rank", "train.learning_rate", "data.source", "data.n_examples", "model.name", "adapter.method", "x"]
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="0123456789.,-+e_xna[]'\"= ", max_size=20),
    st.floats().map(str),
    st.integers().map(str),
    st.lists(st.integers(-5, 200).map(str), max_size=6).map(",".join),
)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(name=st.one_of(NAMES, st.text(max_size=12)), text=TEXTS, question=st.sampled_from([Q, "best_recipe", "data_quantity"]))
def test_any_setting_makes_a_plan_or_is_refused(name: str, text: str, question: str) -> None:
    with contextlib.suppress(BadInput):
        changed = overrides.apply_settings(experiments.load(question), [f"{name}={text}"])
        plan = Plan.of(changed, lambda trial: {"data": trial.data.source, "model": trial.model.name})
        assert plan.n_trials > 0
        assert all(isinstance(probe, Trial) for probe in plan.probes)


# From Python


def test_texts_from_python_are_read_as_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr(run, "prepare", lambda question, chosen: asked.append(chosen))
    monkeypatch.setattr(run, "start", lambda *rest: None)
    texts = {"budget": "2h", "seeds": "2", "concurrency": "2", "disk_budget": "1GB", "checkpoint_every": "5m", "retry": "failed"}
    values = {"budget": 7_200, "seeds": 2, "concurrency": 2, "disk_budget": 10**9, "checkpoint_every": 300, "retry": "failed"}
    for options in (texts, values):
        run.run_question(Q, "runs", ["train.epochs=2"], without=["full"], smoke=True, model=None, **options)
    words = [word for name, text in texts.items() for word in (f"--{name.replace('_', '-')}", text)]
    typed = parse([Q, "--set", "train.epochs=2", "--without", "full", "--smoke", *words], "").options
    assert asked == [typed, typed]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": "two"}, "--seeds 'two': must be a whole number"),
        ({"seeds": 2.0}, "--seeds 2.0: must be a whole number"),
        ({"concurrency": True}, "--concurrency True: must be a whole number"),
        ({"budget": ["2h"]}, "--budget ['2h']: must be a time like 90m, 2h, 1.5h or 1d"),
        ({"trial_timeout": None}, "--trial-timeout None: must be a number of seconds"),
        ({"retry": "all"}, "--retry 'all': must be failed"),
        ({"smoke": "yes"}, "--smoke 'yes': must be True or False"),
        ({"smoke": 1}, "--smoke 1: must be True or False"),
        ({"model": 7}, "--model 7: must be text"),
        ({"without": "full"}, "--without 'full': must be a list of texts"),
        ({"overrides": ["a=1", 2]}, "--set ['a=1', 2]: must be a list of texts"),
        ({"output": 5}, "--output 5: must be a directory"),
    ],
)
def test_what_is_no_value_of_an_option_is_told_to_python(
    options: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "prepare", lambda *rest: pytest.fail("nothing was said"))
    with pytest.raises(BadInput) as error:
        run.run_question(Q, **options)
    assert (str(error.value), error.value.field) == (says, says.split()[0])
