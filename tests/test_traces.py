"""Requests of two steps: what is right and disjoint, that both sources pair, and that what a model writes is scored rightly."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from simulated import ArmState, answered, truths

from analysis.claims.verdicts import Verdict
from core import preflight
from core.data import selection
from core.fields import replace_field
from core.lab import composed, instruct, skills, tokenizer, version
from core.lab.make import synthetic
from core.lab.requests import ALL_SOURCES, COMPOSED, NEW_FACTS, SOURCES
from core.settings import Data, Evaluation, Trial

BARE, TRACES = COMPOSED
SPLITS = ("validation", "test")
FOLDS = range(len(skills.FOLDS))

# The skills again, by hand.
RIGHT: dict[str, Callable[[list[str]], list[str]]] = {
    "reverse": lambda s: [s[-1 - i] for i in range(len(s))],
    "sort": lambda s: sorted(s, key=ord),
    "sortdown": lambda s: sorted(s, key=lambda c: -ord(c)),
    "rotate": lambda s: [s[(i + 1) % len(s)] for i in range(len(s))],
    "swap": lambda s: [s[{0: len(s) - 1, len(s) - 1: 0}.get(i, i)] for i in range(len(s))],
    "behead": lambda s: [s[i] for i in range(1, len(s))],
    "curtail": lambda s: [s[i] for i in range(len(s) - 1)],
    "keeptwo": lambda s: [s[0], s[1]],
    "close": lambda s: [s[i % len(s)] for i in range(len(s) + 1)],
    "stutter": lambda s: [s[i // 2] for i in range(2 * len(s))],
    "repeat": lambda s: [s[i % len(s)] for i in range(2 * len(s))],
    "mirror": lambda s: [s[min(i, 2 * len(s) - 1 - i)] for i in range(2 * len(s))],
    "nextletter": lambda s: [chr((ord(c) - 97 + 1) % 26 + 97) for c in s],
    "priorletter": lambda s: [chr((ord(c) - 97 - 1) % 26 + 97) for c in s],
}


def said(row: dict) -> tuple[str, str]:
    request, answer = (message["content"] for message in row["messages"])
    return request, answer


def letters(request: str) -> list[str]:
    """The list that a request is about: its one stretch of letters."""
    stretches = [found.split() for found in re.findall(r"(?:(?<!\S)[a-z](?!\S) ?){2,}", request.replace("i need", "need"))]
    return max(stretches, key=len)


def asked(request: str) -> tuple[str, list[str]]:
    """(composition, letters) of a request, from its words alone."""
    x, fitting = letters(request), {}
    for name in (f"{a}+{b}" for a in RIGHT for b in RIGHT):
        first, second = (skills.BY_NAME[step].imperatives for step in name.split("+"))
        for one, other in itertools.product(first, second):
            text = f"{one.format(x=' '.join(x))} and then {other.format(x='it')}"
            if text in request:
                fitting[text] = name
    return fitting[max(fitting, key=len)], x  # "sort it from the end" has "sort it" in it


@pytest.mark.parametrize("source", COMPOSED)
def test_answers_are_right_step_by_step(source: str) -> None:
    for row in instruct.training_rows(source, 1)[::11]:
        request, answer = said(row)
        name, x = asked(request)
        assert row["task"] == name
        first, last = name.split("+")
        between = RIGHT[first](x)
        final = " ".join(RIGHT[last](between))
        assert answer == (f"{final} ." if source == BARE else f"{' '.join(between)} . answer : {final} .")
        assert composed.final_answer(answer) == final


def test_questions_have_right_answers() -> None:
    for one in composed.questions("test", 20):
        name, x = asked(one.prompt)
        first, last = name.split("+")
        assert (one.task, one.answer) == (name, " ".join([*RIGHT[last](RIGHT[first](x)), "."]))


@pytest.mark.parametrize("fold", FOLDS)
def test_nothing_that_is_asked_was_trained_on(fold: int) -> None:
    trained = instruct.training_rows(TRACES, fold)
    pairs = {(row["task"], " ".join(letters(said(row)[0]))) for row in trained}
    requests, names = {said(row)[0] for row in trained}, {row["task"] for row in trained}
    held_out = {one.name for one in composed.compositions() if one.fold == fold}
    assert len(requests) == len(trained) == composed.N_ROWS
    assert len(held_out) >= 30
    assert not held_out & names
    assert held_out | names == {one.name for one in composed.compositions()}
    single = {(q.task, x) for split in SPLITS for q in instruct.questions(split, 50) for x in q.id.split("/")[2].split(" | ")}
    steps = {(step, text) for name, x in pairs for step, text in zip(name.split("+"), [x, _first(name, x)], strict=True)}
    assert not single & steps  # single skills are asked about inputs that no step had
    for split in SPLITS:
        questions = composed.questions(split, 50)
        assert not {(q.task, q.id.split("/")[2]) for q in questions} & pairs
        assert not {q.prompt for q in questions} & requests
        assert {q.task for q in questions if q.cluster == str(fold)} == held_out
        assert len({q.id for q in questions}) == len(questions)
    assert not {q.prompt for q in composed.questions("test", 50)} & {q.prompt for q in composed.questions("validation", 50)}


def _first(name: str, x: str) -> str:
    return " ".join(RIGHT[name.split("+")[0]](x.split()))


def test_every_skill_stays_in_training_at_both_steps() -> None:
    for fold in FOLDS:
        trained = [one.steps for one in composed.compositions() if one.fold != fold]
        assert {steps[0].name for steps in trained} == {steps[1].name for steps in trained} == set(composed.LENGTHS)


def test_each_step_counts_and_gets_what_documents_show() -> None:
    rng = random.Random(0)
    for name, (low, high) in composed.LENGTHS.items():
        drawn = [skills.BY_NAME[name].draw(rng)["x"].split() for _ in range(300)]
        assert {len(x) for x in drawn} == set(range(low, high + 1))
        assert all(len(set(x)) == len(x) for x in drawn) is (name in composed.DISTINCT)
    for one in composed.compositions():
        x = one.example(rng, "test")
        assert x is not None
        first, last = (RIGHT[skill.name] for skill in one.steps)
        low, high = composed.LENGTHS[one.steps[1].name]
        assert low <= len(first(x.split())) <= high
        assert last(first(x.split())) not in (first(x.split()), last(x.split()))
    assert "reverse+sort" not in {one.name for one in composed.compositions()}  # sorting undoes what came before


def test_the_tokenizer_knows_every_word_and_single_requests_stay_single() -> None:
    known = set(tokenizer.vocabulary())
    for row in instruct.training_rows(TRACES, 0)[::5]:
        assert set(" ".join(said(row)).split()) <= known
        assert synthetic.recognise(said(row)[0]) is None or " and then " in said(row)[0]


def test_both_sources_pair_and_give_the_same_subset() -> None:
    for bare, traced in zip(instruct.training_rows(BARE, 2), instruct.training_rows(TRACES, 2), strict=True):
        assert said(bare)[0] == said(traced)[0]
        assert composed.final_answer(said(traced)[1]) == composed.final_answer(said(bare)[1])
    chosen = {
        (source, n): [row.prompt for row in selection.select(Data(source=source, n_examples=n), Evaluation(), 3).train]
        for source in COMPOSED
        for n in (485, 1_000)
    }
    assert chosen[BARE, 1_000] == chosen[TRACES, 1_000]
    assert chosen[TRACES, 485] == chosen[TRACES, 1_000][:485]


def test_equal_tokens_are_equal() -> None:
    experiment = importlib.import_module("experiments.reasoning_traces")
    sizes: dict[str, list[tuple[int, int]]] = {source: [] for source in COMPOSED}
    for source in COMPOSED:
        for row in instruct.training_rows(source, 0):
            request, answer = said(row)
            sizes[source].append((len(request.split()) + 3 + len(answer.split()) + 1, len(answer.split()) + 1))
    total, response = ({source: sum(size[i] for size in sizes[source]) for source in COMPOSED} for i in (0, 1))
    assert 1_000 * total[BARE] / total[TRACES] == pytest.approx(experiment.EQUAL_TOKENS, rel=0.01)
    assert 1_000 * response[BARE] / response[TRACES] == pytest.approx(experiment.EQUAL_RESPONSE_TOKENS, rel=0.01)
    assert 3 * total[TRACES] / total[BARE] == pytest.approx(experiment.BARE_EPOCHS, rel=0.01)


def test_composed_sources_have_their_own_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {source: version.version_of.__wrapped__(source) for source in ALL_SOURCES}
    assert {hashes[source] for source in (*SOURCES, NEW_FACTS)} == {version.version()}
    assert len({*(hashes[source] for source in COMPOSED), version.version()}) == 3
    assert preflight.provenance(replace_field(Trial(), "data.source", TRACES))["data"] == hashes[TRACES]
    monkeypatch.setattr(composed, "MARK", "response :")
    assert version.version_of.__wrapped__(TRACES) != hashes[TRACES]
    assert version.version.__wrapped__() == version.version()


# -- what the model writes


class Scripted:
    """Gives each request the answer that a script has for it, as `generate` would: left-padded prompts in, padded answers out."""

    def __init__(self, words: Any, script: dict[str, str]) -> None:
        import transformers

        self.words, self.script = words, script
        self.limits: set[int] = set()
        self.config = transformers.LlamaConfig()
        self.generation_config = transformers.GenerationConfig()

    def generate(self, input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        import torch

        max_new_tokens, pad_token_id = generation_config.max_new_tokens, self.words.vocabulary["a"]  # no end: all is written
        self.limits.add(max_new_tokens)
        out = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            n_padding = mask.count(0)
            assert mask == [0] * n_padding + [1] * (len(mask) - n_padding)  # all go on at the same place
            answer = self.words.ids(self.script[" ".join(map(str, ids[n_padding:]))])
            out.append(ids + [*answer, *[pad_token_id] * max_new_tokens][:max_new_tokens])
        return torch.tensor(out)

    def get_output_embeddings(self) -> Any:
        import torch

        return torch.nn.Identity()

    def parameters(self) -> Any:
        import torch

        return iter([torch.zeros(1)])


@pytest.fixture(scope="module")
def words() -> Any:
    pytest.importorskip("torch")
    from core.tasks import lab

    return lab.Words(tokenizer.build())


def subject(model: Any, data: Data) -> Any:
    from core.tasks.measurement import Subject

    trial = Trial(evaluation=Evaluation(items_per_task=20), data=data)
    return Subject(model, tokenizer.build(), trial, rows=(), reference=model, seq_len=256)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("says", "seen", "others"),
    [
        ("{y} . <|end|>", 1, 1),
        ("a b . answer : {y} . <|end|>", 1, 1),  # only the final answer counts
        ("{y} . answer : a . <|end|>", 0, 0),
        ("{y} a . <|end|>", 0, 0),
        ("{y} .", 0, 0),  # never ends
        ("{y} . <eos>", 0, 0),  # ends the text, not the turn
        ("{y} . <|end|> a a", 1, 1),  # what comes after the end is not part of it
    ],
)
def test_final_answers_are_scored(words: Any, monkeypatch: pytest.MonkeyPatch, says: str, seen: int, others: int) -> None:
    from core.tasks import composed as task

    single = [q for q in instruct.questions("test", 20) if q.task in composed.LENGTHS and q.style == "bare"]
    everything = [*composed.questions("test", 20), *single]
    script = {" ".join(map(str, words.request(q.prompt))): says.format(y=composed.final_answer(q.answer)) for q in everything}
    monkeypatch.setattr(task, "battery", lambda *_: [])
    model = Scripted(words, script)
    found = task.measure(subject(model, Data(source=TRACES)))
    stopped, tokens = (one for one in found if one.name.startswith("written/"))
    assert stopped.mean == float("<|end|>" in says)
    assert tokens.mean == task.MAX_ANSWER_TOKENS if "<|end|>" not in says else 0 < tokens.mean < task.MAX_ANSWER_TOKENS
    found = [one for one in found if one.name.startswith("exact_match/")]
    assert [one.name for one in found] == ["exact_match/seen", "exact_match/held_out", "exact_match/single"]
    assert [one.mean for one in found] == [seen, others, others]
    assert [one.axis for one in found] == ["quality", "other", "other"]
    longest = max(len(said(row)[1].split()) for row in instruct.training_rows(TRACES, 0))
    assert model.limits == {task.MAX_ANSWER_TOKENS}
    assert longest < task.MAX_ANSWER_TOKENS


def test_one_fold_is_what_was_never_trained(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.tasks import composed as task

    monkeypatch.setattr(task, "battery", lambda *_: [])
    monkeypatch.setattr(task, "written", lambda model, prompts, *_: [task.Written((), True)] * len(prompts))
    found = [one for one in task.measure(subject(None, Data(source=BARE, held_out_fold=2))) if one.unit == "accuracy"]
    trained = {row["task"] for row in instruct.training_rows(BARE, 2)}
    assert set(found[0].groups) == trained
    assert not set(found[1].groups) & trained
    assert set(found[2].groups) == set(composed.LENGTHS)


def test_padding_does_not_change_what_is_written() -> None:
    pytest.importorskip("torch")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core import lab as shipped
    from core.tasks import composed as task
    from core.tasks import lab

    path = shipped.base_path("lab:base-0")
    model, words = AutoModelForCausalLM.from_pretrained(path).eval(), lab.Words(AutoTokenizer.from_pretrained(path))
    texts = ("REVERSE ( a b c ) =", "SORT ( q d z k e ) =", "to reverse g h i is to write", "b c -> c d . x y -> y z . f g ->")
    prompts = [words.ids(text) for text in texts]
    stop = words.ids(".")[0]
    with torch.no_grad():
        together = task.written(model, prompts, stop, 8)
        alone = [task.written(model, [prompt], stop, 8)[0] for prompt in prompts]
        greedy = []
        for prompt in prompts:  # without a cache, one token after the other
            ids = list(prompt)
            while len(ids) < len(prompt) + task.MAX_ANSWER_TOKENS and ids[-1] != stop:
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            greedy.append(ids[len(prompt) : -1])
    assert together == alone
    assert [list(one.ids) for one in together] == greedy
    assert greedy[0] == words.ids("c b a")


# -- the verdicts


def judged(states: dict[str, ArmState], **settings: Any) -> dict[str, Verdict]:
    return answered("reasoning_traces", states, **settings)[1]


def arms(equal_tokens: float = 72_000.0) -> dict[str, ArmState]:
    tokens = {"source=lab:composed": 72_000, "n_examples=800": equal_tokens, "n_examples=485": 41_000}
    found = {}
    for label, truth in truths("reasoning_traces").items():
        n = next((n for key, n in tokens.items() if label.endswith(key)), 92_000)
        counted = {"train/tokens": float(n), "rows/response_tokens": 12.6 if "traces" in label else 6.1}
        found[label] = dataclasses.replace(truth, fields={**truth.fields, **counted})
    return found


def test_traces_that_help_only_by_their_tokens_are_told_apart() -> None:
    ability = {92_000.0: 2.0, 72_000.0: 1.0, 41_000.0: 0.0}
    states = {
        label: dataclasses.replace(t, ability=ability[float(str(t.fields["train/tokens"]))], held_out=float("traces" in label))
        for label, t in arms().items()
    }
    found = judged(states, n_items=4_000, seed_sd=0.02)
    assert {name: row.verdict for name, row in found.items()} == {
        "traces_beat_bare_at_equal_examples": "supported",
        "traces_beat_bare_at_equal_tokens": "undecided",
        "traces_beat_bare_on_unseen_compositions": "supported",
        "traces_beat_bare_at_equal_response_tokens": "contradicted",
        "traces_beat_more_passes_over_bare": "undecided",
    }


def test_traces_that_help_at_every_budget_are_supported_and_bare_answers_that_win_contradict() -> None:
    for ability, verdict in ((2.0, "supported"), (-1.0, "contradicted")):
        better = {label: dataclasses.replace(t, ability=ability, held_out=ability) for label, t in arms().items()}
        states = {label: better[label] if "traces" in label else t for label, t in arms().items()}
        assert {row.verdict for row in judged(states).values()} == {verdict}


def test_other_tokens_than_equal_ones_decide_nothing() -> None:
    states = {
        label: dataclasses.replace(t, ability=3.0) if "traces" in label else t for label, t in arms(equal_tokens=85_000.0).items()
    }
    found = judged(states)
    assert found["traces_beat_bare_at_equal_tokens"].verdict == "undecided"
    assert "supported but for this: tokens are not equal: 1.18 times" in found["traces_beat_bare_at_equal_tokens"].note
    assert found["traces_beat_bare_at_equal_examples"].verdict == "supported"
    elsewhere = {
        label: dataclasses.replace(t, fields={**t.fields, "data.source": "t.jsonl" if "traces" in label else "b.jsonl"})
        for label, t in states.items()
    }
    assert "were not counted" in judged(elsewhere)["traces_beat_bare_at_equal_response_tokens"].note
    few = {label: t for label, t in elsewhere.items() if not label.endswith(("n_examples=800", "n_examples=485"))}
    assert judged(few)["traces_beat_bare_at_equal_examples"].verdict == "supported"  # though bare answers have more arms
