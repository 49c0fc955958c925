"""One progress object: a bar on a terminal, lines in a file during a run, silent elsewhere.

Notebook cells must not write to stderr (a build treats that as a fault), so a run names a file in
`ROBUSTNB_PROGRESS`; whoever started the run reads its last line to say what is being waited for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REFRESH_SECONDS = 0.5
_BAR_WIDTH = 24


class Progress:
    """Counts steps of one task and shows them at most twice a second."""

    def __init__(self, title: str, total: int) -> None:
        """A task of `total` steps, told where `ROBUSTNB_PROGRESS` and the terminal say."""
        self.title, self.total, self.done = title, total, 0
        self._started = time.monotonic()
        self._shown = 0.0
        name = os.environ.get("ROBUSTNB_PROGRESS")
        self._file = Path(name) if name else None
        self._terminal = self._file is None and sys.stderr.isatty()

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Count `steps` more as done; `note` says something about the last of them."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown >= _REFRESH_SECONDS or self.done >= self.total:
            self._shown = now
            self._show(f"{self.done}/{self.total}", note, now - self._started)

    def _show(self, count: str, note: str, elapsed: float) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(f"{self.title}: {count} after {elapsed:.0f} s {note}".rstrip() + "\n")
        elif self._terminal:
            filled = _BAR_WIDTH * self.done // max(self.total, 1)
            bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
            sys.stderr.write(f"\r{self.title} [{bar}] {count} {elapsed:.0f} s {note}\x1b[K")
            sys.stderr.flush()

    def close(self) -> None:
        """End the bar's line on a terminal."""
        if self._terminal and self._shown:
            sys.stderr.write("\n")


@contextmanager
def progress(title: str, *, total: int) -> Iterator[Progress]:
    """Show the progress of a task of `total` steps until the block ends."""
    bar = Progress(title, total)
    try:
        yield bar
    finally:
        bar.close()
