"""Names that are Markdown, HTML, formulas or commands of a terminal are text wherever they are shown."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from simulated import question, truths

import experiments
from analysis import questions
from analysis.escaping import Markup, escaped, label, printable
from analysis.figures import style
from analysis.formatting import latex, markdown
from analysis.reports import book, generations, kept
from analysis.reports import question as page

NASTY = (
    "![x](http://evil.example/x.png)", "[x](javascript:alert(1))", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "a|b | c", "`code` ``", "*bold* **b** _i_ __b__ ~~s~~", "two\nlines\n\n# heading\n- list",
    "\x1b[31mred\x1b[0m\x07", "$x_{1$ $", "_x",
    "[x]: http://evil.example", "[x][y]", "&lt;b&gt; &#60;", "back\\slash \\`", "<http://evil.example>", "<!-- hidden",
    "\ud800", "| --- |",
    r"\[x](http://evil.example)", r"\\![x](http://evil.example)",
)  # fmt: skip


class Read(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_text_in_a_table_and_in_a_line(name: str) -> None:
    in_table = Read(book.rendered(markdown(["arm", "n"], [[name, "1"]])))
    assert in_table.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert printable(name) in in_table.text
    in_line = Read(book.rendered(f"- caution: {escaped(name)}."))
    assert in_line.tags == ["ul", "li"]
    assert in_line.text.strip() == f"caution: {printable(name)}."
    assert "\x1b" not in printable(name)
    plain = latex(["x"], [["x"]], "x", "tab:x")
    assert len(latex([name], [[name]], name, "tab:x").splitlines()) == len(plain.splitlines())
    assert "\x1b" not in latex([name], [[name]], name, "tab:x")


def test_what_the_project_writes_stays_as_it_is() -> None:
    plain = "best learning rate at the edge (lora r=1); +0.021 [−0.026, +0.068] data.n_examples 5–8×, a_b, 3 * 4?"
    assert escaped(plain.replace("*", "x")) == plain.replace("*", "x")
    assert "<a href" in book.rendered(markdown(["x"], [[Markup("[a](b)")]]))


def test_only_the_column_of_verdicts_is_marked() -> None:
    text = markdown(["claim", "verdict"], [["supported", "supported (x)"], ["a", "not tested (y)"], ["b", "undecided"]])
    shown = book.rendered(text + "\n" + markdown(["arm", "note"], [["undecided", "contradicted"]]))
    assert shown.count("class=") == 3
    assert '<td class="supported">supported (x)' in shown
    assert '<td class="not-tested">' in shown


def test_a_figure_takes_any_name() -> None:
    figure, (panel,) = style.figure(1, 1, 2.0)
    for i, name in enumerate(NASTY):
        if "\ud800" not in name:
            panel.plot([0, 1], [i, i], label=label(name))
    panel.set_title(label(NASTY[9]))
    panel.set_xticks([0, 1], [label(NASTY[9]), label(NASTY[0])])
    legend = panel.legend()
    figure.canvas.draw()
    assert len(legend.get_texts()) == len(NASTY) - 1
    assert not legend.get_texts()[0].get_parse_math()


def nasty(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return frame.assign(arm=frame["arm"].map(names)) if "arm" in frame else frame


def test_a_sweep_of_nasty_names_is_a_page_of_text(tmp_path: Path) -> None:
    """Labels of arms, of domains, files, reasons of failures and the model: from frames to the page over all."""
    trials, items = question(truths("replay"), seeds=2, n_items=60, tuned=False)
    names = {
        arm: f"{arm} {NASTY[i % len(NASTY)].encode('ascii', 'replace').decode()}" for i, arm in enumerate(trials["arm"].unique())
    }
    trials = nasty(trials, names)
    trials["data.replay_domain"] = trials["data.replay_domain"].where(
        trials["data.replay_domain"].isna(), "$_![x](http://evil.example/d)"
    )
    trials["model.name"], trials["data.source"] = NASTY[0], NASTY[2]
    trials["data"], trials["base_text"] = NASTY[1], NASTY[7]
    trials["dtype"] = [NASTY[i % len(NASTY)] for i in range(len(trials))]
    trials.loc[trials.index[:3], ["state", "reason"]] = "crashed", "\n".join(NASTY[:9])
    made = page.report(questions.load("replay"), experiments.load("replay"), (trials, items), tmp_path / "replay")
    book.write({"replay": kept.read(tmp_path / "replay")}, {}, tmp_path)
    shown = Read((tmp_path / "report.html").read_text())
    assert not {"script"} & set(shown.tags)
    assert shown.tags.count("img") == 1  # the figure
    assert all(target.startswith(("data:image/png", "#", "https://")) for target in shown.targets)
    assert all(f"{arm} {printable(NASTY[i])[:3]}"[:8] in shown.text for i, arm in enumerate(list(names)[:5]))
    assert "\x1b" not in made.terminal + made.note + shown.text
    rows = [line for line in (tmp_path / "replay" / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 3 + len(names)


@pytest.mark.parametrize("text", NASTY)
def test_what_a_model_writes_is_text(text: str) -> None:
    row = {"prompt": text, "right answer": text, "base": text, "tuned": text}
    shown = Read(book.rendered("\n".join(generations.section({text: [row]}))))
    assert set(shown.tags) <= {"h2", "details", "summary", "br", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.tags[:3] == ["h2", "details", "summary"]  # folded, and closed
    assert not shown.targets
    assert shown.text.count("".join(map(printable, text.split("\n")))) >= 5  # as it is, and not escaped twice
    assert "\x1b" not in shown.text
