"""What a finished run leaves, `x.ipynb` and `record.json`: whole and its own, or as good as none.

A killed machine or a hand can leave half a file, or that of another run. A run of which one file
is damaged is run again; a record of the book that is damaged is named, since nobody can make it
again at once.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from robustnb.reproduce.keys import RunSpec

NOTEBOOK = "x.ipynb"
RECORD = "record.json"
_SCHEMA = 1
_FIELDS = {
    "paper": str, "profile": str, "seed": int, "custom": bool, "key": str, "source": str,
    "closure": dict, "data": dict, "parameters": dict, "versions": dict, "device": str,
    "cost": dict, "warnings": list, "measurements": list,
}  # fmt: skip
_COSTS = ("cpu_seconds", "peak_mb")


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file; ValueError says in what it is none of a finished run, or damaged."""
    from robustnb.lesson.measurement import validate

    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        raise ValueError(f"it does not hold schema {_SCHEMA}")
    wrong = [name for name, kind in _FIELDS.items() if type(record.get(name)) is not kind]
    costs = {} if wrong else record["cost"]
    wrong += [name for name in _COSTS if type(costs.get(name)) not in (int, float)]
    if wrong:
        raise ValueError(f"{wrong[0]} is missing, or not what a run writes")
    for measurement in record["measurements"]:
        validate(measurement)
    parts = [f"{m['claim']}.{m['part']}" for m in record["measurements"]]
    if len(set(parts)) < len(parts):
        raise ValueError("a part is measured twice")
    return record


def record_of(run: RunSpec, runs: Path) -> dict[str, Any] | None:
    """The record that a run left below `runs`; None if there is none, or it is damaged."""
    try:
        record = read_record(run.folder(runs) / RECORD)
    except (OSError, ValueError):
        return None
    names = ("paper", "profile", "seed", "key")
    return record if all(record[name] == getattr(run, name) for name in names) else None


def is_finished(run: RunSpec, runs: Path) -> bool:
    """Whether a run has come to its end before, and both its files are still whole."""
    try:
        text = (run.folder(runs) / NOTEBOOK).read_text(encoding="utf-8")
        key = json.loads(text)["metadata"]["robustnb"]["run"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(key == run.key) and record_of(run, runs) is not None


def forget_damaged(run: RunSpec, runs: Path) -> bool:
    """Remove the record of a run that is not whole, by which it would pass for done.

    True if there was one.
    """
    path = run.folder(runs) / RECORD
    if not path.exists() or is_finished(run, runs):
        return False
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True
