from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from robustnb.errors import BusyError, RunError
from robustnb.reproduce import batch, keys, profiles, status
from robustnb.reproduce.limits import Limits

BATCH = """
from robustnb.reproduce import batch, keys, profiles, project
p = project.find()
size = profiles.get(p.notebooks, "laptop")
runs = [keys.resolve_run(p, "toy2020", size, seed) for seed in range(2)]
with batch.lock(p):
    batch.run_all(p, runs, jobs=2, report=print)
"""


def plans(toy, seeds):
    size = profiles.get(toy.notebooks, "laptop")
    return [keys.resolve_run(toy, "toy2020", size, seed) for seed in seeds]


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


@pytest.mark.parametrize(
    ("limits", "why"),
    [(Limits(total=2.0), r"ran past the 2 s"), (Limits(silence=2.5), r"stood still for \d+ s")],
    ids=["total", "silence"],
)
def test_a_batch_hands_its_limits_to_every_run(toy, edit, limits, why):
    edit("sleep: float = 0.0", "sleep: float = 3600.0")
    with pytest.raises(RunError, match=why):
        run_all(toy, plans(toy, [0]), limits=limits)


def test_an_old_run_stays_until_a_fresh_one_is_complete(toy, edit):
    bad = """import os, time
assert not os.path.exists(os.path.join(os.environ["ROBUSTNB_BUILD"], "bad")), "bad today"
"""
    edit("import time\n", bad)
    runs = plans(toy, [0])
    run_all(toy, runs)
    ((page, before),) = {p: p.stat().st_ino for p in toy.runs.rglob("x.ipynb")}.items()
    (toy.build / "bad").touch()
    with pytest.raises(RunError, match="bad today"):
        run_all(toy, runs, fresh=True)
    assert page.stat().st_ino == before
    (toy.build / "bad").unlink()
    lines = run_all(toy, runs, fresh=True)
    assert lines[0] == "0 of 1 notebook runs are there, 1 to do"
    assert page.stat().st_ino != before and len(list(page.parent.parent.iterdir())) == 1


def test_a_run_set_aside_by_a_killed_command_is_there(toy, leave_run):
    runs = plans(toy, [0])
    folder = leave_run(runs[0])
    folder.rename(folder.with_name(f".{folder.name}.old"))
    assert run_all(toy, runs) == ["1 of 1 notebook runs are there, 0 to do"]
    assert (folder / "record.json").is_file()


def test_two_commands_do_not_work_in_one_checkout(toy):
    with batch.lock(toy), pytest.raises(BusyError, match="another robustnb"), batch.lock(toy):
        pytest.fail("the second lock was given")


def test_who_holds_the_checkout_is_named(toy, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/robustnb", "reproduce", "toy2020", "--jobs", "2"])
    with batch.lock(toy):
        here = rf"`robustnb reproduce toy2020 --jobs 2`, process {os.getpid()} on {gethostname()};"
        with pytest.raises(BusyError, match=here), batch.lock(toy):
            pytest.fail("the second lock was given")
        (toy.build / "holder.json").write_text("")  # between its lock and its name
        with pytest.raises(BusyError, match="wait for it, or end it"), batch.lock(toy):
            pytest.fail("the second lock was given")
    assert not (toy.build / "holder.json").exists()


def test_a_failure_of_long_ago_is_not_told_for_a_run_that_never_started(toy):
    error = toy.build / "failed" / "toy2020-laptop-seed0.txt"
    error.parent.mkdir(parents=True)
    error.write_text("a failure of long ago")
    with pytest.raises(RunError, match="unrecognized arguments: --no-such-word") as failed:
        run_all(toy, plans(toy, [0]), extra=["--no-such-word"])
    assert "long ago" not in str(failed.value)


class Outage:
    """Follows two runs whose Snakemake is lost when the second has begun, then that one alone."""

    cut_off = True

    def __init__(self, toy, runs, failed):
        self._status = toy.build / "status"
        self._loses, self._failed = len(runs) == 2, failed
        if not self._loses:  # sent again, and let go on
            (toy.build / "go").touch()

    def look(self, _done):
        return not (self._loses and any(self._status.glob("toy2020-laptop-seed1*.json")))

    def failed(self, _name):
        return self._failed

    def last_words(self, _name):
        return []


@pytest.mark.parametrize("failed", [False, True])
def test_runs_lost_sight_of_are_sent_again_unless_they_failed(toy, edit, monkeypatch, failed):
    go = str(toy.build / "go")
    waits = f"while seed and not __import__('os').path.exists({go!r}):\n    time.sleep(0.1)"
    edit("time.sleep(sleep)", waits)
    size = profiles.get(toy.notebooks, "laptop")
    first, second = (keys.resolve_run(toy, "toy2020", size, seed) for seed in range(2))
    outage = lambda _self, _project, runs, _report: Outage(toy, runs, failed)  # noqa: E731
    monkeypatch.setattr(batch.cluster.Batch, "follower", outage)
    target = first.folder(toy.runs) / "record.json"
    first_first = ["--prioritize", os.path.relpath(target, toy.build / "snakemake")]
    lines: list[str] = []
    with batch.lock(toy), pytest.raises(RunError, match="seed1") if failed else nullcontext():
        batch.run_all(toy, [first, second], jobs=1, extra=first_first, report=lines.append)
    assert ("1 runs that were lost sight of are sent again" in lines) == (not failed)
    assert len(stamps(toy)) == (1 if failed else 2)


def test_after_kill_9_of_the_command_alone_its_children_are_ended_and_the_rest_is_done(toy, edit):
    edit("sleep: float = 0.0", "sleep: float = 3600.0")
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    process = subprocess.Popen([sys.executable, "-c", BATCH], env=environment)
    while len(list((toy.build / "status").glob("*.json"))) < 2 and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    orphans = {p.pid for p in psutil.process_iter() if _belongs(p, toy)}
    assert orphans, "the batch's children should outlive it"
    edit("sleep: float = 3600.0", "sleep: float = 0.0")
    done = subprocess.run(
        [sys.executable, "-c", BATCH], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(stamps(toy)) == 2
    assert not orphans & {p.pid for p in psutil.process_iter() if _belongs(p, toy)}
    assert not list((toy.build / "tmp").glob("*"))


def test_a_run_under_way_outlives_a_batch_and_its_end_in_another_namespace(toy, edit, namespace):
    """A container sees the same build folder and none of our processes."""
    gate = toy.build / "go"
    waiting = (
        "import os\nwhile seed == 9 and not os.path.exists("
        + repr(str(gate))
        + "):\n    time.sleep(0.1)"
    )
    edit("time.sleep(sleep)", waiting)
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    command = [sys.executable, "-m", "robustnb.reproduce.main", "run", "toy2020", "--seed", "9"]
    under_way = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    while not status.lines(toy) and under_way.poll() is None:
        time.sleep(0.1)
    done = subprocess.run(
        [*namespace, sys.executable, "-c", BATCH],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert status.lines(toy), "the other command ended or forgot the run under way"
    gate.touch()
    under_way.communicate()
    assert under_way.returncode == 0
    assert len(stamps(toy)) == 3


@pytest.mark.parametrize("text", ['{"token": null}', '{"token": ""}', '{"tok', "[]", "{}"])
def test_a_damaged_note_of_a_dead_batch_ends_nobody(toy, text):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    toy.build.mkdir()
    (toy.build / "batch.json").write_text(text)
    with batch.lock(toy):
        assert other.poll() is None and not (toy.build / "batch.json").exists()
    other.communicate(b"\n")
    assert other.returncode == 0


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
