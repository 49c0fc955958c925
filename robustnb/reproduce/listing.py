"""Library code as a page shows it: the lines that ran, their docstrings filled to the page."""

from __future__ import annotations

import ast
import inspect
import textwrap

WIDTH = 75  # columns of code that a page shows whole


def listing(source: str, *, width: int = WIDTH) -> str:
    """`source` with every docstring that is wider than `width` filled anew; code is not touched.

    Paragraphs with an indented line, a list item or a doctest keep their lines.
    """
    lines = source.splitlines()
    for node in reversed(_docstrings(ast.parse(source))):
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        if max(map(len, lines[first:last])) > width:
            lines[first:last] = _filled(lines[first:last], width)
    return "\n".join(lines)


def _docstrings(tree: ast.Module) -> list[ast.Expr]:
    """In the order of the source."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    found = [node.body[0] for node in owners if ast.get_docstring(node, clean=False) is not None]
    return sorted((node for node in found if isinstance(node, ast.Expr)), key=lambda n: n.lineno)


def _filled(lines: list[str], width: int) -> list[str]:
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    text = inspect.cleandoc("\n".join(line.removeprefix(margin) for line in lines))
    body, closing = text[:-3].rstrip(), text[-3:]
    apart = "\n" if len(lines) > 1 else ""
    paragraphs = [
        part if _keeps_its_lines(part) else textwrap.fill(part, width - len(margin))
        for part in body.split("\n\n")
    ]
    return textwrap.indent("\n\n".join(paragraphs) + apart + closing, margin).splitlines()


def _keeps_its_lines(paragraph: str) -> bool:
    starts = (" ", "- ", "* ", ">>> ")
    return any(line.startswith(starts) for line in paragraph.splitlines())
