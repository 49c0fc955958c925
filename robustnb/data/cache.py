"""The local cache: one .npy file per array, written atomically and checked on every read."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from robustnb import unfinished, user_cache
from robustnb.data import decode

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from robustnb.data.decode import Array, Arrays, Pair
    from robustnb.data.sets import Dataset

KINDS = ("images", "labels")
_POLL_SECONDS = 0.5
_SECONDS_A_LINE = 60.0


class CorruptFile(Exception):
    """A cached file does not hold what the catalogue says."""

    def __init__(self, path: Path, reason: str) -> None:
        """Say that `path` is wrong, and in what."""
        super().__init__(f"{path} is not what it should be ({reason})")
        self.path = path


def root() -> Path:
    """The cache folder: $ROBUSTNB_DATA, else robustnb/data in the user's cache folder."""
    return user_cache.folder("data", variable="ROBUSTNB_DATA")


def file_of(dataset: Dataset, split: str, kind: str) -> Path:
    """Where the "images" or "labels" of a split are cached."""
    return root() / dataset.name / f"{split}-{kind}.npy"


def cached(dataset: Dataset) -> bool:
    """Whether all files are there (their digests are checked when they are read)."""
    return all(
        file_of(dataset, split, kind).is_file() for split in dataset.splits for kind in KINDS
    )


def read_array(dataset: Dataset, split: str, kind: str) -> Array | None:
    """The checked array, or None if it is not cached; CorruptFile names a file that is wrong."""
    import numpy as np

    path = file_of(dataset, split, kind)
    try:
        array: Array = np.load(path, allow_pickle=False)
        decode.check_array(dataset, split, kind, array)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, EOFError, MemoryError) as error:
        raise CorruptFile(path, str(error)) from error
    return array


def read(dataset: Dataset, split: str) -> Pair | None:
    """Images and labels of a split, checked, or None if they are not both cached."""
    images = read_array(dataset, split, "images")
    labels = read_array(dataset, split, "labels")
    return None if images is None or labels is None else (images, labels)


def quarantine(path: Path) -> Path:
    """Rename a wrong file to *.corrupt, so that nothing reads it again."""
    aside = path.with_name(path.name + ".corrupt")
    os.replace(path, aside)
    return aside


def _write(stream: IO[bytes], array: Array) -> None:
    import numpy as np

    # np.save's fast path forgets the system's error number, so a full disk would go unnamed
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, header)
    stream.write(np.ascontiguousarray(array).data)


def _store_array(path: Path, array: Array) -> None:
    with unfinished.file(path) as stream:
        _write(stream, array)


def store(dataset: Dataset, arrays: Arrays) -> None:
    """Write every array under a temporary name, then rename it; OSError leaves nothing half done.

    What processes that died left here is swept away.
    """
    folder = root() / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    unfinished.sweep(folder)
    for split, (images, labels) in arrays.items():
        _store_array(file_of(dataset, split, "images"), images)
        _store_array(file_of(dataset, split, "labels"), labels)


def explain(error: OSError, dataset: Dataset) -> str:
    """Why the cache cannot be written, and what to do about it."""
    room = f"{dataset.name} needs {dataset.bytes / 1e6:.0f} MB"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left in {root()} ({room}); free some space there "
            "or set ROBUSTNB_DATA to a folder with room"
        )
    return (
        f"the cache {root()} cannot be written ({error.strerror or error}); make it writable "
        f"or set ROBUSTNB_DATA to a folder that is ({room})"
    )


@contextlib.contextmanager
def lock(dataset: Dataset, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the data set's lock between processes; calls `waiting` each minute another holds it.

    The system releases it when its holder dies. Where no lock can be had (a read-only folder, a
    network folder that cannot lock) the block runs without: files are still replaced whole.
    """
    from filelock import FileLock

    # a soft lock, which filelock would take where the system has none, outlives a dead holder
    path = root() / dataset.name / ".lock"
    guard = FileLock(path, poll_interval=_POLL_SECONDS, fallback_to_soft=False)
    seconds = 0.0
    while not _acquire(guard, seconds):
        waiting()
        seconds = _SECONDS_A_LINE
    try:
        yield
    finally:
        guard.release()


def _acquire(guard: BaseFileLock, seconds: float) -> bool:
    """Wait that long for a lock; False while another process holds it, True also if none can be."""
    from filelock import Timeout

    try:
        Path(guard.lock_file).parent.mkdir(parents=True, exist_ok=True)
        guard.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError:
        pass
    return True
