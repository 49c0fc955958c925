"""The API pages: every public name of every room, read from the source without importing it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import api_pages

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "robustnb"
NOT_SHOWN = {"reproduce"}  # the command, which has a page of its own


def rooms() -> list[str]:
    folders = [path.parent.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*/__init__.py"))]
    names = [".".join(folder.parts) for folder in folders if folder.name not in NOT_SHOWN]
    return [f"robustnb.{name}" for name in names if _exports(f"robustnb.{name}")]


def _exports(package: str) -> list[str]:
    return getattr(importlib.import_module(package), "__all__", [])


def page_of(room: str) -> str:
    return "api-" + room.removeprefix("robustnb.").replace(".", "-")


@pytest.mark.parametrize("room", rooms())
def test_every_public_name_of_a_room_is_on_its_page(site: Path, room: str) -> None:
    text = (site / "book" / f"{page_of(room)}.html").read_text(encoding="utf-8")
    shown = {str(tag["id"]) for tag in BeautifulSoup(text, "html.parser").select("section[id]")}
    names = importlib.import_module(room).__all__
    wanted = {f"api-{room}-{name}".lower().replace(".", "-").replace("_", "-") for name in names}
    assert names and wanted - shown == set()


@pytest.mark.parametrize("room", rooms())
def test_the_overview_links_to_each_room_and_its_names(site: Path, room: str) -> None:
    text = (site / "book" / "api.html").read_text(encoding="utf-8")
    links = [str(a["href"]) for a in BeautifulSoup(text, "html.parser").select(".rnb-rooms a")]
    names = importlib.import_module(room).__all__
    assert f"{page_of(room)}.html" in links
    assert sum(link.startswith(f"{page_of(room)}.html#") for link in links) == len(names)


def test_reading_the_source_imports_nothing_heavy() -> None:
    before = set(sys.modules)
    assert len(list(api_pages.entries("robustnb.attacks"))) > 3
    assert not {name for name in set(sys.modules) - before if name.startswith("torch")}


@pytest.mark.parametrize(
    "source",
    [
        "def f(x, /, y: int = 3, *rest: str, z: float = 0.5, **more: int) -> None: ...",
        "def f(*, eps: float, norm: str = 'linf') -> dict[str, int]: ...",
        "def f(): ...",
    ],
)
def test_a_signature_is_shown_as_it_is_written(source: str) -> None:
    node = api_pages.ast.parse(source).body[0]
    assert source == f"def {api_pages.signature(node)}: ..."


def test_a_long_signature_has_one_argument_a_line() -> None:
    arguments = ", ".join(f"a_rather_long_name_{k}: float = 0.{k}" for k in range(6))
    text = api_pages.signature(api_pages.ast.parse(f"def f({arguments}) -> None: ...").body[0])
    assert len(text.splitlines()) == 8
    assert max(map(len, text.splitlines())) <= api_pages.LINE


def test_a_docstring_cannot_be_taken_for_markup() -> None:
    text = "Guarantee: |x_adv - x| <= eps, *all* <b>of</b> it; `a_b` and ``c*d`` are code."
    (shown,) = api_pages.prose(text)
    assert shown.astext() == text.replace("`", "")
    assert [node.astext() for node in shown.findall(api_pages.nodes.literal)] == ["a_b", "c*d"]


def test_an_example_stays_code() -> None:
    sentence, example = api_pages.prose("Says.\n\n    >>> 1 + 1\n    2\n")
    assert sentence.astext() == "Says."
    assert example["language"] == "pycon" and example.astext() == ">>> 1 + 1\n2"
