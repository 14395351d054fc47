"""The laboratory's world and data: what is right, what is disjoint, and what its tokenizer can say."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BadInput
from core.lab import corpus, disjoint, instruct, requests, tokenizer, version, world
from core.lab.make import synthetic
from core.lab.skills import BY_NAME, CLUSTERS, FOLDS, SKILLS
from core.tasks import lab

FOLD_NUMBERS = range(len(FOLDS))
SPLITS = ("validation", "test")
N_ITEMS = 50
SHIPPED_SEEDS = (0, 7)

recognise = functools.cache(synthetic.recognise)  # the same prompts are in the pools of several folds


def prompts(rows: list[dict]) -> list[str]:
    return [row["messages"][0]["content"] for row in rows]


def answers_right(row: dict) -> bool | None:
    """Whether the answer is the one that the recognised task's program gives; None if no task is recognised."""
    known = recognise(row["messages"][0]["content"])
    return None if known is None else known.answer == row["messages"][1]["content"]


def inputs(rows: list[dict]) -> set[tuple[str, ...]]:
    """(task, slots…) of every input of rows whose task a program recognises."""
    found = (recognise(prompt) for prompt in prompts(rows))
    return {(known.skill.name, *slots.values()) for known in found if known for slots in known.inputs}


def keys_of(question: requests.Question, split: str) -> list[tuple[str, ...]]:
    """(task, slots…) of its inputs."""
    parts = question.id.removeprefix(f"{split}/{question.task}/").split(" | ")
    return [(question.task, *part.split(" ; ")) for part in parts]


