"""A small project of one toy paper, complete enough to be run, judged and published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from robustnb.reproduce.project import Project

TOY = Path(__file__).parent / "toy"


@pytest.fixture
def toy(tmp_path: Path) -> Project:
    shutil.copytree(TOY / "notebooks", tmp_path / "notebooks")
    shutil.copyfile(TOY.parents[2] / "Snakefile", tmp_path / "Snakefile")
    return Project(tmp_path, tmp_path / "build")


@pytest.fixture
def edit(toy: Project):
    def change(old: str, new: str, name: str = "toy2020.md") -> None:
        path = toy.notebooks / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    return change
