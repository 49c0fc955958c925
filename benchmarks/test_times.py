"""Where the time of `make test` goes: its steps, and the rooms of the tests.

Usage: python benchmarks/test_times.py
Runs the steps of `make test` one after another, on a machine that does nothing else, and reads the
times of single tests from the reports that they leave. Rewrites the table in CONTRIBUTING.md and
writes benchmarks/results/test_times.json. With --read it only reads the reports of the last run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from measure import children_cpu, rewrite_table

from robustnb.reproduce.calibration import measure
from robustnb.reproduce.formatting import table
from robustnb.reproduce.project import find

STEPS = ("lint", "notebooks", "unit", "nbval")
REPORTS = Path("build") / "test" / "times"
RESULTS = Path("benchmarks") / "results" / "test_times.json"


def run_step(root: Path, step: str) -> dict[str, float]:
    """Wall and CPU seconds of one step; what it stands on is there already."""
    before, started = children_cpu(), time.perf_counter()
    subprocess.run(["make", "--old-file=notebooks", step], cwd=root, check=True)
    return {"wall": time.perf_counter() - started, "cpu": children_cpu() - before}


def room_of(report: str, case: ElementTree.Element) -> str:
    """The folder of tests that a test case is from; nbval's cases by report."""
    words = case.get("classname", "").split(".")
    if report != "unit":
        return report
    return words[1] if len(words) > 2 else "tests"


def rooms(folder: Path) -> dict[str, dict[str, float]]:
    """How many tests each room has, and their seconds, summed over the processes that ran them."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"tests": 0, "seconds": 0.0})
    for path in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            room = found[room_of(path.stem, case)]
            room["tests"] += 1
            room["seconds"] += float(case.get("time", 0))
    return dict(found)


def drawn(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table: steps first, then the rooms, the longest first."""
    rows = [
        [f"`make {name}`", "", f"{spent['wall']:.0f}", f"{spent['cpu']:.0f}"]
        for name, spent in result["steps"].items()
    ]
    longest = sorted(result["rooms"].items(), key=lambda item: -item[1]["seconds"])
    rows += [[name, f"{room['tests']:.0f}", f"{room['seconds']:.0f}", ""] for name, room in longest]
    return table(["step, or room of the tests", "tests", "seconds", "CPU-seconds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", action="store_true", help="read the last run's reports alone")
    read_only = parser.parse_args().read
    root = find().root
    steps = {} if read_only else {step: run_step(root, step) for step in STEPS}
    result = {"steps": steps, "rooms": rooms(root / REPORTS)}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    machine["calibration_seconds"] = measure(root / "build" / "test" / "settings")
    text = json.dumps({"machine": machine, **result}, indent=1)
    (root / RESULTS).write_text(text + "\n", encoding="utf-8")
    rewrite_table(root / "CONTRIBUTING.md", "test times", drawn(result))
    print(drawn(result))


if __name__ == "__main__":
    main()
