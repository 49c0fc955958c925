"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from robustnb import unfinished


def write_atomically(path: Path, content: str | bytes) -> bool:
    """Write a file through a temporary one; False, and nothing touched, if it is there already."""
    wanted = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == wanted:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.file(path) as stream:
        stream.write(wanted)
    return True


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder, also to another disk; nobody sees half of it under the new name."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished.sweep(target.parent)
        with unfinished.folder(target.parent, f".{target.name}") as near:
            os.rename(shutil.copytree(source, near / "copy"), target)
        shutil.rmtree(source, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Move a folder to the place of another one, which is there again if that fails."""
    recover(target)
    if target.exists():
        os.replace(target, _aside(target))
    try:
        move_folder(source, target)
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Put back what a killed `replace_folder` set aside; remove it where the new one stands."""
    aside = _aside(target)
    if not os.path.lexists(aside):
        return
    if not target.exists():
        os.replace(aside, target)
    elif aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")
