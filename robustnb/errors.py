"""Errors that a command turns into one clear line and an exit code."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class RobustnbError(Exception):
    """Something failed that the user can understand and mend; the message says how."""

    exit_code = 1


class UsageError(RobustnbError, ValueError):
    """A name or a value given by the user is not one we know (exit code 2)."""

    exit_code = 2


class DataError(RobustnbError):
    """A data set could not be had, or is not the one it should be (exit code 4)."""

    exit_code = 4


class RunError(RobustnbError):
    """A notebook did not run to its end (exit code 5)."""

    exit_code = 5


class BusyError(RobustnbError):
    """Another robustnb command is at work in this checkout (exit code 6)."""

    exit_code = 6


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not among `known`, with the nearest match."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names) or 'none'}")


def warn(message: str) -> None:
    """A warning that names the line outside this package from which it was called."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("robustnb."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level - 1)
