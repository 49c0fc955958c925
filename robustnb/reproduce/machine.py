"""What this machine is: its processor's model, and how many runs it holds at a time."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NAME = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


def processor() -> str:
    """The processor's model, such as `AMD EPYC 7B13`; the architecture where nothing names it."""
    if _CPUINFO.is_file():
        named = _NAME.search(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
        found = named.group(1) if named else ""
    elif platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    else:
        found = platform.processor()
    return " ".join(found.split()) or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def jobs(memory_gb: float) -> int:
    """Runs at a time, each of `memory_gb`: one a core, and no more than the free memory holds."""
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return max(1, min(cores(), int(free / memory_gb)))
