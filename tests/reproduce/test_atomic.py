from __future__ import annotations

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
