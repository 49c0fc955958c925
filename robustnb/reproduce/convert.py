"""From a jupytext source to a notebook, the same bytes each time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.cells import check, code_cells, tags
from robustnb.reproduce.constants import shorten
from robustnb.reproduce.parameters import Parameter, read_parameters

__all__ = ["code_cells", "convert", "datasets", "number_cells", "parameters", "tags"]

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@lru_cache(maxsize=32)
def _read(path: str, stamp: int) -> str:
    import jupytext
    import nbformat
    import yaml
    from jupytext.myst import MystMetadataParsingError

    unreadable = (ValueError, TypeError, RecursionError, yaml.YAMLError, MystMetadataParsingError)
    try:
        notebook = jupytext.read(path, fmt="md:myst")
        language = _language(notebook)
        notebook.metadata["kernelspec"] = _KERNEL
        number_cells(notebook)
        text = str(nbformat.writes(notebook))
    except (*unreadable, nbformat.ValidationError, OSError) as error:
        why = shorten(error, 200)
        raise UsageError(
            f"{Path(path).name} is not a MyST notebook as jupytext reads it: {why}"
        ) from None
    if language:
        raise UsageError(
            f"{Path(path).name}: its cells are written in {language}; the book runs Python alone"
        )
    _check_header(notebook, where=Path(path).name)
    check(notebook, where=Path(path).name)
    return text


def _language(notebook: Any) -> str:
    """The language that a notebook's header or first cell names, empty if it is Python's."""
    kernel = notebook.metadata.get("kernelspec", {})
    named = str(kernel.get("language", "python")) if isinstance(kernel, dict) else "python"
    lexer = str(notebook.metadata.get("jupytext", {}).get("default_lexer", "python"))
    others = (word for word in (named, lexer) if "python" not in word.lower())
    return next(others, "")


def _check_header(notebook: Any, *, where: str) -> None:
    header = notebook.metadata.get("robustnb", {})
    names = header.get("datasets", []) if isinstance(header, dict) else None
    other = set(header) - {"datasets"} if names is not None else None
    if other or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"{where}: the header must name parameters as `robustnb: {{datasets: [dataset]}}`"
        )


def convert(source: Path) -> Any:
    """The notebook of a MyST source, with cell ids counted and not drawn.

    Raises UsageError for a file that is no such notebook, or has a cell that is no plain Python.
    """
    import nbformat

    try:
        stamp = source.stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"{source.name} cannot be read: {error.strerror}") from None
    return nbformat.reads(_read(str(source), stamp), as_version=4)


def number_cells(notebook: Any) -> None:
    """Name the cells `cell-000`, `cell-001`, ...: jupytext and papermill draw random names."""
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"


def parameters(notebook: Any, *, where: str) -> dict[str, Parameter]:
    """The declared parameters of a notebook; UsageError unless it has one parameters cell."""
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise UsageError(f"{where} has {len(cells)} cells tagged `parameters`, it needs one")
    declared = read_parameters(cells[0].source, where=where)
    if "seed" not in declared or declared["seed"].annotation != "int":
        raise UsageError(f"{where}: the parameters cell must declare `seed: int = 0`")
    return declared


def datasets(notebook: Any, values: Mapping[str, Any]) -> list[str]:
    """Data sets a run loads: the values of the parameters that the header names.

    The header says `robustnb: {datasets: [dataset, ...]}`, names of parameters, so that a run at
    one size does not depend on, or fetch, the data of another.
    """
    names = notebook.metadata.get("robustnb", {}).get("datasets", [])
    for name in names:
        if name not in values:
            raise unknown("parameter in the header's `robustnb: datasets:`", name, values)
    return sorted({str(values[name]) for name in names})
