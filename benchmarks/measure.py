"""What the speed comparisons share: interleaved repeats, medians, and what they ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Seconds = tuple[float, float]  # wall, CPU


def interleaved(jobs: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[Seconds]]:
    """Every job `repeats` times; the order rotates from repeat to repeat."""
    names = list(jobs)
    seconds: dict[str, list[Seconds]] = {name: [] for name in names}
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            wall, cpu = time.perf_counter(), time.process_time()
            jobs[name]()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def medians(seconds: Sequence[Seconds]) -> dict[str, object]:
    """Medians, and every repeat."""
    return {
        "wall_seconds": statistics.median(wall for wall, _ in seconds),
        "cpu_seconds": statistics.median(cpu for _, cpu in seconds),
        "repeats": [{"wall": wall, "cpu": cpu} for wall, cpu in seconds],
    }


def children_cpu() -> float:
    """CPU-seconds of all processes that this one has started and seen end."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def rewrite_table(page: Path, name: str, drawn: str) -> None:
    """Put a table between the marks `<!-- name: ... -->` and `<!-- end of name -->` of a page."""
    place = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    assert place.search(text), f"{page} has no place for the table of {name}"
    page.write_text(place.sub(lambda m: f"{m[1]}{drawn}\n{m[2]}", text), encoding="utf-8")


def circumstances(peers: Sequence[str]) -> dict[str, object]:
    """Versions, and the machine with its load before the first job."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("torch", *peers)},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        },
    }


def peer_missing(error: ImportError) -> SystemExit:
    """How to get the other libraries."""
    return SystemExit(
        f"{error.name} is missing. Say `make peers`, then run this with .venv-peers/bin/python"
    )
