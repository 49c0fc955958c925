from __future__ import annotations

import os
import sys

import psutil
import pytest
from click.testing import CliRunner

from robustnb.reproduce import book, cli, machine, pipeline

LOG = (
    "reading sources... \n"
    "\x1b[01mreading sources... \x1b[39;49;00m[ 46%] \x1b[35mbook/known-wrong\x1b[39;49;00m\n"
    "\x1b[01mwriting output... \x1b[39;49;00m[  8%] \x1b[32mbook/api\x1b[39;49;00m\n"
)
# Says how far it is, and ends when somebody has heard it.
BUILD = """
import pathlib, sys, time
print("reading sources... [ 46%] book/known-wrong", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
sys.exit(3)
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(book, "_REPORT_SECONDS", 0.02)


def test_the_last_step_in_the_log_is_told_without_colours():
    assert book.progress(LOG) == "writing output 8 %, book/api"
    assert book.progress("Running Sphinx\n") == "starting"


def test_a_build_tells_how_far_it_is_and_ends_with_its_status(tmp_path):
    heard = tmp_path / "heard"
    told: list[str] = []

    def hear(line):
        told.append(line)
        if "46 %" in line:
            heard.touch()

    command = [sys.executable, "-c", BUILD, str(heard)]
    assert book._run(command, dict(os.environ), tmp_path / "log", hear) == 3
    assert told[-1] == "  reading sources 46 %, book/known-wrong"
    assert len(told) == len(set(told))


def test_an_interrupted_build_leaves_no_process(tmp_path):
    def interrupt(_line):
        raise KeyboardInterrupt

    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        command = [sys.executable, "-c", BUILD, str(tmp_path / "never")]
        book._run(command, dict(os.environ), tmp_path / "log", interrupt)
    assert set(psutil.Process().children()) <= before


@pytest.fixture
def robustnb(toy, monkeypatch):
    monkeypatch.setenv("ROBUSTNB_ROOT", str(toy.root))
    return lambda words: CliRunner().invoke(cli.cli, words.split(), catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "profile", "jobs"),
    [
        ("book", None, 3),
        ("book --profile laptop --jobs 2", "laptop", 2),
        ("book --profile smoke", "smoke", 3),
    ],
)
def test_the_book_is_the_best_at_hand_unless_a_profile_is_named(
    robustnb, monkeypatch, words, profile, jobs
):
    asked = []

    def make_book(_project, size, *, jobs, **_settings):
        asked.append((size and size.name, jobs))
        return "intro.html"

    monkeypatch.setattr(pipeline, "make_book", make_book)
    monkeypatch.setattr(machine, "jobs", lambda memory_gb: 3 * int(memory_gb))
    assert robustnb(words).output == "open intro.html\n"
    assert asked == [(profile, jobs)]


def test_a_batch_without_jobs_fills_the_machine(robustnb, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline, "reproduce", lambda *_, **k: asked.append(k) or {"papers": {}})
    monkeypatch.setattr(machine, "jobs", lambda _memory_gb: 7)
    assert robustnb("reproduce").exit_code == robustnb("reproduce --jobs 1").exit_code == 0
    assert [given["jobs"] for given in asked] == [7, 1]
