"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from robustnb import unfinished


def write_atomically(path: Path, text: str) -> bool:
    """Write `text` through a temporary file; False, and nothing touched, if it is there already."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.file(path) as stream:
        stream.write(text.encode())
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
