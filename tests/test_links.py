"""Every relative link in the project's pages leads to a file, and to a heading of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in found}


def broken(page: Path) -> list[str]:
    """The page's links that lead nowhere."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lost = []
    for path, anchor in LINK.findall(prose):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            lost.append(f"{page.name}: {path}#{anchor}".rstrip("#"))
    return lost


def test_every_link_leads_somewhere() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [link for name in listed.split() for link in broken(ROOT / name)]


def test_a_link_to_what_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Learning rates\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#learning-rates) [b](gone.md) [c](there.md#gone) [d](https://gone.org)\n")
    assert broken(page) == ["page.md: gone.md", "page.md: there.md#gone"]
