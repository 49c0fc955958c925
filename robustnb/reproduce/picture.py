"""The picture that README shows: a figure of a paper's page, small enough for a first look."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from robustnb.errors import UsageError
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.choice import choose
from robustnb.reproduce.pages import palette_png
from robustnb.reproduce.project import Project

_WIDTH = 960


def write_picture(
    project: Project, paper: str, figure: int, *, report: Callable[[str], None]
) -> Path:
    """Write the `figure`-th figure (from 1) of the page of `paper`, and return the file.

    The figure is that of the run the default book shows. Raises UsageError when no run is there,
    or when it has fewer figures.
    """
    try:
        chosen = choose(project, paper, None, report=report)
    except FileNotFoundError:
        raise UsageError(f"no run of {paper} is at hand; `make book` makes one") from None
    drawn = [
        output["data"]["image/png"]
        for cell in chosen.executed.cells
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    if figure > len(drawn):
        raise UsageError(f"the page of {paper} has {len(drawn)} figures, there is no {figure}")
    report(f"figure {figure} of {paper}, from {chosen.what}")
    path = project.root / "book" / "_static" / "picture.png"
    write_atomically(path, palette_png(base64.b64decode(drawn[figure - 1]), width=_WIDTH))
    return path
