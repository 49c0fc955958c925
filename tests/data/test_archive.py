from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustnb.data import archive


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def tar_of(*entries: tuple[str, bytes], mode: str = "w:gz", **fields: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return stream.getvalue()


def take(data: bytes, *names: str, limit: int = 10**6) -> dict[str, bytes]:
    wanted: dict[str, Callable] = dict.fromkeys(names, as_array)
    found = archive.take(io.BytesIO(data), wanted, mode="r|gz", limit=limit)
    return {name: array.tobytes() for name, array in found.items()}


def test_only_the_wanted_members_are_read() -> None:
    data = tar_of(("./p/a", b"one"), ("p/b", b"two"), ("p/c", b"three"))
    assert take(data, "p/a", "p/c") == {"p/a": b"one", "p/c": b"three"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "p/../../up", "p\\..\\up"])
def test_a_name_that_leaves_the_archive_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="points outside"):
        take(tar_of((name, b"x"), ("p/a", b"one")), "p/a")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_wanted_member_that_is_no_plain_file_is_refused(kind: bytes) -> None:
    with pytest.raises(ValueError, match="not a plain file"):
        take(tar_of(("p/a", b""), type=kind, linkname="/etc/passwd"), "p/a")


def test_an_archive_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        take(tar_of(("p/bomb", bytes(2000)), ("p/a", b"one")), "p/a", limit=1000)


def test_a_member_that_comes_twice_is_refused() -> None:
    data = tar_of(("p/a", b"one"), ("p/a", b"two"), ("p/b", b"three"))
    with pytest.raises(ValueError, match="twice"):
        take(data, "p/a", "p/b")


def test_a_missing_member_is_named() -> None:
    with pytest.raises(ValueError, match="lacks 'p/b'"):
        take(tar_of(("p/a", b"one")), "p/a", "p/b")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_refused(share: float) -> None:
    data = tar_of(("p/a", random.Random(0).randbytes(20_000)), ("p/b", b"end"))
    with pytest.raises(ValueError, match=r"not a whole tar archive|lacks|truncated"):
        take(data[: int(share * len(data))], "p/a", "p/b")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>log in", b"\n <HTML>", b"<?xml ?>"])
def test_a_web_page_in_place_of_a_package_is_called_one(tmp_path: Path, page: bytes) -> None:
    file = tmp_path / "p.tgz"
    file.write_bytes(page)
    with pytest.raises(ValueError, match="web page"):
        archive.refuse_web_page(file)
    file.write_bytes(tar_of(("p/a", b"one")))
    archive.refuse_web_page(file)


def matching(data: bytes, pattern: str) -> dict[str, bytes]:
    return archive.take_matching(io.BytesIO(data), pattern, mode="r|gz", limit=1000)


def test_members_are_taken_by_a_pattern() -> None:
    data = tar_of(("p/x/a.txt", b"one"), ("p/x/a.json", b"two"), ("p/y/b.txt", b"three"))
    assert matching(data, "p/*/*.txt") == {"p/x/a.txt": b"one", "p/y/b.txt": b"three"}


def test_a_pattern_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="no member"):
        matching(tar_of(("p/a", b"one")), "p/*.txt")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (tar_of(("../up.txt", b"x")), "points outside"),
        (tar_of(("p.txt", bytes(2000))), "more than 1000 bytes"),
        (tar_of(("p.txt", b"one"), ("p.txt", b"two")), "twice"),
        (tar_of(("p.txt", b"one"))[:20], "not a whole tar"),
    ],
    ids=["outside", "large", "twice", "cut"],  # the bytes hold the time, and would name the tests
)
def test_what_is_not_trusted_by_name_is_not_by_pattern(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        matching(data, "*.txt")
