from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch

from robustnb.data import cache, fetch, load, loaded, verify
from robustnb.errors import DataError

FILES = ["test-images.npy", "test-labels.npy", "train-images.npy", "train-labels.npy"]


def same(tiny, split: str) -> bool:
    images, labels = load("tiny", split)
    right_images, right_labels = tiny.arrays[split]
    return bool(
        np.array_equal(images.numpy(), right_images)
        and np.array_equal(labels.numpy(), right_labels)
    )


def test_a_set_is_fetched_once_and_then_read_from_the_cache(tiny) -> None:
    tiny.add_good()
    assert loaded() == []
    assert same(tiny, "train") and same(tiny, "test") and same(tiny, "train")
    assert tiny.asked == ["good"]
    assert tiny.files == FILES
    assert loaded() == ["tiny"]


def test_what_is_loaded_can_be_written_to_without_touching_the_cache(tiny) -> None:
    tiny.add_good()
    for _ in range(2):  # freshly fetched, then read from disk
        images, labels = load("tiny", "train")
        images.zero_()
        labels.zero_()
    assert same(tiny, "train")


@pytest.mark.parametrize("limit", [0, 2.0, True, "2"])
def test_a_limit_is_a_whole_number(tiny, limit) -> None:
    with pytest.raises(ValueError, match="limit must be an integer >= 1"):
        load("tiny", "train", limit=limit)


def test_a_limit_keeps_the_first_examples_and_no_more_memory(tiny) -> None:
    tiny.add_good()
    images, labels = load("tiny", "train", limit=3)
    assert torch.equal(images, torch.from_numpy(tiny.arrays["train"][0][:3]))
    assert len(labels) == 3
    assert images.untyped_storage().nbytes() == images.nbytes


