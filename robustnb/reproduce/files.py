"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> bool:
    """Write a file through a temporary one; False, and nothing touched, if it is there already."""
    wanted = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == wanted:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(wanted)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def sweep_dead(folder: Path) -> None:
    """Remove what processes that no longer live left in `folder` (names end in `.<pid>`)."""
    for path in folder.glob("*.*"):
        pid = path.name.rpartition(".")[2]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def sweep_partial(folder: Path) -> None:
    """Remove half-written files that processes that no longer live left in `folder`."""
    for path in folder.rglob(".*.partial"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not _lives(int(pid)):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
