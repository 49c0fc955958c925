"""The code cells of a notebook: how messages name them, and what they may hold.

What a cell does must follow from its text read as Python, since that is what a run's key is made
of. So a cell that is no Python, calls a magic or ends its kernel is refused before anything runs.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from robustnb.errors import UsageError
from robustnb.provenance import source_digest
from robustnb.reproduce.constants import shorten

_ENDS_KERNEL = frozenset({"exit", "quit"})
_NAME_LENGTH = 40
_QUIET = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER})


def tags(cell: Any) -> list[str]:
    """Tags of a cell."""
    return list(cell.metadata.get("tags", []))


def code_cells(notebook: Any) -> list[Any]:
    """The author's code cells, without the one papermill injects."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in tags(cell)
    ]


def name(notebook: Any, cell: Any) -> str:
    """How a message calls a code cell: its number among the author's, and its first line."""
    numbered = enumerate(code_cells(notebook), 1)
    number = next((str(number) for number, each in numbered if each is cell), "of parameters")
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return f"code cell {number} ({shorten(lines[0] if lines else '', _NAME_LENGTH)})"


def check(notebook: Any, *, where: str) -> None:
    """UsageError naming `where`, cell and reason unless every code cell is plain Python."""
    if any("injected-parameters" in tags(cell) for cell in notebook.cells):
        raise UsageError(
            f"{where}: a cell is tagged `injected-parameters`, which papermill writes itself; "
            "take the tag off"
        )
    cells = code_cells(notebook)
    with warnings.catch_warnings():  # such as one of an escape that is none; the run gives it too
        warnings.simplefilter("ignore")
        for test in (_wrong, _nested, _ending({cell.source for cell in cells})):
            for cell in cells:
                reason = test(cell.source)
                if reason:
                    raise UsageError(f"{where}, {name(notebook, cell)}: {reason}")


def measured(notebook: Any) -> Iterator[tuple[Any, str]]:
    """Cells that measure a part of a claim, each with the part's id, where it stands as a text."""
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "measure" and node.args:
                part = node.args[0]
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield cell, part.value


@cache
def hides_its_value(source: str) -> bool:
    """Whether a cell ends in a semicolon, by which IPython does not show its last value."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    last = [token for token in tokens if token.type not in _QUIET]
    return bool(last) and last[-1].string == ";"


def _wrong(source: str) -> str:
    """Why a cell is no Python; empty if it is."""
    try:
        compile(source, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        magic = _magic(source)
        if magic:
            return f"{magic} is IPython's and not Python, so no run's key covers it; write Python"
        line = getattr(error, "lineno", None)
        place = f" in its line {line}" if line else ""
        return f"{type(error).__name__}{place}: {shorten(getattr(error, 'msg', error))}"
    return ""


def _nested(source: str) -> str:
    """Why no digest of a cell can be taken; empty if one can."""
    try:
        source_digest(source)
    except RecursionError:
        return "an expression is nested too deeply to be part of a run's key; make it shorter"
    return ""


def _magic(source: str) -> str:
    """The first magic, shell command or question mark of a cell, empty if it has none."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(call.func, ast.Attribute) and _is_shell(call.func.value):
            first = ast.literal_eval(call.args[0]) if call.args else ""
            return _spelling(call.func.attr, shorten(first, _NAME_LENGTH))
    return ""


def _is_shell(node: ast.expr) -> bool:
    return ast.unparse(node) == "get_ipython()"


def _spelling(method: str, word: str) -> str:
    if method == "run_line_magic" and word.startswith("pinfo"):
        return "a question mark for help"
    marks = {"run_line_magic": "%", "run_cell_magic": "%%", "system": "!", "getoutput": "!"}
    return f"`{marks.get(method, '')}{word}`"


def _ending(sources: Iterable[str]) -> Callable[[str], str]:
    """A test that tells why a cell would end its kernel by IPython's `exit` or `quit`."""

    def test(source: str) -> str:
        for node in ast.walk(ast.parse(source)):
            word = node.func if isinstance(node, ast.Call) else getattr(node, "value", None)
            if isinstance(node, ast.Call | ast.Expr) and isinstance(word, ast.Name):
                if word.id in _ENDS_KERNEL and not any(_binds(s, word.id) for s in sources):
                    return f"`{word.id}` ends the kernel; a notebook runs to its last cell"
        return ""

    return test


def _binds(source: str, word: str) -> bool:
    """Whether a cell gives `word` a meaning of its own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == word:
            return True
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == word:
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) == word:
            return True
    return False
