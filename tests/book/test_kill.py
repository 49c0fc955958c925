"""kill -9 at every stage of a real notebook's way to the page; the same command ends the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from robustnb.reproduce.project import Project

PAPER = "schmidt2018"

# Loaded by the command's own Python at its start: it ends everything at a chosen rename.
ASSASSIN = """
import os, re, signal, sys

if "robustnb.reproduce.main" in sys.orig_argv:
    moment, pattern = os.environ["KILL_AT"].split(" ", 1)

    def deadly(rename):
        def renamed(source, target, **kwargs):
            if moment == "before" and re.search(pattern, str(target)):
                os.killpg(0, signal.SIGKILL)
            rename(source, target, **kwargs)
            if moment == "after" and re.search(pattern, str(target)):
                os.killpg(0, signal.SIGKILL)
        return renamed

    os.replace, os.rename = deadly(os.replace), deadly(os.rename)
"""


class Victim:
    """The `robustnb` command on this checkout, with a build folder of its own."""

    def __init__(self, root: Path, build: Path) -> None:
        self.project = Project(root, build)
        self.assassin = build.parent / "assassin"
        self.assassin.mkdir()
        (self.assassin / "sitecustomize.py").write_text(ASSASSIN)
        self.environment = {**os.environ, "ROBUSTNB_BUILD": str(build)}

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "robustnb.reproduce.main", *words, "--profile", "smoke"]
        return subprocess.Popen(
            command, cwd=self.project.root, env={**self.environment, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def killed_at(self, moment: str, *words: str) -> None:
        """Run until the first rename, before or after it, whose target matches."""
        process = self.start(*words, PYTHONPATH=str(self.assassin), KILL_AT=moment)
        told, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, told

    def killed_when(self, reached: Callable[[], bool], *words: str) -> None:
        """Run until something is to be seen from outside."""
        process = self.start(*words)
        while process.poll() is None and not reached():
            time.sleep(0.02)
        assert process.poll() is None, "the command ended before its moment"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def finish(self, *words: str) -> None:
        process = self.start(*words)
        told, _ = process.communicate()
        assert process.returncode == 0, told

    def litter(self) -> list[Path]:
        build = self.project.build
        return [*build.rglob(".*.partial"), *build.glob("tmp/*"), *build.glob("status/*")]


@pytest.fixture
def victim(root: Path, tmp_path: Path) -> Victim:
    return Victim(root, tmp_path / "build")


def test_a_run_killed_in_conversion_in_a_cell_and_at_its_end_is_done_again(victim: Victim) -> None:
    def in_a_late_cell() -> bool:
        files = (victim.project.build / "status").glob(f"{PAPER}-smoke-seed0*.json")
        try:
            return any(json.loads(file.read_text())["cell"] > 30 for file in files)
        except FileNotFoundError:
            return False

    words = ("run", PAPER)
    victim.killed_at(f"after status/{PAPER}", *words)
    victim.killed_when(in_a_late_cell, *words)
    victim.killed_at(r"before /runs/smoke/.*/seed0-[0-9a-f]+$", *words)
    assert not list(victim.project.runs.rglob("record.json"))
    victim.finish(*words)
    (folder,) = victim.project.runs.glob(f"smoke/{PAPER}/*")
    assert {path.name for path in folder.iterdir()} == {"x.ipynb", "record.json"}
    assert victim.litter() == []


def test_a_book_killed_in_the_ledger_a_page_the_build_and_the_exchange_is_finished(
    victim: Victim, site: Path
) -> None:
    """The old book stays until the new one is whole, and the new one is the undisturbed one."""
    build, whole = victim.project.build, site.parents[1]
    shutil.copytree(whole / "runs", build / "runs")
    html = build / "_build" / "html"
    (html / "book").mkdir(parents=True)
    (html / "book" / "intro.html").write_text("the old book")
    for moment in (
        "before ledger.json$", "after ledger.json$",
        rf"before papers/{PAPER}.ipynb$", r"after papers/[a-z]+\d+.ipynb$",
    ):  # fmt: skip
        victim.killed_at(moment, "book")
    sphinx = build / "book" / "_build" / "html"
    victim.killed_when(sphinx.exists, "book")
    assert (html / "book" / "intro.html").read_text() == "the old book"
    victim.killed_at(r"after /_build/\.html\.old$", "book")
    assert (html.with_name(".html.old") / "book" / "intro.html").read_text() == "the old book"
    victim.finish("book")
    assert "the old book" not in (html / "book" / "intro.html").read_text()
    assert not html.with_name(".html.old").exists()
    for page in sorted((build / "stage" / "book" / "papers").glob("*.ipynb")):
        assert page.read_bytes() == (whole / "stage" / "book" / "papers" / page.name).read_bytes()
    assert victim.litter() == []
