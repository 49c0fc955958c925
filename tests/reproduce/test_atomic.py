from __future__ import annotations

import errno
import os

import pytest

from robustnb.reproduce import atomic


def test_a_file_is_written_with_its_folders_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a" / "b" / "x.json"
    assert atomic.write_atomically(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_the_same_text_leaves_the_file_untouched(tmp_path):
    path = tmp_path / "x"
    assert atomic.write_atomically(path, "one")
    before = path.stat()
    assert not atomic.write_atomically(path, "one")
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert atomic.write_atomically(path, "two") and path.read_text() == "two"


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "x"
    atomic.write_atomically(path, "old")

    def full(_descriptor):
        assert path.read_text() == "old"
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        atomic.write_atomically(path, "new")
    assert path.read_text() == "old"


@pytest.fixture
def places(tmp_path):
    """A finished folder, and another that is to take its place."""
    old, new = tmp_path / "page", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "text").write_text(folder.name)
    return old, new


def test_a_folder_takes_the_place_of_another(places):
    old, new = places
    atomic.replace_folder(new, old)
    assert (old / "text").read_text() == "new" and os.listdir(old.parent) == ["page"]


def test_a_folder_that_cannot_be_replaced_stays(places, monkeypatch):
    old, new = places

    def full(_source, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "move_folder", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.replace_folder(new, old)
    assert (old / "text").read_text() == "page"
    assert sorted(os.listdir(old.parent)) == ["new", "page"]


def test_a_folder_set_aside_by_a_killed_command_comes_back(places, monkeypatch):
    old, _ = places
    os.rename(old, old.with_name(".page.old"))
    atomic.recover(old)
    assert (old / "text").read_text() == "page" and not old.with_name(".page.old").exists()


def test_a_replaced_link_to_a_folder_leaves_nothing_behind(places):
    old, new = places
    linked = old.with_name("linked")
    linked.symlink_to(old)
    atomic.replace_folder(new, linked)
    assert (linked / "text").read_text() == "new" and (old / "text").read_text() == "page"
    assert not os.path.lexists(old.with_name(".linked.old"))
