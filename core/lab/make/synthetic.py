"""Make `lab:synthetic` by the Self-Instruct road (Wang et al. 2022): `python -m core.lab.make.synthetic --teacher DIR`.

The teacher is an early checkpoint of base 0 (35 % of its pretraining; `core.lab.make.pretrain` leaves it in DIR/teacher). It is
tuned on 175 seed rows, whose task mix is as uneven as a person's, invents requests by sampling, and answers them itself, so the
errors are a model's errors. Filters drop malformed, repeated and over-long rows, and rows that were recognised as a task with
an input of an evaluation split; a garbled request is not recognised and stays in the file (core/lab/disjoint.py reads it
loosely when rows are given to training). Each row keeps the task it was recognised as, whether its answer is right (null: not
recognised), and the teacher's mean log-probability of its answer as a score.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import io
import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from core.lab import instruct, requests, world
from core.lab import tokenizer as words
from core.lab.skills import SKILLS, Skill, Slots, filled

N_SEED_ROWS, SEED_FRAMES = 175, 4
TUNING_EPOCHS, TUNING_LEARNING_RATE, TUNING_BATCH = 12, 1e-3, 16
MAX_PROMPT_TOKENS, MAX_ANSWER_TOKENS = 48, 56
BATCH = 512
IMPERATIVES = tuple((skill, text) for skill in SKILLS for text in (*skill.imperatives, skill.unread))


def seed_rows(rng: random.Random) -> list[dict]:
    """175 right rows: tasks with Zipf weights in a random order, only four of the ten frames, the first imperative mostly."""
    tasks = rng.sample(SKILLS, len(SKILLS))
    weights = [1 / (rank + 3) for rank in range(len(tasks))]
    frames = requests.FRAMES["train"][:SEED_FRAMES]
    return [
        instruct.row(skill, rng.choice(frames), skill.imperatives[rng.random() < 0.25], instruct.any_style(rng), rng)
        for skill in rng.choices(tasks, weights, k=N_SEED_ROWS)
    ]


def tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> None:
    """Full fine-tuning on whole conversations: the teacher learns to ask as well as to answer."""
    sequences = [tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False) for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=TUNING_LEARNING_RATE, weight_decay=0.0)
    steps = TUNING_EPOCHS * math.ceil(len(rows) / TUNING_BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    for _ in range(TUNING_EPOCHS):
        for chosen in torch.randperm(len(sequences)).split(TUNING_BATCH):
            batch = [torch.tensor(sequences[i]) for i in chosen]
            ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=0)
            labels = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=-100)
            model(input_ids=ids, attention_mask=(labels != -100).long(), labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    model.eval()


@torch.no_grad()
def converse(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str, float]]:
    """BATCH sampled conversations as (prompt, answer, mean log-probability of the answer); malformed ones are left out.

    Requests are sampled at temperature 1, answers are greedy: one pass, switching at each row's assistant token.
    """
    ids = tokenizer.get_vocab()
    assistant, end = ids[words.ASSISTANT], ids[words.END]
    tokens = torch.full((BATCH, 1), ids[words.USER])
    answering = torch.zeros(BATCH, dtype=torch.bool)
    done = torch.zeros(BATCH, dtype=torch.bool)
    log_probability = torch.zeros(BATCH)
    cache = None
    for _ in range(MAX_PROMPT_TOKENS + MAX_ANSWER_TOKENS):
        out = model(input_ids=tokens[:, -1:], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logs = out.logits[:, -1].float().log_softmax(-1)
        sampled = torch.multinomial(logs.exp(), 1).squeeze(1)
        chosen = torch.where(answering, logs.argmax(-1), sampled)
        log_probability += torch.where(answering & ~done, logs.gather(1, chosen[:, None]).squeeze(1), 0.0)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        done |= answering & (chosen == end)
        answering |= chosen == assistant
        if bool(done.all()):
            break
    found = []
    for row, log in zip(tokens.tolist(), log_probability.tolist(), strict=True):
        if row.count(assistant) == 0:
            continue
        cut = row.index(assistant)
        asked, said = row[1:cut], row[cut + 1 :]
        if end not in said or asked[-1:] != [end]:
            continue
        prompt, answer = (list(tokenizer.convert_ids_to_tokens(part)) for part in (asked[:-1], said[: said.index(end)]))
        plain = not any(word.startswith("<") for word in prompt + answer)
        if plain and 3 <= len(prompt) <= MAX_PROMPT_TOKENS and 1 <= len(answer) <= MAX_ANSWER_TOKENS:
            found.append((" ".join(prompt), " ".join(answer), log / (len(answer) + 1)))
    return found


@functools.cache
def _solvable(imperative: str) -> tuple[tuple[Skill, str, Slots], ...]:
    """Every task that the words ask for with an input that it can answer: the skill, its imperative, the input."""
    found = []
    for skill, text in IMPERATIVES:
        if match := filled(text).fullmatch(imperative):
            slots = {name: match[name] for name in skill.draw(random.Random(0))}  # in this skill's own order
            try:
                skill.solve(slots)
            except (KeyError, ValueError, IndexError):
                continue
            found.append((skill, text, slots))
    return tuple(found)


@dataclass(frozen=True)
class Known:
    """A prompt that was recognised: what it asks for, in which style, of which inputs, and the right answer."""

    skill: Skill
    style: requests.Style
    inputs: tuple[Slots, ...]
    answer: str


def recognise(prompt: str) -> Known | None:
    """The task and inputs that a prompt asks for, if it is a request that its task can answer.

    Of several readings the one that explains most words: "count the kinds in a b" does not count "the kinds in a b".
    """
    found: list[tuple[int, Known]] = []
    for style, imperatives in requests.readings(prompt):
        for skill, text, first in _solvable(imperatives[0]):
            parts = [
                next((slots for one, other, slots in _solvable(part) if (one.name, other) == (skill.name, text)), None)
                for part in imperatives[1:]
            ]
            inputs = [first, *(slots for slots in parts if slots is not None)]
            if len(inputs) == len(imperatives):
                words = sum(len(value) for slots in inputs for value in slots.values())
                found.append((words, Known(skill, style, tuple(inputs), requests.answer(skill, style, imperatives, inputs))))
    return min(found, key=lambda reading: reading[0], default=(0, None))[1]


def judged(prompt: str, answer: str, score: float) -> dict | None:
    """The row as it is kept, or None if it was recognised with an input of an evaluation split."""
    known = recognise(prompt)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    if known is None:
        return {"messages": messages, "task": "unknown", "cluster": "unknown", "correct": None, "score": round(score, 3)}
    skill = known.skill
    if any(world.split_of(skill.name, *slots.values()) != "train" for slots in known.inputs):
        return None
    right = known.answer == answer
    return {"messages": messages, "task": skill.name, "cluster": skill.cluster, "correct": right, "score": round(score, 3)}


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n: int, seeds: list[dict]) -> tuple[list[dict], Counter]:
    """Converse until `n` rows passed the filters; also counts what the filters dropped."""
    seen = {row["messages"][0]["content"] for row in seeds}
    rows: list[dict] = []
    dropped: Counter = Counter()
    started = time.monotonic()
    while len(rows) < n:
        found = converse(model, tokenizer)
        dropped["malformed"] += BATCH - len(found)
        for prompt, answer, score in found:
            if prompt in seen:
                dropped["repeated"] += 1
                continue
            seen.add(prompt)
            row = judged(prompt, answer, score)
            if row is None:
                dropped["evaluation input"] += 1
            else:
                rows.append(row)
        eta = (n - len(rows)) * (time.monotonic() - started) / max(1, len(rows))
        print(f"{len(rows):,}/{n:,} rows  ETA {max(0, eta) / 60:.1f} min", flush=True)
    return rows[:n], dropped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="DIR/teacher, left by core.lab.make.pretrain")
    parser.add_argument("--rows", type=int, default=52_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=instruct.SYNTHETIC_FILE)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = AutoModelForCausalLM.from_pretrained(arguments.teacher, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(arguments.teacher)
    seeds = seed_rows(random.Random(f"seed rows {arguments.seed}"))
    tune(model, tokenizer, seeds)
    rows, dropped = generate(model, tokenizer, arguments.rows, seeds)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:  # mtime=0: the same rows give the same bytes
        file.write("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode())
    arguments.output.write_bytes(buffer.getvalue())
    tasks = Counter(row["task"] for row in rows)
    right = [row["correct"] for row in rows if row["correct"] is not None]
    card = {
        "command": f"python -m core.lab.make.synthetic --teacher DIR/teacher --rows {arguments.rows} --seed {arguments.seed}",
        "rows": len(rows),
        "recognised": len(right),
        "right_of_recognised": round(sum(right) / max(1, len(right)), 4),
        "dropped": dict(dropped),
        "tasks": dict(tasks.most_common()),
    }
    arguments.output.with_suffix("").with_suffix(".card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
