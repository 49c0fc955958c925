"""What the book itself costs: import, a command, nothing to do, a clean build, each notebook.

Usage: python benchmarks/book.py [--profile laptop] [--repeats 5]
Writes benchmarks/results/book.json. Run `make book` first, so that only the book is left to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import children_cpu

from robustnb.reproduce.project import find

ROBUSTNB = str(Path(sys.executable).parent / "robustnb")


def measured(command: list[str], repeats: int, before: Callable[[], None]) -> dict[str, object]:
    """Wall and CPU seconds of each repeat, with their medians."""
    wall, cpu = [], []
    for _ in range(repeats):
        before()
        started, used = time.perf_counter(), children_cpu()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall.append(round(time.perf_counter() - started, 3))
        cpu.append(round(children_cpu() - used, 3))
    return {
        "command": " ".join(Path(word).name for word in command),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "median_wall": statistics.median(wall),
        "median_cpu": statistics.median(cpu),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    root = find().root
    os.chdir(root)

    def nothing() -> None:
        return None

    def forget_page() -> None:
        shutil.rmtree(root / "_build", ignore_errors=True)

    book = [ROBUSTNB, "book", "--profile", options.profile]
    results = {
        "python starts": measured([sys.executable, "-c", "pass"], options.repeats, nothing),
        "import robustnb": measured(
            [sys.executable, "-c", "import robustnb"], options.repeats, nothing
        ),
        "unknown paper refused": measured(
            ["sh", "-c", f"! {ROBUSTNB} run zhang2091"], options.repeats, nothing
        ),
        "make book, nothing changed": measured(book, options.repeats, nothing),
        "make book, pages to build": measured(book, options.repeats, forget_page),
        "notebooks": {
            str(path.relative_to(root / "build" / "runs").parent): json.loads(path.read_text())[
                "cost"
            ]
            for path in sorted((root / "build" / "runs").rglob("record.json"))
        },
    }
    path = root / "benchmarks" / "results" / "book.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        if "median_wall" in result:
            print(
                f"{name:28} {result['median_wall']:8.3f} s wall, {result['median_cpu']:7.3f} s CPU"
            )


if __name__ == "__main__":
    main()