@pytest.fixture(scope="module")
def synthetic_rows() -> list[dict]:
    """All rows of the file, before any fold leaves some out."""
    with gzip.open(instruct.SYNTHETIC_FILE, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_world_has_the_size_that_is_promised() -> None:
    assert len(SKILLS) >= 40
    assert len(CLUSTERS) == 12
    assert sorted(cluster for fold in FOLDS for cluster in fold) == sorted(CLUSTERS)
    assert len(requests.FRAMES["train"]) == 10


def test_the_same_rows_come_in_every_process_and_without_torch() -> None:
    code = (
        "import sys; from core.fields import content_hash; from core.lab import instruct, tokenizer, version; "
        "rows = [instruct.training_rows('lab:curated', 1), [q.id + q.prompt for q in instruct.questions('test', 5)]]; "
        "print(version.version(), content_hash(rows), content_hash(tokenizer.vocabulary()), 'torch' in sys.modules)"
    )
    said = set()
    for hash_seed in "12":  # the order of sets and of str hashes changes with it
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(run.stdout)
    assert len(said) == 1
    assert said.pop().split()[-1] == "False"


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'lab:curated'"):
        instruct.training_rows("lab:curatd", 0)


def test_frames_of_the_splits_are_disjoint() -> None:
    sets = [set(requests.FRAMES[split]) for split in ("train", *SPLITS)]
    assert sum(map(len, sets)) == len(set.union(*sets))


@pytest.mark.parametrize("fold", FOLD_NUMBERS)
@pytest.mark.parametrize("source", requests.SOURCES)
def test_nothing_that_is_asked_was_trained_on(source: str, fold: int) -> None:
    rows = instruct.training_rows(source, fold)
    trained, asked_before = inputs(rows), set(prompts(rows))
    assert len(trained) > 3_000
    assert {world.split_of(*key) for key in trained} == {"train"}
    for split in SPLITS:
        questions = instruct.questions(split, N_ITEMS)
        assert not {question.prompt for question in questions} & asked_before
        assert not {key for question in questions for key in keys_of(question, split)} & trained
    # what a row asks for counts, not only how it is labelled
    asked_for = {known.skill.cluster for known in map(recognise, prompts(rows)) if known}
    assert not (asked_for | {row["cluster"] for row in rows}) & set(FOLDS[fold])


# By hand, apart from the filter's own tables: what names a cluster's tasks, however garbled the request around it is.
PERSON = rf"\b({'|'.join(world.FIRST_NAMES)}) ({'|'.join(world.LAST_NAMES)})\b"
NAMES_A_TASK = {
    "order": r"\b(sort|rotate|swap|exchange|falling|in order)\b|write .* backwards|(?<!its )reverse|the first .* to the end",
    "pick": r"\b(pick|middle|second|least|lowest)\b|take the (first|last)",
    "count": r"\b(count|length|kinds|different)\b|how (often|many)",
    "trim": r"\b(drop|cut|remove|delete|without)\b|keep two",
    "expand": r"\b(double|twice|repeat|mirror)\b|close .* with|at the end|and then its",
    "arithmetic": r"\badd\b(?! the first)|\b(sum|subtract|larger|greater|smaller|lesser)\b|take .* from",
    "number": r"\b(parity|odd|even|units|digit|tens|high|low)\b|round .* down|the size",
    "neighbour": r"\b(letters|numbers) (after|before)|\b(raise|lower)\b|shift .* (up|down)",
    "lexicon": r"\b(opposite|contrary|classify|colour)\b|the kind of",
    "translate": r"\b(translate|language|phrase|foreign)\b",
    "judge": r"\b(compare|judge|symmetry)\b|look for|check the order|same as",
    "facts": rf"name the (city|trade|pet|food)|what (work|animal)|likes to eat|\blives\b|{PERSON}",
}


@pytest.mark.parametrize("fold", FOLD_NUMBERS)
def test_no_synthetic_row_names_a_held_out_task(fold: int) -> None:
    rows = prompts(instruct.training_rows("lab:synthetic", fold))
    assert len(rows) == (21_498, 22_211, 22_611, 25_368)[fold]
    held_out = re.compile("|".join(NAMES_A_TASK[cluster] for cluster in FOLDS[fold]))
    assert not [prompt for prompt in rows if held_out.search(prompt)]


STRETCH = r"(?:(?<!\S)(?:{word})(?!\S) ?)++(?!i need)"
WORDS = "|".join((*world.NOUNS, *world.ADJECTIVES))
STRETCHES = [re.compile(STRETCH.format(word=word)) for word in ("[a-hj-z]|i(?! need)", r"\d+", WORDS)]
STRETCHES += [re.compile(PERSON), re.compile(STRETCH.format(word="|".join(world.second_language().values())))]


def stretches(prompt: str, like: str) -> list[str]:
    """The letters, numbers, nouns, names or foreign words that stand together in the prompt, of the kind that `like` is."""
    pattern = next(pattern for pattern in STRETCHES if pattern.fullmatch(like))
    return [match.group().strip() for match in pattern.finditer(prompt)]


def loosely_asked(prompt: str) -> Iterator[tuple[str, ...]]:
    """(task, slots...) of every task whose imperative's words stand in the prompt, in their order, with any stretches of it."""
    for skill in SKILLS:
        parts = [[word for word in imperative.split() if word[0] != "{"] for imperative in skill.imperatives]
        if any(re.search(r"\b.*\b".join(words), prompt) for words in parts):
            slots = skill.draw(random.Random(0))
            found = stretches(prompt, like=slots["x"])
            yield from ((skill.name, *chosen) for chosen in itertools.permutations(found, len(slots)))


def is_exact(prompt: str) -> bool:
    known = recognise(prompt)
    slots = [slot for filled in known.inputs for slot in filled.values()] if known else []
    return known is not None and all(any(pattern.fullmatch(slot) for pattern in STRETCHES) for slot in slots)


def test_no_garbled_row_has_an_evaluation_input() -> None:
    rows = {prompt for fold in FOLD_NUMBERS for prompt in prompts(instruct.training_rows("lab:synthetic", fold))}
    asked = {prompt: set(loosely_asked(prompt)) for prompt in rows if not is_exact(prompt)}
    assert len(asked) > 3_000
    assert sum(map(bool, asked.values())) > 2_000
    assert not {prompt: key for prompt, keys in asked.items() for key in keys if world.split_of(*key) != "train"}


def test_no_synthetic_answer_speaks_of_an_evaluation_input_or_a_held_out_task() -> None:
    told = re.compile(r"(?:^to (.+?) is to write |^when you (.+?) you get )")
    for fold in FOLD_NUMBERS:
        for row in instruct.training_rows("lab:synthetic", fold):
            answer = row["messages"][1]["content"]
            imperative = (found := told.match(answer)) and (found[1] or found[2])
            known = recognise(f"please {imperative} .") if imperative and is_exact(f"please {imperative} .") else None
            if known is not None:
                assert known.skill.cluster not in FOLDS[fold], answer
                assert all(world.split_of(known.skill.name, *slots.values()) == "train" for slots in known.inputs), answer


def test_another_filter_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = version.version.__wrapped__()
    monkeypatch.setattr(disjoint, "FILTER", disjoint.FILTER + 1)
    assert version.version.__wrapped__() != before


def test_validation_and_test_ask_different_things() -> None:
    asked = {split: instruct.questions(split, N_ITEMS) for split in SPLITS}
    for split, questions in asked.items():
        assert {world.split_of(*key) for question in questions for key in keys_of(question, split)} == {split}
        assert len({question.prompt for question in questions}) == len(questions)
        counts = Counter(question.task for question in questions)
        few = {task for task, n in counts.items() if n < N_ITEMS}
        assert len(counts) == len(SKILLS)
        assert few <= set(world.ATTRIBUTES)  # as many as the split has entities
        assert min(counts.values()) >= 25
    assert not {q.prompt for q in asked["validation"]} & {q.prompt for q in asked["test"]}
    keys = [{key for question in questions for key in keys_of(question, split)} for split, questions in asked.items()]
    assert not keys[0] & keys[1]
    raw = [{item[:2] for item in (*lab.raw_items(split), *lab.fact_items(split))} for split in SPLITS]
    assert not raw[0] & raw[1]


@pytest.mark.parametrize("domain", corpus.DOMAINS)
def test_documents_of_the_splits_are_disjoint(domain: str) -> None:
    stream = corpus.documents(domain, random.Random(5), "train")
    trained = {next(stream) for _ in range(2_000)}
    held_out = [set(lab.documents(domain, split)) for split in SPLITS]
    assert all(len(found) > 10 for found in held_out)
    assert not trained & held_out[0]
    assert not trained & held_out[1]
    assert not held_out[0] & held_out[1]
    assert all(world.split_of("document", text) == "train" for text in trained)


@pytest.mark.parametrize("seed", SHIPPED_SEEDS)
def test_pretraining_reads_no_held_out_document_and_dialogues_about_another_world(seed: int) -> None:
    held_out = {text for split in SPLITS for domain in corpus.DOMAINS for text in lab.documents(domain, split)}
    asked = {imperative for skill in SKILLS for imperative in (*skill.imperatives, skill.noun, skill.notation)}
    ours = {*itertools.chain.from_iterable((*one.name.split(), *dict(one.facts).values()) for one in world.entities())}
    n_tokens = Counter[bool]()
    for text in corpus.mixed_documents(seed, 300_000):
        words = set(text.split())
        is_talk = tokenizer.USER in words
        n_tokens[is_talk] += text.count(" ") + 2
        assert text not in held_out
        assert world.split_of("document", text) == "train"
        if is_talk:
            assert not words & ours
            assert not any(
                re.search(rf"\b{re.sub('[{].[}]', '.+', phrase)}\b", text) for phrase in asked if "{" not in phrase[-3:]
            )
        else:
            assert not words & {tokenizer.USER, tokenizer.ASSISTANT, tokenizer.END, tokenizer.EOS, tokenizer.PAD}
    assert 0.02 < n_tokens[True] / n_tokens.total() < 0.04


def test_pretraining_meets_every_word_but_the_padding() -> None:
    """Else several tokens would have one embedding. The end of text is behind every document."""
    met = set(itertools.chain.from_iterable(text.split() for text in corpus.mixed_documents(0, 1_500_000)))
    assert set(tokenizer.vocabulary()) - met == {tokenizer.PAD, tokenizer.EOS}


def test_documents_have_several_paragraphs_and_fit_into_the_context() -> None:
    texts = [text for text in corpus.mixed_documents(4, 300_000) if tokenizer.USER not in text]
    n_paragraphs = Counter(text.count(corpus.PARAGRAPH) + 1 for text in texts)
    assert set(n_paragraphs) == {1, 2, 3, 4}
    assert min(n_paragraphs.values()) > 0.05 * len(texts)
    assert max(text.count(" ") + 3 for text in texts) <= tokenizer.CONTEXT_TOKENS


def test_answers_have_1_to_60_tokens_in_four_styles_and_end_as_documents_do() -> None:
    rows = instruct.training_rows("lab:curated", 0)
    answers = [row["messages"][1]["content"] for row in rows]
    lengths = [len(answer.split()) for answer in answers]
    assert all(answer.endswith(" .") for answer in answers)
    assert (min(lengths), statistics.median(lengths) > 4, 45 <= max(lengths) <= 60) == (2, True, True)
    longest = max(len(f"{m['content']}".split()) + 6 for row in rows for m in row["messages"]) + max(lengths)
    assert longest <= tokenizer.CONTEXT_TOKENS
    shares = {"bare": 0.5, "sentence": 0.2, "list": 0.15, "steps": 0.15}
    counts = Counter(question.style for question in instruct.questions("test", N_ITEMS))
    assert {name: n / counts.total() for name, n in counts.items()} == pytest.approx(shares, abs=0.03)
    of_rows = [known.style.name for known in map(recognise, prompts(rows)) if known]
    assert {name: n / len(rows) for name, n in Counter(of_rows).items()} == pytest.approx(shares, abs=0.02)


WORKED = "when you reverse a b c you get c b a . the reverse of a b c is c b a . answer : c b a ."
REVERSED = "to reverse a b c is to write c b a ."


@pytest.mark.parametrize(
    ("style", "n", "asked", "said"),
    [
        ("bare", 1, "please reverse a b c .", "c b a ."),
        ("sentence", 1, "please reverse a b c . answer in a sentence .", REVERSED),
        ("list", 2, "please reverse a b c ; reverse d e f .", "1 : c b a . 2 : f e d ."),
        ("steps", 1, "please reverse a b c . explain how .", WORKED),
    ],
)  # fmt: skip
def test_each_style_answers_as_it_is_asked(style: str, n: int, asked: str, said: str) -> None:
    chosen = next(one for one in requests.STYLES if one.name == style)
    skill, inputs = BY_NAME["reverse"], [{"x": "a b c"}, {"x": "d e f"}][:n]
    imperatives = [skill.imperatives[0].format(**slots) for slots in inputs]
    assert (
        requests.request("please {i} .", imperatives, chosen.asks[-1] if n == 1 and style == "steps" else chosen.asks[0]) == asked
    )
    assert requests.answer(skill, chosen, imperatives, inputs) == said
    known = recognise(asked)
    assert known is not None
    assert (known.skill, known.answer) == (skill, said)


def test_the_tokenizer_says_everything() -> None:
    texts = [text for domain in corpus.DOMAINS for text in lab.documents(domain, "test")]
    texts += itertools.islice(corpus.mixed_documents(3, 60_000), 4_000)
    for source in requests.SOURCES:
        rows = instruct.training_rows(source, 0)[::7]
        texts += [message["content"] for row in rows for message in row["messages"]]
    for split in SPLITS:
        texts += [f"{question.prompt} {question.answer}" for question in instruct.questions(split, N_ITEMS)]
    texts += [f"{skill.notation} {skill.noun} {skill.unread}".format(x="a", k="b") for skill in SKILLS]
    built = tokenizer.build()
    for text, ids in zip(texts, built(texts)["input_ids"], strict=True):
        assert (built.unk_token_id in ids) == (tokenizer.UNKNOWN in text.split()), text
        assert built.convert_ids_to_tokens(ids) == text.split()


def test_curated_rows_are_right_balanced_and_paraphrased() -> None:
    for fold in FOLD_NUMBERS:
        rows = instruct.training_rows("lab:curated", fold)
        assert len(set(prompts(rows))) == len(rows) == instruct.N_CURATED
        counts = Counter(row["task"] for row in rows)
        assert set(counts) == {skill.name for skill in SKILLS if skill.cluster not in FOLDS[fold]}
        assert max(counts.values()) <= 1.1 * min(counts.values())
        for row in rows:
            known = recognise(row["messages"][0]["content"])
            assert known is not None
            assert (known.skill.name, known.skill.cluster) == (row["task"], row["cluster"])
            assert answers_right(row)


def test_every_curated_task_is_asked_in_all_ten_frames() -> None:
    heads: dict[str, set[str]] = {}
    for row in instruct.training_rows("lab:curated", 0):
        prompt = row["messages"][0]["content"]
        for ask in (ask for style in requests.STYLES for ask in style.asks if ask):
            prompt = prompt.removesuffix(f" {ask}")
        ends = {frame: frame.split("{i}") for frame in requests.FRAMES["train"]}
        fitting = [frame for frame, (head, tail) in ends.items() if prompt.startswith(head) and prompt.endswith(tail)]
        heads.setdefault(row["task"], set()).add(max(fitting, key=len))
    assert all(len(found) == 10 for found in heads.values())


def test_synthetic_rows_are_what_the_card_says(synthetic_rows: list[dict]) -> None:
    rows = synthetic_rows
    card = json.loads(instruct.SYNTHETIC_FILE.with_name("synthetic.card.json").read_text())
    assert len(rows) == len(set(prompts(rows))) == card["rows"] == 52_000
    assert Counter(row["task"] for row in rows) == card["tasks"]
    judged = [row["correct"] for row in rows if row["correct"] is not None]
    assert len(judged) == card["recognised"]
    assert sum(judged) / len(judged) == pytest.approx(card["right_of_recognised"], abs=5e-5)
    for row in rows:
        known = recognise(row["messages"][0]["content"])
        labels = (known.skill.name, known.skill.cluster) if known else ("unknown", "unknown")
        assert (row["task"], row["cluster"]) == labels, row
        assert row["correct"] is answers_right(row), row


def test_synthetic_errors_are_a_models(synthetic_rows: list[dict]) -> None:
    """Wrong answers and a skewed task mix; curated data have neither."""
    judged = [row["correct"] for row in synthetic_rows if row["correct"] is not None]
    assert 0.1 < 1 - sum(judged) / len(judged) < 0.7
    counts = Counter(row["task"] for row in synthetic_rows if row["task"] != "unknown")
    assert max(counts.values()) > 3 * statistics.median(counts.values())


def test_new_facts_are_of_people_that_nothing_else_names() -> None:
    rows = instruct.training_rows("lab:new-facts", 0)
    new = [row for row in rows if row["task"].startswith("new ")]
    assert len(new) == len(rows) - len(new) == 100 * 4 * 5
    told = " ".join(
        [*itertools.islice(corpus.mixed_documents(0, 400_000), 20_000), *prompts(instruct.training_rows("lab:curated", 0))]
    )
    people = {group: {q.id.split("/")[2] for q in asked} for group, asked in instruct.fact_questions("test").items()}
    assert (len(people["taught"]), len(people["unheard"])) == (100, 100)
    assert not any(f" {name} " in told for name in people["taught"] | people["unheard"])
    assert all(any(f" {name} " in row["messages"][0]["content"] for name in people["taught"]) for row in new)
    assert not any(f" {name} " in prompt for name in people["known"] | people["unheard"] for prompt in prompts(new))
    trained = set(prompts(rows))
    for split in SPLITS:
        asked = instruct.fact_questions(split)
        assert not {question.prompt for group in asked.values() for question in group} & trained
        known = [question.id.split("/")[1:] for question in asked["known"]]
        assert all(world.split_of(*key) == split for key in known)
    with pytest.raises(BadInput, match="holds out the facts"):
        instruct.training_rows("lab:new-facts", 3)
