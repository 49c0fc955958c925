"""What each kind of edit makes the book do again, measured in a copy of the checkout.

Usage: python benchmarks/edits.py
Rewrites the table in CONTRIBUTING.md and writes benchmarks/results/edits.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import rewrite_table

from robustnb.reproduce.formatting import table
from robustnb.reproduce.project import find

NOTEBOOK = "notebooks/zhang2019.md"
LEFT_OUT = (".venv", ".git", "build", "_build", ".snakemake", "__pycache__", "papers")


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        (root / path).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def append(path: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / path).open("a", encoding="utf-8").write(text) and None


ATTACK = "robustnb/attacks/projected_gradient.py"
EDITS: dict[str, Callable[[Path], None]] = {
    "nothing (first build of a clone)": lambda root: None,
    "nothing (again)": lambda root: None,
    "a sentence of the notebook": replace(NOTEBOOK, "**Question.**", "**The question.**"),
    "a page of the book": append("book/notation.md", "\nOne more sentence.\n"),
    "a note in the registry": replace(
        "notebooks/claims/zhang2019.yaml", "note: Compared", "note: Again compared"
    ),
    f"a comment in `{ATTACK}`": append(ATTACK, "# why\n"),
    "code of a module the notebook does not use": append(
        "robustnb/reproduce/console.py", "\nX = 1\n"
    ),
    f"code of `{ATTACK}`": append(ATTACK, "\nX = 1\n"),
    "a code cell": replace(NOTEBOOK, "half = Fraction(1, 2)", "half = Fraction(2, 4)"),
}


def build(root: Path) -> tuple[int, float]:
    """(runs made, wall seconds) of `robustnb book --profile smoke` in `root`."""
    before = set((root / "build").rglob("record.json"))
    environment = {**os.environ, "PYTHONPATH": str(root), "ROBUSTNB_ROOT": str(root)}
    started = time.perf_counter()
    command = [sys.executable, "-m", "robustnb.reproduce.main", "book", "--profile", "smoke"]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return len(set((root / "build").rglob("record.json")) - before), seconds


def main() -> None:
    source = find().root
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "robustnb"
        shutil.copytree(source, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        results = {}
        for name, edit in EDITS.items():
            edit(root)
            runs, seconds = build(root)
            results[name] = {"notebook_runs": runs, "seconds": round(seconds, 1)}
            print(f"{name}: {runs} runs, {seconds:.1f} s", flush=True)
    out = source / "benchmarks" / "results" / "edits.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    rows = [[name, str(r["notebook_runs"]), f"{r['seconds']:.0f}"] for name, r in results.items()]
    drawn = table(["edit", "notebook runs (smoke)", "seconds to the new book"], rows)
    rewrite_table(source / "CONTRIBUTING.md", "edits", drawn)


if __name__ == "__main__":
    main()
