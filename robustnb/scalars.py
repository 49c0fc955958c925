"""Numbers as callers have them (Python's, numpy's, tensors of one element) as plain numbers."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

_SHOWN = 80  # characters of a value that a message repeats


def is_scalar(value: Any) -> bool:
    """Whether `value` is one number: of Python, of numpy, or an array or tensor without axes."""
    axes = None if isinstance(value, np.generic) else getattr(value, "ndim", None)
    return isinstance(value, numbers.Number) if axes is None else bool(axes == 0)


def real(what: str, value: Any) -> float:
    """`value` as a float; TypeError unless it is one real number (True and False are none).

    >>> import numpy as np
    >>> real("eps", np.float64(0.25))
    0.25
    """
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
        raise TypeError(f"{what} must be a real number, got {shown(value)}")
    return float(plain)


def finite(what: str, value: Any, *, least: float | None = None, above: float | None = None,
           hint: str = "") -> float:  # fmt: skip
    """`real`, finite and within bounds; ValueError otherwise, ending in the hint."""
    number = real(what, value)
    low = -math.inf if least is None else least
    if not math.isfinite(number) or number < low or (above is not None and number <= above):
        bound = f" and > {above:g}" if above is not None else f" and >= {low:g}"
        bound = "" if math.isinf(low) and above is None else bound
        raise ValueError(f"{what} must be finite{bound}, got {value}{hint}")
    return number


def whole(what: str, value: Any, *, least: int = 1, hint: str = "") -> int:
    """`value` as an int; ValueError unless it is one whole number of at least `least`.

    >>> import numpy as np
    >>> whole("steps", np.int64(3))
    3
    """
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, numbers.Integral) or plain < least:
        raise ValueError(f"{what} must be an integer >= {least}, got {shown(value)}{hint}")
    return int(plain)


def shown(value: Any) -> str:
    """A value in the one line of a message: an array by its shape, else the beginning of it."""
    if getattr(value, "ndim", 0):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _plain(value: Any) -> Any:
    """Arrays and tensors without axes, and numpy's scalars, as what they hold; torch stays out."""
    without_axes = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if without_axes else value
