"""Comparing the two sides of a step: numbers, fractions, mpmath numbers or arrays of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from robustnb.lesson.domains import Point, point_words


def error_between(lhs: Callable[..., Any], rhs: Callable[..., Any], point: Point) -> float:
    """|lhs - rhs| / max(1, |lhs|, |rhs|) at a point, the largest entry for arrays."""
    left, right = _side(lhs, point), _side(rhs, point)
    error = abs(_minus(left, right, point)) / _scale(left, right)
    return _least(-error, point) * -1.0


def slack_between(
    smaller: Callable[..., Any], larger: Callable[..., Any], point: Point, tol: float
) -> float:
    """larger - smaller at a point, the least entry for arrays, with rounding read as 0."""
    left, right = _side(smaller, point), _side(larger, point)
    slack, scale = _minus(right, left, point), _scale(left, right)
    if isinstance(slack, np.ndarray):
        return _least(np.where((slack < 0) & (slack >= -tol * scale), 0.0, slack), point)
    return 0.0 if slack < 0 and slack >= -tol * scale else _least(slack, point)


def slack_value(slack: Any, tol: float, case: str) -> float:
    """A slack that the author computed, with rounding read as 0."""
    _refuse(slack, "the slack", case)
    value = float(slack)
    if math.isnan(value):
        raise ValueError(f"the slack is not a number at {case}; leave that case out")
    return 0.0 if -tol <= value < 0 else value


def _side(side: Callable[..., Any], point: Point) -> Any:
    """One side of the step at a point, an array if it has axes."""
    try:
        value = side(**point)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise ValueError(
            f"a side cannot be computed at {point_words(point)} ({error}); narrow the domain "
            "with where=, or with real(..., ends=False)"
        ) from error
    if getattr(value, "ndim", 0):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return np.asarray(value)
    _refuse(value, "a side", point_words(point))
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _refuse(value: Any, what: str, case: str) -> None:
    """Refuse a truth value or a text where a number is needed."""
    if isinstance(value, bool | np.bool_ | str) or value is None:
        raise TypeError(
            f"{what} is {value!r} at {case}; return a number (for statements that are true or "
            "false use exact)"
        )


def _minus(left: Any, right: Any, point: Point) -> Any:
    """left - right, refused where it is not a number."""
    difference = left - right
    unclear = np.isnan(np.asarray(difference, dtype=float))
    if unclear.any():
        raise ValueError(
            f"the difference of the two sides is not a number at {point_words(point)}; narrow the "
            "domain with where=, or with real(..., ends=False)"
        )
    return difference


def _scale(left: Any, right: Any) -> Any:
    """max(1, |left|, |right|) entry by entry, 1 where a side is infinite."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        size = np.maximum(1, np.maximum(abs(left), abs(right)))
        return np.where(np.asarray(size, dtype=float) == np.inf, 1, size)
    size = max(1, abs(left), abs(right))
    return 1 if size == math.inf else size


def _least(value: Any, point: Point) -> float:
    """The least entry as a float."""
    if isinstance(value, np.ndarray) and not value.size:
        raise ValueError(f"the two sides are empty arrays at {point_words(point)}")
    return float(value.min()) if isinstance(value, np.ndarray) else float(value)
