"""Run a package registry's ordinary client, and say in one line what went wrong."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_PAUSE_SECONDS = 1.0
_ERROR_MARKS = ("npm error", "npm ERR!", "E:")
_STALE_LISTS = ("Unable to locate package", "404  Not Found", "No packages found")
_NO_NETWORK = (
    *("ECONN", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "UNREACH", "SOCKET_TIMEOUT"),
    *("network timeout", "Could not connect", "Could not resolve", "Temporary failure"),
    *("Connection timed out", "Connection failed", "Cannot initiate the connection"),
)


class SourceError(Exception):
    """A source could not give the data; `dead` means it is of no use to this process again."""

    def __init__(self, message: str, *, dead: bool = False) -> None:
        """Say why in one line."""
        super().__init__(message)
        self.dead = dead


def one_line(text: object, *, limit: int = 300) -> str:
    """`text` on one line of at most `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def run(command: Sequence[str], folder: Path, *, silence: float) -> None:
    """Run `command` in `folder`; SourceError if it is missing, fails or stands still.

    It stands still when what it has written to `folder` and told did not change for `silence`
    seconds; a slow download may take as long as it needs.
    """
    client = command[0]
    with tempfile.TemporaryFile() as told:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                env=os.environ | {"LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise SourceError(f"{client} is not installed", dead=True) from error
        try:
            while _wrote_within(process, folder, told, silence):
                pass
            if process.returncode is None:
                raise SourceError(f"{client} gave no answer in {silence:g} s", dead=True)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            told.seek(0)
            raise _client_error(client, told.read().decode(errors="replace"))


def _wrote_within(
    process: subprocess.Popen[bytes], folder: Path, told: IO[bytes], silence: float
) -> bool:
    """Whether the client goes on: it has not ended, and wrote something within `silence`."""
    before, waited = _written(folder, told), 0.0
    pause = min(_PAUSE_SECONDS, silence / 4)
    while waited < silence:
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            waited += pause
        else:
            return False
        if _written(folder, told) != before:
            return True
    return False


def _written(folder: Path, told: IO[bytes]) -> tuple[int, int]:
    """Bytes in the files below `folder`, and of what the client told."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it renames and removes while we look
            size += path.lstat().st_size
    return size, os.fstat(told.fileno()).st_size


def _client_error(client: str, stderr: str) -> SourceError:
    parted = (line.partition(mark) for line in stderr.splitlines() for mark in _ERROR_MARKS)
    lines = [text for before, mark, text in parted if mark and not before]
    said = one_line(";".join(lines[:3]) or stderr or f"{client} failed")
    if client == "apt-get" and any(word in stderr for word in _STALE_LISTS):
        return SourceError(f"{said}; run `apt-get update` as root, then try again")
    return SourceError(said, dead=any(word in stderr for word in _NO_NETWORK))
