"""From a finished run to the page's notebook: its outputs, today's prose, the ledger's verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustnb.reproduce import convert
from robustnb.reproduce.execute import NOTEBOOK
from robustnb.reproduce.files import write_atomically
from robustnb.reproduce.keys import Run
from robustnb.reproduce.project import Project
from robustnb.reproduce.render import Page, substitute


def publish(
    project: Project, run: Run, folder: Path, ledger: Mapping[str, Any], papers: Path
) -> bool:
    """Write `papers/<paper>.ipynb`; True if it changed.

    The run's code cells equal today's up to comments and layout, since both are in its key.
    """
    import nbformat

    page = convert.convert(project.notebook(run.paper))
    executed = nbformat.read(folder / NOTEBOOK, as_version=4)
    shown, ran = convert.code_cells(page), convert.code_cells(executed)
    for today, then in zip(shown, ran, strict=True):
        today.outputs, today.execution_count = then.outputs, then.execution_count
        _tell_alt_text(today)
    _insert_used_parameters(page, executed)
    declared = convert.parameters(page, where=run.paper)
    context = Page(
        paper=run.paper,
        profile=run.profile,
        parameters={name: p.default for name, p in declared.items()} | run.overrides,
        root=project.root,
    )
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = substitute(cell.source, ledger, page=context)
    page.metadata["robustnb"] = executed.metadata["robustnb"]
    convert.number_cells(page)
    return write_atomically(papers / f"{run.paper}.ipynb", nbformat.writes(page) + "\n")


def _tell_alt_text(cell: Any) -> None:
    """Hand a figure's alt text to the page: myst-nb reads it from the cell, not from the output."""
    for output in cell.outputs:
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt:
            options = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
            options.setdefault("alt", alt)


def _insert_used_parameters(page: Any, executed: Any) -> None:
    injected = [c for c in executed.cells if "injected-parameters" in convert.tags(c)]
    index = next(i for i, c in enumerate(page.cells) if "parameters" in convert.tags(c))
    page.cells[index + 1 : index + 1] = injected
