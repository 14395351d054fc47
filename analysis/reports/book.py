"""Everything that has been run, on one page.

For every experiment with a sweep in the store it makes the report of the last sweep that has results (or of one that is named).
Then, of these and the other reports that lie there, one ledger of all verdicts: report.html (self-contained, opens offline),
ledger.md, ledger.csv and summary.md (a line a claim).
"""

from __future__ import annotations

import base64
import dataclasses
import html
import itertools
import math
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import experiments
from analysis import formatting
from analysis.claims.verdicts import Verdict, as_text, summary
from analysis.escaping import Markup
from analysis.formatting import NONE
from analysis.reports import kept, told
from analysis.reports.kept import Kept
from analysis.reports.question import Report, analysed
from analysis.stats.decision import Decision, q_values
from core import tracking
from core.errors import BadInput, message, one_line
from core.result import whole_folder

if TYPE_CHECKING:
    from markdown_it.token import Token

# Of reports: what folds, and the ends of lines in a cell. Names and texts in them are escaped.
OWN_TAGS = re.compile(r"(<details>|</details>|<summary>[^<>]*</summary>|<br>|\s)+")
VERDICT = "verdict"  # the column that `as_text` and `summary` call so
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; } h2 { font-size: 1.1rem; }
table { border-collapse: collapse; font-size: 12.5px; display: block; overflow-x: auto; margin: 1rem 0; }
td:nth-child(3) { min-width: 9rem; }
th, td { border-bottom: 1px solid #e4e4e4; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #6b6b6b; } img { max-width: 46rem; width: 100%; } a { color: #0072B2; }
.supported { color: #00664b; font-weight: 600; } .contradicted { color: #b04a00; font-weight: 600; }
.undecided { color: #6b6b6b; }
"""


def book(uri: str, directory: Path, named: Sequence[str]) -> int:
    """Reports, ledger and page of everything in the store; the exit code.

    Raises:
        BadInput: nothing was run, or `named` has an id that no sweep has.
    """
    found, missing = _sweeps(uri)
    _check_named(found, named)
    made, failed = _reports(uri, found, directory, named)
    if not made:
        print(f"error: {next(iter(failed.values()))}", file=sys.stderr)
        return 2
    shown, damaged = kept.every(directory)
    failed |= damaged
    missing = [name for name in missing if name not in (*shown, *damaged)]
    write(shown, dict.fromkeys(missing, "not run") | failed, directory)
    print(f"{len(shown)} questions, {sum(len(one.verdicts) for one in shown.values())} claims: {directory / 'report.html'}")
    if before := [name for name in shown if name not in made]:
        print(f"as they stood in {directory}: {', '.join(before)}")
    for name in missing:
        print(f"not run: python sweeps/run.py {name}")
    for name, why in failed.items():
        print(f"error: {name}: {why}", file=sys.stderr)
    return 3 if failed else 0


def _sweeps(uri: str) -> tuple[dict[str, list[str]], list[str]]:
    """The sweeps of every experiment, the last first, and which others were not run."""
    found: dict[str, list[str]] = {}
    missing: dict[str, BadInput] = {}
    for name in experiments.names():
        try:
            found[name] = tracking.sweeps(uri, name)
        except BadInput as error:
            missing[name] = error
    if not found:
        raise next(iter(missing.values()))
    return found, list(missing)


def _check_named(found: Mapping[str, Sequence[str]], named: Sequence[str]) -> None:
    """Every id that `--sweep` gives is one of the store's."""
    known = [sweep for sweeps in found.values() for sweep in sweeps]
    for one in named:
        if not any(sweep.startswith(one) for sweep in known):
            raise BadInput(f"--sweep {one}: no such sweep; the store has {', '.join(sweep[:8] for sweep in known)}")


def _reports(
    uri: str, found: Mapping[str, Sequence[str]], directory: Path, named: Sequence[str]
) -> tuple[dict[str, Report], dict[str, str]]:
    """The report of every experiment's last sweep, or of one that `named` begins; those whose report failed, and why."""
    made, failed = {}, {}
    for name, sweeps in found.items():
        sweep = next((one for one in sweeps if one.startswith(tuple(named))), None)
        sweep = sweep or tracking.last_with_results(uri, name)[0]
        if others := [one[:8] for one in sweeps if one != sweep]:
            print(f"{name}: sweep {sweep[:8]}, the others are left out (--sweep chooses): {', '.join(others)}")
        try:
            made[name] = analysed(name, uri, sweep, directory / name)
            if (few := int(made[name].arm_rows["seeds"].min())) < (asked := len(experiments.load(name).seeds)):
                print(f"{name}: not at its end: an arm has {few} of the {asked} seeds that the question asks for")
        except BadInput as error:
            failed[name] = message(error)
        except Exception as error:  # one question's defect must not take the page from the others
            failed[name] = one_line(error)
            traceback.print_exc()
    return made, failed


def write(shown: Mapping[str, Kept], missing: Mapping[str, str], directory: Path) -> None:
    """ledger.md, ledger.csv, summary.md and report.html in `directory`, where the reports of the questions lie."""
    with whole_folder(directory) as temporary:
        _write(shown, missing, directory, temporary)


def _write(shown: Mapping[str, Kept], missing: Mapping[str, str], directory: Path, output: Path) -> None:
    """Into `output`; the reports of the questions lie in `directory`."""
    verdicts = {name: one.verdicts for name, one in shown.items()}
    rows = [
        {"question": name, "about": one.about, **dataclasses.asdict(row)} for name, one in shown.items() for row in one.verdicts
    ]
    pd.DataFrame(rows).assign(q=_q_values(verdicts)).to_csv(output / "ledger.csv", index=False)
    ledger = ledger_text(verdicts)
    ran = [[_link(name), Markup(f"`python sweeps/run.py {name}`"), one.about, one.origin] for name, one in shown.items()]
    ledger += "\n" + formatting.markdown(["report", "command, beside options", "sweep, models, data", "made by"], ran)
    ledger += "\n" + told.section({name: one.trials for name, one in shown.items()}, output)
    (output / "ledger.md").write_text(ledger, encoding="utf-8")
    (output / "summary.md").write_text(formatting.markdown(*summary(verdicts)), encoding="utf-8")
    figure = output / f"{told.STEM}.png"
    text = ledger.replace(figure.name, _data_uri(figure)) if figure.exists() else ledger
    (output / "report.html").write_text(page(shown, missing, text, directory), encoding="utf-8")


def _data_uri(figure: Path) -> str:
    """A figure as the page holds it."""
    return f"data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode()}"


def _q_values(found: Mapping[str, Sequence[Verdict]]) -> np.ndarray:
    """Of every claim, in the order of the ledger."""
    return q_values(np.array([math.nan if one.p is None else one.p for verdicts in found.values() for one in verdicts]))


def ledger_text(found: Mapping[str, Sequence[Verdict]]) -> str:
    """The ledger of all questions, with a q value over all of their claims."""
    header, _ = as_text([])
    at = header.index("p (Holm)") + 1
    texts = [NONE if math.isnan(q) else f"{q:.2g}" for q in _q_values(found)]
    rows = [(name, row) for name, verdicts in found.items() for row in as_text(verdicts)[1]]
    body = [[_link(name), *row[:at], q, *row[at:]] for (name, row), q in zip(rows, texts, strict=True)]
    return formatting.markdown(["question", *header[:at], "q", *header[at:]], body)


def _link(name: str) -> Markup:
    """To a question's report; on the one page, to its part."""
    return Markup(f"[{name}]({name}/report.md)")


def page(shown: Mapping[str, Kept], missing: Mapping[str, str], ledger: str, directory: Path) -> str:
    """The whole page, figures within it."""
    links = "".join(f'<li><a href="#{name}">{html.escape(experiments.load(name).question)}</a></li>' for name in shown)
    unasked = "".join(f"<p>{html.escape(why)}: {', '.join(names)}</p>" for why, names in formatting.by_reason(missing).items())
    parts = [
        f"<h1>Tunelab: what was asked, and what was found</h1><ul>{links}</ul>{unasked}<h1>Ledger</h1>",
        rendered(ledger),
    ]
    parts.append(
        "<p>Two-sided at 5 %, Holm over the claims of each question. q: Benjamini and Hochberg over all claims of the page; of "
        "those with q up to 0.05 at most 5 % are expected to be decided wrongly. Differences are paired by seed and item.</p>"
    )
    for name, one in shown.items():
        parts.append(rendered(one.text, name, _data_uri(directory / name / "figure.png")))
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Tunelab</title><style>{STYLE}</style>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def rendered(text: str, anchor: str = "", figure: str = "") -> str:
    """Markdown as HTML. Links to other reports lead to their parts of the page, the first heading is the part's `anchor`, the
    image is the `figure` (a data URI), and decisions in a table's column of verdicts are marked for the style sheet."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    for kind in ("html_block", "html_inline"):
        markdown.add_render_rule(kind, _own_tags)
    tokens = markdown.parse(text)
    if anchor:
        next(token for token in tokens if token.type == "heading_open").attrSet("id", anchor)
    for inline in (child for token in tokens for child in token.children or ()):
        if inline.type == "image" and figure and inline.attrGet("src") == "figure.png":
            inline.attrSet("src", figure)
        if inline.type == "link_open" and str(inline.attrGet("href")).endswith("/report.md"):
            inline.attrSet("href", "#" + str(inline.attrGet("href")).removesuffix("/report.md"))
    _mark_verdicts(tokens)
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _own_tags(renderer: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    """The tags that reports are written with stand in the page; any other is shown as text."""
    content = tokens[index].content
    return content if OWN_TAGS.fullmatch(content) else html.escape(content)


def _mark_verdicts(tokens: Sequence[Token]) -> None:
    """Gives cells of a column called "verdict" the class of the decision that they begin with."""
    column, verdicts = 0, -1
    for token, content in itertools.pairwise(tokens):
        if token.type == "table_open":
            verdicts = -1
        if token.type == "tr_open":
            column = -1
        if token.type in ("th_open", "td_open"):
            column += 1
            if token.type == "th_open" and content.content == VERDICT:
                verdicts = column
            decision = next((one for one in Decision if content.content.startswith(one)), None)
            if token.type == "td_open" and column == verdicts and decision:
                token.attrSet("class", decision.replace(" ", "-"))
