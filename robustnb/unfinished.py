"""Files and folders that are being made: whose they are, and which of them nobody makes any more.

Whoever makes one holds the system's lock on a file of it, which ends with the process and tells
the living from the dead also between containers of one machine, where process numbers say nothing.
Names hold a mark of the machine's present boot and a random part. Without a lock to ask, or for
the leftovers of another machine or boot, only a day without a change tells that nobody comes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # a system without flock
    fcntl = None  # type: ignore[assignment]

ABANDONED_SECONDS = 24 * 3600.0
_ENDING = "partial"
_OWNER = "owner"
# the last form is that of earlier versions
_UNFINISHED = re.compile(
    rf"\.(?P<boot>[0-9a-f]{{8}})-[0-9a-f]{{12}}(?:\.{_ENDING})?$|^\..+\.\d+\.(?:{_ENDING}|tmp)$"
)


@cache
def _boot() -> str:
    """A mark of this machine since it was started, the same in all its containers."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        text = platform.node()
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _tag() -> str:
    return f"{_boot()}-{uuid.uuid4().hex[:12]}"


def _claim(path: Path) -> IO[bytes] | None:
    """Make `path` and hold its lock; None if somebody swept it before the lock was there."""
    stream = path.open("xb")
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a network folder that cannot lock
            fcntl.flock(stream, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
            return stream
    stream.close()
    return None


@contextmanager
def file(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream whose content takes the place of `path` in one step when the block ends.

    If the block raises, nothing is left of it and `path` is as it was.
    """
    with file_name(path) as partial, partial.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def file_name(path: Path) -> Iterator[Path]:
    """The name of an empty file that takes the place of `path` when the block ends.

    For a program that is told a name and writes there; it must not replace the file by another.
    """
    owner = None
    while owner is None:
        partial = path.with_name(f".{path.name}.{_tag()}.{_ENDING}")
        owner = _claim(partial)
    with owner:
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder in `root`, its name starting with `name`, that is removed when the block ends.

    It holds the file whose lock tells that it is in use; what shall stay is to be moved out.
    """
    owner = None
    while owner is None:
        work = root / f"{name}.{_tag()}"
        work.mkdir(parents=True)
        try:
            owner = _claim(work / _OWNER)
        except FileNotFoundError:  # swept between the two lines
            if work.exists():
                raise
    with owner:
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def beat(work: Path) -> None:
    """Tell machines that cannot see the lock of a `folder` that it is in use."""
    with contextlib.suppress(OSError):
        os.utime(work / _OWNER)


def lives(path: Path) -> bool:
    """Whether an unfinished file or `folder` is there and somebody may still be making it."""
    try:
        with _free(path) as free:
            return not free
    except FileNotFoundError:
        return False


def sweep(root: Path, *, below: bool = False) -> None:
    """Remove from `root` (and all folders below it) what nobody makes any more."""
    names = root.rglob("*") if below else root.glob("*")
    for path in [path for path in names if _UNFINISHED.search(path.name)]:
        with contextlib.suppress(FileNotFoundError), _free(path) as free:
            if not free:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody makes `path` any more, with its lock held so that nobody begins to."""
    named = _UNFINISHED.search(path.name)
    here = named is not None and named.group("boot") == _boot()
    try:
        stream = (path / _OWNER if path.is_dir() else path).open("rb+")
    except OSError:
        yield _is_old(path)
        return
    with stream:
        got = _lock_now(stream)
        yield got is not False and ((got is True and here) or _is_old(path))


def _lock_now(stream: IO[bytes]) -> bool | None:
    """Whether the lock could be had, None where a lock tells nothing."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network folder that cannot lock
        return None
    return True


def _is_old(path: Path) -> bool:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return time.time() - max(file.lstat().st_mtime for file in files) > ABANDONED_SECONDS
