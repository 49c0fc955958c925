"""Two finished runs of one paper, compared bit for bit: measurements and text outputs.

Cells are matched by their order among the code cells that show something, so that a renamed import
or a cell of definitions more does not count. Images are not compared, nor is what went to stderr.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

from robustnb.errors import RunError
from robustnb.lesson.measurement import MIME, decode_arm, measurements_of
from robustnb.provenance import digest
from robustnb.reproduce import convert
from robustnb.reproduce.finished import NOTEBOOK

Json = Mapping[str, Any]
_WIDTH = 60
_BEFORE = 20  # characters shown before a difference that comes late in its line
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Cell:
    """A code cell that shows something: its place on the page, its first line, what it shows."""

    number: int
    line: str
    texts: tuple[tuple[str, str], ...]
    measurements: Mapping[str, Json]

    @property
    def content(self) -> str:
        """A digest of what the cell shows."""
        return digest([self.texts, self.measurements])

    @property
    def name(self) -> str:
        """The cell for a message."""
        return f"code cell {self.number} ({self.line[:_WIDTH]})"


@dataclass(frozen=True)
class Result:
    """All that is compared of one finished run."""

    cells: tuple[Cell, ...]

    @property
    def measurements(self) -> dict[str, Json]:
        """The measurements by the full name of their part."""
        return {part: found for cell in self.cells for part, found in cell.measurements.items()}

    @property
    def n_outputs(self) -> int:
        """How many text outputs there are."""
        return sum(len(cell.texts) for cell in self.cells)

    @property
    def digest(self) -> str:
        """SHA-256 of what is compared; equal for two results in which `difference` finds none."""
        return digest([cell.content for cell in self.cells])


def read(folder: Path) -> Result:
    """What a finished run in `folder` measured and showed; RunError if that cannot be read."""
    import nbformat

    try:
        return result_of(nbformat.read(folder / NOTEBOOK, as_version=4))
    except ValueError as error:
        raise RunError(
            f"the run in {folder} cannot be compared: {error}; remove the folder to run it again, "
            "or record these runs again"
        ) from None


def result_of(notebook: Any) -> Result:
    """What an executed notebook measured and showed."""
    found = []
    for number, cell in enumerate(convert.code_cells(notebook), 1):
        texts = tuple(_texts(cell.outputs))
        measured = {f"{m['claim']}.{m['part']}": m for m in measurements_of({"cells": [cell]})}
        if texts or measured:
            lines = cell.source.strip().splitlines()
            found.append(Cell(number, lines[0] if lines else "", texts, measured))
    return Result(tuple(found))


def _texts(outputs: Sequence[Any]) -> list[tuple[str, str]]:
    """Text outputs in order, with their kind; a stream that came in pieces is put together."""
    found: list[tuple[str, str]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            kind = str(output["name"])
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1] + output["text"])
            else:
                found.append((kind, output["text"]))
        else:
            found += [
                (kind, value if isinstance(value, str) else json.dumps(value, sort_keys=True))
                for kind, value in sorted(output.get("data", {}).items())
                if kind != MIME and "image/" not in kind  # glued ones have a longer name
            ]
    return found


def unequal(earlier: Result, today: Result) -> str | None:
    """Why two results do not count as equal; None if they do."""
    if not today.n_outputs:
        return "nothing is shown as text, so there is nothing to compare"
    return difference(earlier, today)


def difference(earlier: Result, today: Result) -> str | None:
    """The first cell and the first part that differ, and by how much; None if nothing does."""
    cell = _first_cell(earlier, today)
    if cell is None:
        return None
    then, now = cell
    told = [_cell_difference(then, now)]
    if then is None or now is None or _first_part(then.measurements, now.measurements) is None:
        part = _first_part(earlier.measurements, today.measurements)
        told.append(f"first part that differs: {part}" if part else "every measurement is equal")
    return "; ".join(told)


def _first_cell(earlier: Result, today: Result) -> tuple[Cell | None, Cell | None] | None:
    for then, now in zip_longest(earlier.cells, today.cells):
        if then is None or now is None or then.content != now.content:
            return then, now
    return None


def _cell_difference(then: Cell | None, now: Cell | None) -> str:
    if then is None or now is None:
        only, shown = ("today's code", now) if then is None else ("the earlier code", then)
        assert shown is not None
        return f"{shown.name} shows something with {only} alone"
    part = _first_part(then.measurements, now.measurements)
    if part:
        return f"{now.name}: {part}"
    return f"{now.name}: {_text_difference(then.texts, now.texts)}"


def _first_part(then: Mapping[str, Json], now: Mapping[str, Json]) -> str | None:
    for part in [*now, *(name for name in then if name not in now)]:
        if part not in then or part not in now:
            return f"{part} is measured with {'today' if part in now else 'the earlier'} code alone"
        if digest(then[part]) != digest(now[part]):
            return f"{part}, {_measured_difference(then[part], now[part])}"
    return None


def _measured_difference(then: Json, now: Json) -> str:
    """The first arm, check or field of one measurement that differs."""
    for name in {**now["arms"], **then["arms"]}:
        if name not in then["arms"] or name not in now["arms"]:
            return f"arm {name!r} is on one side only"
        if digest(then["arms"][name]) != digest(now["arms"][name]):
            return f"arm {name!r}: {_arm_difference(then['arms'][name], now['arms'][name])}"
    field = next(name for name in now if digest(now[name]) != digest(then.get(name)))
    return f"{field}: {_line_difference(_lines(then.get(field)), _lines(now[field]))}"


def _arm_difference(then: Json, now: Json) -> str:
    if (then["kind"], then["n"]) != (now["kind"], now["n"]):
        return f"{then['n']} {then['kind']} outcomes, today {now['n']} {now['kind']}"
    gap = abs(decode_arm(dict(now)).astype(float) - decode_arm(dict(then)).astype(float))
    return f"{int((gap > 0).sum())} of {now['n']} values differ, by at most {gap.max():.3g}"


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=0, sort_keys=True).splitlines()


def _text_difference(then: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> str:
    for before, after in zip(then, now, strict=False):
        if before != after:
            return f"{after[0]} {_line_difference(before[1].splitlines(), after[1].splitlines())}"
    return f"{len(then)} text outputs, today {len(now)}"


def _line_difference(then: Sequence[str], now: Sequence[str]) -> str:
    changed = [line for line in difflib.ndiff(then, now) if line[:2] in ("- ", "+ ")]
    gone = next((line[2:].strip() for line in changed if line[0] == "-"), "")
    come = next((line[2:].strip() for line in changed if line[0] == "+"), "")
    same = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(gone, come, strict=False)))
    begin = 0 if same < _WIDTH else same - _BEFORE
    shown = [("..." if begin else "") + line[begin : begin + _WIDTH] for line in (gone, come)]
    return f"was {shown[0]!r}, is {shown[1]!r}{_size(gone, come)}"


def _size(then: str, now: str) -> str:
    """By how much the first number of two lines that differs does."""
    for before, after in zip(_NUMBER.findall(then), _NUMBER.findall(now), strict=False):
        if before != after:
            return f" ({float(after) - float(before):+.3g})"
    return ""
