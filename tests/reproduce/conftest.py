"""A small project of one toy paper, complete enough to be run, judged and published."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnb.lesson.arms import encode_arm
from robustnb.reproduce.project import Project

TOY = Path(__file__).parent / "toy"
PLAIN = ("unshare", "--pid", "--fork", "--mount-proc")
WITH_USER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def _copy(folder: Path) -> Project:
    shutil.copytree(TOY / "notebooks", folder / "notebooks")
    shutil.copyfile(TOY.parents[2] / "Snakefile", folder / "Snakefile")
    return Project(folder, folder / "build")


@pytest.fixture
def toy(tmp_path: Path) -> Project:
    return _copy(tmp_path)


@pytest.fixture(scope="module")
def shared_toy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One toy project for the tests of a file that look at the same runs."""
    return _copy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def edit(toy: Project):
    def change(old: str, new: str, name: str = "toy2020.md") -> None:
        path = toy.notebooks / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    return change


@pytest.fixture
def made() -> Callable[..., dict[str, Any]]:
    """The record that a run of the toy notebook would leave, with a planted effect."""

    def make(seed: int, treated: float = 0.9, control: float = 0.1, **extra: Any) -> dict[str, Any]:
        generator = np.random.default_rng(seed)
        arms = {
            "treated": generator.random(300) < treated,
            "control": generator.random(300) < control,
        }
        measured = {
            "schema": 1,
            "claim": "toy2020.C1",
            "part": "more",
            "arms": {name: encode_arm(name, outcomes) for name, outcomes in arms.items()},
            "checks": [],
            "threat": {},
            "audit": None,
        }
        return {
            "schema": 1,
            "paper": "toy2020",
            "profile": "laptop",
            "seed": seed,
            "custom": False,
            "origin": "record",
            "key": f"{seed:016x}",
            "source": "now",
            "closure": {},
            "data": {},
            "parameters": {"size": 300},
            "versions": {"python": "3.11", "torch": "2.14.1"},
            "device": "cpu",
            "cost": {"cpu_seconds": 4.0, "wall_seconds": 5.0, "peak_mb": 512},
            "warnings": [],
            "measurements": [measured],
            **extra,
        }

    return make


@pytest.fixture(scope="session")
def namespace() -> tuple[str, ...]:
    """The words before a command that give it process numbers of its own."""
    if shutil.which("unshare"):
        for words in (PLAIN, WITH_USER):
            tried = subprocess.run([*words, "true"], check=False, stderr=subprocess.DEVNULL)
            if tried.returncode == 0:
                return words
    pytest.skip("this system gives nobody a namespace of process numbers")
