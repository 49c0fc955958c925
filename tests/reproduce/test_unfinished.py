"""Who lives is asked by a lock, also from another namespace of process numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustnb import unfinished

# Makes a file or a folder and stays there until its input is closed.
MAKER = """
import contextlib, pathlib, sys
from robustnb import unfinished
root, what = pathlib.Path(sys.argv[1]), sys.argv[2]
made = unfinished.file(root / "x") if what == "file" else unfinished.folder(root, "run-key")
with made:
    print("made", flush=True)
    sys.stdin.read()
"""
SWEEPER = """
import pathlib, sys
from robustnb import unfinished
unfinished.sweep(pathlib.Path(sys.argv[1]), below=True)
"""


@pytest.fixture
def maker(tmp_path):
    """Starts a process that makes something below a folder; none outlives the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(what: str, *before: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", MAKER, str(tmp_path), what],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        begun.append(process)
        assert process.stdout.readline() == "made\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def sweep_from(namespace: tuple[str, ...], folder: Path) -> None:
    subprocess.run([*namespace, sys.executable, "-c", SWEEPER, str(folder)], check=True)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_living_process_makes_is_left_alone_also_from_another_namespace(
    tmp_path, maker, namespace, what
):
    process = maker(what)
    unfinished.sweep(tmp_path)
    sweep_from(namespace, tmp_path)
    (made,) = tmp_path.iterdir()
    assert unfinished.lives(made)
    process.communicate("")
    assert process.returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == (["x"] if what == "file" else [])


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_lives_in_another_namespace_is_left_alone(tmp_path, maker, namespace, what):
    process = maker(what, *namespace)
    unfinished.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    process.communicate("")
    assert process.returncode == 0


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_made_is_swept_whoever_has_its_number_now(
    tmp_path, maker, namespace, what
):
    process = maker(what)
    process.kill()
    process.communicate()
    (made,) = tmp_path.iterdir()
    assert not unfinished.lives(made)
    sweep_from(namespace, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_of_one_number_make_different_files(tmp_path):
    with unfinished.file(tmp_path / "x") as first, unfinished.file(tmp_path / "x") as second:
        first.write(b"first")
        second.write(b"second")
        assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "x").read_bytes() == b"first"  # the block that ended last


def left_by_another_machine(folder: Path, *, age: float) -> list[Path]:
    work, partial = (
        folder / "run-key.00000000-0123456789ab",
        folder / ".x.00000000-0123456789ab.partial",
    )
    work.mkdir()
    made = [work / "owner", partial]
    for file in made:
        file.touch()
    for path in (*made, work):
        os.utime(path, (time.time() - age, time.time() - age))
    return [work, partial]


def test_what_another_machine_left_is_swept_only_when_it_is_old(tmp_path):
    left_by_another_machine(tmp_path, age=unfinished.ABANDONED_SECONDS / 2)
    unfinished.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    left_by_another_machine(tmp_path, age=2 * unfinished.ABANDONED_SECONDS)
    unfinished.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_beat_keeps_what_no_lock_can_tell_of(tmp_path):
    work, _ = left_by_another_machine(tmp_path, age=2 * unfinished.ABANDONED_SECONDS)
    assert not unfinished.lives(work)
    unfinished.beat(work)
    assert unfinished.lives(work)


def test_where_a_lock_tells_nothing_only_age_does(tmp_path, maker, monkeypatch):
    process = maker("folder")
    process.kill()
    process.communicate()

    def no_locks(*_words):
        raise OSError("no locks available")

    monkeypatch.setattr(unfinished.fcntl, "flock", no_locks)
    unfinished.sweep(tmp_path)
    (made,) = tmp_path.iterdir()
    assert unfinished.lives(made)


def test_what_is_swept_between_its_making_and_its_lock_is_made_again(tmp_path, monkeypatch):
    flock, swept = unfinished.fcntl.flock, []

    def late(stream, how):
        if not swept:
            swept.append(stream.name)
            unfinished.sweep(tmp_path)
        flock(stream, how)

    monkeypatch.setattr(unfinished.fcntl, "flock", late)
    with unfinished.file(tmp_path / "x") as stream:
        stream.write(b"whole")
    assert swept and (tmp_path / "x").read_bytes() == b"whole"


def test_other_files_and_the_finished_ones_are_left_alone(tmp_path):
    names = ["x", "x.1", "run.123", "plain.partial", ".hidden", "a-0.0"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    unfinished.sweep(tmp_path, below=True)
    assert {p.name for p in tmp_path.iterdir()} == set(names)


def test_a_training_sweeps_what_a_killed_one_left_beside_its_file(tmp_path, maker):
    import torch

    from robustnb import tensorfile

    process = maker("file")
    process.kill()
    process.communicate()
    tensorfile.write(tmp_path / "m.safetensors", {"w": torch.zeros(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_sweeping_where_nothing_is_does_nothing(tmp_path):
    unfinished.sweep(tmp_path / "absent", below=True)
    assert not (tmp_path / "absent").exists()
    assert not unfinished.lives(tmp_path / "absent")
