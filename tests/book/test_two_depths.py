"""A paper's page has two depths: its first screen and its prose in sight, the rest in folds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image

LAPTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
LIGHT = 200  # of 255: the ground of a dark page lies below 60
FOLDS = "details.rnb-fold"
# Wider than the window although nothing around it scrolls.
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
CLOSED_CONTENT = """() => [...document.querySelectorAll('details.rnb-fold > :not(summary)')]
  .filter(node => !node.checkVisibility() && node.textContent.trim())
  .map(node => node.textContent.trim().slice(0, 60))"""
TARGETS = """() => [...document.querySelectorAll('details.rnb-fold [id]')]
  .filter(node => !node.closest('svg, math') && node.tagName !== 'SPAN').map(node => node.id)"""


@pytest.fixture
def opened(visit: Any, site: Path, paper: str) -> Callable[..., Any]:
    """The page of a paper in a window: `opened(PHONE, "#anchor", color_scheme="dark")`."""

    def open_page(viewport: dict[str, int], anchor: str = "", **look: Any) -> Any:
        url = (site / f"{paper}.html").as_uri() + anchor
        return visit(url, viewport=viewport, **look).tab

    return open_page


@pytest.fixture
def article(site: Path, paper: str) -> Tag:
    page = BeautifulSoup((site / f"{paper}.html").read_text(encoding="utf-8"), "html.parser")
    found = page.select_one("article")
    assert found is not None
    return found


def test_every_fold_opens_with_a_key_and_without_javascript(opened: Any) -> None:
    tab = opened(LAPTOP, java_script_enabled=False)
    lines = tab.locator(f"{FOLDS} > summary")
    assert lines.count() > 0
    for line in lines.all():
        if line.locator("xpath=..").get_attribute("open") is None:
            line.press("Enter")
    assert tab.locator(f"{FOLDS}:not([open])").count() == 0


def test_one_switch_opens_all_folds_and_closes_them(opened: Any) -> None:
    tab = opened(LAPTOP)
    switch = tab.locator("button.rnb-unfold")
    switch.click()
    assert tab.locator(f"{FOLDS}:not([open])").count() == 0
    assert tab.evaluate(CLOSED_CONTENT) == []
    switch.click()
    assert tab.locator(f"{FOLDS}[open]").count() == 0


def test_a_link_into_a_fold_opens_it(opened: Any) -> None:
    targets = opened(LAPTOP).evaluate(TARGETS)
    for target in {targets[0], targets[-1]}:
        tab = opened(LAPTOP, f"#{target}")
        assert tab.locator(f"[id='{target}']").first.is_visible()


def test_a_page_with_all_its_folds_open_fits_a_telephone(opened: Any) -> None:
    tab = opened(PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.locator("button.rnb-unfold").click()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(TOO_WIDE) == []


def test_a_closed_proof_says_its_idea(article: Tag) -> None:
    lines = [line.get_text(" ", strip=True) for line in article.select(f"{FOLDS}-proof > summary")]
    hints = article.select(".rnb-fold-proof > summary > .rnb-hint")
    assert not [line for line in lines if "The argument goes in steps" in line]
    assert all(len(hint.get_text().split()) >= 4 for hint in hints)


def test_the_first_screen_has_question_answer_and_the_top_of_the_figure(opened: Any) -> None:
    tab = opened(LAPTOP)
    for word in ("Question.", "Answer."):
        told = tab.locator("article p", has=tab.locator(f"strong:text-is('{word}')")).first
        box = told.bounding_box()
        assert box["y"] + box["height"] <= LAPTOP["height"]
    figure = tab.locator("article figure, article .rnb-panels, article img").first.bounding_box()
    assert figure["y"] < LAPTOP["height"]


def test_every_figure_says_what_it_shows(article: Tag) -> None:
    pictures = [
        picture
        for picture in article.select("img")
        if "rnb-second" not in (picture.get("class", []))
    ]
    assert all(picture.get("alt", "").strip() for picture in pictures)
    assert all(svg.get("aria-label", "").strip() for svg in article.select("svg[role=img]"))


def test_every_picture_of_a_run_says_whether_it_turns_with_the_theme(article: Tag) -> None:
    pictures = article.select("figure img[src*='_images/']")
    assert pictures
    for picture in pictures:
        assert {"rnb-chart", "rnb-images"} & set(picture.get("class", [])), picture["src"]


def test_two_panels_stand_one_above_the_other_on_a_telephone(opened: Any) -> None:
    tab = opened(PHONE)
    tab.locator("button.rnb-unfold").click()
    for pair in tab.locator(".rnb-panels").all():
        first, second = (image.bounding_box() for image in pair.locator("img").all())
        assert second["y"] >= first["y"] + first["height"] - 1
        assert first["width"] > 0.7 * PHONE["width"] and second["width"] == first["width"]


def test_a_chart_on_a_dark_page_is_no_light_slab(opened: Any) -> None:
    tab = opened(LAPTOP, color_scheme="dark")
    for chart in tab.locator("img.rnb-chart:visible").all()[:3]:
        chart.scroll_into_view_if_needed()
        with Image.open(io.BytesIO(chart.screenshot())) as shot:
            pixels = np.asarray(shot.convert("L"))
        assert np.median(pixels) < LIGHT / 2
        assert (pixels > LIGHT).mean() < 0.2


def test_print_shows_what_opened_folds_hold(opened: Any) -> None:
    tab = opened(LAPTOP)
    tab.locator("button.rnb-unfold").click()
    tab.emulate_media(media="print")
    assert tab.evaluate(CLOSED_CONTENT) == []
    assert not tab.locator("button.rnb-unfold").is_visible()


def test_a_dark_page_is_printed_light_and_is_dark_again_afterwards(opened: Any) -> None:
    tab = opened(LAPTOP, color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    tab.emulate_media(media="print", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'light'")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    tab.emulate_media(media="screen", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_the_column_of_contents_is_a_landmark_with_a_name(opened: Any) -> None:
    contents = opened(LAPTOP).locator(".bd-sidebar-primary")
    assert contents.get_attribute("role") == "region"
    assert contents.get_attribute("aria-label")


def test_figures_are_numbered_within_their_page(article: Tag) -> None:
    numbers = [tag.get_text(strip=True) for tag in article.select("figcaption .caption-number")]
    assert numbers == [f"Fig. {k}" for k in range(1, len(numbers) + 1)] != []


def test_a_dark_page_lays_no_frame_around_a_figure(opened: Any) -> None:
    tab = opened(LAPTOP, color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    looks = tab.evaluate(
        "() => [...document.querySelectorAll('img.rnb-chart')].map(getComputedStyle)"
        ".map(look => look.padding + ' ' + look.backgroundColor)"
    )
    assert set(looks) == {"0px rgba(0, 0, 0, 0)"}
