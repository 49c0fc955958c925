"""The directives of the page of known mistakes: code read from the source, errors measured now.

`robustnb-pitfall NAME` shows the wrong and the right form of one pitfall with the error of each;
`robustnb-masked` shows what the audits say of masked models. Both take their numbers from
`gallery/<key>.json` beside the ledger. The key covers all code that the measurement reaches and
the versions of the packages under it, so the file is measured again only when one of them changes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective

from robustnb import provenance, unfinished

ROOM = "robustnb.gallery"
MEASURED_WITH = ("torch", "torchvision", "numpy", "pillow")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PRAGMA = re.compile(r"\s+# (?:fmt: skip|type: ignore.*|noqa.*)$")


class GalleryError(SphinxError):
    """A pitfall cannot be shown."""

    category = "The gallery"


def room() -> Path:
    """The folder of the pitfalls' code."""
    package = provenance.module_file(ROOM)
    if package is None:
        raise GalleryError("robustnb is not installed; run `pip install -e .[book]`")
    return package.parent


@cache
def functions() -> dict[str, tuple[Path, ast.FunctionDef]]:
    """Every top-level function of the room, with its file."""
    found = {}
    for path in sorted(room().glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = (path, node)
    return found


def function(name: str, form: str) -> tuple[Path, ast.FunctionDef]:
    """The wrong or right form of a pitfall, or its error."""
    stem = name.replace("-", "_")
    wanted = f"_{stem}_error" if form == "error" else f"{stem}_{form}"
    if wanted not in functions():
        raise GalleryError(f"there is no pitfall {name}: {ROOM} does not define {wanted}")
    return functions()[wanted]


def code(path: Path, node: ast.FunctionDef) -> str:
    """A function as written, without its docstring and the marks meant for tools."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = node.body[0]
    drop: range = range(0)
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        drop = range(first.lineno, (first.end_lineno or first.lineno) + 1)
    kept = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return "\n".join(PRAGMA.sub("", lines[n - 1]) for n in kept if n not in drop)


def key() -> str:
    """What the measurement depends on."""
    versions = {package: version(package) for package in MEASURED_WITH}
    python = ".".join(map(str, sys.version_info[:2]))
    closure = provenance.closure([f"{ROOM}.report"])
    return provenance.digest({"code": closure, "versions": versions, "python": python})[:16]


def folder(app: Sphinx) -> Path:
    """Where measurements are kept: beside the ledger of this build."""
    ledger = os.environ.get("ROBUSTNB_LEDGER")
    base = Path(ledger).absolute().parent if ledger else Path(app.confdir) / "build"
    return base / "gallery"


@cache
def measurement(where: Path) -> Path:
    """The file with the measurement of today's code, made now if it is not there."""
    path = where / f"{key()}.json"
    if not path.is_file():
        where.mkdir(parents=True, exist_ok=True)
        with unfinished.file_name(path) as partial:
            call = f"from {ROOM}.report import write; write({str(partial)!r})"
            done = subprocess.run(
                [sys.executable, "-c", call],
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise GalleryError(f"the pitfalls could not be measured:\n{done.stdout[-2000:]}")
        for old in where.glob("*.json"):
            if old != path:
                old.unlink()
    return path


@cache
def measured(where: Path) -> dict[str, Any]:
    """What `measurement` holds."""
    found: dict[str, Any] = json.loads(measurement(where).read_text(encoding="utf-8"))
    return found


def number(value: float, shown: str) -> str:
    """An error as the page prints it; one of rounding keeps its power of ten."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        digits, _, power = f"{value:.0e}".partition("e")
        return f"{digits} · 10{str(int(power)).translate(SUPERSCRIPT)}"
    return f"{100 * value:.1f} %" if shown == "share" else f"{value:.3g}"


def label(text: str, value: str) -> nodes.paragraph:
    bold = nodes.strong("", value)
    return nodes.paragraph("", "", nodes.Text(f"{text}: error "), bold, classes=["rnb-form-label"])


class Pitfall(SphinxDirective):
    """The two forms of one pitfall, each under its measured error."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        where = folder(self.env.app)
        errors = measured(where)["pitfalls"].get(name)
        if errors is None:
            raise GalleryError(f"{self.env.docname}: no pitfall is called {name}")
        made: list[nodes.Node] = []
        for form, title in (("wrong", "Wrong form"), ("right", "Right form")):
            path, node = function(name, form)
            self.env.note_dependency(str(path))
            block = nodes.literal_block("", code(path, node), language="python")
            head = label(title, number(errors[form], errors["shown"]))
            made.append(nodes.container("", head, block, classes=["rnb-form", f"rnb-{form}"]))
        self.env.note_dependency(str(measurement(where)))
        return [nodes.container("", *made, self.counted(name), classes=["rnb-pitfall"])]

    def counted(self, name: str) -> nodes.Node:
        path, node = function(name, "error")
        says = " ".join((ast.get_docstring(node) or "").split())
        file = path.relative_to(room().parents[1])
        bold, where = nodes.strong("", "Error. "), nodes.literal("", str(file))
        parts = [bold, nodes.Text(f"{says} Code: "), where]
        return nodes.paragraph("", "", *parts, nodes.Text("."), classes=["rnb-source"])


class Masked(SphinxDirective):
    """A table of masked models and the verdict that each one's audits allow."""

    COLUMNS = ("model", "clean", "one PGD run", "ensemble", "around the mask")

    def run(self) -> list[nodes.Node]:
        where = folder(self.env.app)
        self.env.note_dependency(str(measurement(where)))
        found = measured(where)["masked"]
        rows = [
            (f["name"], *(f"{100 * f[c]:.1f} %" for c in ("clean", "naive", "ensemble", "undone")))
            for f in found
        ]
        items = [item for f in found for item in self.verdict(f)]
        return [table(self.COLUMNS, rows), self.setting(where), nodes.definition_list("", *items)]

    def setting(self, where: Path) -> nodes.Node:
        found = measured(where)
        count, members = found["masked"][0]["n"], ", ".join(found["ensemble"])
        text = (
            f"Accuracy on {count} digits; one run of {found['attack']}; a short ensemble of "
            f"{members}. No verdict depends on these numbers."
        )
        return nodes.paragraph("", "", nodes.Text(text), classes=["rnb-small"])

    def verdict(self, found: dict[str, Any]) -> list[nodes.Node]:
        ok = found["verdict"]["ok"]
        badge = nodes.inline("", "may be judged" if ok else "inconclusive")
        badge["classes"] = ["rnb-badge", "rnb-holds" if ok else "rnb-open"]
        why = found["verdict"]["why"].partition(", ")[2] or found["verdict"]["why"]
        said = why if ok else f"the attack audit failed: {why}"
        lines: list[nodes.Node] = [nodes.paragraph("", "", badge, nodes.Text(f" {said}."))]
        for title, checks in (("Self-audit", found["audit"]), ("Ensemble", found["findings"])):
            if checks:
                words: list[nodes.Node] = [nodes.Text(f"{title}, failed: ")]
                for check in checks:
                    words += [nodes.literal("", check), nodes.Text(", ")]
                words[-1] = nodes.Text(".")
                lines.append(nodes.paragraph("", "", *words))
        term = nodes.term("", "", nodes.Text(found["name"]))
        return [nodes.definition_list_item("", term, nodes.definition("", *lines))]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> nodes.table:
    """A plain table."""

    def row(cells: tuple[str, ...]) -> nodes.row:
        entries = [nodes.entry("", nodes.paragraph("", cell)) for cell in cells]
        return nodes.row("", *entries)

    columns = [nodes.colspec(colwidth=1) for _ in head]
    body = nodes.tbody("", *(row(cells) for cells in rows))
    group = nodes.tgroup("", *columns, nodes.thead("", row(head)), body, cols=len(head))
    return nodes.table("", group)


def forget(app: Sphinx) -> None:
    """Read the code anew: one process may build twice."""
    for remembered in (functions, measurement, measured):
        remembered.cache_clear()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", forget)
    app.add_directive("robustnb-pitfall", Pitfall)
    app.add_directive("robustnb-masked", Masked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
