"""Cover, parts and scoreboard: one order of papers, a card for each, a finding for each page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from PIL import Image

from robustnb.reproduce import parts

ROOT = Path(__file__).resolve().parents[2]
LARGEST_IMAGES = 600_000  # bytes of a page's own images


def article(site: Path, page: str) -> Tag:
    text = (site / "book" / f"{page}.html").read_text(encoding="utf-8")
    found = BeautifulSoup(text, "html.parser").select_one("article")
    assert found is not None
    return found


def with_pages() -> list[str]:
    there = {path.stem for path in (ROOT / "notebooks").glob("*.md")}
    return [name for name in parts.papers(ROOT) if name in there]


def first_mentions(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(name for text in texts for name in re.findall(r"[a-z]+\d{4}", text)))


def test_the_table_of_contents_has_the_parts_and_their_papers_in_order() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [[c["file"] for c in part["chapters"]] for part in toc["parts"]]
    known = with_pages()
    wanted = [
        [f"book/part-{name}", *(f"book/papers/{p}" for p in part.papers if p in known)]
        for name, part in parts.load(ROOT).items()
    ]
    assert [c for c in chapters if any("part-" in file for file in c)] == wanted


@pytest.mark.parametrize("where", ["intro", "scoreboard"])
def test_papers_stand_in_the_order_of_the_parts(site: Path, where: str) -> None:
    links = (str(a["href"]) for a in article(site, where).select("li a[href*=papers], td a"))
    assert first_mentions(links) == with_pages()


def test_the_readme_has_the_papers_in_that_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[[^]]+\]\(notebooks/(\w+)\.md\)", text, re.M) == with_pages()


def test_the_cover_has_a_card_for_every_paper_in_order(site: Path) -> None:
    cards = [c for c in article(site, "intro").select(".rnb-card") if c.select(".rnb-card-foot")]
    listed = parts.papers(ROOT)
    assert len(cards) == len(listed)
    for card, (name, paper) in zip(cards, listed.items(), strict=True):
        there = name in with_pages()
        assert bool(card.select_one(f"a[href='papers/{name}.html']")) is there
        assert bool(card.select_one("img[alt]")) is there
        assert paper.line.split(".")[0].split("`")[0] in card.get_text(" ", strip=True)


def test_the_cover_links_its_picture_to_the_page_that_explains_it(site: Path) -> None:
    hero = article(site, "intro").select_one("figure.rnb-hero")
    assert hero is not None
    assert {str(a["href"]) for a in hero.select("a")} == {"papers/zhang2019.html"}
    assert len(hero.select("img[alt]")) == 2


@pytest.mark.parametrize("where", ["intro", "scoreboard"])
def test_each_paper_with_a_page_has_a_finding_with_a_number_and_a_verdict(
    site: Path, where: str
) -> None:
    findings = [li for li in article(site, where).select("li") if li.select(".rnb-badge")]
    assert len(findings) == len(with_pages())
    for finding in findings:
        assert re.search(r"[+\N{MINUS SIGN}]?\d+\.\d", finding.get_text())
        assert all(badge.find_parent("a") for badge in finding.select(".rnb-badge"))


def test_the_scoreboard_has_one_row_a_claim_with_one_verdict(site: Path) -> None:
    rows = article(site, "scoreboard").select(".rnb-board tbody tr")
    registries = (ROOT / "notebooks" / "claims").glob("*.yaml")
    claims = [c for f in registries for c in yaml.safe_load(f.read_text("utf-8"))["claims"]]
    assert len(rows) == len(claims)
    assert all(len(row.select(".rnb-badge")) == 1 for row in rows)


def test_each_part_has_a_card_for_each_of_its_papers(site: Path) -> None:
    for name, part in parts.load(ROOT).items():
        page = article(site, f"part-{name}")
        assert len(page.select(".rnb-card")) == len(part.papers)


def test_the_pictures_of_cards_are_small_and_in_few_colours(site: Path) -> None:
    files = sorted((site / "_static" / "cards").glob("*.png"))
    assert [file.stem for file in files] == sorted(with_pages())
    for file in files:
        with Image.open(file) as picture:
            assert picture.mode == "P"
        assert file.stat().st_size < 60_000


def test_a_papers_page_tells_how_long_it_is_and_how_to_cite_it(site: Path, paper: str) -> None:
    page = article(site, paper.removeprefix("book/"))
    told = page.select_one(".rnb-run + .rnb-front")
    assert told is not None
    assert re.search(r"About \d+ minutes to read", told.get_text())
    entry = page.select("pre")[-1].get_text()
    assert f"{{robustnb-{paper.rpartition('/')[2]}," in entry and entry.count("\n  title = ") == 2


def test_a_pages_own_images_are_small(site: Path, page: str) -> None:
    html = site / f"{page}.html"
    images = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser").select("article img")
    files: set[Any] = {(html.parent / str(image["src"])).resolve() for image in images}
    assert sum(file.stat().st_size for file in files) < LARGEST_IMAGES
