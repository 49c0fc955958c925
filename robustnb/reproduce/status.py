"""What the runs under way are doing, told through small files that another process can read."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from robustnb.reproduce.files import write_atomically
from robustnb.reproduce.project import Project


@dataclass
class Status:
    """The state of one run: cell `cell` of `cells`, since `started`."""

    path: Path
    name: str
    cells: int
    cell: int
    started: float
    pid: int

    @classmethod
    def start(cls, project: Project, name: str, *, cells: int) -> Status:
        """Announce a run."""
        path = project.build / "status" / f"{name}.json"
        status = cls(path, name, cells, 0, time.time(), os.getpid())
        status.note_file.parent.mkdir(parents=True, exist_ok=True)
        status.note_file.unlink(missing_ok=True)
        status._write()
        return status

    @property
    def note_file(self) -> Path:
        """File to which `robustnb.progress` writes during the run."""
        return self.path.with_suffix(".note")

    @property
    def note(self) -> str:
        """The last line of the note file, empty if there is none."""
        return _last_line(self.note_file)

    def next_cell(self) -> None:
        """Count one more cell as begun."""
        self.cell += 1
        self._write()

    def end(self) -> None:
        """Withdraw the announcement."""
        self.path.unlink(missing_ok=True)
        self.note_file.unlink(missing_ok=True)

    def _write(self) -> None:
        state = {
            "name": self.name,
            "cell": min(self.cell, self.cells),
            "cells": self.cells,
            "started": self.started,
            "pid": self.pid,
        }
        write_atomically(self.path, json.dumps(state))


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1] if lines else ""


def lines(project: Project) -> list[str]:
    """One line for each run under way: cell k of K, elapsed, and what is being waited for."""
    shown = []
    for path in sorted((project.build / "status").glob("*.json")):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        elapsed = time.time() - state["started"]
        note = _last_line(path.with_suffix(".note"))
        waiting = f", {note}" if note else ""
        shown.append(
            f"{state['name']}: cell {state['cell']} of {state['cells']}, {elapsed:.0f} s{waiting}"
        )
    return shown
