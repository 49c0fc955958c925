"""What no page uses is left out of the theme, and what a page uses is not."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def light() -> ModuleType:
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        return importlib.import_module("light_pages")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".used{a:b}.unused{c:d}", ".used{a:b}"),
        (".used .unused,p.used{a:b}", "p.used{a:b}"),
        ("@media print{.unused{a:b}}", ""),
        ("@media print{.used{a:b}}", "@media print{.used{a:b}}"),
        ("@font-face{src:url(x.woff)}", "@font-face{src:url(x.woff)}"),
        ("@import 'x.css';p{a:b}", "@import 'x.css';p{a:b}"),
        (".used:not(.unused,.other){a:b}", ".used:not(.unused,.other){a:b}"),
        (":is(.used,.unused) p{a:b}", ":is(.used,.unused) p{a:b}"),
        ("/*! licence of x.com */:root{a:b}", "/*! licence of x.com */:root{a:b}"),
        ("/* note */p{a:b}", "p{a:b}"),
        (
            'p{a:url("data:,{rgba(0,0,0)}")}.unused{a:b}q{c:d}',
            'p{a:url("data:,{rgba(0,0,0)}")}q{c:d}',
        ),
        ('.used{content:"}"}', '.used{content:"}"}'),
    ],
)
def test_a_rule_stays_if_its_classes_occur(light: ModuleType, css: str, kept: str) -> None:
    assert light.slim(css, frozenset({"used"})) == kept


def test_unequal_braces_are_told(light: ModuleType) -> None:
    with pytest.raises(light.ExtensionError, match="unequal braces"):
        light.slim("p{a:b", frozenset())


def test_every_icon_of_the_styles_is_in_the_font(site: Path) -> None:
    font = TTFont(site / "_static" / "vendor" / "fontawesome" / "webfonts" / "icons.woff")
    css = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    used = {int(code, 16) for code in re.findall(r'content:\s*"\\(f[0-9a-f]{3})"', css)}
    assert used and used <= set(font.getBestCmap())


def test_each_icon_class_of_a_page_has_its_rule(site: Path) -> None:
    css = (site / "_static" / "styles" / "pydata-sphinx-theme.css").read_text(encoding="utf-8")
    page = (site / "book" / "intro.html").read_text(encoding="utf-8")
    icons = set(re.findall(r"fa[sr]? (fa-[a-z-]+)|fa-solid (fa-[a-z-]+)", page))
    names = {name for pair in icons for name in pair if name}
    assert names and {name for name in names if f".{name}:" not in css} == set()


def test_only_named_scripts_are_taken_out(light: ModuleType) -> None:
    kept = '<script src="../_static/math.js?v=1"></script>'
    gone = '\n<script defer src="../_static/scripts/bootstrap.js?digest=1"></script>'
    ahead = '\n<link rel="preload" as="script" href="_static/scripts/bootstrap.js" />'
    names = ("scripts/bootstrap", "search")
    assert light.without_scripts(kept + gone + ahead, names) == kept
    other = '<script src="search-sections.js"></script>'
    assert light.without_scripts(other, names) == other


def test_the_search_page_alone_loads_the_index(site: Path) -> None:
    loads = [page.name for page in site.rglob("*.html") if "searchindex.js" in page.read_text()]
    assert loads == ["search.html"]


def test_the_search_box_of_a_page_leads_to_what_it_finds(visit: Any, site: Path) -> None:
    page = (site / "book" / "notation.html").as_uri()
    seen = visit(page, viewport={"width": 390, "height": 844})
    seen.tab.locator(".search-button__button:visible").first.click()
    seen.tab.keyboard.type("boundary")
    seen.tab.keyboard.press("Enter")
    seen.tab.wait_for_selector("#search-results li a")
    assert seen.errors == []


def test_every_script_of_a_page_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for source in re.findall(r'(?:src|href)="([^"#:]+\.(?:js|css))[?"]', text):
            assert (page.parent / source).is_file(), (page.name, source)


def test_pictures_have_few_colours(site: Path) -> None:
    for file in (site / "_images").glob("*.png"):
        with Image.open(file) as picture:
            assert picture.mode == "P", file.name


def test_what_a_menu_would_hold_stands_beside_the_other_buttons(site: Path, paper: str) -> None:
    made = BeautifulSoup((site / f"{paper}.html").read_text(encoding="utf-8"), "html.parser")
    buttons = made.select_one(".article-header-buttons")
    assert buttons is not None
    assert buttons.select_one("a[href$='.ipynb'][title]") and not buttons.select(".dropdown")
