"""Search, glossary notes and the scoreboard's filter, in a browser and from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize(
    ("query", "target", "anchor"),
    [
        ("nearest image clipping", "threat-models", "projection"),
        ("amendments date reason", "how-to-read", ""),
        ("pixel units normalisation", "threat-models", "pixel-units"),
        ("substitute model", "glossary", "term-substitute-model"),
    ],
)
def test_a_search_from_the_disk_lands_in_a_section_and_shows_an_excerpt(
    visit: Any, site: Path, query: str, target: str, anchor: str
) -> None:
    url = (site / "search.html").as_uri() + "?q=" + query.replace(" ", "+")
    seen = visit(url, viewport=LAPTOP)
    tab = seen.tab
    tab.wait_for_selector(f"#search-results li[data-done] a[href*='{target}.html#']")
    link = tab.locator(f"#search-results li a[href*='{target}.html#']").first
    item = link.locator("xpath=..")
    assert any(w in item.locator(".context").inner_text().lower() for w in query.split())
    assert item.locator("mark").count() > 0
    if anchor:
        assert link.get_attribute("href").endswith(f"{target}.html#{anchor}")
    link.click()
    tab.wait_for_url(f"**/{target}.html*#*")
    assert tab.evaluate("!!document.getElementById(decodeURIComponent(location.hash.slice(1)))")
    assert seen.errors == []
    assert all(url.startswith((site.as_uri(), "data:")) for url in seen.requests)


@pytest.mark.parametrize("reach", ["hover", "focus"])
def test_a_term_shows_its_entry_to_mouse_and_keyboard(visit: Any, site: Path, reach: str) -> None:
    url = (site / "book" / "part-unlabeled.html").as_uri()
    tab = visit(url, viewport=PHONE).tab
    note = tab.locator("#rnb-note")
    assert not note.is_visible()
    getattr(tab.locator("a.rnb-term").first, reach)()
    assert "inputs that are classified correctly" in note.inner_text()
    box = note.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    tab.keyboard.press("Escape")
    assert not note.is_visible()


def test_the_scoreboard_can_be_filtered_from_the_disk_by_keyboard(visit: Any, site: Path) -> None:
    url = (site / "book" / "scoreboard.html").as_uri()
    seen = visit(url, viewport=LAPTOP)
    tab = seen.tab
    rows = tab.locator(".rnb-board tbody tr:visible")
    everything = rows.count()
    tab.locator("select[name=paper]").focus()
    tab.keyboard.press("ArrowDown")
    texts = rows.all_inner_texts()
    first = texts[0].split()[0]
    assert 0 < len(texts) < everything
    assert all(text.startswith(first) for text in texts)
    tab.locator("select[name=paper]").select_option("")
    tab.locator("select[name=verdict]").select_option("false as printed, repaired and proved")
    badges = rows.locator(".rnb-badge").all_inner_texts()
    assert badges and set(badges) == {"false as printed, repaired and proved"}
    assert tab.locator(".rnb-filter [role=status]").inner_text().startswith(f"{len(badges)} of")
    assert seen.errors == []


def test_on_a_telephone_claims_are_cards_whose_verdict_is_seen(visit: Any, site: Path) -> None:
    url = (site / "book" / "scoreboard.html").as_uri()
    tab = visit(url, viewport=PHONE).tab
    for badge in tab.locator(".rnb-board .rnb-badge").all():
        box = badge.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_the_covers_picture_is_legible_on_a_telephone(visit: Any, site: Path) -> None:
    url = (site / "book" / "intro.html").as_uri()
    tab = visit(url, viewport=PHONE).tab
    box = tab.locator(".rnb-hero img").first.bounding_box()
    assert box["width"] > 300 and box["y"] < PHONE["height"]
    sizes = tab.locator(".rnb-hero-row").evaluate_all(
        "rows => rows.map(row => parseFloat(getComputedStyle(row).fontSize))"
    )
    assert min(sizes) >= 12


def test_no_table_is_cut_on_paper(visit: Any, site: Path, page: str) -> None:
    """A4 leaves 170 mm of text at 96 pixels an inch."""
    cut = """() => [...document.querySelectorAll('article table')]
      .filter(table => table.getClientRects().length)
      .filter(table => table.getBoundingClientRect().right > innerWidth + 1
        || [...table.querySelectorAll('td, th')].some(c => c.scrollWidth > c.clientWidth + 1))
      .map(table => table.textContent.trim().slice(0, 60))"""
    url = (site / f"{page}.html").as_uri()
    tab = visit(url, viewport={"width": 643, "height": 909}).tab
    tab.emulate_media(media="print")
    assert tab.evaluate(cut) == []
