"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

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
