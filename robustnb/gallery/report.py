"""Everything the page shows that is measured, as one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from robustnb.gallery.catalogue import pitfalls
from robustnb.gallery.gradient_masking import ATTACK, ENSEMBLE, inspect_masked


def measure_all() -> dict[str, Any]:
    """The error of both forms of every pitfall, and what was found out about masked models."""
    return {
        "pitfalls": {
            e.name: {**e.errors(), "limit": e.limit, "shown": e.shown} for e in pitfalls()
        },
        "masked": [found.to_json() for found in inspect_masked()],
        "attack": ATTACK.name,
        "ensemble": list(ENSEMBLE.attacks),
    }


def write(path: str) -> None:
    """Measure on one thread and write the file; about eight seconds."""
    torch.set_num_threads(1)
    Path(path).write_text(json.dumps(measure_all(), indent=1) + "\n", encoding="utf-8")
