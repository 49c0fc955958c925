"""The glossary: two sentences an entry, all of the book's own words, shown where they are used."""

from __future__ import annotations

import re
from pathlib import Path

from bs4 import BeautifulSoup, Tag

OWN_WORDS = {
    "amendment", "arm", "audit", "claim", "estimand", "law", "ledger", "margin",
    "natural accuracy", "part", "profile", "recalled", "record", "robust accuracy", "verdict",
}  # fmt: skip


def entries(site: Path) -> dict[str, Tag]:
    text = (site / "book" / "glossary.html").read_text(encoding="utf-8")
    terms = BeautifulSoup(text, "html.parser").select("dl.glossary > dt")
    return {term.get_text().rstrip("#").strip(): term.find_next_sibling("dd") for term in terms}


def test_the_books_own_words_have_an_entry_in_order(site: Path) -> None:
    words = list(entries(site))
    assert set(words) >= OWN_WORDS
    assert words == sorted(words, key=str.lower)


def test_an_entry_has_two_sentences(site: Path) -> None:
    for word, entry in entries(site).items():
        text = re.sub(r"\[[^]]*\]|et al\.", "", entry.get_text(" ", strip=True))
        assert len(re.findall(r"[.?!](?:\s|$)", text)) == 2, word


def test_a_link_to_a_term_carries_its_entry(site: Path) -> None:
    known = {
        word.lower().replace("-", " "): " ".join(e.get_text().split())
        for word, e in entries(site).items()
    }
    links = 0
    for page in sorted(site.rglob("*.html")):
        for word in BeautifulSoup(page.read_text("utf-8"), "html.parser").select("a > .std-term"):
            link = word.parent
            assert link is not None
            term = str(link["href"]).partition("#term-")[2].replace("-", " ").lower()
            start = " ".join(str(link.get("title", "")).split()[:4])
            assert start and known[term].startswith(start), (page.name, term)
            links += 1
    assert links > 20
