"""The pages in a real browser: formulas drawn, no error, no outside request, no sideways scroll."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}
# Formulas that have no size although nothing around them is folded.
UNSEEN = """() => [...document.querySelectorAll('.math')]
  .filter(node => node.checkVisibility())
  .filter(node => !node.querySelector('math')?.getBoundingClientRect().width)
  .map(node => node.textContent.slice(0, 80))"""
# Elements that reach beyond the window although nothing around them scrolls.
TOO_WIDE = """() => {
  const scrolls = node => /auto|scroll|hidden/.test(getComputedStyle(node).overflowX);
  const inside = node => {
    for (let up = node.parentElement; up; up = up.parentElement) if (scrolls(up)) return true;
    return false;
  };
  return [...document.querySelectorAll('article *')]
    .filter(node => node.getBoundingClientRect().right > innerWidth + 1 && !inside(node))
    .map(node => node.tagName + '.' + node.className);
}"""
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = node => {
    for (let up = node; up; up = up.parentElement) {
      const color = rgb(getComputedStyle(up).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('.rnb-badge, .rnb-check, .rnb-check *, .rnb-recalled')]
    .filter(node => !node.closest('math'))
    .map(node => {
      const [a, b] = [light(rgb(getComputedStyle(node).color)), light(back(node))];
      return {
        text: node.textContent.slice(0, 40),
        ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
      };
    })
    .filter(found => found.ratio < 4.5);
}"""


PATIENCE = 600_000  # milliseconds until what never comes is given up, on the slowest machine


@dataclass
class Seen:
    """What a page said and asked for while it was shown."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def shown(browser: Any, url: str, **look: Any) -> Iterator[tuple[Any, Seen]]:
    """A page that has been loaded."""
    context = browser.new_context(**look)
    context.set_default_timeout(PATIENCE)
    tab, seen = context.new_page(), Seen()
    tab.on("pageerror", lambda error: seen.errors.append(str(error)))
    tab.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    tab.on("requestfailed", lambda request: seen.errors.append(f"failed: {request.url}"))
    tab.on("request", lambda request: seen.requests.append(request.url))
    try:
        tab.goto(url)
        yield tab, seen
    finally:
        context.close()


def outside(seen: Seen, home: str) -> list[str]:
    own = (home, "data:", "blob:")
    return [url for url in seen.requests if not url.startswith(own)]


def test_a_page_draws_its_formulas_and_asks_nobody(browser: Any, address: str, page: str) -> None:
    with shown(browser, f"{address}/{page}.html", viewport=LAPTOP) as (tab, seen):
        assert tab.evaluate(UNSEEN) == []
        assert tab.evaluate(TOO_WIDE) == []
    assert seen.errors == []
    assert outside(seen, address) == []


def test_a_page_fits_a_telephone_and_needs_no_server(browser: Any, site: Path, page: str) -> None:
    url = (site / f"{page}.html").as_uri()
    with shown(browser, url, viewport=PHONE, color_scheme="light") as (tab, seen):
        assert tab.evaluate(UNSEEN) == []
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert tab.evaluate(TOO_WIDE) == []
            assert tab.evaluate(CONTRAST) == []
    assert seen.errors == []
    assert outside(seen, site.as_uri()) == []


def test_a_request_outside_would_be_noticed(browser: Any, site: Path) -> None:
    url = (site / "book" / "intro.html").as_uri()
    with shown(browser, url) as (tab, seen):
        tab.evaluate("fetch('http://example.invalid/x').catch(() => 0)")
        assert outside(seen, site.as_uri()) == ["http://example.invalid/x"]


def test_the_search_finds_a_word_without_a_server(browser: Any, site: Path) -> None:
    url = (site / "search.html").as_uri() + "?q=boundary"
    with shown(browser, url) as (tab, _):
        tab.wait_for_selector("#search-results li a")


def test_the_folder_leads_to_the_first_page(browser: Any, address: str, toc: Any) -> None:
    with shown(browser, f"{address}/") as (tab, _):
        tab.wait_for_url(f"**/{toc.root}.html")
