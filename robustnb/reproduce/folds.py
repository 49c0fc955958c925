"""What of a page is folded away, and the one line that says what lies in the fold.

A student reads prose, formulas, figures and verdicts; the code of machine checks, what `measure`
reports and plumbing are for a referee. A cell stays open if it is tagged `paper-code`, because it
is the paper. The line is text of the page's notebook; book/_ext/folds.py draws it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robustnb.reproduce import convert

OPEN = "paper-code"
TITLE = "fold"  # a cell's own words for its fold: `:fold: Training of the networks`
WHOLE = "hide-cell"
_HIDING = ("hide-input", "hide-output", WHOLE)
_PRINTED = re.compile(r"(✓|✗) ([^:\n]+): (.*)")
_RUNS = ("parameters", "injected-parameters")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Checked:
    """One machine check as its cell shows it: whether it passed, and what it says."""

    ok: bool
    says: str


def mark(notebook: Any) -> None:
    """Put under `robustnb.fold` of each code cell what its fold says; tagged cells stay open.

    `robustnb.fold`: `title` (the author's words, or empty), `lines` of code, `checks` as pairs
    [passed, what it says], `claims` that the cell measures, and whether the `whole` cell is folded
    with all that it shows, as a solution is.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code" or OPEN in convert.tags(cell):
            continue
        found = list(_checks(cell))
        cell.metadata["robustnb"] = {
            "fold": {
                "title": _title(cell),
                "lines": len(cell.source.splitlines()),
                "checks": [[check.ok, check.says] for check in found],
                "claims": _claims(cell),
                "whole": WHOLE in convert.tags(cell),
            }
        }
        cell.metadata["tags"] = [tag for tag in convert.tags(cell) if tag not in _HIDING]


def _title(cell: Any) -> str:
    if any(tag in _RUNS for tag in convert.tags(cell)):
        return "Parameters of this run"
    return str(cell.metadata.get(TITLE, ""))


def _data(cell: Any) -> Iterator[Json]:
    for output in cell.outputs:
        yield output.get("data", {})


def _claims(cell: Any) -> list[str]:
    """The claims that the cell measures, each once, without the paper's name: C1, C2."""
    from robustnb.lesson.measurement import MIME

    claims = [data[MIME]["claim"].rpartition(".")[2] for data in _data(cell) if MIME in data]
    return list(dict.fromkeys(claims))


def _checks(cell: Any) -> Iterator[Checked]:
    """The checks that a cell shows, reported by `measure` or displayed by themselves."""
    from robustnb.lesson.measurement import MIME

    for data in _data(cell):
        if MIME in data:
            for check in data[MIME]["checks"]:
                yield Checked(check["ok"], check["says"].rstrip(".") or check["id"])
        elif "rnb-check" in data.get("text/html", ""):
            for mark, name, told in _PRINTED.findall(data.get("text/plain", "")):
                says, dot, _ = told.partition(". ")
                yield Checked(mark == "✓", says if dot else name)
