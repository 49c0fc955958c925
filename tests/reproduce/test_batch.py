from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from robustnb.errors import BusyError, RunError
from robustnb.reproduce import batch, keys, profiles

BATCH = """
from robustnb.reproduce import batch, keys, profiles, project
p = project.find()
size = profiles.get(p.notebooks, "laptop")
runs = [keys.plan(p, "toy2020", size, seed) for seed in range(3)]
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


def test_every_run_is_made_once_and_a_missing_one_again(toy):
    runs = plans(toy, range(3))
    assert any("notebook 3 of 3 done" in line for line in run_all(toy, runs))
    first = stamps(toy)
    assert run_all(toy, runs) == ["3 of 3 notebook runs are there, 0 to do"]
    lost = runs[1].folder(toy.runs)
    (lost / "record.json").unlink()
    run_all(toy, runs)
    changed = {path for path, stamp in stamps(toy).items() if first[path] != stamp}
    assert changed == {lost / "record.json"}


def test_a_failing_run_is_told_and_the_others_go_on(toy, edit):
    edit("import time\n", "import time\nassert seed != 1, 'seed one is bad'\n")
    with pytest.raises(RunError, match="seed one is bad"):
        run_all(toy, plans(toy, range(3)))
    assert len(stamps(toy)) == 2


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
    assert len(stamps(toy)) == 3
    assert not orphans & {p.pid for p in psutil.process_iter() if _belongs(p, toy)}
    assert not list((toy.build / "tmp").glob("*"))


def _belongs(process, toy):
    try:
        return process.environ().get("ROBUSTNB_BUILD") == str(toy.build)
    except psutil.Error:
        return False
