"""Definitions and theorems: the paper's own number, or one of their page; and the index of all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def build(folder: Path, *titles: str, after: str = "") -> BeautifulSoup:
    """A page with one theorem for each title, labelled t0, t1 and so on."""
    (folder / "src").mkdir()
    text = "# Page\n\n"
    for number, title in enumerate(titles):
        text += f"```{{prf:theorem}} {title}\n:label: t{number}\nWords.\n```\n\n"
    (folder / "src" / "page.md").write_text(text + after, encoding="utf-8")
    settings = [
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})",
        "extensions = ['myst_parser', 'sphinx_proof', 'math_pages', 'numbered_results']",
        "myst_enable_extensions = ['dollarmath']",
        "root_doc = 'page'",
        "proof_title_format = '%t'",
    ]
    (folder / "src" / "conf.py").write_text("\n".join(settings), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(folder / "src"), str(folder / "out")]
    subprocess.run(command, check=True)
    return soup(folder / "out" / "page.html")


def shown(page: BeautifulSoup) -> list[str]:
    return [tag.text for tag in page.select(".proof > .admonition-title")]


@pytest.mark.parametrize(
    ("title", "label"),
    [
        ("Theorem 3.1", "Theorem 3.1"),
        ("Theorem 3.1, repaired", "Theorem 3.1 (repaired)"),
        ("Assumption 1 (calibration)", "Assumption 1 (calibration)"),
        ("Theorem 27 and Corollary 28", "Theorem 27 and Corollary 28"),
        ("Theorem 1 of Cohen et al. 2019", "Theorem 1 of Cohen et al. 2019"),
        ("Lower bound (Theorem 11)", "Theorem 11 (Lower bound)"),
        ("Continuity", "Theorem 1 (Continuity)"),
        ("", "Theorem 1"),
    ],
)
def test_a_title_gives_the_papers_own_number_or_the_pages(
    tmp_path: Path, title: str, label: str
) -> None:
    assert shown(build(tmp_path, title)) == [label]


def test_only_results_without_a_number_of_their_own_are_counted(tmp_path: Path) -> None:
    page = build(tmp_path, "First", "Theorem 3.1", "Second")
    assert shown(page) == ["Theorem 1 (First)", "Theorem 3.1", "Theorem 2 (Second)"]


def test_letters_stand_where_numbers_would_be_taken_for_the_papers(tmp_path: Path) -> None:
    page = build(tmp_path, "First", "Theorem 2, sharper", "Second")
    assert shown(page) == ["Theorem A (First)", "Theorem 2 (sharper)", "Theorem B (Second)"]


def test_a_reference_shows_the_label_or_its_own_words(tmp_path: Path) -> None:
    after = "See {prf:ref}`t0` and {prf:ref}`the bound <t1>`.\n"
    page = build(tmp_path, "Theorem 3.1, repaired", "Bound", after=after)
    links = {link["href"]: link.text for link in page.select("article a.reference, p a.reference")}
    assert links["#t0"] == "Theorem 3.1" and links["#t1"] == "the bound"


def test_a_reference_tells_two_results_of_one_label_apart(tmp_path: Path) -> None:
    after = "See {prf:ref}`t0`, {prf:ref}`t1` and {prf:ref}`t2`.\n"
    titles = ("Theorem 3.1, as stated", "Theorem 3.1, repaired", "Theorem 3.2, as stated")
    page = build(tmp_path, *titles, after=after)
    links = {link["href"]: link.text for link in page.select("article a.reference, p a.reference")}
    assert links["#t0"] == "Theorem 3.1 (as stated)"
    assert links["#t1"] == "Theorem 3.1 (repaired)"
    assert links["#t2"] == "Theorem 3.2"


def test_a_title_keeps_its_formula_and_the_index_too(tmp_path: Path) -> None:
    page = build(tmp_path, "The $\\psi$-transform", after="```{index-of-results}\n```\n")
    assert page.select_one(".proof > .admonition-title math") is not None
    assert page.select_one(".rnb-results li math") is not None
    assert page.select_one('.rnb-results a[href="#t0"]') is not None


def test_the_index_lists_every_result_of_the_book(site: Path) -> None:
    found = {
        f"{page.relative_to(site / 'book').as_posix()}#{label.find_parent('div')['id']}"
        for page in (site / "book").rglob("*.html")
        for label in soup(page).select("div.proof > .admonition-title > .caption-number")
    }
    index = soup(site / "book" / "index-of-results.html")
    listed = {link["href"] for link in index.select(".rnb-results a")}
    assert found and found == listed
