"""From a finished run to the page's notebook: its outputs, today's prose, the ledger's verdicts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustnb.reproduce import convert, folds, front_matter
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.choice import Choice, line
from robustnb.reproduce.headline import file_of
from robustnb.reproduce.headline_svg import draw
from robustnb.reproduce.project import Project
from robustnb.reproduce.render import Page, substitute
from robustnb.reproduce.render_figures import gathered

_TITLE = re.compile(r"^# .*$", re.MULTILINE)


def publish(project: Project, choice: Choice, ledger: Mapping[str, Any], papers: Path) -> bool:
    """Write `papers/<paper>.ipynb` and its headline figure; True if one of them changed.

    The run's code cells must equal today's up to comments and layout.
    """
    import nbformat

    run, executed = choice.run, choice.executed
    page = convert.convert(project.notebook(run.paper))
    for today, then in zip(convert.code_cells(page), executed.cells, strict=True):
        today.outputs = [nbformat.from_dict(output) for output in then.outputs]
        today.execution_count = then.count
        _tell_figure(today)
    _insert_used_parameters(page, executed.parameters)
    folds.mark(page)
    declared = convert.parameters(page, where=run.paper)
    context = Page(
        paper=run.paper,
        profile=run.profile,
        parameters={n: p.default for n, p in declared.items()} | executed.record["parameters"],
        root=project.root,
        run=f"{run.paper}/{run.profile}/seed{run.seed}/{choice.origin}",
    )
    drawn = _draw_headline(page, context, ledger, papers)
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = substitute(cell.source, ledger, page=context)
    _tell_run(page, line(choice, ledger), front_matter.opening(page, run.paper, project.root))
    _append(page, front_matter.citation(run.paper, project.root))
    facts = {name: v for name, v in executed.record.items() if name not in ("measurements", "page")}
    page.metadata["robustnb"] = {**page.metadata.get("robustnb", {}), "run": facts}
    convert.number_cells(page)
    text = nbformat.writes(page) + "\n"
    return write_atomically(papers / f"{run.paper}.ipynb", text) or drawn


def _draw_headline(page: Any, context: Page, ledger: Mapping[str, Any], papers: Path) -> bool:
    """Write the figure that `{{ headline }}` of a page shows; True if it changed."""
    if not any("{{ headline }}" in cell.source for cell in page.cells):
        return False
    drawing = gathered(ledger, context)
    return write_atomically(papers / file_of(context.paper), draw(drawing))


def _tell_figure(cell: Any) -> None:
    """Hand a figure's alt text and form to the page: myst-nb reads them from the cell."""
    for output in cell.outputs:
        told = output.get("metadata", {}).get("image/png", {})
        if told.get("alt"):
            options = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
            options.setdefault("alt", told["alt"])
            form = f"rnb-{told.get('kind', 'chart')} rnb-panels-{told.get('panels', 1)}"
            options.setdefault("classes", form)


def _insert_used_parameters(page: Any, used: Mapping[str, Any] | None) -> None:
    import nbformat

    if used is None:
        return
    index = next(i for i, c in enumerate(page.cells) if "parameters" in convert.tags(c))
    cell = nbformat.v4.new_code_cell(used["source"], execution_count=used["count"])
    cell.metadata["tags"] = ["injected-parameters"]
    page.cells.insert(index + 1, cell)


def _append(page: Any, text: str) -> None:
    import nbformat

    page.cells.append(nbformat.v4.new_markdown_cell(text))


def _tell_run(page: Any, told: str, opening: str) -> None:
    """Put the line about the run under the page's title, and what else opens a page after it."""
    block = f":::{{div}} rnb-run\n{told}\n:::\n\n{opening}"
    first = next(cell for cell in page.cells if cell.cell_type == "markdown")
    title = _TITLE.search(first.source)
    end = title.end() if title else 0
    first.source = f"{first.source[:end]}\n\n{block}\n{first.source[end:]}".lstrip("\n")
