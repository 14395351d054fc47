"""Whose answers are better? `python analysis/judge.py A B --judge JUDGE`

A and B are generations.json files of final trials, or JSONL with prompt and answer; of one file alone what is tuned is judged
against its base. With --question NAME they are labels of arms of its last sweep ("base": untuned). JUDGE is the URL of an
OpenAI-compatible endpoint, with --model (its key from TUNELAB_JUDGE_KEY or OPENAI_API_KEY in the environment), or a local model.
Every pair is judged in both orders. Exit codes: 0 judged; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a file from a checkout: the project's root, not analysis/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import experiments
from analysis.report import tell_newer
from core import environment, tracking
from core.command import EXIT_INTERRUPTED, Parser, refused
from core.errors import BadInput, nearest, shown
from core.naming import expanded
from core.result import CUT

if TYPE_CHECKING:
    from analysis.scores.judged import Outcome, Pair

Said = Sequence[tuple[str, str]]  # prompts with answers


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python analysis/judge.py", __doc__)
    parser.add_argument("sides", nargs="*", metavar="SIDE", help="two files or arms; of one its base is the other")
    parser.add_argument("--judge", help="a URL such as http://127.0.0.1:8000/v1, or a local model")
    parser.add_argument("--model", default="", help="what the endpoint calls the judge")
    parser.add_argument("--question", help="the sides are arms of this question's sweep")
    parser.add_argument("--sweep", default="", help="a sweep's id or its beginning, instead of the last one")
    parser.add_argument("--output", default="runs", help="the sweeps' directory (default: runs)")
    parser.add_argument("--tracking-uri", help="where the trials were logged (default: MLFLOW_TRACKING_URI, OUTPUT/mlflow.db)")
    parser.add_argument("--json", action="store_true", help="the result as JSON, with every pair")
    found, problems = parser.read(arguments, "unknown")
    if not problems.found and len(found.sides) not in (1, 2):
        problems.add("give two sides, or one that is judged against its base")
    if not found.judge:
        problems.add("--judge: needs a URL or a local model", "--judge")
    elif is_endpoint(found.judge) and not found.model:
        problems.add("--model: an endpoint needs the judge's name", "--model")
    if found.question is not None and found.question not in experiments.names():
        problems.add(f"--question {found.question!r}: {nearest(found.question, experiments.names())}", "--question")
    problems.raise_all()
    return found


def is_endpoint(judge: str) -> bool:
    return judge.startswith(("http://", "https://"))


def sides(chosen: argparse.Namespace) -> tuple[Said, Said]:
    """What the two sides answered."""
    from analysis.scores import judged

    first, second = chosen.sides[0], chosen.sides[1] if len(chosen.sides) > 1 else "base"
    if chosen.question is None:
        alone = len(chosen.sides) == 1
        return judged.read(first), judged.read(first, base=True) if alone else judged.read(second)
    from analysis import load

    uri = load.store(expanded("--output", chosen.output), chosen.tracking_uri)
    sweep, newer = tracking.last_with_results(uri, chosen.question, chosen.sweep)
    tell_newer(sweep, newer)
    written = load.generations(uri, load.trials(uri, chosen.question, sweep))
    if not written:
        raise BadInput(f"--question {chosen.question}: its final trials kept no generations", field="--question")
    for arm in (first, second):
        if arm not in (*written, "base"):
            raise BadInput(f"arm {arm!r}: {nearest(arm, [*written, 'base'])}")
    of_base = next(arm for arm in (first, second, *written) if arm in written)
    rows = [written.get(arm, written[of_base]) for arm in (first, second)]
    found = [[judged.said(row, arm, base=arm == "base") for row in own] for arm, own in zip((first, second), rows, strict=True)]
    return found[0], found[1]


def main(arguments: Sequence[str] | None = None) -> int:
    environment.settle()
    try:
        chosen = parse(arguments)
        from analysis.scores import judged, judges

        pairs = judged.paired(*sides(chosen))
        ask = judges.endpoint(chosen.judge, chosen.model) if is_endpoint(chosen.judge) else judges.local(chosen.judge)
        tell_cut(pairs)
        outcomes = judged.judge(pairs, ask)
    except BadInput as error:
        return refused(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    print(as_json(outcomes, chosen) if chosen.json else as_text(outcomes, [*chosen.sides, "its base"][:2]))
    return 0


def tell_cut(pairs: Sequence[Pair]) -> None:
    """Answers that did not come to their end are judged as far as they go, which is said."""
    if n_cut := sum(text.endswith(CUT) for one in pairs for text in (one.first, one.second)):
        how = "--set evaluation.max_new_tokens=N gives longer ones"
        print(f"caution: {n_cut} of {2 * len(pairs)} answers were cut ({CUT.strip()}); {how}", file=sys.stderr)


def as_json(outcomes: Sequence[Outcome], chosen: argparse.Namespace) -> str:
    from analysis.scores import judged

    rows = [{"prompt": one.pair.prompt, "score": one.score, "said": one.said} for one in outcomes]
    found = {**vars(judged.rate(outcomes)), "judge": chosen.model or chosen.judge, "pairs": rows}
    return json.dumps(found, ensure_ascii=False, indent=1)


def as_text(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    from analysis.scores import judged

    found, (first, second) = judged.rate(outcomes), map(shown, names)
    won, lost = (sum(one.score == score for one in outcomes) for score in (1.0, 0.0))
    return "\n".join([
        f"{first} against {second}: {won} won, {lost} lost, {found.n - won - lost} ties of {found.n} prompts",
        f"win rate {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], ties count half; 95 % interval over prompts",
        f"the judge kept to one side in {found.consistent:.0%} of them when the order was turned",
    ])  # fmt: skip


if __name__ == "__main__":
    environment.in_utf8()
    sys.exit(main())
