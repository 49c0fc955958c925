from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from robustnb.errors import BusyError, RunError
from robustnb.reproduce import batch, keys, profiles

BATCH = """
from robustnb.reproduce import batch, keys, profiles, project
p = project.find()
size = profiles.get(p.notebooks, "laptop")
runs = [keys.plan(p, "toy2020", size, seed) for seed in range(2)]
with batch.lock(p):
    batch.run_all(p, runs, jobs=2, report=print)
"""


def plans(toy, seeds):
    size = profiles.get(toy.notebooks, "laptop")
    return [keys.plan(toy, "toy2020", size, seed) for seed in seeds]


def run_all(toy, runs, **settings):
    lines: list[str] = []
    with batch.lock(toy):
        batch.run_all(toy, runs, jobs=2, report=lines.append, **settings)
    return lines


def stamps(toy):
    return {p: p.stat().st_mtime_ns for p in toy.runs.rglob("record.json")}


# Seed 1 fails until somebody mends what it needs, which is not part of its code.
BROKEN = """import os, time
mended = os.path.exists(os.path.join(os.environ["ROBUSTNB_BUILD"], "mended"))
assert seed != 1 or mended, "seed one is bad"
"""


@dataclass
class History:
    """What became of three runs: first one of them fails, then it is mended, then all are there."""

    failure: str
    after_failure: dict[Path, int]
    mending: list[str]
    after_mending: dict[Path, int]
    idle: list[str]
    after_idle: dict[Path, int]
    folders: list[Path]


@pytest.fixture(scope="module")
def history(shared_toy):
    source = shared_toy.notebook("toy2020")
    source.write_text(source.read_text().replace("import time\n", BROKEN))
    runs = plans(shared_toy, range(3))
    with pytest.raises(RunError) as failed:
        run_all(shared_toy, runs)
    after_failure = stamps(shared_toy)
    (shared_toy.build / "mended").touch()
    half = runs[1].folder(shared_toy.runs)  # a folder that lost its record is not a finished run
    half.mkdir(parents=True)
    (half / "x.ipynb").write_text("half")
    mending, after_mending = run_all(shared_toy, runs), stamps(shared_toy)
    idle = run_all(shared_toy, runs)
    folders = [run.folder(shared_toy.runs) / "record.json" for run in runs]
    return History(
        str(failed.value), after_failure, mending, after_mending, idle, stamps(shared_toy), folders
    )


def test_a_failing_run_is_told_and_the_others_go_on(history):
    assert "seed one is bad" in history.failure and "seed0" not in history.failure
    assert set(history.after_failure) == {history.folders[0], history.folders[2]}


def test_the_same_command_does_only_what_is_missing(history):
    assert history.mending[0] == "2 of 3 notebook runs are there, 1 to do"
    assert any("notebook 1 of 1 done: toy2020-laptop-seed1" in line for line in history.mending)
    assert set(history.after_mending) == set(history.folders)
    assert history.after_failure.items() <= history.after_mending.items()
    assert history.folders[1].with_name("x.ipynb").read_text() != "half"


def test_nothing_is_done_when_every_run_is_there(history):
    assert history.idle == ["3 of 3 notebook runs are there, 0 to do"]
    assert history.after_idle == history.after_mending


def test_two_commands_do_not_work_in_one_checkout(toy):
    with batch.lock(toy), pytest.raises(BusyError, match="another robustnb"), batch.lock(toy):
        pytest.fail("the second lock was given")


def test_after_kill_9_of_the_command_alone_its_children_are_ended_and_the_rest_is_done(toy, edit):
    edit("sleep: float = 0.0", "sleep: float = 6.0")
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    process = subprocess.Popen([sys.executable, "-c", BATCH], env=environment)
    deadline = time.monotonic() + 60
    while len(list((toy.build / "status").glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    orphans = {p.pid for p in psutil.process_iter() if _belongs(p, toy)}
    assert orphans, "the batch's children should outlive it"
    edit("sleep: float = 6.0", "sleep: float = 0.0")
    done = subprocess.run(
        [sys.executable, "-c", BATCH], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(stamps(toy)) == 2
    assert not orphans & {p.pid for p in psutil.process_iter() if _belongs(p, toy)}
    assert not list((toy.build / "tmp").glob("*"))


def _belongs(process, toy):
    try:
        return process.environ().get("ROBUSTNB_BUILD") == str(toy.build)
    except psutil.Error:
        return False


def test_what_a_block_owns_ends_with_it_and_with_the_next_lock(toy):
    def start(token):
        waits = [sys.executable, "-c", "import time; time.sleep(600)"]
        return subprocess.Popen(waits, env={**os.environ, **token})

    with batch.lock(toy):
        with batch.owned(toy) as token:
            inside = start(token)
        assert not psutil.pid_exists(inside.pid)
        died = batch.owned(toy)
        left, stranger = start(died.__enter__()), start({})  # a block that is never left
    with batch.lock(toy):
        assert not psutil.pid_exists(left.pid) and stranger.poll() is None
    stranger.kill()
    for process in (inside, left, stranger):
        process.wait()
