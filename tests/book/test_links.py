"""Whatever a page points at is there, and nothing is loaded from anywhere else."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

# What a browser fetches by itself when it shows a page.
LOADED = ("script[src]", "link[rel~=stylesheet][href]", "link[rel~=icon][href]", "img[src]",
          "source[src]", "video[src]", "audio[src]", "iframe[src]", "object[data]", "embed[src]",
          "link[rel~=preload][href]", "link[rel~=preconnect][href]")  # fmt: skip


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Names on a page that an address can end in."""
    found = {str(tag["id"]) for tag in soup(path).find_all(id=True)}
    return frozenset(found | {str(tag["name"]) for tag in soup(path).find_all("a", {"name": True})})


def address_of(tag: Tag) -> str:
    return str(tag.get("src") or tag.get("href") or tag.get("data") or "")


def is_outside(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in {"http", "https", "ws", "wss", "ftp"}


def target_of(page: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    return (page.parent / path).resolve() if path else page


def pages_of(site: Path) -> list[Path]:
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def test_every_link_and_anchor_inside_the_book_exists(site: Path) -> None:
    broken = []
    for page in pages_of(site):
        for link in soup(page).select("a[href]"):
            address = str(link["href"])
            if urlsplit(address).scheme or is_outside(address) or address == "#":
                continue
            target, anchor = target_of(page, address), unquote(urlsplit(address).fragment)
            if not target.is_file():
                broken.append(f"{page.name}: {address}")
            elif anchor and target.suffix == ".html" and anchor not in anchors(target):
                broken.append(f"{page.name}: {address} (no such anchor)")
    assert broken == []


def test_every_script_style_and_image_is_in_the_book(site: Path) -> None:
    missing = []
    for page in pages_of(site):
        for tag in soup(page).select(", ".join(LOADED)):
            address = address_of(tag)
            if not address.startswith("data:") and not target_of(page, address).is_file():
                missing.append(f"{page.name}: {address}")
    assert missing == []


def test_nothing_is_loaded_from_outside(site: Path) -> None:
    outside = [
        f"{page.name}: {address_of(tag)}"
        for page in pages_of(site)
        for tag in soup(page).select(", ".join(LOADED))
        if is_outside(address_of(tag))
    ]
    assert outside == []


def test_no_style_sheet_loads_anything_from_outside(site: Path) -> None:
    calls = r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)"""
    found = {
        f"{path.name}: {address}"
        for path in site.rglob("*.css")
        for address in re.findall(calls, path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_every_image_says_what_it_shows(site: Path) -> None:
    silent = []
    for page in pages_of(site):
        for image in soup(page).select("article img"):
            text, file = str(image.get("alt", "")).strip(), Path(str(image["src"])).name
            if len(text) < 10 or file in text:
                silent.append(f"{page.name}: {file} says {text!r}")
    assert silent == []


def test_figures_have_a_sentence_of_alternative_text_in_svg_too(site: Path) -> None:
    mute = [
        page.name
        for page in pages_of(site)
        for drawing in soup(page).select("article :is(.cell_output, figure) svg")
        if not drawing.find("title") and not drawing.get("aria-label")
    ]
    assert mute == []


def test_the_page_of_a_paper_offers_its_executed_notebook(site: Path, paper: str) -> None:
    html = site / f"{paper}.html"
    links = [str(a["href"]) for a in soup(html).select("a.btn-download-source-button[href]")]
    assert len(links) == 1
    notebook = json.loads(target_of(html, links[0]).read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"]]
    assert code and all(cell["execution_count"] is not None for cell in code)
    assert any(cell["outputs"] for cell in code)
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
