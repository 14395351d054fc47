"""Make instruction data with a model: from a few tasks it proposes others and answers them (Self-Instruct, Wang et al. 2022).

    python sweeps/instruct.py --model DIR_OR_ID --seeds FILE --rows 500 --output FILE.jsonl
    python sweeps/instruct.py --endpoint URL --model NAME --seeds FILE --rows 500 --output FILE.jsonl
    python sweeps/instruct.py --rewrite FILE --model DIR_OR_ID --output FILE.jsonl

With --rewrite the model rewrites the answers of your rows (self-distillation fine-tuning, Yang et al. 2024).
The endpoint is OpenAI-compatible; its key comes from TUNELAB_INSTRUCT_KEY or OPENAI_API_KEY in the environment. Every reply is
kept in FILE.jsonl.journal: the same command goes on after a kill and asks nothing twice; with more --rows it adds to them.
FILE.jsonl is what `sweeps/run.py --data` reads; FILE.card.json says how it was made and what was dropped, and why.
Exit codes: 0 all rows made; 2 bad input; 3 it ended with fewer rows; 130 interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not sweeps/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from core import environment
from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import DISK, EXIT_INCOMPLETE, GOES_ON, PLACES, BadInput, message, one_line
from core.naming import expanded

if TYPE_CHECKING:
    from core.data.turns import Message
    from core.selfinstruct.journal import Journal
    from core.selfinstruct.pipeline import Job, Made, Writer
    from core.selfinstruct.prompts import Task

    Work = Callable[[Writer, Journal], int]  # its exit code

# `--help` and a misspelt option answer at once: what reads rows or models is imported in the functions that need it.

KEYS = ("TUNELAB_INSTRUCT_KEY", "OPENAI_API_KEY")  # environment variables; the first that is set
MOST_ROWS, MOST_TOKENS, MOST_AT_ONCE = 1_000_000, 8_192, 64
# Their options and usual values, which --rewrite has no use for.
OF_SEEDS = {"--seeds": None, "--rows": "500", "--eval-data": None, "--near": "0.7", "--seed": "0"}
WHOLE = {
    "--rows": (1, MOST_ROWS),
    "--seed": (0, 2**31 - 1),
    "--answer-tokens": (1, MOST_TOKENS),
    "--concurrency": (1, MOST_AT_ONCE),
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    found, problems = _parser().read(arguments, "unknown")
    needed = ("--output", "--model") if found.rewrite else ("--seeds", "--output", "--model")
    for option in needed:
        if not getattr(found, option[2:]):
            what = "what the endpoint calls the model" if option == "--model" and found.endpoint else "a value"
            also = ", or give --rewrite FILE" if option == "--seeds" else ""
            problems.add(f"{option}: needs {what}{also}", option)
    if found.output and not found.output.endswith(".jsonl"):
        problems.add(f"--output {found.output}: must end with .jsonl", "--output")
    for option, usual in OF_SEEDS.items():
        name = option[2:].replace("-", "_")
        given = getattr(found, name)
        if found.rewrite and given is not None:
            problems.add(f"{option}: does not go with --rewrite, which takes the rows as they are; leave one out", option)
        setattr(found, name, usual if found.rewrite or given is None else given)
    for option, (least, most) in WHOLE.items():
        name = option[2:].replace("-", "_")
        with problems.taken():
            setattr(found, name, _whole(option, getattr(found, name), least, most))
    with problems.taken():
        found.near = _share(found.near)
    problems.raise_all()
    return found


def _parser() -> Parser:
    parser = Parser("python sweeps/instruct.py", __doc__)
    parser.add_argument("--model", help="a directory or a hub id; with --endpoint what it calls the model")
    parser.add_argument("--endpoint", help="a URL such as http://127.0.0.1:8000/v1")
    parser.add_argument("--seeds", metavar="FILE", help="your tasks with their answers, in any shape that --data takes")
    parser.add_argument("--rewrite", metavar="FILE", help="instead of --seeds: rows whose last answers the model rewrites")
    parser.add_argument("--field", action="append", metavar="OURS=COLUMN", help="as for sweeps/run.py: prompt=ask, response=say")
    parser.add_argument("--rows", metavar="N", help="rows to make (500)")
    parser.add_argument("--output", metavar="FILE", help="where they go: a .jsonl")
    parser.add_argument("--eval-data", metavar="FILE", help="rows that you will measure on: no task is near to one of them")
    parser.add_argument("--near", metavar="X", help="Jaccard index from which two tasks are one (0.7)")
    parser.add_argument("--seed", metavar="N", help="another one gives other rows (0)")
    parser.add_argument("--answer-tokens", default="256", metavar="N", help="of an answer; longer ones are dropped (256)")
    parser.add_argument("--concurrency", default="8", metavar="N", help="requests to an endpoint at a time (8)")
    return parser


def _whole(option: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
        raise BadInput(f"{option} {text!r}: must be a whole number from {least} to {most:,}", field=option)
    return int(text)


def _share(text: str) -> float:
    """At least 0.5: below it, the search for near ones would miss many."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.5 <= number <= 1:
        raise BadInput(f"--near {text!r}: must be a number from 0.5 to 1", field="--near")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    journal: Journal | None = None
    try:
        chosen = parse(arguments)
        work, writer, journal = prepared(chosen)
        with journal:
            if journal.known:
                print(f"goes on with {len(journal.known):,} replies in {journal.path}", flush=True)
            return work(writer, journal)
    except BadInput as error:
        if journal is None or not journal.known or not error.field.startswith(("--endpoint", "--model")):
            return refused(error)
        print(f"error: {message(error)}; {len(journal.known):,} replies are kept, the same command goes on", file=sys.stderr)
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        print(f"\ninterrupted; {GOES_ON}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (*DISK, *PLACES):  # a defect, which its traceback shows
            raise
        print(f"error: {one_line(error)}; {GOES_ON}", file=sys.stderr)
        return EXIT_INCOMPLETE


def prepared(chosen: argparse.Namespace) -> tuple[Work, Writer, Journal]:
    """What is to be done with a writer, who that is, and the journal, which is not opened yet.

    Raises:
        BadInput: rows cannot be read, or the URL not be used.
    """
    from core.endpoint import Place, connect
    from core.selfinstruct import journal, prompts, writers
    from sweeps import rewrite

    work, read = rewrite.prepared(chosen, fields_of(chosen)) if chosen.rewrite else seeded(chosen)
    run: dict[str, object] = {"--model": chosen.model, "--endpoint": chosen.endpoint, "--answer-tokens": chosen.answer_tokens}
    run |= {"words of the prompts": prompts.wording()}
    output = expanded("--output", chosen.output)
    kept = journal.Journal(output.with_name(output.name + ".journal"), read | run)
    if output.exists() and not kept.path.exists():
        text = "is there, and was not begun by this command; give another one"
        raise BadInput(f"--output {chosen.output}: {text}", field="--output")
    if chosen.endpoint:
        ask = connect(Place(chosen.endpoint, chosen.model, "--endpoint", KEYS))
        return work, writers.endpoint(ask, chosen.answer_tokens, chosen.concurrency), kept
    return work, writers.local(chosen.model, chosen.answer_tokens), kept


def seeded(chosen: argparse.Namespace) -> tuple[Work, dict[str, object]]:
    """What makes rows from seeds, and by what its journal is known."""
    from core.fields import content_hash
    from core.selfinstruct.pipeline import Job

    fields = fields_of(chosen)
    rows = _tasks("--seeds", chosen.seeds, fields)
    seeds = tuple(next((task for task in tasks if task.answer.strip()), tasks[0]) for tasks in rows)
    questions = _tasks("--eval-data", chosen.eval_data, fields) if chosen.eval_data else ()
    asked = tuple(task.instruction for tasks in questions for task in tasks)
    job = Job(seeds, chosen.rows, asked, chosen.near, chosen.seed)
    read: dict[str, object] = {"--seed": chosen.seed, "--near": chosen.near}
    read["tasks of --seeds"] = content_hash([[task.instruction, task.answer] for task in seeds])
    read["rows of --eval-data"] = content_hash(list(asked))
    return lambda writer, journal: finished(chosen, job, make(job, writer, journal)), read


def fields_of(chosen: argparse.Namespace) -> str | None:
    """What --field says, as `data.fields` has it.

    Raises:
        BadInput: it is not written so.
    """
    from core.data import columns

    return columns.of_option(",".join(chosen.field)) if chosen.field else None


def _tasks(option: str, path: str, fields: str | None) -> tuple[tuple[Task, ...], ...]:
    """The questions of every row that has one."""
    from core.data import files, kinds
    from core.data.rows import SKIP

    files.existing(option, path)
    try:
        rows = kinds.load(option, path, kinds.Pool(fields=fields)).rows
    except BadInput as error:
        raise BadInput(error.text.replace(f" {SKIP}", ""), field=error.field) from None  # an option that there is not
    found = tuple(tasks for row in rows if (tasks := _questions(row.messages)))
    if not found:
        raise BadInput(f"{option} {path}: no row has a question", field=option)
    return found


def _questions(messages: Sequence[Message]) -> tuple[Task, ...]:
    """What the user asks in each turn, with the first answer in words before the next one."""
    from core.selfinstruct.prompts import Task

    found: list[Task] = []
    for one in messages:
        if one["role"] == "user":
            found.append(Task(one["content"]))
        elif one["role"] == "assistant" and found and not found[-1].answer.strip():
            found[-1] = Task(found[-1].instruction, one["content"])
    return tuple(task for task in found if task.instruction.strip())


def make(job: Job, writer: Writer, journal: Journal) -> Made:
    """The rows, with a line for each round."""
    from core.selfinstruct import pipeline

    def told(made: Made) -> None:
        dropped = f"; dropped: {made.told}" if made.dropped else ""
        print(f"[{len(made.rows):,}/{job.rows:,}] {made.n_proposed:,} proposed{dropped}", flush=True)

    return pipeline.run(job, writer, journal, told)


def finished(chosen: argparse.Namespace, job: Job, made: Made) -> int:
    """Writes rows and card, each whole, and tells what was dropped; the exit code."""
    from core.selfinstruct import output

    path = expanded("--output", chosen.output)
    rows = [{"prompt": row.instruction, "completion": row.answer} for row in made.rows]
    card = {
        "rows": len(made.rows), "proposed": made.n_proposed, "rounds": made.rounds, **output.counted(made, "dropped"),
        "model": chosen.model, "endpoint": chosen.endpoint, "seeds": len(job.seeds), "evaluation rows": len(job.asked),
        "near": job.near, "seed": job.seed, "answer_tokens": chosen.answer_tokens,
    }  # fmt: skip
    output.write(path, rows, card)
    print(f"{len(made.rows):,} rows in {path}, of {made.n_proposed:,} proposals in {made.rounds:,} rounds")
    output.tell(made, "dropped")
    if len(made.rows) < job.rows:
        print(
            "the model has no more to say: its last rounds gave no new row; other seeds or a higher --near may", file=sys.stderr
        )
        return EXIT_INCOMPLETE
    return 0


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