def corrupt_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [corrupt_bit, cut, empty])
def test_a_wrong_file_is_named_set_aside_and_fetched_again(
    tiny, caplog: pytest.LogCaptureFixture, harm
) -> None:
    tiny.add_good()
    fetch("tiny")
    path = tiny.folder / "tiny" / "train-images.npy"
    harm(path)
    broken = path.read_bytes()
    with caplog.at_level(logging.WARNING, logger="robustnb.data"):
        assert same(tiny, "train")
    [record] = caplog.records
    assert str(path) in record.message and "train-images.npy.corrupt" in record.message
    assert path.with_name("train-images.npy.corrupt").read_bytes() == broken
    assert tiny.asked == ["good", "good"]
    assert verify("tiny")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_with_code_in_it_is_set_aside_unrun(tiny, tmp_path: Path) -> None:
    tiny.add_good()
    fetch("tiny")
    file = tiny.folder / "tiny" / "train-labels.npy"
    np.save(file, np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    assert same(tiny, "train")
    assert not (tmp_path / "sprung").exists()
    assert tiny.asked == ["good", "good"]


def test_a_file_is_replaced_whole_and_never_written_over(tiny, tmp_path: Path) -> None:
    tiny.add_good()
    fetch("tiny")
    reader = tmp_path / "reader"  # keeps the old file, as a process that has it open does
    os.link(tiny.folder / "tiny" / "test-images.npy", reader)
    before = reader.read_bytes()
    other = {split: (255 - images, labels) for split, (images, labels) in tiny.arrays.items()}
    cache.store(tiny.dataset, other)
    assert reader.read_bytes() == before
    assert np.array_equal(np.load(tiny.folder / "tiny" / "test-images.npy"), other["test"][0])


def test_files_of_another_split_in_place_of_the_right_ones_are_found_out(tiny) -> None:
    tiny.add_good()
    fetch("tiny")
    folder = tiny.folder / "tiny"
    (folder / "train-labels.npy").write_bytes((folder / "test-labels.npy").read_bytes())
    assert same(tiny, "train")
    assert tiny.asked == ["good", "good"]


def test_a_cache_folder_that_cannot_be_made_leaves_the_data_in_memory(
    tiny, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.folder.write_text("a file where the folder should be")
    tiny.add_good()
    with caplog.at_level(logging.WARNING, logger="robustnb.data"):
        load("tiny", "train")[0].zero_()
        assert same(tiny, "train") and same(tiny, "test")
    assert tiny.asked == ["good"]
    [record] = caplog.records
    assert "cannot be written" in record.message and "in memory" in record.message
    assert "ROBUSTNB_DATA" in record.message


def refuse_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What a read-only folder does, which root would not notice otherwise."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, errno.errorcode[number])

    for owner, name in [(Path, "mkdir"), (cache, "_write"), (cache.os, "replace")]:
        monkeypatch.setattr(owner, name, refuse)


def test_a_read_only_cache_with_good_files_is_used(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add_good()
    fetch("tiny")
    with monkeypatch.context() as patch:
        refuse_writes(patch, errno.EROFS)
        assert same(tiny, "train") and verify("tiny")
    assert tiny.asked == ["good"]


def test_a_read_only_cache_with_a_wrong_file_still_gives_the_right_data(
    tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.add_good()
    fetch("tiny")
    corrupt_bit(tiny.folder / "tiny" / "train-images.npy")
    with monkeypatch.context() as patch:
        refuse_writes(patch, errno.EROFS)
        assert same(tiny, "train") and same(tiny, "test")
    assert tiny.asked == ["good", "good"]
    assert "could not be set aside" in caplog.text and "in memory" in caplog.text


@pytest.mark.parametrize("good_writes", [0, 1, 3])
def test_a_disk_that_fills_up_leaves_nothing_half_written(
    tiny, monkeypatch: pytest.MonkeyPatch, good_writes: int
) -> None:
    write, written = cache._write, []

    def fill_up(stream, array) -> None:
        if len(written) == good_writes:
            stream.write(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(array)
        write(stream, array)

    tiny.add_good()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_write", fill_up)
        with pytest.raises(DataError, match=r"no space left in .* free some space"):
            fetch("tiny")
        assert same(tiny, "test")  # from memory, in this process
    assert len(tiny.files) == good_writes and set(tiny.files) <= set(FILES)
    for kind in cache.KINDS:  # what is there is whole
        for split in ("train", "test"):
            cache.read_array(tiny.dataset, split, kind)


def test_what_a_killed_process_left_is_swept_away(tiny) -> None:
    folder = tiny.folder / "tiny"
    folder.mkdir(parents=True)
    killed = """
import os, sys, pathlib
from robustnb import unfinished
with unfinished.file(pathlib.Path(sys.argv[1])) as stream:
    stream.write(b"half of")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed, str(folder / "train-images.npy")], check=False)
    assert len(list(folder.iterdir())) == 1
    tiny.add_good()
    fetch("tiny")
    assert tiny.files == FILES
    assert sorted(path.name for path in folder.iterdir()) == [".lock", *FILES]


def test_verify_names_each_file_and_changes_nothing(tiny) -> None:
    tiny.add_good()
    lines: list[str] = []
    assert not verify("tiny", report=lines.append)
    assert len(lines) == 4 and all("robustnb data fetch tiny" in line for line in lines)
    fetch("tiny")
    path = tiny.folder / "tiny" / "test-labels.npy"
    corrupt_bit(path)
    broken, lines = path.read_bytes(), []
    assert not verify("tiny", report=lines.append)
    assert [line.startswith(f"{path}: wrong") for line in lines].count(True) == 1
    assert path.read_bytes() == broken


def test_fetching_a_whole_set_again_only_says_that_it_is_there(tiny) -> None:
    tiny.add_good()
    fetch("tiny")
    lines: list[str] = []
    fetch("tiny", report=lines.append)
    assert len(lines) == 1 and "in the cache" in lines[0]
    assert tiny.asked == ["good"]


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNB_DATA", "~/elsewhere")
    assert cache.root() == Path.home() / "elsewhere"
    monkeypatch.delenv("ROBUSTNB_DATA")
    assert cache.root() == platformdirs.user_cache_path("robustnb", False, opinion=False) / "data"


def fail_if_called() -> None:
    raise AssertionError("nobody holds the lock, and yet it is waited for")


def test_who_holds_the_lock_is_waited_for_and_told_of(tiny) -> None:
    told = threading.Event()
    order: list[str] = []

    def second() -> None:
        with cache.lock(tiny.dataset, told.set):
            order.append("second")

    waiter = threading.Thread(target=second)
    with cache.lock(tiny.dataset, fail_if_called):
        waiter.start()
        told.wait()
        order.append("first")
    waiter.join()
    assert order == ["first", "second"]


def test_the_lock_of_a_killed_process_is_free(tiny) -> None:
    killed = """
import os, sys, pathlib
sys.path.insert(0, sys.argv[1])
from conftest import dataset_of, tiny_arrays
from robustnb.data import cache
with cache.lock(dataset_of(tiny_arrays()), lambda: None):
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", killed, str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -9
    assert (tiny.folder / "tiny" / ".lock").exists()
    with cache.lock(tiny.dataset, fail_if_called):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_lock_is_used_without(
    tiny, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with cache.lock(tiny.dataset, fail_if_called), cache.lock(tiny.dataset, fail_if_called):
        pass


RACE = textwrap.dedent(
    """
    import sys, time, pathlib
    sys.path.insert(0, sys.argv[1])
    from conftest import dataset_of, tiny_arrays
    from robustnb.data import fetch, loading, verify
    from robustnb.data.sources import Source

    def slow(folder):
        with open(sys.argv[2], "a") as log:
            log.write("asked\\n")
        time.sleep(0.5)
        return tiny_arrays()

    dataset = dataset_of(tiny_arrays())
    loading.find = lambda name: dataset
    loading.sources_of = lambda dataset: [Source("slow", "slow", slow)]
    lines = []
    fetch("tiny", report=lines.append)
    assert verify("tiny")
    print(sum("waiting" in line for line in lines))
    """
)


def test_processes_that_want_the_same_set_fetch_it_once(tiny, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", RACE, str(Path(__file__).parent), str(log)]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for racer in racers:
        _, errors = racer.communicate()
        assert racer.returncode == 0, errors
    assert log.read_text() == "asked\n"
    assert tiny.files == FILES
