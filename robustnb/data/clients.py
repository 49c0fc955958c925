"""Run a package registry's ordinary client, and say in one line what went wrong."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

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


def run(command: Sequence[str], folder: Path, *, seconds: float) -> None:
    """Run `command` in `folder`; SourceError if it is missing, fails or takes too long."""
    client = command[0]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise SourceError(f"{client} is not installed", dead=True) from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{client} gave no answer in {seconds:g} s", dead=True) from error
    if done.returncode != 0:
        raise _client_error(client, done.stderr)


def _client_error(client: str, stderr: str) -> SourceError:
    parted = (line.partition(mark) for line in stderr.splitlines() for mark in _ERROR_MARKS)
    lines = [text for before, mark, text in parted if mark and not before]
    said = one_line(";".join(lines[:3]) or stderr or f"{client} failed")
    if client == "apt-get" and any(word in stderr for word in _STALE_LISTS):
        return SourceError(f"{said}; run `apt-get update` as root, then try again")
    return SourceError(said, dead=any(word in stderr for word in _NO_NETWORK))
