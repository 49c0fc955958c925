"""End a run when nothing of it has moved for long, never because the machine is slow.

Three things count as movement: a new cell, a new line of `robustnb.progress`, and work of the
run's processes, which is CPU time, bytes to or from a disk, or a process begun or ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from robustnb import unfinished
from robustnb.reproduce.limits import Limits
from robustnb.reproduce.status import Status

_IDLE_SHARE = 0.01  # of one core; a kernel that only waits was seen to use 0.0005
_LOOKS = 60  # at the evidence, in the time that silence may last
_LONGEST_WAIT = 5.0


@dataclass(frozen=True)
class Evidence:
    """What a look at a run found; what differs from an earlier look has moved."""

    cell: int = 0
    noted: tuple[int, int] = (0, 0)  # size and time of the last change of the progress file
    processes: frozenset[int] = frozenset()
    disk_bytes: int = 0
    cpu_seconds: float = 0.0


class Judge:
    """Decides from one look after the other whether a run is to be ended, and why.

    No gap between two looks counts as more silence than two regular ones, so that a machine that
    slept, or a command that was stopped, ends nothing.
    """

    def __init__(self, limits: Limits, *, every: float, first: Evidence) -> None:
        """Judge by looks that come `every` so many seconds, after a `first` one."""
        self.limits, self.every = limits, every
        self._moved, self._silent, self._spent = first, 0.0, 0.0

    def look(self, found: Evidence, passed: float) -> str | None:
        """Why the run is to be ended, or None; `passed` seconds after the last look."""
        self._spent += passed
        if self._has_moved(found):
            self._moved, self._silent = found, 0.0
        else:
            self._silent += min(passed, 2 * self.every)
        if self._silent >= self.limits.silence:
            return (
                f"stood still for {self._silent:.0f} s (no new cell, no progress, "
                "no CPU time; if it only waits, --silence SECONDS allows more)"
            )
        if self.limits.total is not None and self._spent >= self.limits.total:
            return f"ran past the {self.limits.total:g} s of --timeout"
        return None

    def _has_moved(self, found: Evidence) -> bool:
        before = self._moved
        worked = abs(found.cpu_seconds - before.cpu_seconds)
        return (
            (found.cell, found.noted, found.processes, found.disk_bytes)
            != (before.cell, before.noted, before.processes, before.disk_bytes)
        ) or worked >= _IDLE_SHARE * self.limits.silence


def _processes() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _work_of(process: psutil.Process) -> tuple[float, int]:
    cpu = sum(process.cpu_times()[:4])  # its own and that of children it has waited for
    if not hasattr(process, "io_counters"):
        return cpu, 0
    disk = process.io_counters()
    return cpu, disk.read_bytes + disk.write_bytes


def _look(status: Status, processes: set[psutil.Process]) -> Evidence:
    try:
        note = status.note_file.stat()
        noted = (note.st_size, note.st_mtime_ns)
    except FileNotFoundError:
        noted = (0, 0)
    cpu, disk = 0.0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            used, moved = _work_of(process)
            cpu, disk = cpu + used, disk + moved
    return Evidence(status.cell, noted, frozenset(p.pid for p in processes), disk, cpu)


@contextmanager
def watched(status: Status, limits: Limits) -> Iterator[Callable[[], str | None]]:
    """End what this process starts in the block once `limits` say so.

    Yields a function that tells why it was ended, or None.
    """
    over, why = threading.Event(), []
    every = min(_LONGEST_WAIT, limits.silence / _LOOKS, (limits.total or limits.silence) / 2)
    others = _processes()
    judge = Judge(limits, every=every, first=_look(status, set()))

    def watch() -> None:
        last = time.monotonic()
        while not over.wait(every):
            now = time.monotonic()
            mine = _processes() - others
            unfinished.beat(status.work)
            reason = judge.look(_look(status, mine), now - last)
            last = now
            if reason:
                why.append(reason)
                for process in mine:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                return

    thread = threading.Thread(target=watch, name="liveness", daemon=True)
    thread.start()
    try:
        yield lambda: why[0] if why else None
    finally:
        over.set()
        thread.join()
