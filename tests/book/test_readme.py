"""README's first screen: its picture and its verdicts are those of the book."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from robustnb.reproduce.pipeline import write_readme
from robustnb.reproduce.project import Project

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_verdicts_are_those_of_the_committed_records() -> None:
    assert write_readme(Project(ROOT, ROOT / "build" / "test"), check=True), "run `make readme`"


def test_each_paper_has_one_row_and_a_link_to_its_notebook() -> None:
    linked = re.findall(r"^\| \[[^]]+\]\((notebooks/\S+)\)", TEXT, re.MULTILINE)
    assert sorted(linked) == sorted(
        f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.md")
    )


def test_the_picture_is_there_small_in_few_colours_and_described() -> None:
    ((alt, name),) = re.findall(r"^!\[([^]]*)\]\((\S+)\)", TEXT, re.MULTILINE)
    assert len(alt.split()) >= 10
    with Image.open(ROOT / name) as picture:
        assert picture.mode == "P"
    assert (ROOT / name).stat().st_size < 100_000
