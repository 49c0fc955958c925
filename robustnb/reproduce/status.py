"""What the runs under way are doing, told through small files that another process can read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb import unfinished
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.project import Project

_NOTE = "note"


@dataclass
class Status:
    """The state of the run in `work`: cell `cell` of `cells`, since `started`."""

    path: Path
    name: str
    work: Path
    cells: int
    cell: int
    started: float
    budget: float

    @classmethod
    def start(cls, project: Project, name: str, work: Path, *, budget: float) -> Status:
        """Announce a run whose unfinished folder is `work`; the budget is only told."""
        path = _folder(project) / f"{work.name}.json"
        status = cls(path, name, work, cells=0, cell=0, started=time.time(), budget=budget)
        status._write()
        return status

    @property
    def note_file(self) -> Path:
        """File to which `robustnb.progress` writes during the run."""
        return self.work / _NOTE

    @property
    def note(self) -> str:
        """The last line of the note file, empty if there is none."""
        return _last_line(self.note_file)

    def set_cells(self, cells: int) -> None:
        """Say how many cells there are."""
        self.cells = cells
        self._write()

    def next_cell(self) -> None:
        """Count one more cell as begun."""
        self.cell += 1
        self._write()

    def end(self) -> None:
        """Withdraw the announcement."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        state = {
            "name": self.name,
            "cell": min(self.cell, self.cells),
            "cells": self.cells,
            "started": self.started,
            "budget": self.budget,
        }
        write_atomically(self.path, json.dumps(state))


def _folder(project: Project) -> Path:
    return project.build / "status"


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1] if lines else ""


def lines(project: Project) -> list[str]:
    """One line for each run under way: cell k of K, elapsed, and what is being waited for."""
    shown = []
    for path in sorted(_folder(project).glob("*.json")):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            work = project.work / path.stem
            if unfinished.lives(work):
                shown.append(_line(state, _last_line(work / _NOTE)))
        except (OSError, ValueError, KeyError, TypeError):  # being written, or damaged
            continue
    return shown


def _line(state: Mapping[str, Any], note: str) -> str:
    elapsed = time.time() - state["started"]
    return (
        f"{state['name']}: cell {state['cell']} of {state['cells']}, {elapsed:.0f} s "
        f"(budget {state['budget']:.0f} reference seconds){f', {note}' if note else ''}"
    )


def sweep(project: Project) -> None:
    """Remove what runs that nobody makes any more left, and their announcements."""
    unfinished.sweep(project.work)
    unfinished.sweep(_folder(project))
    for path in _folder(project).glob("*.json"):
        if not unfinished.lives(project.work / path.stem):
            path.unlink(missing_ok=True)
