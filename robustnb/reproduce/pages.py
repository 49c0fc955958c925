"""What a page takes from a run, and how it is kept beside the run's record.

    book/records/<profile>/<paper>/seed0.json            under `page` the digest of each file below
    book/records/<profile>/<paper>/page/outputs.json     for each code cell: digest of its code,
                                                         execution count, outputs
    book/records/<profile>/<paper>/page/figure-<k>.png   the figures, in at most 256 colours

A measurement is not kept a second time: outputs.json names its part, the record holds it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnb.errors import RobustnbError
from robustnb.provenance import source_digest
from robustnb.reproduce import convert
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.finished import NOTEBOOK, RECORD

FOLDER = "page"
LARGEST_BYTES = 1_000_000
_OUTPUTS = "outputs.json"
_IMAGE = "image/png"
_COLOURS = 256
_OPAQUE = 255

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One executed code cell: digest of its code, execution count and outputs (nbformat 4)."""

    code: str
    count: int | None
    outputs: list[dict[str, Any]]


@dataclass(frozen=True)
class Executed:
    """The outputs of a run by cell, the parameters cell papermill injected, and its record."""

    cells: list[Cell]
    parameters: dict[str, Any] | None
    record: dict[str, Any]

    def fits(self, notebook: Any) -> bool:
        """Whether these are outputs of the very code cells of `notebook`, comments aside."""
        return [cell.code for cell in self.cells] == code_digests(notebook)


def code_digests(notebook: Any) -> list[str]:
    """Digest of each code cell of the author, up to comments and layout."""
    return [source_digest(cell.source) for cell in convert.code_cells(notebook)]


def of_run(folder: Path) -> Executed:
    """What a page takes from the finished run in `folder`."""
    import nbformat

    notebook = nbformat.read(folder / NOTEBOOK, as_version=4)
    ran = convert.code_cells(notebook)
    cells = [
        Cell(code, cell.execution_count, cell.outputs)
        for code, cell in zip(code_digests(notebook), ran, strict=True)
    ]
    injected = [c for c in notebook.cells if "injected-parameters" in convert.tags(c)]
    used = [{"source": c.source, "count": c.execution_count} for c in injected]
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return Executed(cells, used[0] if used else None, record)


def keep(executed: Executed, folder: Path) -> dict[str, str]:
    """Write the page of a run into `folder` and return the digest of each of its files.

    Raises RobustnbError before anything is written when the page is too large.
    """
    figures = _Figures()
    page = {
        "schema": 1,
        "parameters": executed.parameters,
        "cells": [
            {"code": c.code, "count": c.count, "outputs": [figures.lift(o) for o in c.outputs]}
            for c in executed.cells
        ],
    }
    text = json.dumps(page, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    files = {_OUTPUTS: text.encode(), **figures.files}
    _refuse_large(files, executed.record["paper"])
    for old in folder.glob("*"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        write_atomically(folder / name, content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def _refuse_large(files: Mapping[str, bytes], paper: str) -> None:
    size = sum(map(len, files.values()))
    if size > LARGEST_BYTES:
        name = max(files, key=lambda n: len(files[n]))
        raise RobustnbError(
            f"{paper}: its page of {size / 1e6:.2f} MB is not kept, the limit is "
            f"{LARGEST_BYTES / 1e6:g} MB; its largest file is {name} with "
            f"{len(files[name]) / 1e6:.2f} MB; print less, or draw fewer or smaller figures"
        )


def is_kept(record: Json, folder: Path) -> bool:
    """Whether a page was kept for `record`, whatever became of it."""
    return "page" in record or (folder / _OUTPUTS).is_file()


def kept(record: Json, folder: Path) -> Executed:
    """The page kept in `folder` for `record`.

    Raises RobustnbError, naming the file, where a file is not the one that the run left.
    """
    wanted: Json = record.get("page", {})
    for name in sorted({*wanted, _OUTPUTS}):
        path = folder / name
        there = path.is_file()
        if not there or hashlib.sha256(path.read_bytes()).hexdigest() != wanted.get(name):
            what = "is not as the run left it" if there else "is missing"
            raise RobustnbError(
                f"{path} {what}; bring it back from git, or record the run again: robustnb "
                f"reproduce {record['paper']} --profile {record['profile']} --seeds 0 --record"
            )
    page = json.loads((folder / _OUTPUTS).read_text(encoding="utf-8"))
    measured = {f"{m['claim']}.{m['part']}": m for m in record["measurements"]}
    cells = [
        Cell(c["code"], c["count"], [_put_back(o, folder, measured) for o in c["outputs"]])
        for c in page["cells"]
    ]
    return Executed(cells, page["parameters"], dict(record))


def _pictures(data: Json) -> Iterator[str]:
    """The types under which an output holds a picture: shown, or kept by `glue` for later."""
    return (kind for kind in data if kind == _IMAGE or kind.endswith(f"/{_IMAGE}"))


def _put_back(output: Json, folder: Path, measured: Json) -> dict[str, Any]:
    """An output as the run left it: with its figure and its measurement."""
    from robustnb.lesson.measurement import MIME

    data = dict(output.get("data", {}))
    for kind in _pictures(data):
        data[kind] = base64.b64encode((folder / data[kind]["file"]).read_bytes()).decode()
    if MIME in data:
        data[MIME] = measured[data[MIME]["part"]]
    return {**output, "data": data} if data else dict(output)


@dataclass
class _Figures:
    """The figures of a page as files, each one once."""

    files: dict[str, bytes] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def lift(self, output: Json) -> dict[str, Any]:
        """The output with names in place of its figure and its measurement."""
        from robustnb.lesson.measurement import MIME

        data = dict(output.get("data", {}))
        for kind in _pictures(data):
            data[kind] = {"file": self._file(data[kind].strip())}
        if MIME in data:
            measurement = data[MIME]
            data[MIME] = {"part": f"{measurement['claim']}.{measurement['part']}"}
        return {**output, "data": data} if data else dict(output)

    def _file(self, encoded: str) -> str:
        if encoded not in self._names:
            self._names[encoded] = f"figure-{len(self._names) + 1}.png"
            self.files[self._names[encoded]] = palette_png(base64.b64decode(encoded))
        return self._names[encoded]


def palette_png(picture: bytes, *, width: int | None = None) -> bytes:
    """A PNG in at most 256 colours, a third of the bytes; made narrower where `width` says so.

    Transparent stays transparent.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        drawn = opened.convert("RGBA")
        dpi = opened.info.get("dpi")
    if width is not None and width < drawn.width:
        drawn = drawn.resize((width, round(drawn.height * width / drawn.width)))
    if drawn.getextrema()[3][0] == _OPAQUE:
        few = drawn.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    else:
        few = drawn.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True, **({"dpi": dpi} if dpi else {}))
    return out.getvalue()
