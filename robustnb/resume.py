"""Go on from a file of saved work, or refuse it: the one place that decides which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from robustnb import tensorfile

_CLOSE = 1e-4  # of the largest answer: other thread counts and kernels round differently
_SHOWN = 40  # characters of a value that a message repeats


def path_of(checkpoint: Path | str | None) -> Path | None:
    """The file that a `checkpoint` argument names; TypeError for anything but a path."""
    if checkpoint is None or isinstance(checkpoint, Path):
        return checkpoint
    if isinstance(checkpoint, str):
        return Path(checkpoint)
    raise TypeError(
        f"checkpoint must be a path or None, got {type(checkpoint).__name__}; "
        'write checkpoint="name.safetensors"'
    )


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], **rest: Any) -> None:
    """Replace `path` in one step; `facts` are what a call that goes on must have in common."""
    tensorfile.write(path, tensors, {"facts": dict(facts), **rest})


def load(path: Path, *, what: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record that `save` wrote, None if there is no file; ValueError if damaged."""
    if not path.exists():
        return None
    try:
        return tensorfile.read(path)
    except tensorfile.DamagedFile as error:
        raise ValueError(f"{error}; delete it to begin the {what} anew") from error


def refuse_other(
    path: Path, record: Mapping[str, Any], facts: Mapping[str, Any], *, what: str
) -> None:
    """ValueError, naming what differs, unless the file was saved under the same facts."""
    then = record.get("facts", {})
    changed = sorted(k for k in then.keys() | facts.keys() if not _same(then.get(k), facts.get(k)))
    if changed:
        told = ", ".join(_told(name, then.get(name), facts.get(name)) for name in changed)
        raise ValueError(f"{path} is of another {what}: {told}; delete it, or name another file")


def _told(name: str, then: Any, now: Any) -> str:
    short = all(len(repr(value)) <= _SHOWN for value in (then, now))
    return f"{name} differs" + (f" (then {then!r}, now {now!r})" if short else "")


def _same(then: Any, now: Any) -> bool:
    """Equality; floating-point lists (a model's answers) up to rounding."""
    if _floats(then) and _floats(now):
        scale = max(map(abs, [*then, *now]), default=0.0)
        return len(then) == len(now) and all(
            math.isclose(a, b, rel_tol=0, abs_tol=_CLOSE * scale)
            for a, b in zip(then, now, strict=True)
        )
    return bool(then == now)


def _floats(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is float for v in value)
