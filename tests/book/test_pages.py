"""The pages themselves: all there, nothing left to fill in, and written as the style asks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
LEAST_WORDS = 40
LONGEST_SENTENCE = 25
OWN_PAGES = sorted((ROOT / "book").glob("*.md"))


def page_text(path: Path) -> str:
    """What a reader sees of a page, without formulas and code."""
    article = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select_one("article")
    assert article is not None, f"{path} has no article"
    for hidden in article.select(".math, pre, script, style"):
        hidden.decompose()
    return article.get_text(" ", strip=True)


def prose_of(path: Path) -> list[str]:
    """The sentences of a Markdown page, without code, formulas, tables, headings and directives."""
    text = re.sub(r"^---\n.*?^---\n", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    text = re.sub(r"^:::\{robustnb-rooms\}.*?^:::$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"^```.*?^```$|^\$\$.*?^\$\$.*?$", "\n", text, flags=re.S | re.M)
    return [sentence for block in re.split(r"\n\s*\n", text) for sentence in sentences(block)]


def sentences(block: str) -> Iterator[str]:
    lines = [line for line in block.splitlines() if not re.match(r"\s*([#|(]|:::|:\w+:)", line)]
    for item in re.split(r"^\s*(?:[-*:]|\d+\.) ", "\n".join(lines), flags=re.M):
        plain = re.sub(r"\{[a-z:]+\}`[^`]*`|`[^`]*`|\$[^$]*\$|\{[^}]*\}+", "x", item)
        yield from (part for part in re.split(r"(?<=[.?!:])\s+", plain.strip()) if part)


def test_every_entry_of_the_table_of_contents_has_a_page_with_text(site: Path, page: str) -> None:
    words = page_text(site / f"{page}.html").split()
    assert len(words) >= LEAST_WORDS


def test_a_papers_page_says_under_its_title_which_run_it_shows(site: Path, paper: str) -> None:
    page = BeautifulSoup((site / f"{paper}.html").read_text(encoding="utf-8"), "html.parser")
    told = page.select_one("article h1 + .rnb-run")
    assert told is not None
    name = paper.rpartition("/")[2]
    assert told.get_text().strip().startswith("This page shows the smoke run of this machine")
    assert f"robustnb run {name} --profile laptop" in told.get_text()


def test_every_own_page_is_in_the_table_of_contents(toc: Any) -> None:
    assert {f"book/{path.stem}" for path in OWN_PAGES} <= set(toc.all)


def test_the_first_page_is_reached_from_the_folder(site: Path, toc: Any) -> None:
    redirect = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser").meta
    assert redirect is not None
    assert f"url={toc.root}.html" in str(redirect.get("content"))


def test_no_placeholder_is_left_on_a_page(site: Path, page: str) -> None:
    assert not re.findall(r"\{\{[^}]*\}\}", page_text(site / f"{page}.html"))


def test_no_page_shows_a_path_of_this_machine(site: Path, page: str) -> None:
    from robustnb.reproduce.paths import MachinePaths
    from robustnb.reproduce.project import Project

    here = MachinePaths(Project(ROOT, site.parents[1]))
    assert here.within((site / f"{page}.html").read_text(encoding="utf-8")) == ""


def test_every_verdict_word_is_explained(site: Path) -> None:
    from robustnb.reproduce.words import WORDS

    text = (site / "book" / "how-to-read.html").read_text(encoding="utf-8")
    badges = BeautifulSoup(text, "html.parser").select("dt .rnb-badge")
    explained = {badge.get_text(strip=True).replace("\u2019", "'") for badge in badges}
    assert set(WORDS) - explained == set()


def test_every_exit_code_is_listed() -> None:
    from robustnb import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {k.exit_code for k in kinds if issubclass(k, errors.RobustnbError)} | {0, 130}
    page = (ROOT / "book" / "reproduce.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)} == codes


@pytest.mark.parametrize("path", OWN_PAGES, ids=lambda path: path.stem)
def test_sentences_are_short(path: Path) -> None:
    long = [s for s in prose_of(path) if len(s.split()) > LONGEST_SENTENCE]
    assert long == []


@pytest.mark.parametrize("path", OWN_PAGES, ids=lambda path: path.stem)
def test_prose_does_not_say_that_things_are_obvious(path: Path) -> None:
    found = re.findall(
        r"\b(clearly|obviously|of course|simply|trivially)\b", " ".join(prose_of(path))
    )
    assert found == []


@pytest.mark.parametrize("path", OWN_PAGES, ids=lambda path: path.stem)
def test_no_result_is_typed_into_a_page(path: Path) -> None:
    rules = {"80", "90", "95", "99.9"}  # levels of intervals and of power, fixed beforehand
    typed = re.findall(r"(\d+(?:\.\d+)?) ?%", " ".join(prose_of(path)))
    assert set(typed) <= rules


@pytest.mark.parametrize(
    ("ledger", "fix"), [(None, "make book"), ("not json", "make book"), ("[]", "make book")]
)
def test_a_missing_or_broken_ledger_ends_the_build_with_the_way_to_make_it(
    tmp_path: Path, ledger: str | None, fix: str
) -> None:
    path = tmp_path / "ledger.json"
    if ledger is not None:
        path.write_text(ledger, encoding="utf-8")
    result = build_one_page(tmp_path, path, "# Page\n\n{{ totals }}\n")
    assert result.returncode != 0
    assert fix in result.stdout and str(path) in result.stdout


def test_an_unknown_placeholder_ends_the_build_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps({}), encoding="utf-8")
    result = build_one_page(tmp_path, path, "# Page\n\n{{ totalz }}\n")
    assert result.returncode != 0
    assert "totalz" in result.stdout and "book/page" in result.stdout


def build_one_page(folder: Path, ledger: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run Sphinx with nothing but the ledger extension over one page."""
    (folder / "src" / "book").mkdir(parents=True)
    (folder / "src" / "book" / "page.md").write_text(text, encoding="utf-8")
    settings = [
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})",
        "extensions = ['myst_parser', 'ledger_pages']",
        "root_doc = 'book/page'",
    ]
    (folder / "src" / "conf.py").write_text("\n".join(settings), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", str(folder / "src"), str(folder / "out")]
    return subprocess.run(
        command,
        env={**os.environ, "ROBUSTNB_LEDGER": str(ledger)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
